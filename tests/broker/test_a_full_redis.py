"""A Redis whose memory is full costs readers elsewhere the live text, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import redis.asyncio as plain

from chat.broker.base import NotLiveError
from chat.broker.redis import RedisBroker
from chat.core.events import Token
from chat.core.transcript import Transcript
from tests.support.services import Redis
from tests.support.waiting import wait_until

ANSWER = "answer-1"


@pytest.fixture
def redis() -> Iterator[Redis]:
    with Redis() as redis:
        yield redis


@pytest.fixture
async def client(redis: Redis) -> AsyncIterator[plain.Redis]:
    async with plain.Redis.from_url(redis.url) as client:
        yield client


@pytest.fixture
async def brokers(redis: Redis) -> AsyncIterator[tuple[RedisBroker, RedisBroker, RedisBroker]]:
    """Those of an owner, of a later one, and of readers."""
    brokers = RedisBroker(redis.url), RedisBroker(redis.url), RedisBroker(redis.url)
    yield brokers
    for broker in brokers:
        await broker.aclose()


async def is_live(broker: RedisBroker) -> bool:
    try:
        async with broker.follow(ANSWER, 0):
            return True
    except NotLiveError:
        return False


async def test_readers_of_an_answer_that_goes_on_elsewhere_are_sent_to_the_database(
    client: plain.Redis, brokers: tuple[RedisBroker, RedisBroker, RedisBroker]
) -> None:
    """The earlier owner's log would leave them waiting."""
    owners, later, readers = brokers
    await owners.open(ANSWER, 1, Transcript())
    await wait_until(lambda: is_live(readers))
    await client.config_set("maxmemory", 1)
    await later.open(ANSWER, 2, Transcript())

    async def is_gone() -> bool:
        return not await is_live(readers)

    await wait_until(is_gone)


async def test_a_log_goes_on_whose_fence_was_evicted(
    client: plain.Redis, brokers: tuple[RedisBroker, RedisBroker, RedisBroker]
) -> None:
    """As some configurations do; then it is as safe as it was before there were fences."""
    owners, _, readers = brokers
    transcript = Transcript()
    await owners.open(ANSWER, 1, transcript)
    await wait_until(lambda: is_live(readers))
    assert await client.delete(f"chat:answer:{ANSWER}:fence")
    async with readers.follow(ANSWER, 0) as following:
        transcript.append([Token("word")])
        await owners.publish(ANSWER, 1)
        batch = await following.read_next(10)
        assert batch is not None
        assert list(batch.events) == [Token("word")]
