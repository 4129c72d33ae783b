"""Redis stops, or hangs, and comes back: no answer is lost, nothing fails, and followers are never far behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
import redis as client

from tests.faults import MANY, Place, choose_length, choose_places
from tests.faults.load import Asked, Load, Reading
from tests.support.services import Redis

GONE_FOR = choose_length(3.0, 30.0)
BEFORE_AND_AFTER = choose_length(1.0, 6.0)
EVERY = choose_length(0.4, 0.25)  # seconds between two questions
CHARACTERS = choose_length(500, 800)
PACE: dict[str, Any] = {"chunk_size": 8, "delay_between": 0.04}  # 2.5 to 4 s for an answer

BEHIND_AT_MOST = 2.0

FAULTS: dict[str, tuple[Callable[[Redis], None], Callable[[Redis], None]]] = {
    "stopped": (Redis.stop, Redis.start),
    "killed": (Redis.kill, Redis.start),
    "hanging": (Redis.pause, Redis.resume),
}


@pytest.mark.parametrize("fault", choose_length(["stopped", "hanging"], [*FAULTS]))
@pytest.mark.parametrize("place", choose_places(MANY, redis=(True,)), ids=str)
async def test_answers_go_on_and_followers_keep_up(place: Place, fault: str, load: Load, redis: Redis) -> None:
    away, back = FAULTS[fault]
    asking = asyncio.ensure_future(ask_for(load, GONE_FOR + 2 * BEFORE_AND_AFTER))
    await asyncio.sleep(BEFORE_AND_AFTER)
    await asyncio.to_thread(away, redis)
    try:
        await asyncio.sleep(GONE_FOR)
    finally:
        await asyncio.to_thread(back, redis)
    for one, following in await asking:
        reading = await following
        assert (reading.text, reading.status, reading.torn) == (one.text, "complete", [])
        kept = await load.answer(one.answer)
        assert (kept["status"], kept["text"]) == ("complete", one.text)
        [recorded] = load.find_requests(one)
        assert reading.calculate_delay(recorded) <= BEHIND_AT_MOST
    assert load.failures == []


async def ask_for(load: Load, seconds: float) -> list[tuple[Asked, asyncio.Task[Reading]]]:
    """Ask at a steady pace, at any server, and follow each answer at another."""
    asked = []
    end = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < end:
        one = await load.ask(CHARACTERS, **PACE)
        asked.append((one, load.follow_in_background(one.answer)))
        await asyncio.sleep(EVERY)
    return asked


@pytest.mark.parametrize("place", choose_places(MANY, redis=(True,)), ids=str)
async def test_redis_is_used_again_when_it_is_back(place: Place, load: Load, redis: Redis) -> None:
    """A Redis that has forgotten everything holds the live answers again, without a restart of any server."""
    await asyncio.to_thread(redis.restart)
    with closing(client.Redis(port=redis.port)) as connection:
        for _ in range(10):
            asked = await load.ask(200, **PACE)
            await load.wait_for_characters(asked, 50)
            if connection.keys(f"*{asked.answer}*"):
                return
            await load.wait_for_end(asked.answer, 15)
    raise AssertionError("no answer came to Redis any more")
