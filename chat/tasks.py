"""Detached tasks, which outlive the request that began them; database work in threads; what an event loop has once."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Generic, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from asgiref.sync import sync_to_async
from django.db import DatabaseError, close_old_connections

from chat.pool_renewal import pool_renewal

P = ParamSpec("P")
T = TypeVar("T")

_tasks: set[asyncio.Task[Any]] = set()


def start_detached(work: Coroutine[Any, Any, T], context: contextvars.Context | None = None) -> asyncio.Task[T]:
    """Start a task that no request owns.

    An empty context keeps it off the request's thread and database connection; a `context` that is given must keep it
    off too. The task is kept in a set, because the event loop has only a weak reference to it.
    """
    task = asyncio.get_running_loop().create_task(work, context=context or contextvars.Context())
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
    return task


class OncePerLoop(Generic[T]):
    """One object for each event loop, made when it is first asked for: futures and locks belong to one loop."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: WeakKeyDictionary[asyncio.AbstractEventLoop, T] = WeakKeyDictionary()

    def get(self) -> T:
        """Return the object of the running event loop."""
        loop = asyncio.get_running_loop()
        if loop not in self._made:
            self._made[loop] = self._make()
        return self._made[loop]


async def run_in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run database work in the context's thread and give the connection back: no task or stream may keep one."""
    result: T = await _in_thread(partial(function, *args, **kwargs))
    return result


def run_and_close(work: Callable[[], T]) -> T:
    """Do database work in this thread, and give its connection back."""
    close_old_connections()
    try:
        return work()
    except DatabaseError as error:
        pool_renewal.renew_after(error)
        raise
    finally:
        close_old_connections()


_in_thread = sync_to_async(run_and_close)
