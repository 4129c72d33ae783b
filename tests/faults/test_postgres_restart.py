"""PostgreSQL restarts under load: each answer finishes or ends honestly, and the site serves again by itself."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from tests.faults import MANY, Place, choose_length, choose_places
from tests.faults.load import Asked, Load, Reading
from tests.support.services import Postgres

ANSWERS = choose_length(12, 50)
AWAY_FOR = choose_length([0.0], [0.0, 3.0, 0.0, 7.0])  # seconds, for each restart
CHARACTERS = choose_length(800, 1200)
PACE: dict[str, Any] = {"chunk_size": 8, "delay_between": 0.04}  # 4 to 6 s

SERVES_AGAIN_WITHIN = 15.0


def choose_postgres_places(*names: str) -> list[Place]:
    return [place for place in choose_places(*names) if place.database == "postgres"]


@pytest.mark.parametrize("place", choose_postgres_places(MANY), ids=str)
async def test_answers_finish_or_end_honestly(place: Place, load: Load, postgres: Postgres) -> None:
    asked = [await load.ask(CHARACTERS, **PACE) for _ in range(ANSWERS)]
    readings = [load.follow_in_background(one.answer) for one in asked]
    await asyncio.sleep(1.5)
    for seconds in AWAY_FOR:
        await asyncio.to_thread(postgres.stop)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(postgres.start)
        await asyncio.sleep(0.5)
    late = await ask_until_taken(load)
    for one, following in zip([*asked, late], [*readings, load.follow_in_background(late.answer)], strict=True):
        async with asyncio.timeout(60):
            reading: Reading = await following
        kept = await load.answer(one.answer)
        assert one.text.startswith(kept["text"])
        if kept["status"] == "complete":
            assert kept["text"] == one.text
        else:
            assert (kept["status"], kept["error"]["code"]) == ("interrupted", "server_lost")
        assert (reading.text, reading.status, reading.torn) == (kept["text"], kept["status"], [])
        assert len(load.find_requests(one)) == 1


async def ask_until_taken(load: Load) -> Asked:
    """Send a question with the same turn until a server takes it, as a program does whose request met a 5xx."""
    end = time.monotonic() + SERVES_AGAIN_WITHIN
    turn = str(uuid4())
    question: Asked | None = None
    while time.monotonic() < end:
        with suppress(AssertionError, aiohttp.ClientError):
            question = question or await load.begin_question(CHARACTERS, **PACE)
            return await load.send(question, turn=turn)
        await asyncio.sleep(0.2)
    raise AssertionError(f"no question is taken {SERVES_AGAIN_WITHIN:g} s after the restart: {load.failures[-3:]}")
