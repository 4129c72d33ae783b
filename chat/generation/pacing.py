"""The pace of a process: how long answers gather what comes before they read it and wake their readers."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable

# Seconds. Reading what came and waking its readers costs 0.3 ms over the API and 0.5 for a page, whether it is one
# token or twenty. So each live answer adds this much to the pause between two reads of any of them, and all of them
# together leave more than half of the event loop to new questions. With 200 answers the process takes 8 to 10 % less
# CPU time than with 0.75 ms, and first words come a fifth sooner; what follows them comes 40 ms later.
PAUSE_PER_ANSWER = 0.00125

# Seconds. An event loop that wakes later than this has more to do than it can, and first words of new answers suffer
# first: text makes way for them, by this multiple of what is beyond. While 200 questions come from pages within 2 s,
# their first words come after 50 to 150 ms (p99 180 to 330), not after 130 to 230 (310 to 370) as with a multiple of 3
# and half a second at most. The process takes 10 % less CPU time, and the text of the moment comes up to 1 s late.
LATE = 0.003
PAUSE_PER_LATENESS = 60

# Seconds: text that comes later than this seems to stutter, which it may while the event loop is late.
LONGEST = 0.25
LONGEST_WHEN_LATE = 1.0

# Seconds: what is later once is no load but an accident, such as a machine that was paused.
MAX_LATENESS = 0.05

# The answers that were taken up and may call one provider at once, in one process. After a crash there may be hundreds,
# and a provider that gets all of their calls in one moment refuses most.
MAX_OPENINGS = 10

# The lateness is an average of so many waits, about, or of those in so many seconds where these are fewer.
REMEMBERED = 32
REMEMBERED_FOR = 1.0


class Pace:
    """One for all answers of a process. Times are seconds."""

    def __init__(self, shortest: float, live: Callable[[], int]) -> None:
        """`live` counts the answers that are written now."""
        self._shortest = shortest
        self._live = live
        self._lateness = self._learned_at = 0.0

    @property
    def pause(self) -> float:
        """Seconds that an answer now rests after a read."""
        wanted = min(LONGEST, max(self._shortest, self._live() * PAUSE_PER_ANSWER))
        return min(LONGEST_WHEN_LATE, wanted + PAUSE_PER_LATENESS * max(0.0, self._lateness - LATE))

    async def wait(self) -> None:
        """Wait for the length of the pause, and learn how late the event loop is."""
        pause = self.pause
        due = time.monotonic() + pause
        await asyncio.sleep(pause)
        weight = max(1 / REMEMBERED, min(pause, due - self._learned_at) / REMEMBERED_FOR)
        self._learned_at = time.monotonic()
        self._lateness += (min(MAX_LATENESS, self._learned_at - due) - self._lateness) * min(1.0, weight)


class Openings:
    """Limits how many answers that were taken up wait for their provider's first word at once: `MAX_OPENINGS`.

    The others wait for their turn, in the order in which they were taken up. Questions of users never wait here.
    """

    def __init__(self) -> None:
        self._of_providers: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(MAX_OPENINGS))

    def get_semaphore(self, model: str) -> asyncio.Semaphore:
        """Return what an answer of a `provider:model` holds from its call to its first word."""
        return self._of_providers[model.partition(":")[0]]
