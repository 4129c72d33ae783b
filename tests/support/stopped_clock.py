"""A clock that stands still until a test moves it, for what takes its clock as an argument."""

from __future__ import annotations


class StoppedClock:
    """Seconds since some moment."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now
