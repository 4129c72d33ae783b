"""Units of work: a request's changes are made whole or not at all, whenever its client leaves.

Django cancels an async view when its client disconnects, but not the thread that the view waits for: the thread runs on
and commits, and the steps after it never run. So whoever notices that a request's client has left waits for the end of
its unit of work first (`chatsite.servers.handler.Handler`). Frames of a WebSocket (`chat.api.websocket`) and what a
batch does (`chat.staff.bulk_retry`) run in tasks of their own, which nobody cancels.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine
from typing import Any, TypeVar

from chat.tasks import start_detached

T = TypeVar("T")


class Client:
    """The client of one request that may change something."""

    __slots__ = ("_left", "_unit_over")

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._left: asyncio.Future[None] = loop.create_future()
        self._unit_over: asyncio.Future[None] = loop.create_future()

    def end_unit(self) -> None:
        """Note that the unit of work is over."""
        self._unit_over.set_result(None)

    async def leave(self) -> None:
        """Tell the unit of work that nobody waits for it any more, and return when it is over."""
        self._left.set_result(None)
        await asyncio.shield(self._unit_over)

    async def wait_while_staying(self, waiting: Coroutine[Any, Any, None]) -> bool:
        """Wait for something, but only while the client stays; return whether it has stayed."""
        task = asyncio.ensure_future(waiting)
        await asyncio.wait((task, self._left), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
            return True
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return False


client: contextvars.ContextVar[Client | None] = contextvars.ContextVar("client", default=None)
"""The client of the request at hand; None where a request changes nothing, and outside of requests."""


async def keep_whole(work: Coroutine[Any, Any, T]) -> T:
    """Run a unit of work in a task of its own and return its result.

    The caller may be cancelled while it waits; the work goes on to its end, with the caller's context and so in its
    thread.
    """
    return await asyncio.shield(start_detached(work, contextvars.copy_context()))


async def wait_while_client_stays(waiting: Coroutine[Any, Any, None]) -> bool:
    """Wait for something that the request's client wants to see, no longer than it stays; return whether it stayed.

    A unit of work ends with this when it has made all of its changes.
    """
    waiter = client.get()
    if waiter is None:
        await waiting
        return True
    return await waiter.wait_while_staying(waiting)
