"""A clock that a test moves: minutes pass at once, for the event loop's timers too."""

from __future__ import annotations

import time

import pytest


class MovingClock:
    """`time.monotonic`, which asyncio's own event loop reads too, and what a test has added to it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._added = 0.0
        real = time.monotonic
        monkeypatch.setattr(time, "monotonic", lambda: real() + self._added)

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass. What was due within them happens when the test next awaits something."""
        self._added += seconds
