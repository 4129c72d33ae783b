"""The broker of several processes: an answer's log is a Redis Stream, whose entry ids are positions.

An entry's id is `<position after it>-<number>`, so "what lies after position p" is a range of the stream, and an entry
that was written twice is read once. The owner writes what has come in the last milliseconds as one entry, for all its
answers in one round trip, and only then shows it to its own readers: text that a reader has seen outlives the process.

A log has one owner, whose fence Redis keeps beside it: what an earlier owner writes late is refused there, in the step
that would write it (see `chat.broker.scripts`).

The database has the last word, not Redis. While Redis is away nothing is written to it and nothing waits for it:
readers in the owner's process go on as before, readers elsewhere follow the checkpoints in the database.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from chat.broker.base import ENDED, NotLiveError
from chat.broker.entries import decode, encode, extend
from chat.broker.failures import describe_failure
from chat.broker.memory import LiveLog, LiveLogFollowing, MemoryBroker
from chat.broker.scripts import FORGET, SEIZE, WRITE
from chat.core.events import Done, Error, Event, Notice, Terminal, Usage, count_positions
from chat.core.transcript import Transcript

log = logging.getLogger(__name__)

# Seconds: what comes within them is one entry. The first word of an answer waits for nothing but the round trip.
WRITE_EVERY = 0.01

# Seconds between two reads for the readers of answers of other processes, one read for all of them. A blocked read for
# each reader would be sooner by half of this, and would cost a connection each.
READ_EVERY = 0.025

# How many logs are read from their beginning at the same time, each over a connection of its own. Fifty readers that
# came together opened fifty connections; on a busy machine that took longer than `PATIENCE`, and Redis was taken for
# away.
LOADS_AT_ONCE = 8

# Seconds: the timeout of every command. A Redis that exceeds it counts as away, and is then asked this often whether it
# is back.
PATIENCE = 1.0

# Seconds between two log lines for one cause: a Redis that is full or has an ACL refuses every command.
REFUSAL_LOGGED_EVERY = 60.0

# A log keeps about this many entries, a minute of the fastest model. A reader further behind reads a checkpoint first.
ENTRIES = 5_000

# Seconds for which a log outlives its last entry, so that an answer whose owner died can be completed from it.
KEPT_SECONDS = 900
ENDED_SECONDS = 30

# The fence of a log whose owner is not known, so that all readers may read it.
UNKNOWN = sys.maxsize

Entry = tuple[bytes, Mapping[bytes, bytes]]


@dataclass(eq=False, slots=True)
class _OwnLog:
    """The log of an answer that this process writes, as far as Redis has it: up to position `written`."""

    answer: str
    fence: int
    transcript: Transcript
    written: int
    is_begun: bool = False
    is_gone: bool = False  # a later owner has it, or Redis has lost it: writing any further would leave a gap
    notices: list[Notice] = field(default_factory=list)
    notices_written: int = 1
    expires: float = 0.0
    ending: tuple[Usage, Terminal] | None = None
    ended_at: float = 0.0
    is_end_written: bool = False
    shown: asyncio.Event = field(default_factory=asyncio.Event)

    def collect_unwritten(self) -> _Unwritten:
        """Return what Redis does not have now."""
        return _Unwritten(self, self.transcript.position, tuple(self.notices), self.ending)

    def note_written(self, due: _Unwritten) -> None:
        """Note that Redis has this now. The answer may have gone on meanwhile."""
        self.is_begun, self.written = True, due.position
        self.is_end_written = due.ending is not None
        self.notices_written += len(due.notices)
        del self.notices[: len(due.notices)]

    def leave(self) -> None:
        """Stop writing this log, and release whoever waits for its end to be written."""
        self.is_gone = True
        self.shown.set()


class _Unwritten(NamedTuple):
    """The part of a log that Redis lacks at one moment."""

    log: _OwnLog
    position: int
    notices: Sequence[Notice]
    ending: tuple[Usage, Terminal] | None

    def list_entries(self) -> Iterator[tuple[str, Sequence[Event]]]:
        if text := self.log.transcript.read_since(self.log.written, self.position):
            yield f"{self.position}-0", text
        for number, notice in enumerate(self.notices, self.log.notices_written + 1):
            yield f"{self.position}-{number}", [notice]
        for number, event in enumerate(self.ending or (), 1):
            yield f"{self.position + number}-0", [event]

    def list_arguments(self) -> list[str | bytes | int]:
        """Return the arguments of `WRITE` for this log; empty where Redis has it all and keeps it long enough."""
        answer_log = self.log
        begins = "" if answer_log.is_begun else f"{answer_log.written}-1"
        entries = [part for id_, events in self.list_entries() for part in (id_, encode(events))]
        kept = 0
        if self.ending is not None:
            kept = ENDED_SECONDS
        elif time.monotonic() > answer_log.expires:
            kept = KEPT_SECONDS
            answer_log.expires = time.monotonic() + KEPT_SECONDS / 3
        if not begins and not entries and not kept:
            return []
        return [answer_log.fence, begins, kept, len(entries) // 2, *entries]


class RedisBroker:
    """See `chat.broker.base.Broker`. `url` is a Redis URL; keys begin with `prefix`."""

    def __init__(self, url: str, prefix: str = "chat:answer:") -> None:
        self._local = MemoryBroker()
        self._prefix = prefix
        self._redis: Redis = Redis.from_url(
            url, protocol=2, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE, retry=Retry(NoBackoff(), 0)
        )
        self._logs: dict[str, _OwnLog] = {}
        self._changed: dict[str, _OwnLog] = {}
        self._unwritten_ends: deque[_OwnLog] = deque()
        self._mirrors: dict[str, _Mirror] = {}
        self._loads = asyncio.Semaphore(LOADS_AT_ONCE)
        self._is_away = False
        self._refusal, self._refusal_logged = "", 0.0
        self._tasks: dict[str, asyncio.Task[None]] = {}

    # The owner's side

    async def open(self, answer: str, fence: int, transcript: Transcript, joint: int | None = None) -> None:
        if (earlier := self._logs.get(answer)) is not None:
            if earlier.fence > fence:
                return
            earlier.leave()
        await self._local.open(answer, fence, transcript)
        self._logs[answer] = _OwnLog(answer, fence, transcript, transcript.position if joint is None else joint)
        self._write_soon(self._logs[answer])

    def _find(self, answer: str, fence: int) -> _OwnLog | None:
        """Return the log of an answer, where no later owner in this process has taken this one's place."""
        found = self._logs.get(answer)
        return found if found is not None and found.fence == fence else None

    async def publish(self, answer: str, fence: int) -> None:
        if (grown := self._find(answer, fence)) is not None:
            self._write_soon(grown)

    async def notify(self, answer: str, fence: int, notice: Notice) -> None:
        if (noted := self._find(answer, fence)) is not None:
            await self._local.notify(answer, fence, notice)
            noted.notices.append(notice)
            self._write_soon(noted)

    async def close(self, answer: str, fence: int, usage: Usage, terminal: Terminal) -> None:
        if (ended := self._find(answer, fence)) is None:
            return
        ended.ending, ended.ended_at = (usage, terminal), time.monotonic()
        self._write_soon(ended)
        await ended.shown.wait()
        if self._find(answer, fence) is not None:
            del self._logs[answer]
            await self._local.close(answer, fence, usage, terminal)

    async def give_up(self, answer: str, fence: int) -> None:
        if (left := self._find(answer, fence)) is not None:
            left.leave()
            del self._logs[answer]
            self._changed.pop(answer, None)
            await self._local.give_up(answer, fence)

    def _write_soon(self, changed: _OwnLog) -> None:
        self._changed[changed.answer] = changed
        self._run_task("writer", self._write)

    async def _write(self) -> None:
        """Write all that has changed in one round trip, then what has changed since in another one."""
        while self._changed:
            began = time.monotonic()
            changed, self._changed = self._changed.values(), {}
            all_due = [answer_log.collect_unwritten() for answer_log in changed]
            if not self._is_away:
                with self._note_absence():
                    await self._append([due for due in all_due if not due.log.is_gone])
            for due in all_due:
                self._local.show(due.log.answer, due.log.fence, due.position)
                if due.ending is not None:
                    self._keep_unwritten_end(due.log)
                    due.log.shown.set()
            await asyncio.sleep(min(0.25, max(WRITE_EVERY, 10 * (time.monotonic() - began))))

    async def _append(self, all_due: Sequence[_Unwritten]) -> None:
        """Append what is due to its logs. Raises `RedisError`, `OSError` or `TimeoutError` while Redis is away."""
        changed: list[_OwnLog] = []
        keys: list[str] = []
        arguments: list[str | bytes | int] = [KEPT_SECONDS, ENTRIES]
        for due in all_due:
            if lacking := due.list_arguments():
                changed.append(due.log)
                keys += self._make_key(due.log.answer), self._make_key(due.log.answer, "fence")
                arguments += lacking
        if changed:
            for answer_log, result in zip(changed, await self._run_write(keys, arguments), strict=True):
                answer_log.is_gone = answer_log.is_gone or result == 0
        for due in all_due:
            due.log.note_written(due)

    async def _run_write(self, keys: Sequence[str], arguments: Sequence[str | bytes | int]) -> Sequence[Any]:
        """Run `WRITE`, and return its result for each log: 1, 0 where the log is not ours any more, or an error.

        The first error is logged.
        """
        try:
            results: list[Any] = await self._redis.eval(WRITE, len(keys), *keys, *arguments)
        except ResponseError as error:
            results = [error] * (len(keys) // 2)
        self._log_refusal(next((result for result in results if isinstance(result, RedisError)), None))
        return results

    def _log_refusal(self, error: RedisError | None) -> None:
        """Log why a Redis that answers refuses commands, once for each cause in a minute."""
        if error is None:
            return
        reason = describe_failure(error)
        if reason != self._refusal or time.monotonic() > self._refusal_logged + REFUSAL_LOGGED_EVERY:
            log.warning("Redis refuses to write (%s): readers elsewhere follow the checkpoints", reason)
            self._refusal, self._refusal_logged = reason, time.monotonic()

    # The readers' side

    @asynccontextmanager
    async def follow(self, answer: str, after: int, fence: int = 0) -> AsyncGenerator[LiveLogFollowing, None]:
        if (own := self._logs.get(answer)) is not None and own.fence >= fence:
            if own.ending is not None:  # the database knows, and may know that the answer goes on elsewhere
                raise NotLiveError(answer)
            async with self._local.follow(answer, after, fence) as following:
                yield following
            return
        mirror = await self._load_mirror(answer, fence)
        if after < mirror.transcript.start:
            raise NotLiveError(answer)
        mirror.readers += 1
        try:
            yield LiveLogFollowing(mirror, after)
        finally:
            mirror.readers -= 1
            if not mirror.readers and self._mirrors.get(answer) is mirror:
                del self._mirrors[answer]

    async def _load_mirror(self, answer: str, fence: int) -> _Mirror:
        """Return the copy of an answer's log that all readers of this process share; it grows as the log in Redis does.

        Raises `NotLiveError` where Redis is away or has no log that a reader with this `fence` may read.
        """
        loaded: _Mirror | None = None
        async with self._loads:
            if not self._is_away and self._find_mirror(answer, fence) is None:
                with self._note_absence():
                    loaded = await self._read_mirror(answer)
        if (mirror := self._find_mirror(answer, fence)) is not None:  # perhaps another reader was quicker
            return mirror
        if loaded is None or not loaded.may_serve(fence):
            raise NotLiveError(answer)
        if (earlier := self._mirrors.get(answer)) is not None:
            earlier.lose()
        self._mirrors[answer] = loaded
        self._run_task("reader", self._read)
        return loaded

    def _find_mirror(self, answer: str, fence: int) -> _Mirror | None:
        mirror = self._mirrors.get(answer)
        return mirror if mirror is not None and mirror.may_serve(fence) else None

    async def _read_mirror(self, answer: str) -> _Mirror | None:
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.get(self._make_key(answer, "fence"))
            pipe.xrange(self._make_key(answer))
            fence, entries = await pipe.execute()
        return _Mirror(entries, None if fence is None else int(fence)) if entries else None

    async def _read(self) -> None:
        while self._mirrors:
            await asyncio.sleep(READ_EVERY)
            growing = {self._make_key(answer): mirror for answer, mirror in self._mirrors.items() if mirror.is_growing}
            if not growing or self._is_away:
                continue
            with self._note_absence():
                cursors: Any = {key: mirror.cursor for key, mirror in growing.items()}
                read: Any = await self._redis.xread(cursors)
                for key, entries in read:
                    growing[key.decode()].read(entries)

    # Taking over

    async def seize(self, answer: str, fence: int, after: int) -> Sequence[Event] | None:
        """See `Broker.seize`. Without a log nothing was shown: its owner went away before it could write one."""
        if self._is_away:
            return None
        taken, is_whole = Transcript(after), False
        with self._note_absence():
            keys = [self._make_key(answer, state) for state in ("live", "fence", "seized")]
            is_ours: Any = await self._redis.eval(SEIZE, len(keys), *keys, fence, KEPT_SECONDS)
            if is_ours:
                entries: Any = await self._redis.xrange(self._make_key(answer, "seized"), min=f"{after + 1}-0")
                is_whole = all(extend(taken, _parse_position(id_), _decode_fields(fields)) for id_, fields in entries)
        return taken.read_since(after) if is_whole else None

    async def forget(self, answer: str, fence: int = ENDED) -> None:
        if (mirror := self._mirrors.pop(answer, None)) is not None:
            mirror.lose()
        if not self._is_away:
            with self._note_absence():
                keys = [self._make_key(answer, state) for state in ("fence", "seized")]
                await self._redis.eval(FORGET, len(keys), *keys, fence)

    async def find_left(self) -> set[str]:
        """Return none: Redis lets the logs expire."""
        return set()

    # Redis comes and goes

    @contextmanager
    def _note_absence(self) -> Iterator[None]:
        """Catch a failure of Redis within this block, and ask it nothing more until it answers again."""
        try:
            yield
        except (RedisError, OSError, TimeoutError) as error:
            if not self._is_away:
                log.warning("Redis is away (%s): readers elsewhere follow the checkpoints", describe_failure(error))
            self._is_away = True
            for mirror in self._mirrors.values():
                mirror.lose()
            self._mirrors.clear()
            self._run_task("finder", self._wait_for_redis)

    async def _wait_for_redis(self) -> None:
        while self._is_away:
            await asyncio.sleep(PATIENCE)
            with suppress(RedisError, OSError, TimeoutError):
                await self._redis.ping()
                self._is_away = False
        log.warning("Redis is back")
        self._write_kept_ends()
        for answer_log in self._logs.values():
            self._write_soon(answer_log)

    def _keep_unwritten_end(self, ended: _OwnLog) -> None:
        """Keep an end that Redis did not take, for readers who reach Redis again before the owner does.

        After `ENDED_SECONDS` all readers have it from the database.
        """
        recent = time.monotonic() - ENDED_SECONDS
        while self._unwritten_ends and self._unwritten_ends[0].ended_at < recent:
            self._unwritten_ends.popleft()
        if not ended.is_end_written:
            self._unwritten_ends.append(ended)

    def _write_kept_ends(self) -> None:
        ends, self._unwritten_ends = self._unwritten_ends, deque()
        self._changed |= {end.answer: end for end in ends if end.answer not in self._logs}
        self._run_task("writer", self._write)

    async def is_up(self) -> bool:
        if not self._is_away:
            with self._note_absence():
                await self._redis.ping()
        return not self._is_away

    def _run_task(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start the task of this name, unless it runs. An empty context detaches it from the request at hand."""
        if name not in self._tasks or self._tasks[name].done():
            self._tasks[name] = asyncio.get_running_loop().create_task(work(), context=Context())

    async def aclose(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await self._redis.aclose()

    def _make_key(self, answer: str, state: str = "live") -> str:
        return f"{self._prefix}{answer}:{state}"


class _Mirror(LiveLog):
    """The log of an answer that another process writes, as far as Redis has it."""

    def __init__(self, entries: Sequence[Entry], fence: int | None) -> None:
        """`fence` is its owner's, None where that is not known: a process of the version before writes it."""
        id_, fields = entries[0]
        start = _parse_position(id_) - sum(map(count_positions, _decode_fields(fields)))
        super().__init__(Transcript(start), UNKNOWN if fence is None else fence)
        self.cursor = b"0"
        self.readers = 0
        self._usage: Usage | None = None
        self.read(entries)

    @property
    def is_growing(self) -> bool:
        return self.ending is None and not self.is_lost

    def may_serve(self, fence: int) -> bool:
        """Return whether a reader who knows of an owner with this fence may read this. What has ended has no more."""
        return self.is_growing and self.fence >= fence

    def read(self, entries: Sequence[Entry]) -> None:
        for id_, fields in entries:
            self.cursor = id_
            self._take(id_, _decode_fields(fields))

    def _take(self, id_: bytes, events: Sequence[Event]) -> None:
        if not self.is_growing:
            return
        if not extend(self.transcript, _parse_position(id_), events):
            self.lose()
        elif self.transcript.position > self.shown:
            self.show(self.transcript.position)
        for event in events:
            if isinstance(event, Notice):
                self.show_notice(event)
            elif isinstance(event, Usage):
                self._usage = event
            elif isinstance(event, Done | Error) and self._usage is not None:
                self.end(self._usage, event)


def _parse_position(id_: bytes) -> int:
    return int(id_.partition(b"-")[0])


def _decode_fields(fields: Mapping[bytes, bytes]) -> list[Event]:
    return decode(fields[b"events"])
