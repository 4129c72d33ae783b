"""Following an answer from any process: from the broker while it is live there, otherwise from the checkpoints."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from uuid import UUID

from django.conf import settings

from chat.broker.base import Batch, NotLiveError
from chat.core.events import Continued, Event, Terminal, count_positions
from chat.core.transcript import Transcript
from chat.generation.process import Process
from chat.generation.recovery import RESUMED
from chat.generation.stored_answers import StoredAnswer
from chat.observability.outages import FAULTS, classify_outage


async def follow(process: Process, answer_id: UUID, after: int, fence: int = 0) -> AsyncGenerator[Batch, None]:
    """Yield what happens to an answer from position `after` to its end, wherever it is written.

    A batch without events is a heartbeat. The last event is a `Done` or an `Error`, also for an answer that ended long
    ago; nothing more comes of one that was deleted. Live text comes from the broker when it has the answer, otherwise
    from the checkpoints in the database.

    `fence` is what the reader knows of the answer's owner. A process that has just written an end may still be about to
    tell its readers of it, while another continues the answer: whoever comes for that is told nothing of this end.
    """
    runner = process.runner
    position, yielded_at = after, time.monotonic()
    was_live = is_told = False
    with runner.count_watcher(answer_id):
        while True:
            is_live = False
            try:
                async with runner.broker.follow(str(answer_id), position, fence) as following:
                    is_live = True
                    while (batch := await following.read_next(settings.CHAT_HEARTBEAT)) is not None:
                        position, yielded_at = advance_position(batch), time.monotonic()
                        yield batch.drop_notice(RESUMED) if is_told else batch
                        is_told = is_told or RESUMED in batch.events
                        if not batch.events:
                            break  # after so long a silence the database may know that the owner is gone
                    else:
                        return
            except NotLiveError:
                is_live = False
            stored = await _read_checkpoint(process, answer_id, position)
            if stored is None:
                return
            fence = max(fence, stored.fence)
            batch = stored.read_since(position)
            batch = _tell_of_joints(batch) if was_live else batch
            was_live, is_told = True, is_told or RESUMED in batch.events
            position = advance_position(batch)
            if batch.events or time.monotonic() - yielded_at > settings.CHAT_HEARTBEAT:
                yielded_at = time.monotonic()
                yield batch
            if batch.events and isinstance(batch.events[-1], Terminal):
                return
            if not batch.events and not is_live:
                await _wait_for_next_checkpoint()


async def wait_for_end(process: Process, answer_id: UUID, fence: int = 0) -> None:
    """Return when the answer has ended or was deleted; waiting counts as watching."""
    async with aclosing(follow(process, answer_id, 0, fence)) as batches:
        async for _ in batches:
            pass


async def _read_checkpoint(process: Process, answer_id: UUID, position: int) -> StoredAnswer | None:
    """Return what the database has of an answer for a reader at a position, None when there is no such answer.

    While the database does not serve that is nothing new: the reader's connection is kept.
    """
    try:
        return await process.checkpoints.read(answer_id, position)
    except FAULTS as error:
        if classify_outage(error) is None:
            raise
        return StoredAnswer(Transcript(position), None, 0)


def _tell_of_joints(batch: Batch) -> Batch:
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
