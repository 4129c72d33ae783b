"""While a site is updated, processes of the version before write, read and seize the same logs, without a fence.

They know of a log that its key ends in `:live`, that an entry's id begins with its position, and that its one field has
what was said. To seize a log is to rename it: an entry makes no log, so the earlier owner's reach nobody.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import redis.asyncio as plain

from chat.broker.entries import decode, encode
from chat.broker.redis import RedisBroker
from chat.core.events import Done, Event, Token, Usage
from chat.core.transcript import Transcript
from tests.support.services import Redis
from tests.support.waiting import wait_until

ANSWER = "answer-1"
USAGE, DONE = Usage(3, 5), Done("complete", "stop")


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    with Redis() as redis:
        yield redis


@pytest.fixture
async def client(redis: Redis) -> AsyncIterator[plain.Redis]:
    async with plain.Redis.from_url(redis.url, protocol=2) as client:
        yield client
        await client.flushall()


@pytest.fixture
async def broker(redis: Redis, client: plain.Redis) -> AsyncIterator[RedisBroker]:
    broker = RedisBroker(redis.url)
    yield broker
    await broker.aclose()


class OlderProcess:
    """Does to the log what a process of the version before does."""

    def __init__(self, client: plain.Redis) -> None:
        self._client = client
        self._live, self._seized = (f"chat:answer:{ANSWER}:{state}" for state in ("live", "seized"))

    async def open(self, position: int = 0) -> None:
        await self._client.delete(self._live)
        await self._client.xadd(self._live, {"events": b"[]"}, id=f"{position}-1")

    async def write(self, position: int, *events: Event) -> bool:
        """Write an entry, which ends at a position; return whether it was taken."""
        fields: Any = {"events": encode(events)}
        return await self._client.xadd(self._live, fields, id=f"{position}-0", nomkstream=True) is not None

    async def read(self) -> list[Event]:
        return self._decode(await self._client.xrange(self._live))

    async def seize(self) -> list[Event]:
        await self._client.rename(self._live, self._seized)
        return self._decode(await self._client.xrange(self._seized))

    def _decode(self, entries: Any) -> list[Event]:
        return [event for _, fields in entries for event in decode(fields[b"events"])]


@pytest.fixture
def older(client: plain.Redis) -> OlderProcess:
    return OlderProcess(client)


async def write(broker: RedisBroker, fence: int, transcript: Transcript, text: str) -> None:
    transcript.append([Token(text)])
    await broker.publish(ANSWER, fence)


async def wait_for_text(older: OlderProcess, text: str) -> None:
    async def is_there() -> bool:
        return "".join(event.content for event in await older.read() if isinstance(event, Token)) == text

    await wait_until(is_there)


async def test_the_log_of_an_older_version_is_followed(broker: RedisBroker, older: OlderProcess) -> None:
    await older.open()
    await older.write(4, Token("One "))
    async with broker.follow(ANSWER, 0) as following:
        await older.write(7, Token("two"))
        await older.write(8, USAGE)
        await older.write(9, DONE)
        events: list[Event] = []
        while (batch := await following.read_next(10)) is not None:
            events += batch.events
    assert events in ([Token("One two"), USAGE, DONE], [Token("One "), Token("two"), USAGE, DONE])


async def test_an_older_version_whose_log_was_seized_writes_no_more(broker: RedisBroker, older: OlderProcess) -> None:
    await older.open()
    await older.write(4, Token("One "))
    assert await broker.seize(ANSWER, 2, 0) == [Token("One ")]
    assert not await older.write(7, Token("two"))


async def test_the_log_of_an_older_version_is_reopened_by_a_new_owner(broker: RedisBroker, older: OlderProcess) -> None:
    await older.open()
    await older.write(4, Token("One "))
    transcript = Transcript.restore("One ", "", [("token", 4)])
    await broker.open(ANSWER, 2, transcript)
    await write(broker, 2, transcript, "two")
    await wait_for_text(older, "two")


async def test_an_older_version_follows_a_log_of_this_one(broker: RedisBroker, older: OlderProcess) -> None:
    transcript = Transcript()
    await broker.open(ANSWER, 1, transcript)
    await write(broker, 1, transcript, "One ")
    await wait_for_text(older, "One ")
    await broker.close(ANSWER, 1, USAGE, DONE)
    assert await older.read() == [Token("One "), USAGE, DONE]


async def test_an_older_version_seizes_a_log_and_late_writes_reach_nobody(
    broker: RedisBroker, older: OlderProcess
) -> None:
    transcript = Transcript()
    await broker.open(ANSWER, 1, transcript)
    await write(broker, 1, transcript, "One ")
    await wait_for_text(older, "One ")
    assert await older.seize() == [Token("One ")]
    await write(broker, 1, transcript, "late")
    await broker.close(ANSWER, 1, USAGE, DONE)
    assert await older.read() == []


async def test_an_answer_goes_on_in_an_older_version_and_then_in_this_one(
    broker: RedisBroker, older: OlderProcess
) -> None:
    """From a new process to an old one, and back to a new one."""
    await broker.open(ANSWER, 1, Transcript())
    await broker.close(ANSWER, 1, USAGE, DONE)
    await older.open(2)
    await older.write(6, Token("old "))
    transcript = Transcript(6)
    await broker.open(ANSWER, 3, transcript)
    await write(broker, 3, transcript, "new")
    await wait_for_text(older, "new")
