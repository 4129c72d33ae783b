"""kill -9 in the middle of answers: an exact prefix is kept, and nothing says "generating" for ever."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tests.faults import ALONE, MANY, Place, choose_length, choose_places
from tests.faults.load import Asked, Load, Reading
from tests.support.server import Cluster

ROUNDS = choose_length(1, 25)
ANSWERS = choose_length(10, 20)
CHARACTERS = choose_length(1200, 3000)
PACE: dict[str, Any] = {"chunk_size": 10, "delay_between": 0.05}  # 15 s for an answer of the long form

TERMINAL_WITHIN = 15.0
LOST_AT_MOST = 1.0

# With Redis nothing is lost that had reached the site. Text may take so many seconds from the provider to the site, on
# a machine whose two cores are shared by the provider, the clients and the servers.
ON_ITS_WAY = 0.3


@pytest.mark.parametrize("place", choose_places(ALONE, MANY), ids=str)
async def test_every_answer_keeps_an_exact_prefix_and_ends(place: Place, load: Load, cluster: Cluster) -> None:
    for _ in range(ROUNDS):
        await kill_one(place, load, cluster)


async def kill_one(place: Place, load: Load, cluster: Cluster) -> None:
    asked = [await load.ask(CHARACTERS, **PACE) for _ in range(ANSWERS)]
    readings = [load.follow_in_background(one.answer) for one in asked]
    await asyncio.sleep(load.chance.uniform(1, 3))
    victim = load.choose_server()
    victim.kill()
    killed = time.monotonic()
    if place.size == 1:
        await asyncio.to_thread(victim.start)
    back = time.monotonic()
    survivors = [server for server in cluster.servers if server.running]
    for one, following in zip(asked, readings, strict=True):
        if one.server is victim:
            kept = await load.wait_for_end(one.answer, TERMINAL_WITHIN - (time.monotonic() - back), survivors[0])
            assert (kept["status"], kept["error"]["code"]) == ("interrupted", "server_lost")
            await is_honest(one, kept["text"], await following, killed, load, redis=place.redis)
        else:
            await is_whole(one, await following, load)
    if not victim.running:
        await asyncio.to_thread(victim.start)


async def is_honest(one: Asked, kept: str, reading: Reading, killed: float, load: Load, *, redis: bool) -> None:
    assert one.text.startswith(kept)
    assert reading.status == "interrupted"
    assert reading.torn == []
    recorded, *others = load.find_requests(one)
    assert not others
    assert len(kept) >= recorded.count_sent_before(killed - (ON_ITS_WAY if redis else LOST_AT_MOST))
    if redis:
        assert kept == reading.text
    else:
        # Readers may have had up to a second of text that was lost. None has a position past the end.
        assert reading.text.startswith(kept)
        assert reading.position == len(kept) + 2


async def is_whole(one: Asked, reading: Reading, load: Load) -> None:
    """Assert that a survivor's answer is whole, and that its follower, who may have reconnected, received all of it."""
    assert (reading.text, reading.status, reading.torn) == (one.text, "complete", [])
    assert (await load.answer(one.answer, one.server))["text"] == one.text
