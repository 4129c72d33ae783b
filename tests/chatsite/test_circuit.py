"""While the database gives no connection, one request at a time waits for it; the others are refused at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.test import RequestFactory
from psycopg_pool import PoolTimeout

from chat.observability.circuit import LONGEST_TRIAL, MOMENT, Circuit
from chatsite import outages
from chatsite.outages import OutageMiddleware
from tests.support.stopped_clock import StoppedClock


class Database:
    """A view that asks a database for a connection. `gate` is set while it answers at once."""

    def __init__(self) -> None:
        self.is_away = False
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def answer(self, request: HttpRequest) -> HttpResponseBase:
        self.asked += 1
        await self.gate.wait()
        if self.is_away:
            raise OperationalError("couldn't get a connection after 5.00 sec") from PoolTimeout()
        return HttpResponse("text")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> StoppedClock:
    clock = StoppedClock()
    circuit = Circuit(clock)
    monkeypatch.setattr(outages, "get_circuit", lambda: circuit)
    return clock


@pytest.fixture
async def database(clock: StoppedClock) -> Database:
    return Database()


async def ask(database: Database, path: str = "/api/conversations/") -> HttpResponse:
    response: Any = await OutageMiddleware(database.answer)(RequestFactory().get(path))
    return response  # type: ignore[no-any-return]


async def test_after_a_failure_the_next_requests_are_refused_at_once(database: Database, clock: StoppedClock) -> None:
    database.is_away = True
    first = await ask(database)
    others = [await ask(database) for _ in range(20)]
    assert database.asked == 1
    for response in (first, *others):
        assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
        assert b"cannot reach its database" in response.content
    clock.now += MOMENT
    await ask(database)
    assert database.asked == 2
    assert (await ask(database)).status_code == 503
    assert database.asked == 2


async def test_one_request_tries_while_the_others_are_refused(database: Database, clock: StoppedClock) -> None:
    database.is_away = True
    await ask(database)
    clock.now += MOMENT
    database.gate.clear()
    trial = asyncio.create_task(ask(database))
    await asyncio.sleep(0)
    assert [(await ask(database)).status_code for _ in range(3)] == [503] * 3
    database.is_away = False
    database.gate.set()
    assert (await trial).status_code == 200
    assert [(await ask(database)).status_code for _ in range(3)] == [200] * 3


async def test_a_trial_that_never_ends_does_not_keep_the_others_out(database: Database, clock: StoppedClock) -> None:
    database.is_away = True
    await ask(database)
    clock.now += MOMENT
    database.gate.clear()
    trial = asyncio.create_task(ask(database))
    await asyncio.sleep(0)
    clock.now += LONGEST_TRIAL
    database.is_away = False
    database.gate.set()
    assert (await ask(database)).status_code == 200
    assert (await trial).status_code == 200


async def test_a_request_from_before_the_failure_ends_nothing(database: Database, clock: StoppedClock) -> None:
    """It may have got its connection long ago."""
    database.gate.clear()
    early = asyncio.create_task(ask(database))
    await asyncio.sleep(0)
    late = Database()
    late.is_away = True
    await ask(late)
    database.gate.set()
    assert (await early).status_code == 200
    assert (await ask(database)).status_code == 503


async def test_a_fault_of_one_statement_refuses_nobody_else(database: Database, clock: StoppedClock) -> None:
    async def raise_deadlock(request: HttpRequest) -> HttpResponseBase:
        raise OperationalError("deadlock detected")

    response = await OutageMiddleware(raise_deadlock)(RequestFactory().get("/api/conversations/"))
    assert response.status_code == 503
    assert (await ask(database)).status_code == 200
