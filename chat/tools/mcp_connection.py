"""One connection to an MCP server, in a task of its own.

anyio wants a cancel scope left by the task that entered it, and an answer may end, or be stopped, at any time.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import anyio
from mcp import Client, MCPError
from mcp import types as wire
from mcp.client.session import MessageHandlerFnT

from chat.tools.base import ToolError

log = logging.getLogger(__name__)

CONNECT_TIMEOUT = 30.0
"""Seconds for a connection to come about. The first start of a packaged server downloads it; nobody waits for that
longer than for a tool, but it goes on meanwhile."""


CLOSE_TIMEOUT = 8.0
"""Seconds for a connection to end; the SDK gives a process 2 s to exit, then 2 s after SIGTERM."""


PROVEN = 5.0
"""Seconds for which a connection that has worked is taken to work."""


PROOF_TIMEOUT = 3.0
"""Seconds for a connection in doubt to answer. A call that fails or runs out of time puts it in doubt; when the server
does nothing else meanwhile, the calls that run beside it end with the connection."""


LISTING_PAUSE = 5.0
"""Seconds between two listings of changed tools. It doubles whenever the list was the same as before: there are servers
that announce a change with each list that they give."""


LONGEST_LISTING_PAUSE = 300.0


T = TypeVar("T")

Learn = Callable[[Iterable[wire.Tool]], None]

MakeClient = Callable[[MessageHandlerFnT], Client]
"""Makes a client that hands what the server sends of its own accord to the function."""


# Of tools/list. A server whose pages never end would otherwise never be connected.
PAGES = 50


class Connection:
    """One connection, from its making to its end, in its own task."""

    client: Client

    def __init__(self, name: str, make_client: MakeClient, learn: Learn) -> None:
        """Connect to the server of this name; `learn` is called with its tools whenever they have been listed."""
        self._name = name
        self._make_client = make_client
        self._learn = learn
        self._limit = anyio.CancelScope(deadline=anyio.current_time() + CONNECT_TIMEOUT)
        self._closing = asyncio.Event()
        self._proved = -math.inf
        self._proof: asyncio.Task[None] | None = None
        self._tools: list[wire.Tool] = []
        self._has_changed = False  # the tools, by the server's word, since they were last asked for
        self._listing: asyncio.Task[None] | None = None
        self._calls = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ready.add_done_callback(asyncio.Future.exception)  # or asyncio logs a failure that nothing waits for
        # An empty context: the connection belongs to no request.
        self.task = asyncio.get_running_loop().create_task(self._keep_open(), context=contextvars.Context())

    @property
    def is_usable(self) -> bool:
        """True when it is open or being opened, in this event loop, and not closing."""
        same_loop = self.task.get_loop() is asyncio.get_running_loop()
        return same_loop and not self.task.done() and not self._closing.is_set()

    @contextmanager
    def use(self) -> Iterator[None]:
        """Count a call as under way. One that fails, or is given up, puts the connection in doubt."""
        self._calls += 1
        self._idle.clear()
        try:
            yield
        except BaseException:
            self._doubt()
            raise
        else:
            self._proved = time.monotonic()
        finally:
            self._calls -= 1
            if not self._calls:
                self._idle.set()

    async def settle(self) -> None:
        """Wait until it is known whether the connection works; one that does not is not `is_usable` any more.

        It works when it did just now. A server may do one thing at a time, so while it is at work and nothing has
        failed, its silence proves nothing.
        """
        if self.ready.done() and self._calls == 0 and time.monotonic() - self._proved >= PROVEN:
            self._doubt()
        if self._proof is not None:
            await asyncio.shield(self._proof)

    def _doubt(self) -> None:
        if self._proof is None or self._proof.done():
            self._proof = asyncio.get_running_loop().create_task(self._check_server(), context=contextvars.Context())

    async def _check_server(self) -> None:
        """Ask the server for its tools, and end the connection when it does not answer in time.

        This runs in a task of its own, because the caller may have less time.
        """
        try:
            await self._learn_tools(PROOF_TIMEOUT)
            self._proved = time.monotonic()
        except Exception as error:
            if not self._closing.is_set():
                log.warning("The server %s does not answer any more: %s", self._name, describe_error(error))
            self.close()

    async def _learn_tools(self, timeout: float | None = None) -> None:
        self._has_changed = False
        self._tools = await await_result(list_tools(self.client), timeout)
        self._learn(self._tools)

    async def _note_message(self, message: object) -> None:
        """Note that the tools have changed where the server says so, and begin to list them again."""
        if isinstance(message, wire.ToolListChangedNotification):
            self._has_changed = True
            self._begin_listing()

    def _begin_listing(self) -> None:
        """List changed tools in a task of its own, unless one does; before the first list is there, none is needed."""
        if self._has_changed and self.is_usable and self.ready.done() and (not self._listing or self._listing.done()):
            self._listing = asyncio.get_running_loop().create_task(
                self._list_changed_tools(), context=contextvars.Context()
            )

    async def _list_changed_tools(self) -> None:
        """List the tools until the server announces no change in the pause after; see `LISTING_PAUSE`."""
        pause = LISTING_PAUSE
        while self._has_changed:
            before = self._tools
            try:
                await self._learn_tools(CONNECT_TIMEOUT)
            except TimeoutError:  # a server may do one thing at a time
                self._has_changed = True
                await self._idle.wait()
            except Exception as error:
                if not (isinstance(error, MCPError) and error.code == wire.CONNECTION_CLOSED):
                    log.warning("The server %s did not list its new tools: %s", self._name, describe_error(error))
            pause = min(pause * 2, LONGEST_LISTING_PAUSE) if self._tools == before else LISTING_PAUSE
            await asyncio.sleep(pause)

    def close(self) -> None:
        """Begin to close the connection."""
        self._closing.set()
        self._end_listing()
        if self.ready.done():
            self._limit.deadline = anyio.current_time() + CLOSE_TIMEOUT
        else:
            self._limit.cancel()

    def _end_listing(self) -> None:
        if self._listing is not None:
            self._listing.cancel()

    async def _keep_open(self) -> None:
        why = f"it did not answer within {CONNECT_TIMEOUT:g} s"
        try:
            with self._limit:
                async with self._make_client(self._note_message) as self.client:
                    await self._learn_tools()
                    self._limit.deadline = math.inf
                    self._proved = time.monotonic()
                    self.ready.set_result(None)
                    self._begin_listing()
                    await self._closing.wait()
        except Exception as error:  # of the transport's tasks, too, as a group
            why = describe_error(error)
            if self.ready.done():
                log.warning("The connection to the server %s broke: %s", self._name, why)
        finally:
            self._end_listing()
            if self._closing.is_set():
                why = "the connection was closed"
            if not self.ready.done():
                self.ready.set_exception(ToolError(f"The server {self._name} cannot be reached: {why}"))


async def await_result(work: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
    """Return the result of the work; raise `TimeoutError`.

    A caller that is cancelled goes on at once, while the SDK, which would first tell the server, does so in its own
    task.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=timeout)
        if not task.done():
            raise TimeoutError(f"no answer within {timeout:g} s")
        return task.result()
    finally:
        task.cancel()


async def list_tools(client: Client) -> list[wire.Tool]:
    """Return the tools that a server offers, each once, of its first `PAGES` pages.

    Some servers name a next page that is the first one again, without an end. An empty name is one like any other.
    """
    tools: dict[str, wire.Tool] = {}
    cursor: str | None = None
    for _ in range(PAGES):
        page = await client.list_tools(cursor=cursor)
        is_repeated = bool(page.tools) and all(tool.name in tools for tool in page.tools)
        tools |= {tool.name: tool for tool in page.tools if tool.name not in tools}
        if (cursor := page.next_cursor) is None or is_repeated:
            break
    return list(tools.values())


def describe_error(error: BaseException) -> str:
    """Return what went wrong, from inside the groups that anyio wraps it in."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}".removesuffix(": ")
