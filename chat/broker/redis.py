"""The broker of many processes: an answer's log is a Redis Stream, whose entry ids are positions.

An entry's id is `<position after it>-<number>`, so "what lies after position p" is a range of the stream, and an entry
that was written twice is read once. The owner writes what has come in the last milliseconds as one entry, for all its
answers in one round trip, and only then shows it to its own readers: text that somebody has seen outlives the process.

Redis is never the truth. While it is away nothing is written to it and nobody waits for it: readers in the owner's
process go on as before, readers elsewhere follow the checkpoints in the database.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from chat.broker import NotLiveError
from chat.broker.memory import Channel, ChannelFollowing, MemoryBroker
from chat.events import Done, Error, Event, Lasting, Notice, Terminal, Usage, from_payload, payload, width
from chat.transcript import Transcript

log = logging.getLogger(__name__)

# What has come within so many seconds is one entry; the first word of an answer waits for nothing but the round trip.
WRITE_EVERY = 0.01

# Readers of other processes are served by one read of all their answers. A blocked read for each reader would be
# sooner by half of this, and would cost a connection each.
READ_EVERY = 0.025

# A Redis that does not answer in this time is away, and is looked for this often.
PATIENCE = 1.0

# A log keeps about this many entries, a minute of the fastest model; who is further behind reads a checkpoint first.
ENTRIES = 5_000

# A log outlives its last entry by this, so that an answer whose owner died can be completed from it.
KEPT_SECONDS = 900
ENDED_SECONDS = 30

Entry = tuple[bytes, Mapping[bytes, bytes]]

_json = msgspec.json.Encoder()
_read_json = msgspec.json.Decoder(list[dict[str, Any]])


@dataclass(eq=False)
class _Log:
    """An answer that this process writes."""

    answer: str
    transcript: Transcript
    written: int
    is_begun: bool = False
    is_gone: bool = False  # it was seized, or Redis has forgotten it: to write on would leave a gap
    notices: list[Notice] = field(default_factory=list)
    noticed: int = 1
    expires: float = 0.0
    ending: tuple[Usage, Terminal] | None = None
    ended_at: float = 0.0
    is_told: bool = False  # Redis has the ending
    shown: asyncio.Event = field(default_factory=asyncio.Event)

    def due(self) -> _Due:
        return _Due(self, self.transcript.position, tuple(self.notices), self.ending)

    def has(self, due: _Due) -> None:
        """Redis has this now. Meanwhile the answer has gone on."""
        self.is_begun, self.written = True, due.position
        self.is_told = due.ending is not None
        self.noticed += len(due.notices)
        del self.notices[: len(due.notices)]


class _Due(NamedTuple):
    """What a log lacks at one moment."""

    log: _Log
    position: int
    notices: Sequence[Notice]
    ending: tuple[Usage, Terminal] | None

    def entries(self) -> Iterator[tuple[str, Sequence[Event]]]:
        if text := self.log.transcript.since(self.log.written, self.position):
            yield f"{self.position}-0", text
        for number, notice in enumerate(self.notices, self.log.noticed + 1):
            yield f"{self.position}-{number}", [notice]
        for number, event in enumerate(self.ending or (), 1):
            yield f"{self.position + number}-0", [event]


class RedisBroker:
    """See `chat.broker.Broker`. `url` is a Redis URL; keys begin with `prefix`."""

    def __init__(self, url: str, prefix: str = "chat:answer:") -> None:
        self._local = MemoryBroker()
        self._prefix = prefix
        self._redis: Redis = Redis.from_url(
            url, protocol=2, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE, retry=Retry(NoBackoff(), 0)
        )
        self._logs: dict[str, _Log] = {}
        self._changed: dict[str, _Log] = {}
        self._untold: deque[_Log] = deque()
        self._mirrors: dict[str, _Mirror] = {}
        self._is_away = False
        self._tasks: dict[str, asyncio.Task[None]] = {}

    # The owner's side

    async def open(self, answer: str, transcript: Transcript) -> None:
        await self._local.open(answer, transcript)
        self._logs[answer] = _Log(answer, transcript, transcript.position)
        self._write_soon(answer)

    async def publish(self, answer: str) -> None:
        self._write_soon(answer)

    async def notify(self, answer: str, notice: Notice) -> None:
        await self._local.notify(answer, notice)
        self._logs[answer].notices.append(notice)
        self._write_soon(answer)

    async def close(self, answer: str, usage: Usage, terminal: Terminal) -> None:
        ended = self._logs[answer]
        ended.ending, ended.ended_at = (usage, terminal), time.monotonic()
        self._write_soon(answer)
        await ended.shown.wait()
        del self._logs[answer]
        await self._local.close(answer, usage, terminal)

    async def give_up(self, answer: str) -> None:
        self._logs.pop(answer).is_gone = True
        self._changed.pop(answer, None)
        await self._local.give_up(answer)

    def _write_soon(self, answer: str) -> None:
        self._changed[answer] = self._logs[answer]
        self._keep_going("writer", self._write)

    async def _write(self) -> None:
        """One round trip for all that has changed, then another one for what has changed since."""
        while self._changed:
            began = time.monotonic()
            changed, self._changed = self._changed.values(), {}
            dues = [one.due() for one in changed]
            if not self._is_away:
                with self._or_away():
                    await self._append([due for due in dues if not due.log.is_gone])
            for due in dues:
                if self._logs.get(due.log.answer) is due.log:
                    self._local.show(due.log.answer, due.position)
                if due.ending is not None:
                    self._remember(due.log)
                    due.log.shown.set()
            await asyncio.sleep(min(0.25, max(WRITE_EVERY, 10 * (time.monotonic() - began))))

    async def _append(self, dues: Sequence[_Due]) -> None:
        asked: list[_Log] = []
        async with self._redis.pipeline(transaction=False) as pipe:
            for due in dues:
                self._queue(pipe, due)
                asked += [due.log] * (len(pipe) - len(asked))
            results = await pipe.execute(raise_on_error=False)
        for one, result in zip(asked, results, strict=True):
            one.is_gone = one.is_gone or result is None
        for due in dues:
            due.log.has(due)

    def _queue(self, pipe: Pipeline, due: _Due) -> None:
        """The commands that bring a log up to date. Only the first entry makes the stream: a late owner's would bring
        back a log that was seized."""
        one, key = due.log, self._key(due.log.answer)
        if not one.is_begun:
            pipe.delete(key)
            pipe.xadd(key, {"events": b"[]"}, id=f"{one.written}-1")
        for id_, events in due.entries():
            pipe.xadd(key, {"events": _encoded(events)}, id=id_, nomkstream=True, maxlen=ENTRIES)
        if due.ending is not None:
            pipe.expire(key, ENDED_SECONDS)
        elif time.monotonic() > one.expires:
            pipe.expire(key, KEPT_SECONDS)
            one.expires = time.monotonic() + KEPT_SECONDS / 3

    # The readers' side

    @asynccontextmanager
    async def follow(self, answer: str, after: int) -> AsyncGenerator[ChannelFollowing, None]:
        if answer in self._logs:
            async with self._local.follow(answer, after) as following:
                yield following
            return
        mirror = await self._mirror_of(answer)
        if after < mirror.transcript.start:
            raise NotLiveError(answer)
        mirror.readers += 1
        try:
            yield ChannelFollowing(mirror, after)
        finally:
            mirror.readers -= 1
            if not mirror.readers and self._mirrors.get(answer) is mirror:
                del self._mirrors[answer]

    async def _mirror_of(self, answer: str) -> _Mirror:
        """What Redis has of an answer, and will have: one copy for all readers of this process."""
        entries: list[Entry] = []
        with self._or_away():
            if answer not in self._mirrors and not self._is_away:
                entries = await self._entries(self._key(answer))
        if answer not in self._mirrors:
            if not entries:
                raise NotLiveError(answer)
            mirror = _Mirror(entries)
            if not mirror.is_growing:  # it has ended, and the database knows
                raise NotLiveError(answer)
            self._mirrors[answer] = mirror
            self._keep_going("reader", self._read)
        return self._mirrors[answer]

    async def _read(self) -> None:
        while self._mirrors:
            await asyncio.sleep(READ_EVERY)
            growing = {self._key(answer): mirror for answer, mirror in self._mirrors.items() if mirror.is_growing}
            if not growing or self._is_away:
                continue
            with self._or_away():
                cursors: Any = {key: mirror.cursor for key, mirror in growing.items()}
                read: Any = await self._redis.xread(cursors)
                for key, entries in read:
                    growing[key.decode()].read(entries)

    async def _entries(self, key: str, first: str = "-") -> list[Entry]:
        entries: Any = await self._redis.xrange(key, min=first)
        return list(entries)

    # Taking over

    async def seize(self, answer: str, after: int) -> Sequence[Event]:
        seized = self._key(answer, "seized")
        taken = Transcript(after)
        if self._is_away:
            return ()
        with self._or_away():
            with suppress(ResponseError):  # there is no log, or it was seized by one that died since
                await self._redis.rename(self._key(answer), seized)
            for id_, fields in await self._entries(seized, f"{after + 1}-0"):
                if not _extend(taken, id_, _decoded(fields)):
                    break
        return taken.since(after)

    async def forget(self, answer: str) -> None:
        if (mirror := self._mirrors.pop(answer, None)) is not None:
            mirror.lose()
        if not self._is_away:
            with self._or_away():
                await self._redis.delete(self._key(answer, "seized"))

    # Redis comes and goes

    @contextmanager
    def _or_away(self) -> Iterator[None]:
        """Whatever Redis fails to do in here is left undone, and nobody asks it again before it is found."""
        try:
            yield
        except (RedisError, OSError, TimeoutError) as error:
            if not self._is_away:
                log.warning("Redis is away (%s): readers elsewhere follow the checkpoints", type(error).__name__)
            self._is_away = True
            for mirror in self._mirrors.values():
                mirror.lose()
            self._mirrors.clear()
            self._keep_going("finder", self._find)

    async def _find(self) -> None:
        while self._is_away:
            await asyncio.sleep(PATIENCE)
            with suppress(RedisError, OSError, TimeoutError):
                await self._redis.ping()
                self._is_away = False
        log.warning("Redis is back")
        self._tell_endings()
        for answer in self._logs:
            self._write_soon(answer)

    def _remember(self, ended: _Log) -> None:
        """An ending that Redis did not take is owed to readers who find Redis again before the owner does. Later than
        `ENDED_SECONDS` everybody has it from the database."""
        recent = time.monotonic() - ENDED_SECONDS
        while self._untold and self._untold[0].ended_at < recent:
            self._untold.popleft()
        if not ended.is_told:
            self._untold.append(ended)

    def _tell_endings(self) -> None:
        untold, self._untold = self._untold, deque()
        self._changed |= {one.answer: one for one in untold if one.answer not in self._logs}
        self._keep_going("writer", self._write)

    async def is_up(self) -> bool:
        if not self._is_away:
            with self._or_away():
                await self._redis.ping()
        return not self._is_away

    def _keep_going(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run the task of this name, unless it runs. An empty context keeps it off the request that needed it first."""
        if name not in self._tasks or self._tasks[name].done():
            self._tasks[name] = asyncio.get_running_loop().create_task(work(), context=Context())

    async def aclose(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await self._redis.aclose()

    def _key(self, answer: str, state: str = "live") -> str:
        return f"{self._prefix}{answer}:{state}"


class _Mirror(Channel):
    """An answer that another process writes, as far as Redis tells of it."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        id_, fields = entries[0]
        super().__init__(Transcript(_position(id_) - sum(map(width, _decoded(fields)))))
        self.cursor = b"0"
        self.readers = 0
        self._usage: Usage | None = None
        self.read(entries)

    @property
    def is_growing(self) -> bool:
        return self.ending is None and not self.is_lost

    def read(self, entries: Sequence[Entry]) -> None:
        for id_, fields in entries:
            self.cursor = id_
            self._take(id_, _decoded(fields))

    def _take(self, id_: bytes, events: Sequence[Event]) -> None:
        if not self.is_growing:
            return
        if not _extend(self.transcript, id_, events):
            self.lose()
        elif self.transcript.position > self.shown:
            self.show(self.transcript.position)
        for event in events:
            if isinstance(event, Notice):
                self.say(event)
            elif isinstance(event, Usage):
                self._usage = event
            elif isinstance(event, Done | Error) and self._usage is not None:
                self.end(self._usage, event)


def _extend(transcript: Transcript, id_: bytes, events: Sequence[Event]) -> bool:
    """Add what the entry has beyond the transcript's end; False when something is missing between the two."""
    lasting = [event for event in events if isinstance(event, Lasting)]
    entry = Transcript(_position(id_) - sum(map(width, lasting)))
    entry.append(lasting)
    if lasting and entry.start > transcript.position:
        return False
    transcript.append(entry.since(transcript.position))
    return True


def _position(id_: bytes) -> int:
    return int(id_.partition(b"-")[0])


def _encoded(events: Iterable[Event]) -> bytes:
    return _json.encode([payload(event) for event in events])


def _decoded(fields: Mapping[bytes, bytes]) -> list[Event]:
    return [from_payload(event) for event in _read_json.decode(fields[b"events"])]
