"""The broker of one process: readers look into the owner's transcript, so that a reader costs no copy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from chat.broker import LONGEST_BATCH, Batch, NotLiveError
from chat.events import Event, Notice, Terminal, Usage
from chat.transcript import Transcript


class MemoryBroker:
    """See `chat.broker.Broker`."""

    def __init__(self) -> None:
        self._channels: dict[str, Channel] = {}

    async def open(self, answer: str, transcript: Transcript) -> None:
        self._channels[answer] = Channel(transcript)

    async def publish(self, answer: str) -> None:
        self.show(answer, self._channels[answer].transcript.position)

    def show(self, answer: str, position: int) -> None:
        """Let the readers have the transcript up to a position."""
        self._channels[answer].show(position)

    async def notify(self, answer: str, notice: Notice) -> None:
        self._channels[answer].say(notice)

    async def close(self, answer: str, usage: Usage, terminal: Terminal) -> None:
        self._channels.pop(answer).end(usage, terminal)

    async def give_up(self, answer: str) -> None:
        self._channels.pop(answer).lose()

    @asynccontextmanager
    async def follow(self, answer: str, after: int) -> AsyncGenerator[ChannelFollowing, None]:
        channel = self._channels.get(answer)
        if channel is None:
            raise NotLiveError(answer)
        yield ChannelFollowing(channel, after)

    async def seize(self, answer: str, after: int) -> Sequence[Event]:
        """An owner elsewhere leaves nothing here."""
        return ()

    async def forget(self, answer: str) -> None:
        """There is nothing to forget: an owner in this process closes its own answers."""

    async def is_up(self) -> bool:
        return True

    async def aclose(self) -> None:
        """Memory is not held open."""


class Channel:
    """One live answer: its transcript, how much of it is shown, what is said beside it, and who waits for more."""

    def __init__(self, transcript: Transcript) -> None:
        self.transcript = transcript
        self.shown = transcript.position
        self.notice: Notice | None = None
        self.ending: tuple[Usage, Terminal] | None = None
        self.is_lost = False
        self._waiting: list[asyncio.Future[None]] = []

    def show(self, position: int) -> None:
        """The transcript may be read up to here; nobody waits for the answer to go on any more."""
        if position > self.shown:
            self.shown, self.notice = position, None
            self._wake()

    def say(self, notice: Notice) -> None:
        self.notice = notice
        self._wake()

    def end(self, usage: Usage, terminal: Terminal) -> None:
        self.ending = (usage, terminal)
        self.shown, self.notice = self.transcript.position, None
        self._wake()

    def lose(self) -> None:
        """Nothing more will be heard of this answer here."""
        self.is_lost = True
        self._wake()

    def _wake(self) -> None:
        # A new list for those who wait next: a slow reader must not miss the change.
        waiting, self._waiting = self._waiting, []
        for reader in waiting:
            _let_go(reader)

    async def change(self, timeout: float) -> None:
        """Return when there is more to read, or after so many seconds. A future and a timer alone, as each reader waits
        for each read: `wait_for` would make a task, an `Event` holds 0.7 KiB."""
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[None] = loop.create_future()
        self._waiting.append(waiting)
        timer = loop.call_later(timeout, _let_go, waiting)
        try:
            await waiting
        finally:
            timer.cancel()
            if waiting in self._waiting:
                self._waiting.remove(waiting)


def _let_go(reader: asyncio.Future[None]) -> None:
    if not reader.done():
        reader.set_result(None)


class ChannelFollowing:
    """See `chat.broker.Following`."""

    def __init__(self, channel: Channel, after: int) -> None:
        self._channel = channel
        self._position = after
        self._noticed: Notice | None = None
        self._ended = False

    async def next(self, timeout: float) -> Batch | None:
        if self._ended:
            return None
        batch = self._take()
        if not batch.events and not self._channel.is_lost:
            await self._channel.change(timeout)
            batch = self._take()
        if not batch.events and self._channel.is_lost:
            raise NotLiveError
        return batch

    def _take(self) -> Batch:
        """Text and position are read with no `await` between them."""
        channel, start = self._channel, self._position
        until = min(channel.shown, start + LONGEST_BATCH)
        events: list[Event] = [*channel.transcript.since(start, until)]
        self._position = max(start, until)
        if until < channel.shown:
            return Batch(start, events)
        if channel.notice is not self._noticed:
            self._noticed = channel.notice
            if channel.notice is not None:
                events.append(channel.notice)
        if channel.ending is not None:
            events += self._ending(*channel.ending)
            self._ended = True
        return Batch(start, events)

    def _ending(self, usage: Usage, terminal: Terminal) -> list[Event]:
        """A reader who was told the usage before its connection broke needs the last event alone."""
        told = self._position > self._channel.transcript.position
        return [terminal] if told else [usage, terminal]
