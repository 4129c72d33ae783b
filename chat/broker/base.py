"""The broker: the live log of answers, which pages follow. The database keeps answers, the broker wakes readers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from chat.core.events import Event, Notice, Terminal, Usage
from chat.core.transcript import Transcript


@dataclass(frozen=True, slots=True)
class Batch:
    """Events that a reader has not had yet. They begin at `start`; the last one may be the answer's last."""

    start: int
    events: Sequence[Event] = ()

    def drop_notice(self, notice: Notice) -> Batch:
        """Return the batch for a reader who has been told that already."""
        return Batch(self.start, [event for event in self.events if event != notice])


# The fence for which a log of an answer that has ended is forgotten: no owner's is higher.
ENDED = sys.maxsize

# No batch holds more positions than this: a reader who comes late to a long answer gets it in pieces, as it reads them.
LONGEST_BATCH = 64 * 1024


class NotLiveError(LookupError):
    """The broker knows no such live answer, or not that position of it: ask the database."""


class Following(Protocol):
    """One reader, at a position of an answer."""

    async def read_next(self, timeout: float) -> Batch | None:
        """Return what has arrived since the last call, as soon as there is any.

        An empty batch says that nothing came for `timeout` seconds. None says that the answer has ended and the reader
        has had all of it. Raises `NotLiveError` when the broker has lost the answer.
        """
        ...


class Broker(Protocol):
    """The live log of answers.

    A log is its owner's, whose `fence` is higher than that of every owner before. Opening an answer's log takes the
    place of earlier owners: what they publish then reaches no reader of the new log, and raises nothing.

    Implementations pass one contract suite, tests/contracts/test_broker_contract.py. None of them may fail an answer:
    what a broker does not know, its readers find in the database.
    """

    async def open(self, answer: str, fence: int, transcript: Transcript, joint: int | None = None) -> None:
        """Begin the log of an answer. Its owner goes on growing `transcript`, the only copy of the text here.

        The log begins at the `joint`, the position up to which the database has the answer; by default at the end of
        the transcript. Readers of an earlier owner's log in this process are sent to the database.
        """
        ...

    async def publish(self, answer: str, fence: int) -> None:
        """Wake the readers: the transcript has grown."""
        ...

    async def notify(self, answer: str, fence: int, notice: Notice) -> None:
        """Show a notice to all readers who wait now or come before the answer goes on.

        A notice `resumed` is also shown to readers who come later, if their position lies before it.
        """
        ...

    async def close(self, answer: str, fence: int, usage: Usage, terminal: Terminal) -> None:
        """Give the readers the last events and forget the answer. Call it after the database knows the end."""
        ...

    async def give_up(self, answer: str, fence: int) -> None:
        """Forget the answer without an end, and send its readers to the database, which knows another end."""
        ...

    def follow(self, answer: str, after: int, fence: int = 0) -> AbstractAsyncContextManager[Following]:
        """Read from position `after` on. Raises `NotLiveError` on entering.

        A reader who knows the `fence` of the answer's owner is given no earlier owner's log: that may be about to end,
        and the answer goes on.
        """
        ...

    async def seize(self, answer: str, fence: int, after: int) -> Sequence[Event] | None:
        """Take the log over from a lost owner, which can then write no more; return its events after the position.

        They are all that any reader has had there; None when it is not known what readers have had. `fence` is the new
        owner's; the log of a later owner is left alone.
        """
        ...

    async def forget(self, answer: str, fence: int = ENDED) -> None:
        """Delete the log that other owners have left behind, and send its readers in this process to the database.

        The database has it all. The log of an owner with a higher fence stays; by default no fence is higher.
        """
        ...

    async def find_left(self) -> set[str]:
        """Return the answers whose owners have left logs behind; the caller has to `forget` those that have ended."""
        ...

    async def is_up(self) -> bool:
        """Return whether the server that the broker uses answers now."""
        ...

    async def aclose(self) -> None:
        """Close the broker's connections."""
        ...
