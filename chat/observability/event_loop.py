"""The lag of the event loop, measured."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from chat.observability.metrics import LOOP_LAG
from chat.tasks import start_detached

# Seconds between two samples of the loop's lateness, and those over which its lag is the mean of them: one import that
# holds the loop for a second does not count as being late, a saturated loop does.
SAMPLE_EVERY = 0.25
LAG_WINDOW = 10.0


# How the process fares


class Pulse:
    """The lag of the event loop, and the time since the supervisor of one runner last wrote."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float]] = deque()
        self._due: float | None = None
        self._sampler: asyncio.Task[None] | None = None
        self._kept_at = time.monotonic()

    def wake(self) -> None:
        """Sample the event loop from now on."""
        if self._sampler is None or self._sampler.done():
            self._sampler = start_detached(self._sample())

    def note_checkpoint(self) -> None:
        """Note that the supervisor has written all that was due, even if that was nothing."""
        self._kept_at = time.monotonic()

    @property
    def checkpoint_age(self) -> float:
        """Seconds since the supervisor last had written all that was due."""
        return time.monotonic() - self._kept_at

    @property
    def lag(self) -> float:
        """Seconds that a task waits for the event loop: the mean of the last ten seconds, or a wait that lasts."""
        now = time.monotonic()
        lags = [lag for at, lag in self._samples if now - at < LAG_WINDOW]
        overdue = now - self._due if self._due is not None else 0.0
        return max(overdue, sum(lags) / len(lags) if lags else 0.0)

    def add_sample(self, now: float, lag: float) -> None:
        """Note that a task waited for the event loop for `lag` seconds, until `now` by the monotonic clock."""
        LOOP_LAG.observe(lag)
        self._samples.append((now, lag))
        while now - self._samples[0][0] > LAG_WINDOW:
            self._samples.popleft()

    async def _sample(self) -> None:
        while True:
            self._due = time.monotonic() + SAMPLE_EVERY
            await asyncio.sleep(SAMPLE_EVERY)
            now = time.monotonic()
            self.add_sample(now, max(0.0, now - self._due))

    async def aclose(self) -> None:
        if self._sampler is not None:
            self._sampler.cancel()
            await asyncio.gather(self._sampler, return_exceptions=True)
