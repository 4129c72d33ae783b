"""The broker: the live log of answers in the making, which pages follow. The database keeps; the broker tells."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from chat.events import Event, Notice, Terminal, Usage
from chat.transcript import Transcript


@dataclass(frozen=True, slots=True)
class Batch:
    """What a reader has not had yet: `events` begin at `start`; the last one may be the answer's last."""

    start: int
    events: Sequence[Event] = ()


# No batch holds more positions than this: a reader who comes late to a long answer gets it in pieces, as it reads them.
LONGEST_BATCH = 64 * 1024


class NotLiveError(LookupError):
    """The broker knows of no such answer in the making, or not of that place on its line: the database has the word."""


class Following(Protocol):
    """One reader's place on an answer's line."""

    async def next(self, timeout: float) -> Batch | None:
        """What has arrived since the last call, as soon as there is any; an empty batch after `timeout` seconds of
        nothing; None when the answer has ended and the reader has had all of it. Raises `NotLiveError` when the broker
        has lost the answer."""
        ...


class Broker(Protocol):
    """Implementations pass one contract suite, tests/contracts/test_broker_contract.py. None of them is the truth, and
    none of them may fail an answer: what a broker cannot tell, its readers find in the database."""

    async def open(self, answer: str, transcript: Transcript) -> None:
        """Make the answer known. Its owner goes on growing `transcript`, the only copy of the text here."""
        ...

    async def publish(self, answer: str) -> None:
        """Tell the readers that the transcript has grown."""
        ...

    async def notify(self, answer: str, notice: Notice) -> None:
        """Show a notice to the readers who wait now or come before the answer goes on."""
        ...

    async def close(self, answer: str, usage: Usage, terminal: Terminal) -> None:
        """Give the readers the last events and forget the answer. Call it after the database knows the end."""
        ...

    async def give_up(self, answer: str) -> None:
        """Forget the answer without an end: the database has another word for it, and the readers are sent there."""
        ...

    def follow(self, answer: str, after: int) -> AbstractAsyncContextManager[Following]:
        """Read from position `after` on. Raises `NotLiveError` on entering."""
        ...

    async def seize(self, answer: str, after: int) -> Sequence[Event]:
        """Take the log from an owner that is gone: what lies after the position. It can write no more."""
        ...

    async def forget(self, answer: str) -> None:
        """The database has what was seized: its log is not needed any more, and readers here are sent there."""
        ...

    async def is_up(self) -> bool:
        """Whether what the broker stands on answers now."""
        ...

    async def aclose(self) -> None:
        """Close what the broker holds open."""
        ...
