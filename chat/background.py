"""Work that no request owns: tasks that outlive theirs, and database work that keeps no connection."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.db import close_old_connections

P = ParamSpec("P")
T = TypeVar("T")

_tasks: set[asyncio.Task[Any]] = set()


def detached(work: Coroutine[Any, Any, T], context: contextvars.Context | None = None) -> asyncio.Task[T]:
    """A task that no request owns. An empty context keeps it off the request's thread and database connection; the
    set keeps the event loop's weak reference from being the last one. A `context` of one's own must keep it off too."""
    task = asyncio.get_running_loop().create_task(work, context=context or contextvars.Context())
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
    return task


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run database work in the context's thread and give the connection back: no task or stream may keep one."""
    result: T = await _in_thread(partial(function, *args, **kwargs))
    return result


def _and_close(work: Callable[[], Any]) -> Any:
    close_old_connections()
    try:
        return work()
    finally:
        close_old_connections()


_in_thread = sync_to_async(_and_close)
