"""The circuit between this process and its database: while there is no connection, nobody waits for one but a trial."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from chat.observability.outages import UnreachableError, is_without_connection

# After a failure to connect, requests are refused at once for `MOMENT` seconds. Then one tries, and the others are
# refused until it has its result, which takes the pool's 5 s at most.
MOMENT = 2.0
LONGEST_TRIAL = 6.0


class Circuit:
    """A circuit breaker: lets work through to the database, or refuses it, by how the last work ended.

    The pool of connections gives up after 5 s. Without the circuit each request would wait for that long, in one of the
    few threads that all requests share.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._closed_from = 0.0  # on the clock
        self._failures = 0

    @asynccontextmanager
    async def guard(self) -> AsyncIterator[None]:
        """Let the work inside through to the database, or raise `UnreachableError` before it begins.

        After a failure one piece of work may try at a time. What ends without a connection refuses the next ones; what
        fails otherwise says nothing about the database, and lets the next one try.
        """
        is_trial = self._begin()
        failures = self._failures
        try:
            yield
        except Exception as error:
            if is_without_connection(error):
                self.note_failure()
            elif is_trial and self._failures == failures:
                self._closed_from = self._clock()
            raise
        if self._failures == failures:
            self._closed_from = 0.0

    def _begin(self) -> bool:
        """Return whether this is the trial after a failure. Raises `UnreachableError` where no work is let through."""
        now = self._clock()
        if now < self._closed_from:
            raise UnreachableError
        is_trial = bool(self._closed_from)
        if is_trial:
            self._closed_from = now + LONGEST_TRIAL
        return is_trial

    def note_failure(self) -> None:
        """Refuse work for a moment: there was no connection."""
        self._failures += 1
        self._closed_from = self._clock() + MOMENT


_circuit = Circuit()


def get_circuit() -> Circuit:
    """Return the circuit of this process."""
    return _circuit
