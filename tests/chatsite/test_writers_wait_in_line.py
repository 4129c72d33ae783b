"""On SQLite the threads of a process wait for each other's transactions in a line, and the next one begins at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from statistics import median

import pytest
from django.db import DatabaseError, OperationalError, connection, connections, transaction

from chat.models import User

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.sqlite,
]

ROUNDS = 9
LONG = 0.4  # seconds after which SQLite asks for its lock ten times a second


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """One thread, with a connection of its own."""
    with ThreadPoolExecutor(1) as pool:
        yield pool
        pool.submit(connections.close_all).result(timeout=10)


def write() -> float:
    """Write in a transaction of this thread, and return when it had begun, on the monotonic clock."""
    with transaction.atomic():
        begun = time.monotonic()
        User.objects.create(username=f"{begun}")
    return begun


def test_the_next_writer_begins_when_the_one_before_has_ended(pool: ThreadPoolExecutor) -> None:
    """Where it asks ten times a second it begins 50 ms later, in the median."""
    delays = []
    for _ in range(ROUNDS):
        with transaction.atomic():
            waiting = pool.submit(write)
            time.sleep(LONG)
        ended = time.monotonic()
        delays.append(waiting.result(timeout=10) - ended)
    assert median(delays) < 0.025, delays


def fail() -> None:
    with suppress(ZeroDivisionError), transaction.atomic():
        User.objects.create(username="nobody")
        raise ZeroDivisionError


def close() -> None:
    with suppress(DatabaseError), transaction.atomic():
        connection.close()


def write_on_commit() -> None:
    with transaction.atomic():
        transaction.on_commit(write)


def write_within() -> None:
    with transaction.atomic():
        write()
        fail()


@pytest.mark.parametrize("end", [write, fail, close, write_on_commit, write_within])
def test_a_transaction_that_ended_in_any_way_keeps_nobody_waiting(
    pool: ThreadPoolExecutor, end: Callable[[], object]
) -> None:
    for _ in range(2):
        end()
        pool.submit(write).result(timeout=10)
        pool.submit(end).result(timeout=10)


def test_a_writer_that_has_waited_for_the_timeout_is_refused_and_leaves_the_line(
    pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "timeout", 0.2)
    with transaction.atomic(), pytest.raises(OperationalError, match="database is locked"):
        pool.submit(write).result(timeout=10)
    pool.submit(write).result(timeout=10)
    write()


def test_who_only_reads_waits_for_nobody(pool: ThreadPoolExecutor) -> None:
    read = threading.Event()

    def count() -> int:
        found = User.objects.count()
        read.set()
        return found

    with transaction.atomic():
        User.objects.create(username="not yet")
        assert pool.submit(count).result(timeout=10) == 0
        assert read.is_set()
