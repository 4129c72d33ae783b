"""What is asked for often and changes seldom: an answer of the database that is kept for some seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

# Seconds until a change in the admin is known to every process. A question would pay a query for each of these.
KNOWN_FOR = 5.0


class Known(Generic[T]):
    """Call it for the answer of `read`, at most `KNOWN_FOR` seconds old."""

    def __init__(self, read: Callable[[], T]) -> None:
        self._read = read
        self._known: tuple[float, T] | None = None

    def __call__(self) -> T:
        if self._known is None or time.monotonic() >= self._known[0]:
            self._known = time.monotonic() + KNOWN_FOR, self._read()
        return self._known[1]
