"""The places of a process: how many answers it writes at once, and who waits for the next one.

What a process holds is bounded, so that the answers in progress keep their pace however many more are asked for.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from dataclasses import dataclass
from operator import itemgetter

from chat.errors import RefusedError
from chat.events import Notice

# How long an answer holds its place, until some have: a few hundred words of a common model.
FIRST_GUESS = 20.0

# The mean of how long places were held is that of about so many of the last ones.
REMEMBERED = 16

# The bounds of what a refused turn is told: a second is the header's unit, and nobody can foresee more than a minute.
SOONEST = 1
LATEST = 60

ITS_TURN = Notice("stalled", "The site is busy. It is your answer's turn now.")


class OverloadedError(RefusedError):
    """All places are taken, and as many wait for one as may."""

    status, code = 503, "overloaded"
    retry_after: int

    def __init__(self, retry_after: int) -> None:
        self.retry_after = retry_after
        self.sentence = f"The site is too busy to take another question. Try again in {retry_after} s."
        super().__init__(self.sentence)


@dataclass(eq=False, slots=True)
class Place:
    """What one answer of a user holds, or waits for."""

    user: int
    used_since: float | None = None
    is_given: bool = False
    """Whether the answer has it; otherwise it waits."""
    _waiting: asyncio.Future[None] | None = None

    def give(self) -> None:
        self.is_given = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def wait(self) -> None:
        """Return when it is given. The answer's task alone waits for it."""
        if not self.is_given:
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting

    def use(self) -> None:
        """The answer begins now: how long it takes says when others may."""
        self.used_since = time.monotonic()


class Places:
    """`most` answers are written at once, `most_waiting` more may wait; 0 = none waits.

    The queue is fair: the next place goes to the user who holds the fewest, and among equals to who came first. So one
    user's fifty questions do not keep another's first one waiting.
    """

    def __init__(self, most: int, most_waiting: int) -> None:
        self._most = most
        self._most_waiting = most_waiting
        self._given: set[Place] = set()
        self._waiting: dict[Place, None] = {}  # in the order in which they came
        self._held_by: Counter[int] = Counter()
        self._usual_time = FIRST_GUESS

    @property
    def given(self) -> int:
        """How many are taken."""
        return len(self._given)

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def enter(self, user: int) -> Place:
        """A place for an answer of the user, or the end of the queue. Raises `OverloadedError`. Whoever enters has to
        leave, whatever happens meanwhile."""
        place = Place(user)
        if len(self._given) < self._most:
            self._give(place)
        elif len(self._waiting) < self._most_waiting:
            self._waiting[place] = None
        else:
            raise OverloadedError(self._next_chance())
        return place

    def leave(self, place: Place) -> None:
        """Give the place back, or leave the queue. Who has left already changes nothing."""
        if place in self._waiting:
            del self._waiting[place]
        elif place in self._given:
            self._take_back(place)
            if self._waiting:
                following = self.queue()[0]
                del self._waiting[following]
                self._give(following)

    def queue(self) -> list[Place]:
        """Who waits, the next one first: the order in which they get their places unless somebody comes or leaves."""
        ranks = Counter(self._held_by)
        ranked = []
        for place in self._waiting:
            ranked.append((ranks[place.user], place))
            ranks[place.user] += 1
        return [place for _, place in sorted(ranked, key=itemgetter(0))]

    def _give(self, place: Place) -> None:
        self._given.add(place)
        self._held_by[place.user] += 1
        place.give()

    def _take_back(self, place: Place) -> None:
        self._given.remove(place)
        self._held_by[place.user] -= 1
        if not self._held_by[place.user]:
            del self._held_by[place.user]
        if place.used_since is not None:
            self._usual_time += (time.monotonic() - place.used_since - self._usual_time) / REMEMBERED

    def _next_chance(self) -> int:
        """Seconds until those who wait now have their places, and one more is free."""
        pace = self._usual_time / self._most
        return min(LATEST, max(SOONEST, math.ceil((len(self._waiting) + 1) * pace)))


def waiting_notice(before: int) -> Notice:
    """What the readers of an answer are told while so many others are to get a place before it."""
    if not before:
        return Notice("stalled", "The site is busy. Your answer is next.")
    others = "1 answer is" if before == 1 else f"{before:,} answers are"
    return Notice("stalled", f"The site is busy. {others} before yours.")
