"""A session that PostgreSQL has made read-only does not stay in the pool, and one that it has ended is an outage."""

from __future__ import annotations

import time
from unittest.mock import Mock

import pytest
from django.contrib.sessions.models import Session
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from chat.observability.outages import NotSavedError, UnreachableError, classify_outage
from chat.pool_renewal import PoolRenewal

pytestmark = [pytest.mark.postgresql, pytest.mark.database, pytest.mark.django_db(transaction=True)]

MOST_IN_THE_POOL = 6


READ_ONLY_WRITE = "SET TRANSACTION READ ONLY; DELETE FROM django_session"


def execute(*statements: str) -> None:
    """Execute statements in one transaction, with a pause after each."""
    with transaction.atomic(), connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
            time.sleep(0.1)


def is_read_only() -> str:
    """Return whether the pool's next connection takes no writes, `on` or `off`, and give it back."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW default_transaction_read_only")
        found = str(cursor.fetchone()[0])
    connection.close()
    return found


def test_a_read_only_session_is_replaced_once_it_has_refused_a_write() -> None:
    """It would be handed out for an hour after the database has become writable."""
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
    with pytest.raises(DatabaseError) as refused:
        Session.objects.create(session_key="key", expire_date=timezone.now())
    assert isinstance(classify_outage(refused.value), NotSavedError)
    PoolRenewal().renew_after(refused.value)
    connection.close()
    assert {is_read_only() for _ in range(MOST_IN_THE_POOL)} == {"off"}


def test_a_pool_is_not_renewed_all_the_time_nor_for_another_error(monkeypatch: pytest.MonkeyPatch) -> None:
    renewed = Mock()
    monkeypatch.setattr(getattr(connection, "pool"), "drain", renewed)  # noqa: B009 - PostgreSQL's alone
    renewal = PoolRenewal()
    for statement, times in (("SELECT nonsense", 0), (READ_ONLY_WRITE, 1), (READ_ONLY_WRITE, 1)):
        with pytest.raises(DatabaseError) as refused:
            execute(statement)
        renewal.renew_after(refused.value)
        assert renewed.call_count == times


def test_a_session_that_ended_because_its_process_was_held_up_is_an_outage() -> None:
    with pytest.raises(DatabaseError) as ended:
        execute("SET LOCAL idle_in_transaction_session_timeout = '20ms'", "SELECT pg_sleep(0)")
    assert isinstance(classify_outage(ended.value), UnreachableError), repr(ended.value)
