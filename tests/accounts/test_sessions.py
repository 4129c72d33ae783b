"""A session is found until it ends, and its user while they may log in."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.http import parse_cookie
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from chat.accounts.visitors import find_user_by_session
from chat.models import User

pytestmark = [pytest.mark.database, pytest.mark.django_db]


BACKENDS = ["chat.sessions.Backend", "django.contrib.auth.backends.ModelBackend"]


def test_a_session_that_another_program_made_of_its_row_is_a_session_here(client: Client) -> None:
    """Each session is a row of Django's table, so that those of an older version of the site stay."""
    user = User.objects.create_user("ada")
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "chat.sessions.Backend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    client.cookies["sessionid"] = session.session_key or ""
    assert client.get("/").status_code == 200
    Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))
    assert client.get("/").status_code == 302


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


def test_a_wrong_password_is_checked_once(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each try is a third of a second of CPU time, for anybody who asks."""
    User.objects.create_user("ada", password="lovelace")
    tried = []

    def check(user: User, password: str) -> bool:
        tried.append(password)
        return False

    monkeypatch.setattr(User, "check_password", check)
    assert not client.login(username="ada", password="byron")
    assert tried == ["byron"]


NO_KEYS = [
    *('"\\000abcdefghijkl"', '"\\000"', '"abc\\000defghijkl"', '"', ""),
    *("x" * 5000, "\xe4\xf6\xfc\xdf\xe4\xf6\xfc\xdf", "../../../etc/passwd"),
]


@pytest.mark.parametrize("cookie", NO_KEYS)
def test_a_cookie_that_is_no_sessions_key_is_no_login(client: Client, cookie: str) -> None:
    """One with NUL, which a quoted cookie can hold, was a 500 for every address on PostgreSQL."""
    headers = {"cookie": f"sessionid={cookie}"}
    for path, status in (("/", 302), ("/accounts/login/", 200), ("/api/models/", 401), ("/admin/", 302)):
        response = client.get(path, headers=headers)
        assert response.status_code == status
        assert response.cookies["sessionid"]["max-age"] == 0, "the browser is told to forget it"
    assert find_user_by_session(parse_cookie(headers["cookie"])["sessionid"]) is None


@pytest.mark.parametrize(("fallbacks", "is_known"), [(True, True), (False, False)])
def test_a_look_at_a_session_of_an_old_key_changes_nothing(
    client: Client, settings: Settings, fallbacks: bool, is_known: bool
) -> None:
    """A stream and a socket look whether their user may go on. They could not bring the browser a new session."""
    client.force_login(User.objects.create_user("ada"))
    key = client.session.session_key
    assert key is not None
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY] if fallbacks else []
    settings.SECRET_KEY = "a new key"
    assert (find_user_by_session(key) is not None) == is_known
    assert Session.objects.filter(pk=key).exists()
