"""The pace of a process: how long each answer pauses between two reads of its provider, so that a read brings more."""

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

# Seconds: text that comes later than this seems to stutter, which it may while the event loop is late.
LONGEST = 0.25

# Seconds. An event loop that wakes a task later than this is overloaded, and first words of new answers suffer first.
# So text makes way for them: the pause is stretched by a factor that grows with each second of lateness beyond this, up
# to `MAX_STRETCH`. While 200 questions come from pages within 2 s, their first words come after 60 to 127 ms (p99 160
# to 240), not after 130 to 230 (310 to 370) as without it, the process takes 10 % less CPU time, and the text of the
# moment comes up to 1 s late. Few answers keep their pace, as theirs is not the load.
LATE = 0.003
STRETCH_PER_SECOND = 240
MAX_STRETCH = 4

# The answers that were taken up and may call one provider at once, in one process. After a crash there may be hundreds,
# and a provider that gets all of their calls in one moment refuses most.
MAX_OPENINGS = 10

# About how many of the latest waits count in the mean lateness.
REMEMBERED = 32


class Pace:
    """The pause between two reads, the same for all answers of a process. Times are seconds."""

    def __init__(self, shortest: float, live: Callable[[], int]) -> None:
        """`live` counts the answers that are written now."""
        self._shortest = shortest
        self._live = live
        self._lateness = 0.0

    @property
    def pause(self) -> float:
        """Seconds that an answer now pauses after a read."""
        stretch = min(MAX_STRETCH, 1 + STRETCH_PER_SECOND * max(0.0, self._lateness - LATE))
        return max(self._shortest, min(LONGEST, self._live() * PAUSE_PER_ANSWER) * stretch)

    async def wait(self) -> None:
        """Wait for the length of the pause, and learn how late the event loop is."""
        due = time.monotonic() + self.pause
        await asyncio.sleep(due - time.monotonic())
        late = time.monotonic() - due
        self._lateness += (late - self._lateness) / REMEMBERED


class Openings:
    """Lets at most `MAX_OPENINGS` answers that were taken up wait for one provider's first word at once.

    The others wait for their turn, in the order in which they were taken up. Questions of users never wait here.
    """

    def __init__(self) -> None:
        self._of_providers: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(MAX_OPENINGS))

    def get_semaphore(self, model: str) -> asyncio.Semaphore:
        """Return the semaphore that an answer of a `provider:model` holds from its call to its first word."""
        return self._of_providers[model.partition(":")[0]]


class Opening:
    """One answer's turn to call its provider, where it needs one: see `Openings`.

    It is an object of its own because `CallReader` ends it, with the first word: a run and its reader would refer to
    each other, and the whole answer would wait for the garbage collector.
    """

    def __init__(self) -> None:
        self._semaphore: asyncio.Semaphore | None = None

    async def begin(self, semaphore: asyncio.Semaphore | None) -> None:
        """Wait for the turn. None is for an answer that needs none."""
        if semaphore is not None:
            await semaphore.acquire()
            self._semaphore = semaphore

    def end(self) -> None:
        """Let the next answer call: this one's provider has begun to answer, or the answer has ended."""
        if self._semaphore is not None:
            self._semaphore.release()
            self._semaphore = None
