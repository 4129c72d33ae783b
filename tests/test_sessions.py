"""The site's sessions are Django's: those that one makes the other finds, and what has ended is not found. Neither is a
user who may not log in any more."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth import BACKEND_SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore as DjangosStore
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from chat.models import User
from chat.sessions import SessionStore

pytestmark = [pytest.mark.database, pytest.mark.django_db]


def kept(store: type[DjangosStore]) -> str:
    session = store()
    session["said"] = "hello"
    session.save()
    assert session.session_key is not None
    return session.session_key


@pytest.mark.parametrize(("made_by", "read_by"), [(DjangosStore, SessionStore), (SessionStore, DjangosStore)])
def test_either_reads_what_the_other_has_made(made_by: type[DjangosStore], read_by: type[DjangosStore]) -> None:
    assert read_by(kept(made_by)).get("said") == "hello"


def test_a_session_is_found_until_it_ends() -> None:
    key = kept(SessionStore)
    Session.objects.filter(pk=key).update(expire_date=timezone.now() + timedelta(seconds=30))
    assert SessionStore(key).get("said") == "hello"
    Session.objects.filter(pk=key).update(expire_date=timezone.now() - timedelta(seconds=1))
    assert SessionStore(key).get("said") is None


def test_a_key_that_nobody_was_given_is_given_to_nobody() -> None:
    """Otherwise a stranger could choose the key of somebody's session beforehand."""
    session = SessionStore("chosen-by-a-stranger-12345678901")
    assert session.get("said") is None
    session["said"] = "hello"
    session.save()
    assert session.session_key != "chosen-by-a-stranger-12345678901"


BACKENDS = ["chat.sessions.Backend", "django.contrib.auth.backends.ModelBackend"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_login_counts_whichever_backend_it_names_until_its_user_is_deactivated(client: Client, backend: str) -> None:
    user = User.objects.create_user("ada")
    client.force_login(user, backend)
    assert client.get("/").status_code == 200
    User.objects.update(is_active=False)
    assert client.get("/").status_code == 302


def test_a_login_ends_with_the_password_that_it_was_made_with(client: Client) -> None:
    user = User.objects.create_user("ada", password="lovelace")
    assert client.login(username="ada", password="lovelace")
    assert client.session[BACKEND_SESSION_KEY] == "chat.sessions.Backend"
    user.set_password("byron")
    user.save()
    assert client.get("/").status_code == 302


def test_a_wrong_password_is_tried_once(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each try is a third of a second of CPU time, for anybody who asks."""
    User.objects.create_user("ada", password="lovelace")
    tried = []

    def check(user: User, password: str) -> bool:
        tried.append(password)
        return False

    monkeypatch.setattr(User, "check_password", check)
    assert not client.login(username="ada", password="byron")
    assert tried == ["byron"]
