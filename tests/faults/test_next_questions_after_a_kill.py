"""Three questions wait for an answer whose server is killed: all are asked once, in their order, from two tabs."""

from __future__ import annotations

import asyncio
import json
import time
from uuid import uuid4

import aiohttp
import pytest

from tests.faults import LONG, find_place
from tests.faults.load import Asked, Load
from tests.faults.pages import log_in
from tests.support.server import Cluster, Server

PLACES = [find_place(name) for name in ("daphne-sqlite-1", *(("uvicorn-postgres-2-redis",) if LONG else ()))]

ASKED_WITHIN = 60.0


@pytest.fixture
def environment() -> dict[str, str]:
    return {"CHAT_FINISH_LOST": "1"}


@pytest.mark.parametrize("place", PLACES, ids=str)
async def test_all_that_wait_are_asked_once_and_in_order(load: Load, cluster: Cluster) -> None:
    first = await load.ask(1200, chunk_size=10, delay_between=0.03)
    login = await log_in(first.server)
    marks = [f"Mark {uuid4().hex}." for _ in range(3)]
    wanted = [first.content, *(json.dumps({"text": mark}) for mark in marks)]
    turns = [str(uuid4()) for _ in wanted[1:]]
    async with aiohttp.ClientSession(headers=login) as tabs:
        for text, turn in zip(wanted[1:], turns, strict=True):
            await asyncio.gather(*(send(tabs, first.server, first, text, turn) for _ in range(2)))  # from two tabs
        first.server.kill()
        if len(cluster.servers) == 1:
            await asyncio.to_thread(first.server.start)
        survivor = next(server for server in cluster.servers if server.running)
        # A tab that got no response sends its form again.
        await asyncio.gather(*(send(tabs, survivor, first, wanted[3], turns[2]) for _ in range(2)))
    end = time.monotonic() + ASKED_WITHIN
    while (statuses := await look(load, survivor, first)) != [(text, "complete") for text in wanted]:
        assert time.monotonic() < end, statuses
        await asyncio.sleep(0.2)
    asked_for = [json.dumps(made.body) for made in load.provider.requests]
    # Each later question's prompt repeats those before it.
    assert [sum(mark in request for request in asked_for) for mark in marks] == [3, 2, 1]
    if not first.server.running:
        await asyncio.to_thread(first.server.start)


async def send(tabs: aiohttp.ClientSession, server: Server, first: Asked, text: str, turn: str) -> None:
    token = tabs.headers["cookie"].partition("csrftoken=")[2].partition(";")[0]
    form = {
        "content": text,
        "conversation": first.conversation,
        "turn": turn,
        "waits": "1",
        "csrfmiddlewaretoken": token,
    }
    async with tabs.post(f"{server.url}/send/", data=form, headers={"hx-request": "true"}) as response:
        assert response.status == 200, await response.text()


async def look(load: Load, server: Server, first: Asked) -> list[tuple[str, str]]:
    """Return the questions of the conversation in their order, each with the status of its answer."""
    found = (await load.call("GET", server, f"/api/conversations/{first.conversation}/"))["messages"]
    statuses = {each["parent"]: each["status"] for each in found if each["role"] == "assistant"}
    return [(each["text"], statuses.get(each["id"], "")) for each in found if each["role"] == "user"]
