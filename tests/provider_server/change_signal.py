"""A signal that something changed, for waiters in any thread or event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable


class ChangeSignal:
    """A condition that threads and coroutines of any event loop can wait for."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._waiters: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    def notify(self) -> None:
        """Let every waiter check its condition again."""
        with self._condition:
            self._condition.notify_all()
            for loop, event in self._waiters:
                loop.call_soon_threadsafe(event.set)

    async def wait_until(self, holds: Callable[[], bool], timeout: float | None = None) -> None:
        """Wait until `holds()`; raises `TimeoutError`."""
        event = asyncio.Event()
        waiter = asyncio.get_running_loop(), event
        with self._condition:
            self._waiters.add(waiter)
        try:
            async with asyncio.timeout(timeout):
                while not holds():
                    await event.wait()
                    event.clear()
        finally:
            with self._condition:
                self._waiters.remove(waiter)

    def block_until(self, holds: Callable[[], bool], timeout: float | None = None) -> None:
        """Block a thread that has no event loop until `holds()`; raises `TimeoutError`."""
        with self._condition:
            if not self._condition.wait_for(holds, timeout):
                raise TimeoutError
