"""One of two processes behind nginx is restarted under long answers: it finishes them, and no reader notices.

With `CHAT_DRAIN` in minutes, as docs/deploy.md says. Questions that are sent meanwhile are taken by the other process.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.faults import LONG, Place, choose_length, find_place
from tests.faults.load import Asked, Load, Reading
from tests.faults.pages import PageReading, follow_by_page, follow_by_socket, load_page, log_in
from tests.provider_server import ProviderServer
from tests.support.nginx import Nginx
from tests.support.server import Cluster, Server
from tests.support.site import NDJSON, SSE

ANSWERS = choose_length(6, 50)
ASKED_MEANWHILE = choose_length(2, 10)
CHARACTERS = choose_length(400, 3000)
PACE: dict[str, Any] = {"chunk_size": 10, "delay_between": 0.05}  # 2 s, or 15
DRAIN = 90.0

PLACES = [find_place(name) for name in ("uvicorn-sqlite-2", *(("daphne-postgres-2-redis",) if LONG else ()))]


@pytest.fixture
def environment() -> dict[str, str]:
    return {"CHAT_DRAIN": str(DRAIN)}


@pytest.fixture
async def front(
    cluster: Cluster, provider: ProviderServer, chance: random.Random, tmp_path: Path
) -> AsyncIterator[Load]:
    """Clients that go through nginx, unless a test names a server."""
    with Nginx(tmp_path, [server.port for server in cluster.servers]) as nginx:
        proxy = SimpleNamespace(url=nginx.url)
        behind = cast("Cluster", SimpleNamespace(token=cluster.token, servers=[proxy]))
        async with Load(behind, provider, chance, nginx.tls) as load:
            yield load


@pytest.mark.parametrize("place", PLACES, ids=str)
async def test_all_answers_are_whole_and_no_reader_notices(place: Place, front: Load, cluster: Cluster) -> None:
    leaving, staying = cluster.servers
    login = await log_in(staying)
    asked = [await front.ask(CHARACTERS, cluster.servers[number % 2], **PACE) for number in range(ANSWERS)]
    programs = [front.follow_in_background(one.answer, media_type=kind) for one in asked for kind in (SSE, NDJSON)]
    programs += [front.start_in_background(follow_by_socket(front, one.answer)) for one in asked]
    pages = [front.start_in_background(follow_by_page(front, one.answer, login)) for one in asked]
    await front.wait_for_characters(asked[-1], 80)
    ending = asyncio.ensure_future(asyncio.to_thread(leaving.terminate, DRAIN))
    await asyncio.sleep(0.2)
    asked_meanwhile = [await front.ask(CHARACTERS, **PACE) for _ in range(ASKED_MEANWHILE)]
    took = await ending
    await asyncio.to_thread(leaving.start)
    for one in asked + asked_meanwhile:
        kept = await front.wait_for_end(one.answer, DRAIN)
        assert (kept["status"], kept["text"], kept["interruptions"]) == ("complete", one.text, 0)
        assert len(front.find_requests(one)) == 1
    readings = await asyncio.wait_for(asyncio.gather(*programs), DRAIN)
    check_readings(asked, readings)
    await show_what_a_reload_shows(front, staying, asked, await asyncio.wait_for(asyncio.gather(*pages), DRAIN), login)
    assert front.failures == []
    longest = max(later - earlier for reading in readings for (earlier, _), (later, _) in pairwise(reading.heard))
    again = sum(reading.connections > 1 for reading in readings)
    print(
        f"{place}: left after {took:.1f} s, {again} of {len(readings)} programs moved, none waited over {longest:.1f} s"
    )


def check_readings(asked: list[Asked], readings: list[Reading]) -> None:
    texts = {one.answer: one.text for one in asked}
    for reading in readings:
        assert (reading.text, reading.status, reading.torn) == (texts[reading.answer], "complete", [])


async def show_what_a_reload_shows(
    load: Load, server: Server, asked: list[Asked], pages: list[PageReading], login: dict[str, str]
) -> None:
    for one, page in zip(asked, pages, strict=True):
        assert page.torn == []
        assert page.html == await load_page(load, server, one.conversation, one.answer, login)
