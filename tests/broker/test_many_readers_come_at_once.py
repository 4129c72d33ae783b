"""Readers who come at once share a few connections to Redis, so that a busy machine does not take Redis for away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from redis import Redis as Client

from chat.broker.redis import LOADS_AT_ONCE, RedisBroker
from chat.core.events import Event, Token
from chat.core.transcript import Transcript
from tests.support.services import Redis

READERS = 60


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    with Redis() as redis:
        yield redis


@pytest.fixture
async def owner(redis: Redis) -> AsyncIterator[RedisBroker]:
    broker = RedisBroker(redis.url)
    yield broker
    await broker.aclose()


@pytest.fixture
async def reader(redis: Redis) -> AsyncIterator[RedisBroker]:
    broker = RedisBroker(redis.url)
    yield broker
    await broker.aclose()


def count_connections_made(redis: Redis) -> int:
    with Client.from_url(redis.url) as client:
        return int(client.info("stats")["total_connections_received"])


async def read_first(broker: RedisBroker, answer: str) -> list[Event]:
    async with broker.follow(answer, 0) as following:
        batch = await following.read_next(10)
        return list(batch.events) if batch else []


@pytest.mark.parametrize("answers", [["one"] * READERS, [f"answer-{number}" for number in range(READERS)]])
async def test_readers_who_come_at_once_share_a_few_connections(
    redis: Redis, owner: RedisBroker, reader: RedisBroker, answers: list[str]
) -> None:
    for answer in set(answers):
        transcript = Transcript()
        await owner.open(answer, 1, transcript)
        transcript.append([Token(f"This is {answer}.")])
        await owner.publish(answer, 1)
    assert await read_first(owner, answers[0])
    await asyncio.sleep(0.3)  # the owner's writer is done
    before = count_connections_made(redis)
    read = await asyncio.gather(*(read_first(reader, answer) for answer in answers))
    assert read == [[Token(f"This is {answer}.")] for answer in answers]
    counted_by_us, reading_on = 1, 1
    assert count_connections_made(redis) - before <= LOADS_AT_ONCE + counted_by_us + reading_on
