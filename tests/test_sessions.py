"""The site's sessions are Django's: those that one makes the other finds, and what has ended is not found."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.sessions.backends.db import SessionStore as DjangosStore
from django.contrib.sessions.models import Session
from django.utils import timezone

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
