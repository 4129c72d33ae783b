"""A process that ends at one point of an answer's life: a seam through which every step with an effect goes.

The steps are the statements of the database, the publications of the broker, and what a test's provider and tools do.
The first run notes them all; each further run ends at one of them. From there on nothing that the process does has any
effect: each of its steps raises what no code of the site catches, a transaction under way is undone, and when its event
loop is closed its tasks are gone. An event loop is a process here: the site has its objects once for each.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Literal, NamedTuple

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from chat.tasks import run_in_thread

Side = Literal["before", "after"]

# Statements that undo what was done. They have no effect of their own, and a process that has ended does nothing else.
UNDOING = "ROLLBACK"

# Turns of the event loop in which nothing more may happen until it counts as quiet.
TURNS = 20


class ProcessEndedError(BaseException):
    """The process has ended. It is no `Exception`, so that nothing catches it."""


class Point(NamedTuple):
    """A moment just before or after one step: which one of those with this label, counted from 1."""

    label: str
    side: Side
    occurrence: int

    def __str__(self) -> str:
        return f"{self.side} {self.label[:100]} #{self.occurrence}"


class CrashSeam:
    """Where the process ends. While it is not armed, every step goes through."""

    def __init__(self) -> None:
        self.passed: list[Point] = []
        """The points since it was armed, in their order."""
        self.is_dead = False
        self._die_at: Point | None = None
        self._is_armed = False
        self._steps = 0
        self._counts: Counter[tuple[str, Side]] = Counter()
        self._lock = threading.Lock()
        self._report: Callable[[], object] = _do_nothing
        self._wrapped = ExitStack()

    # What a test does

    def arm(self, die_at: Point | None = None) -> asyncio.Event:
        """Note the points from now on, and end the process at this one; return the event of that."""
        died, loop = asyncio.Event(), asyncio.get_running_loop()
        self._report = partial(loop.call_soon_threadsafe, died.set)
        self._counts.clear()
        self.passed, self._die_at, self._is_armed, self.is_dead = [], die_at, True, False
        return died

    def disarm(self) -> None:
        """Let every step through: another process lives now."""
        self._is_armed = self.is_dead = False

    async def wait_until_quiet(self) -> None:
        """Return when the process has nothing more to do now but to wait for a clock or for a test."""
        still = 0
        while still < 3 and not self.is_dead:
            steps = self._steps
            await run_in_thread(_do_nothing)  # after all that waits for the thread
            for _ in range(TURNS):
                await asyncio.sleep(0)
            still = still + 1 if steps == self._steps else 0

    @contextmanager
    def watch_database(self) -> Iterator[None]:
        """Let all statements of all threads go through the seam."""
        connection_created.connect(self._wrap)
        try:
            asyncio.run(run_in_thread(self._wrap_open_connections))
            yield
        finally:
            connection_created.disconnect(self._wrap)
            self._wrapped.close()

    # What goes through it

    @contextmanager
    def pass_step(self, label: str) -> Iterator[None]:
        """Pass the points before and after what is done within this."""
        self.reach(label, "before")
        yield
        self.reach(label, "after")

    def reach(self, label: str, side: Side) -> None:
        """Pass one point, or end there. Raises `ProcessEndedError`."""
        with self._lock:
            self._steps += not self.is_dead
            if not self._is_armed:
                return
            if self.is_dead:
                raise ProcessEndedError
            self._counts[label, side] += 1
            point = Point(label, side, self._counts[label, side])
            self.passed.append(point)
            if point != self._die_at:
                return
            self.is_dead = True
        self._report()
        raise ProcessEndedError

    def _execute(self, execute: Callable[..., Any], sql: str, parameters: Any, many: bool, context: Any) -> Any:
        if sql.startswith(UNDOING):
            return execute(sql, parameters, many, context)
        with self.pass_step(re.sub(r"\s+", " ", sql)):
            return execute(sql, parameters, many, context)

    def _wrap(self, connection: BaseDatabaseWrapper, **signal: Any) -> None:
        if self._execute not in connection.execute_wrappers:
            self._wrapped.enter_context(connection.execute_wrapper(self._execute))

    def _wrap_open_connections(self) -> None:
        for connection in connections.all(initialized_only=True):
            self._wrap(connection)


def _do_nothing() -> None:
    pass
