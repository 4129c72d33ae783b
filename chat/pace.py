"""The pace of a process: how long answers gather what comes before they are read and their readers told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

# To read what came and tell its readers costs about 0.3 ms, whether it is one token or twenty. So each live answer adds
# this much to the pause between two reads of any of them, and all of them together leave half of the event loop to who
# comes next.
FOR_EACH = 0.00075

# An event loop that wakes late has more to do than it can, and what suffers first is the first word of whoever asks
# now. So the pause grows by so many times the lateness.
FOR_LATENESS = 3

# Text that comes later than this seems to stutter, and it may while the event loop is late.
LONGEST = 0.25
LONGEST_WHEN_LATE = 0.5

# How many waking answers the lateness is an average of, about.
REMEMBERED = 32


class Pace:
    """One for all answers of a process. Times are seconds."""

    def __init__(self, shortest: float, live: Callable[[], int]) -> None:
        """`live` counts the answers that are written now."""
        self._shortest = shortest
        self._live = live
        self._lateness = 0.0

    @property
    def pause(self) -> float:
        """How long an answer rests now after it was read."""
        wanted = min(LONGEST, max(self._shortest, self._live() * FOR_EACH))
        return min(LONGEST_WHEN_LATE, wanted + FOR_LATENESS * self._lateness)

    async def rest(self) -> None:
        """Wait for the length of the pause, and learn how late the event loop is."""
        due = time.monotonic() + self.pause
        await asyncio.sleep(due - time.monotonic())
        late = time.monotonic() - due
        self._lateness += (late - self._lateness) / REMEMBERED
