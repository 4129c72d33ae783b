"""The broker of one process. Readers read the owner's transcript, so that a reader costs no copy.

With a `Journal`, what readers are shown outlives the process.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from chat.broker.base import ENDED, LONGEST_BATCH, Batch, NotLiveError
from chat.broker.journal import Journal
from chat.core.events import Event, Notice, Terminal, Usage
from chat.core.transcript import Transcript


class MemoryBroker:
    """See `chat.broker.base.Broker`."""

    def __init__(self, journal: Journal | None = None) -> None:
        self._live_logs: dict[str, LiveLog] = {}
        self._journal = journal

    async def open(self, answer: str, fence: int, transcript: Transcript, joint: int | None = None) -> None:
        if (earlier := self._live_logs.get(answer)) is not None:
            if earlier.fence > fence:
                return
            earlier.lose()
        if self._journal is not None:
            self._journal.begin(answer, fence, transcript, transcript.position if joint is None else joint)
        self._live_logs[answer] = LiveLog(transcript, fence)

    def _find(self, answer: str, fence: int) -> LiveLog | None:
        """Return the log of an answer, where no later owner has taken this one's place."""
        log = self._live_logs.get(answer)
        return log if log is not None and log.fence == fence else None

    async def publish(self, answer: str, fence: int) -> None:
        if (log := self._find(answer, fence)) is None:
            return
        if self._journal is not None:
            self._journal.write(answer)
        log.show(log.transcript.position)

    def show(self, answer: str, fence: int, position: int) -> None:
        """Show readers the transcript up to a position."""
        if (log := self._find(answer, fence)) is not None:
            log.show(position)

    async def notify(self, answer: str, fence: int, notice: Notice) -> None:
        if (log := self._find(answer, fence)) is not None:
            log.show_notice(notice)

    async def close(self, answer: str, fence: int, usage: Usage, terminal: Terminal) -> None:
        if (log := self._find(answer, fence)) is None:
            return
        if self._journal is not None:
            self._journal.end(answer)
        del self._live_logs[answer]
        log.end(usage, terminal)

    async def give_up(self, answer: str, fence: int) -> None:
        if (log := self._find(answer, fence)) is None:
            return
        if self._journal is not None:
            self._journal.leave(answer)
        del self._live_logs[answer]
        log.lose()

    @asynccontextmanager
    async def follow(self, answer: str, after: int, fence: int = 0) -> AsyncGenerator[LiveLogFollowing, None]:
        log = self._live_logs.get(answer)
        if log is None or log.fence < fence:
            raise NotLiveError(answer)
        yield LiveLogFollowing(log, after)

    async def seize(self, answer: str, fence: int, after: int) -> Sequence[Event] | None:
        if self._journal is None:
            return None  # an owner in another process leaves nothing here
        return await asyncio.to_thread(self._journal.seize, answer, fence, after)

    async def forget(self, answer: str, fence: int = ENDED) -> None:
        if self._journal is not None:
            await asyncio.to_thread(self._journal.remove_left, answer, fence)

    async def find_left(self) -> set[str]:
        return set() if self._journal is None else await asyncio.to_thread(self._journal.find_left)

    async def is_up(self) -> bool:
        return True

    async def aclose(self) -> None:
        """Do nothing: memory has no connections."""


class LiveLog:
    """The log of one live answer: its transcript, how much of it is shown, its notice, its end, its waiting readers."""

    def __init__(self, transcript: Transcript, fence: int) -> None:
        self.transcript = transcript
        self.fence = fence
        self.shown = transcript.position
        self.notice: Notice | None = None
        self.resumed: tuple[int, Notice] | None = None
        """The position where another owner took the answer over, and the notice for readers who come from before it."""
        self.ending: tuple[Usage, Terminal] | None = None
        self.is_lost = False
        self._waiting: list[asyncio.Future[None]] = []

    def show(self, position: int) -> None:
        """Show readers the transcript up to a position, and drop the notice."""
        if position > self.shown:
            self.shown, self.notice = position, None
            self._wake()

    def show_notice(self, notice: Notice) -> None:
        if notice.code == "resumed":
            self.resumed = (self.transcript.position, notice)
        else:
            self.notice = notice
        self._wake()

    def end(self, usage: Usage, terminal: Terminal) -> None:
        self.ending = (usage, terminal)
        self.shown, self.notice = self.transcript.position, None
        self._wake()

    def lose(self) -> None:
        """Send the readers to the database: nothing more comes of this answer here."""
        self.is_lost = True
        self._wake()

    def _wake(self) -> None:
        # A new list for those who wait next: a slow reader must not miss the change.
        waiting, self._waiting = self._waiting, []
        for reader in waiting:
            _release(reader)

    async def wait_for_change(self, timeout: float) -> None:
        """Wait until there is more to read, for `timeout` seconds at most.

        This happens before each read of each reader, so it uses no more than a future and a timer: `asyncio.wait_for`
        would make a task, and an `asyncio.Event` takes 0.7 KiB.
        """
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[None] = loop.create_future()
        self._waiting.append(waiting)
        timer = loop.call_later(timeout, _release, waiting)
        try:
            await waiting
        finally:
            timer.cancel()
            if waiting in self._waiting:
                self._waiting.remove(waiting)


def _release(reader: asyncio.Future[None]) -> None:
    if not reader.done():
        reader.set_result(None)


class LiveLogFollowing:
    """See `chat.broker.base.Following`."""

    def __init__(self, log: LiveLog, after: int) -> None:
        self._log = log
        self._position = after
        self._shown_notice: Notice | None = None
        self._knows_new_owner = False
        self._has_ended = False

    async def read_next(self, timeout: float) -> Batch | None:
        if self._has_ended:
            return None
        batch = self._take()
        if not batch.events and not self._log.is_lost:
            await self._log.wait_for_change(timeout)
            batch = self._take()
        if not batch.events and self._log.is_lost:
            raise NotLiveError
        return batch

    def _take(self) -> Batch:
        """Return what the reader has not had. Text and position are read with no `await` between them."""
        log = self._log
        start = log.transcript.skip_split_event(self._position)
        until = min(log.shown, start + LONGEST_BATCH)
        events = self._read(start, until)
        self._position = max(start, until)
        if until < log.shown:
            return Batch(start, events)
        if log.notice is not self._shown_notice:
            self._shown_notice = log.notice
            if log.notice is not None:
                events.append(log.notice)
        if log.ending is not None:
            self._has_ended = True
            if start > log.transcript.position:
                # The reader had the usage before its connection broke: the last event alone follows it.
                return Batch(log.transcript.position + 1, log.ending[1:])
            events += log.ending
        return Batch(start, events)

    def _read(self, start: int, until: int) -> list[Event]:
        """Return the events between two positions, with a notice where another owner took the answer over."""
        transcript, resumed = self._log.transcript, self._log.resumed
        if resumed is None or self._knows_new_owner or not start <= resumed[0] <= until:
            return [*transcript.read_since(start, until)]
        self._knows_new_owner = True
        return [*transcript.read_since(start, resumed[0]), resumed[1], *transcript.read_since(resumed[0], until)]
