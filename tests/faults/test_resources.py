"""Followers hold no database connection, and after many answers a server is as small as it was."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, closing
from typing import Any

import aiohttp
import psycopg
import pytest

from tests.faults import ALONE, MANY, Place, choose_length, choose_places
from tests.faults.load import Load
from tests.faults.processes import Use, use
from tests.support.server import Cluster, log_in_demo

FOLLOWERS = 300
CONNECTIONS_AT_MOST = 20

ON_POSTGRES = [place for place in choose_places(MANY) if place.database == "postgres"]

# More pages than a process has threads for requests, or connections in its pool. A request that finds no free
# connection waits 5 s for one.
PAGES = 20
WAIT_FOR_A_CONNECTION = 4

ANSWERS = choose_length(40, 1000)
WARM_UP = choose_length(60, 300)
AT_ONCE = 20

# A pool may hold some connections more than before, and the allocator some pages.
FILES_MORE = 4
BYTES_MORE = choose_length(8, 16) * 1024 * 1024


@pytest.mark.parametrize("place", ON_POSTGRES, ids=str)
async def test_followers_hold_no_database_connection(place: Place, load: Load, cluster: Cluster) -> None:
    asked = [
        await load.ask(400, chunk_size=10, delay_between=0.12)  # 5 s
        for _ in range(10)
    ]
    readings = [load.follow_in_background(asked[number % len(asked)].answer) for number in range(FOLLOWERS)]
    most = 0
    while not all(reading.done() for reading in readings):
        most = max(most, await asyncio.to_thread(count_connections, cluster.servers[0].environment["DATABASE_URL"]))
        await asyncio.sleep(0.1)
    for number, following in enumerate(readings):
        reading = await following
        assert (reading.text, reading.status, reading.torn) == (asked[number % len(asked)].text, "complete", [])
    assert most <= CONNECTIONS_AT_MOST
    assert load.failures == []


@pytest.mark.parametrize("place", ON_POSTGRES, ids=str)
async def test_pages_that_follow_leave_the_connections_to_others(place: Place, load: Load, cluster: Cluster) -> None:
    server = cluster.servers[0]
    asked = await load.ask(400, server, chunk_size=10, delay_between=0.2)  # 8 s
    with closing(await asyncio.to_thread(log_in_demo, server)) as browser:
        cookies = dict(browser.cookies)
    async with aiohttp.ClientSession(server.url, cookies=cookies) as http, AsyncExitStack() as pages:
        for _ in range(PAGES):
            stream = await pages.enter_async_context(http.get(f"/answers/{asked.answer}/stream/"))
            assert stream.status == 200
            await stream.content.readline()
        begun = time.monotonic()
        await load.ask(10, server)
        assert time.monotonic() - begun < WAIT_FOR_A_CONNECTION
    assert load.failures == []


def count_connections(url: str) -> int:
    """Return how many sessions the database has, without the one that counts them."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with psycopg.connect(url) as session:
        row = session.execute(query).fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize("place", choose_places(ALONE, MANY), ids=str)
async def test_after_many_answers_a_server_is_as_small_as_before(place: Place, load: Load, cluster: Cluster) -> None:
    await ask_as_users_do(load, WARM_UP)
    await asyncio.sleep(2)
    before = [use(server.pid) for server in cluster.servers]
    await ask_as_users_do(load, ANSWERS)
    for server, was in zip(cluster.servers, before, strict=True):
        await is_back(server.pid, was)


async def ask_as_users_do(load: Load, number: int) -> None:
    """Ask, follow, leave in the middle and stop, as users do."""
    for start in range(0, number, AT_ONCE):
        await asyncio.gather(*(ask_one_of_many(load, which) for which in range(start, min(start + AT_ONCE, number))))


async def ask_one_of_many(load: Load, number: int) -> None:
    script: dict[str, Any] = {"chunk_size": 100, "delay_between": 0.01}
    asked = await load.ask(2000, **script)
    match number % 4:
        case 0:
            await load.call("POST", load.choose_server(), f"/api/answers/{asked.answer}/stop/")
        case 1:
            await load.follow(asked.answer, cuts=2, characters=2000)
        case _:
            await load.follow(asked.answer)
    await load.wait_for_end(asked.answer, 30)


async def is_back(pid: int, was: Use) -> None:
    """Wait until a process uses about as little as before, for 10 s: idle connections are closed after some seconds."""
    for _ in range(100):
        now = use(pid)
        if now.threads <= was.threads and now.files <= was.files + FILES_MORE and now.bytes <= was.bytes + BYTES_MORE:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{was} became {now}")
