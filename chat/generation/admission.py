"""Slots: how many answers a process writes at once, and a fair queue for the next one.

What a process holds is bounded, so that the answers in progress keep their pace however many more are asked for.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from dataclasses import dataclass
from operator import itemgetter

from chat.core.errors import RefusedError
from chat.core.events import Notice

# Seconds that an answer is taken to hold its slot, until some have: a few hundred words of a common model.
FIRST_GUESS = 20.0

# About how many of the latest slots count in the mean time that a slot is held.
REMEMBERED = 16

# Seconds, the bounds of `Retry-After`: its unit is a second, and nobody can foresee more than a minute.
SOONEST = 1
LATEST = 60

SLOT_GIVEN = Notice("stalled", "The site is busy. It is your answer's turn now.")


class OverloadedError(RefusedError):
    """All slots are taken, and as many answers wait for one as may."""

    status, code = 503, "overloaded"
    retry_after: int

    def __init__(self, retry_after: int) -> None:
        self.retry_after = retry_after
        self.sentence = f"The site is too busy to take another question. Try again in {retry_after} s."
        super().__init__(self.sentence)


@dataclass(eq=False, slots=True)
class Slot:
    """The right of one answer of a user to make upstream calls, which it holds or waits for."""

    user: int
    used_since: float | None = None
    is_given: bool = False
    """True when the answer has it; otherwise it waits for it."""
    _waiting: asyncio.Future[None] | None = None

    def give(self) -> None:
        self.is_given = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def wait(self) -> None:
        """Wait until the answer has it. Only the answer's task may wait."""
        if not self.is_given:
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting

    def use(self) -> None:
        """Note that the answer begins now: how long it takes says when others may begin."""
        self.used_since = time.monotonic()


class SlotQueue:
    """The slots of a process and the queue for them: `most` answers have one at once, `most_waiting` more may wait.

    The queue is fair: the next slot goes to the user who holds the fewest, and among equals to the answer that came
    first. So one user's fifty questions do not keep another's first one waiting.
    """

    def __init__(self, most: int, most_waiting: int) -> None:
        self._most = most
        self._most_waiting = most_waiting
        self._given: set[Slot] = set()
        self._waiting: dict[Slot, None] = {}  # in the order in which they came
        self._held_by: Counter[int] = Counter()
        self._mean_seconds = FIRST_GUESS

    @property
    def given(self) -> int:
        """The number of slots that are taken."""
        return len(self._given)

    @property
    def free(self) -> int:
        """The number of slots that are free."""
        return self._most - len(self._given)

    @property
    def waiting(self) -> int:
        """The number of answers that wait for one."""
        return len(self._waiting)

    def enter(self, user: int) -> Slot:
        """Return a slot for an answer of the user, given or at the end of the queue.

        The caller has to `leave` it, whatever happens meanwhile. Raises `OverloadedError`.
        """
        slot = Slot(user)
        if len(self._given) < self._most:
            self._give(slot)
        elif len(self._waiting) < self._most_waiting:
            self._waiting[slot] = None
        else:
            raise OverloadedError(self._estimate_seconds_until_free())
        return slot

    def leave(self, slot: Slot) -> None:
        """Give the slot back, or leave the queue. Leaving twice changes nothing."""
        if slot in self._waiting:
            del self._waiting[slot]
        elif slot in self._given:
            self._take_back(slot)
            if self._waiting:
                next_slot = self.list_waiting()[0]
                del self._waiting[next_slot]
                self._give(next_slot)

    def list_waiting(self) -> list[Slot]:
        """Return the slots that are waited for, in the order in which they are given if nobody comes or leaves."""
        ranks = Counter(self._held_by)
        ranked = []
        for slot in self._waiting:
            ranked.append((ranks[slot.user], slot))
            ranks[slot.user] += 1
        return [slot for _, slot in sorted(ranked, key=itemgetter(0))]

    def _give(self, slot: Slot) -> None:
        self._given.add(slot)
        self._held_by[slot.user] += 1
        slot.give()

    def _take_back(self, slot: Slot) -> None:
        self._given.remove(slot)
        self._held_by[slot.user] -= 1
        if not self._held_by[slot.user]:
            del self._held_by[slot.user]
        if slot.used_since is not None:
            self._mean_seconds += (time.monotonic() - slot.used_since - self._mean_seconds) / REMEMBERED

    def _estimate_seconds_until_free(self) -> int:
        """Return the seconds until all who wait now have their slots and one more is free."""
        seconds_each = self._mean_seconds / self._most
        return min(LATEST, max(SOONEST, math.ceil((len(self._waiting) + 1) * seconds_each)))


def make_waiting_notice(before: int) -> Notice:
    """Return the notice for the readers of an answer while `before` others are to get a slot before it."""
    if not before:
        return Notice("stalled", "The site is busy. Your answer is next.")
    others = "1 answer is" if before == 1 else f"{before:,} answers are"
    return Notice("stalled", f"The site is busy. {others} before yours.")
