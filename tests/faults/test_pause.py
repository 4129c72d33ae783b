"""SIGSTOP past the lease: another server takes the answers over, and the one that wakes writes nothing more."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any

import pytest

from tests.faults import ALONE, LONG, MANY, Place, choose_length, choose_places
from tests.faults.load import Asked, Load
from tests.support.server import Cluster

ANSWERS = choose_length(8, 20)
CHARACTERS = 5000
PACE: dict[str, Any] = {"chunk_size": 10, "delay_between": 0.05}  # 25 s
LEASE = 10.0 if LONG else 3.0
SWEEP = 4.0  # servers look for lost answers every 2 s
LOST_AT_MOST = 1.0


@pytest.mark.parametrize("place", choose_places(MANY, sizes=(3,)), ids=str)
async def test_a_server_that_wakes_writes_nothing_to_what_was_taken_over(
    place: Place, load: Load, cluster: Cluster
) -> None:
    sleeper, *others = cluster.servers
    asked = [await load.ask(CHARACTERS, sleeper, **PACE) for _ in range(ANSWERS)]
    readings = [load.follow_in_background(one.answer, pick=lambda: load.chance.choice(others)) for one in asked]
    await asyncio.sleep(load.chance.uniform(1, 2))
    sleeper.pause()
    paused = time.monotonic()
    try:
        taken = [await load.wait_for_end(one.answer, LEASE + SWEEP + 5, others[0]) for one in asked]
        for one, kept in zip(asked, taken, strict=True):
            assert (kept["status"], kept["error"]["code"]) == ("interrupted", "server_lost")
            assert one.text.startswith(kept["text"])
            assert len(kept["text"]) >= load.find_requests(one)[0].count_sent_before(paused - LOST_AT_MOST)
        again = [await load.call("POST", others[1], f"/api/answers/{one.answer}/retry/") for one in asked[:3]]
    finally:
        sleeper.resume()
    for one in asked:
        # The owner that wakes finds that it no longer owns the answer, and closes its upstream call.
        await load.provider.wait_until(partial(is_over, load, one), 15)
    await asyncio.sleep(2)
    for one, kept, following in zip(asked, taken, readings, strict=True):
        assert await load.answer(one.answer, sleeper) == kept
        reading = await following
        assert (reading.text, reading.status, reading.torn) == (kept["text"], "interrupted", [])
    for one, retried in zip(asked, again, strict=False):
        # The new attempt is not disturbed by what the first attempt's owner did when it woke.
        assert (await load.answer(retried["answer"]))["status"] == "streaming"
        kept = await load.call("POST", others[0], f"/api/answers/{retried['answer']}/stop/")
        assert kept["status"] == "stopped"
        assert one.text.startswith(kept["text"])


def is_over(load: Load, asked: Asked) -> bool:
    return load.find_requests(asked)[0].is_over


@pytest.mark.parametrize("place", choose_places(ALONE, sizes=(1,)), ids=str)
async def test_a_server_that_was_alone_goes_on_or_ends_honestly(place: Place, load: Load, cluster: Cluster) -> None:
    [sleeper] = cluster.servers
    asked = [await load.ask(600, sleeper, **PACE) for _ in range(ANSWERS)]
    readings = [load.follow_in_background(one.answer) for one in asked]
    await asyncio.sleep(1)
    sleeper.pause()
    await asyncio.sleep(LEASE + 1)
    sleeper.resume()
    for one, following in zip(asked, readings, strict=True):
        kept = await load.wait_for_end(one.answer, 15)
        reading = await following
        assert one.text.startswith(kept["text"])
        assert (kept["status"] == "complete") == (kept["text"] == one.text)
        assert (reading.text, reading.status, reading.torn) == (kept["text"], kept["status"], [])
        assert len(load.find_requests(one)) == 1
        await asyncio.sleep(0)
        assert await load.answer(one.answer) == kept
