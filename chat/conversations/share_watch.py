"""The readers of shared links in this process, whose streams are cut off when their link ends."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from chat.conversations.shares import find_open
from chat.observability.outages import FAULTS
from chat.tasks import run_in_thread, start_detached

log = logging.getLogger(__name__)

# Seconds between two checks of the links that are being read, all of them in one query. The promise is that a link has
# no readers a second after it was revoked, in whichever process they are. A notice would be faster, but may be lost;
# and a link also ends by its date, with its conversation, and when its owner is deactivated.
POLL_EVERY = 0.5


class ShareWatch:
    """A task that cuts off the readers of ended links. It queries the database only while there are readers."""

    def __init__(self) -> None:
        self._readers: dict[UUID, set[asyncio.Event]] = defaultdict(set)
        self._task: asyncio.Task[None] | None = None

    @contextmanager
    def follow(self, share_id: UUID) -> Iterator[asyncio.Event]:
        """Count a reader of the link within the block, and yield an event that is set when the link has ended."""
        ended = asyncio.Event()
        self._readers[share_id].add(ended)
        if self._task is None:
            self._task = start_detached(self._watch_links())
            self._task.add_done_callback(self._forget_task)
        try:
            yield ended
        finally:
            self._readers[share_id].discard(ended)
            if not self._readers[share_id]:
                del self._readers[share_id]

    async def _watch_links(self) -> None:
        while self._readers:
            await self.cut_off_ended()
            await asyncio.sleep(POLL_EVERY)

    async def cut_off_ended(self) -> None:
        """Cut off the readers of links that have ended."""
        shares = set(self._readers)
        try:
            open_ = await run_in_thread(find_open, shares)
        except FAULTS:
            return  # while the database is away nobody can revoke a link in it either
        for share_id in shares - open_:
            for ended in self._readers.get(share_id, ()):
                ended.set()

    def _forget_task(self, done: asyncio.Task[None]) -> None:
        self._task = None
        if not done.cancelled() and done.exception() is not None:
            log.error("the watch over readers of shared links has failed; all are cut off", exc_info=done.exception())
            for events in self._readers.values():  # better no reader than one whose link was revoked
                for ended in events:
                    ended.set()
