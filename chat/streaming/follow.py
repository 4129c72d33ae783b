"""Following an answer from any process: from the broker while it is live there, otherwise from the checkpoints."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Self
from uuid import UUID

from django.conf import settings

from chat.broker.base import Batch, Following, NotLiveError
from chat.core.events import Continued, Event, Terminal, count_positions
from chat.core.transcript import Transcript
from chat.generation.process import Process
from chat.generation.recovery import RESUMED
from chat.generation.stored_answers import StoredAnswer
from chat.observability.outages import FAULTS, classify_outage


class Follower:
    """A reader of an answer from position `after` to its end, wherever it is written; a watcher while it is entered.

    Live text comes from the broker when it has the answer, otherwise from the checkpoints in the database.

    `fence` is that of the latest owner that the reader knows of. A process that has just written an end may be about to
    publish it while another process continues the answer already: a reader who knows the later owner is not given it.
    """

    def __init__(self, process: Process, answer_id: UUID, after: int, fence: int = 0) -> None:
        self._process = process
        self._answer = answer_id
        self._position, self._fence = after, fence
        self._yielded_at = time.monotonic()
        # Contexts that are entered and left by hand: an `ExitStack` for each would be 1 KiB more, for minutes.
        self._watching = process.runner.count_watcher(answer_id)
        self._in_log: AbstractAsyncContextManager[Following] | None = None
        self._log: Following | None = None  # the broker's, while the answer is live there
        self._is_database_next = self._is_live = self._is_over = False
        self._has_read_checkpoint = self._knows_of_joint = False

    async def __aenter__(self) -> Self:
        self._watching.__enter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._watching.__exit__(None, None, None)
        await self._leave_log()

    async def read_next(self) -> Batch | None:
        """Return what happens next, None after the end. A batch without events is a heartbeat.

        The last event is a `Done` or an `Error`, also for an answer that ended long ago; nothing more comes of one that
        was deleted.
        """
        while not self._is_over:
            batch = await (self._read_checkpoint() if self._is_database_next else self._read_log())
            if batch is not None:
                return batch
        return None

    async def _read_log(self) -> Batch | None:
        """Return the broker's next batch; None when the answer is over, or when the database has to be asked next."""
        try:
            if self._log is None:
                in_log = self._process.runner.broker.follow(str(self._answer), self._position, self._fence)
                self._log = await in_log.__aenter__()
                self._in_log, self._is_live = in_log, True
            batch = await self._log.read_next(settings.CHAT_HEARTBEAT)
        except NotLiveError:
            self._is_live, self._is_database_next = False, True
            await self._leave_log()
            return None
        if batch is None:
            self._is_over = True
            return None
        if not batch.events:  # after so long a silence the database may know that the owner is gone
            self._is_database_next = True
            await self._leave_log()
        self._position, self._yielded_at = advance_position(batch), time.monotonic()
        known, self._knows_of_joint = self._knows_of_joint, self._knows_of_joint or RESUMED in batch.events
        return batch.drop_notice(RESUMED) if known else batch

    async def _read_checkpoint(self) -> Batch | None:
        """Return what the database has after the reader's position, or a heartbeat if one is due, or None.

        The broker is asked next, unless the answer is over.
        """
        self._is_database_next = False
        stored = await _load_checkpoint(self._process, self._answer, self._position)
        if stored is None:
            self._is_over = True
            return None
        self._fence = max(self._fence, stored.fence)
        batch = stored.read_since(self._position)
        if self._has_read_checkpoint:  # joints in the first one may be older than the reader
            batch = _add_notices_of_joints(batch)
        self._has_read_checkpoint = True
        self._knows_of_joint = self._knows_of_joint or RESUMED in batch.events
        self._position = advance_position(batch)
        if batch.events:
            self._is_over = isinstance(batch.events[-1], Terminal)
        elif not self._is_live:
            await _wait_for_next_checkpoint()
        if not batch.events and time.monotonic() - self._yielded_at <= settings.CHAT_HEARTBEAT:
            return None
        self._yielded_at = time.monotonic()
        return batch

    async def _leave_log(self) -> None:
        in_log, self._in_log, self._log = self._in_log, None, None
        if in_log is not None:
            await in_log.__aexit__(None, None, None)


async def follow(process: Process, answer_id: UUID, after: int, fence: int = 0) -> AsyncGenerator[Batch, None]:
    """Yield what happens to an answer from position `after` to its end; see `Follower`."""
    async with Follower(process, answer_id, after, fence) as follower:
        while (batch := await follower.read_next()) is not None:
            yield batch


async def wait_for_end(process: Process, answer_id: UUID, fence: int = 0) -> None:
    """Return when the answer has ended or was deleted; waiting counts as watching."""
    async with aclosing(follow(process, answer_id, 0, fence)) as batches:
        async for _ in batches:
            pass


async def _load_checkpoint(process: Process, answer_id: UUID, position: int) -> StoredAnswer | None:
    """Return what the database has of an answer for a reader at a position, None when there is no such answer.

    While the database is away, return nothing new, so that the reader's connection is kept.
    """
    try:
        return await process.checkpoints.read(answer_id, position)
    except FAULTS as error:
        if classify_outage(error) is None:
            raise
        return StoredAnswer(Transcript(position), None, 0)


def _add_notices_of_joints(batch: Batch) -> Batch:
    """Return a batch with a notice after each joint, where another process has taken the answer over."""
    events: list[Event] = []
    for event in batch.events:
        events += [event, RESUMED] if isinstance(event, Continued) else [event]
    return Batch(batch.start, events)


def advance_position(batch: Batch) -> int:
    """Return the position of a reader after the batch."""
    return batch.start + sum(map(count_positions, batch.events))


async def _wait_for_next_checkpoint() -> None:
    """Wait for the next tick of a clock that all readers share, so that they ask together."""
    await asyncio.sleep(settings.CHAT_CHECKPOINT - time.monotonic() % settings.CHAT_CHECKPOINT)
