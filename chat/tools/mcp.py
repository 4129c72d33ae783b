"""Tools of MCP servers: whatever the operator connects, as `server__tool`.

A server is configured as `{"command", "args", "env"}` (a process of ours, spoken to over its stdin and stdout) or as
`{"url", "headers"}` (streamable HTTP). A process gets PATH, HOME and the like from our environment and what `env` adds,
so the site's keys stay with the site.

A connection lives in a task of its own: anyio wants a cancel scope left by the task that entered it, and an answer may
end, or be stopped, at any time. Connections are made on first use, kept, and made anew after a failure.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
import re
import sys
import time
from collections.abc import AsyncGenerator, Coroutine, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated, Any, TypeVar

import anyio
import httpx2
import jiter
from mcp import Client, MCPError, StdioServerParameters, stdio_client
from mcp import types as wire
from mcp.client import Transport
from mcp.client.streamable_http import streamable_http_client
from pydantic import BaseModel, ConfigDict, HttpUrl, StringConstraints, ValidationError

from chat.events import storable
from chat.providers import ToolSchema
from chat.tools import NAME, Result, ToolError, ToolOutcome

log = logging.getLogger(__name__)

CONNECT_TIMEOUT = 30.0
"""Seconds for a connection to come about. The first start of a packaged server downloads it; nobody waits for that
longer than for a tool, but it goes on meanwhile."""

CLOSE_TIMEOUT = 8.0
"""Seconds for a connection to end; the SDK gives a process 2 s to exit, then 2 s after SIGTERM."""

PROVEN = 5.0
"""A connection that worked so many seconds ago is taken to work."""

PROOF_TIMEOUT = 3.0
"""Seconds for a connection in doubt to answer. A call that fails or runs out of time puts it in doubt; when the server
does nothing else meanwhile, the calls that run beside it end with the connection."""

PAUSE = 30.0
"""After a failure no answer waits for that server again so many seconds, except when it calls a tool of it."""

T = TypeVar("T")

SEPARATOR = "__"

# Of tools/list. A server whose pages never end would otherwise never be connected.
_PAGES = 50


class _Process(BaseModel):
    model_config = ConfigDict(extra="forbid")

    command: Annotated[str, StringConstraints(min_length=1)]
    args: list[str] = []
    env: dict[str, str] = {}

    def transport(self) -> Transport:
        parameters = StdioServerParameters(command=self.command, args=self.args, env=self.env)
        # What a server writes there belongs into our log. The SDK's default is what sys.stderr was at its import.
        return stdio_client(parameters, errlog=sys.__stderr__ or sys.stderr)


class _Address(BaseModel):
    model_config = ConfigDict(extra="forbid")

    url: HttpUrl
    headers: dict[str, str] = {}

    @asynccontextmanager
    async def transport(self) -> AsyncGenerator[Any, None]:
        # The times of the SDK's own client, which takes no headers: a server may hold a response open.
        timeout = httpx2.Timeout(30, read=300)
        async with (
            httpx2.AsyncClient(headers=self.headers, timeout=timeout) as http,
            streamable_http_client(str(self.url), http_client=http) as streams,
        ):
            yield streams


class Servers:
    """The servers by name, as a toolbox's second source of tools."""

    def __init__(self, configuration: Mapping[str, Mapping[str, Any]]) -> None:
        """Raises `ToolError` for a server that is configured wrongly."""
        self._servers = {name: Server(name, fields) for name, fields in configuration.items()}

    async def prepare(self, timeout: float) -> None:
        """Wait for the servers whose tools are not known, `timeout` seconds at most."""
        awaited = [server for server in self._servers.values() if server.awaited]
        tasks = [asyncio.ensure_future(server.prepare()) for server in awaited]
        try:
            if tasks:
                await asyncio.wait(tasks, timeout=timeout)
        finally:
            for task in tasks:
                task.cancel()
        for server in awaited:
            server.pause()

    def schemas(self) -> tuple[ToolSchema, ...]:
        return tuple(schema for server in self._servers.values() for schema in server.schemas)

    def offers(self, name: str) -> bool:
        server = self._servers.get(name.partition(SEPARATOR)[0])
        return server is not None and name in server.tools

    async def call(self, name: str, arguments: str) -> ToolOutcome:
        return await self._servers[name.partition(SEPARATOR)[0]].call(name, arguments)

    async def aclose(self) -> None:
        await asyncio.gather(*(server.aclose() for server in self._servers.values()))


class Server:
    """One server, over whichever connection there is at the moment."""

    def __init__(self, name: str, fields: Mapping[str, Any]) -> None:
        if not re.fullmatch(r"[A-Za-z0-9-]+(_[A-Za-z0-9-]+)*", name) or len(name) > 32:
            raise ToolError(f"{name!r} is no name for a server: letters, digits, - and single _, at most 32")
        kind: type[_Process | _Address] = _Address if "url" in fields else _Process
        try:
            self._configured = kind.model_validate(fields)
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
            raise ToolError(f"The server {name} is configured wrongly: {wrong}") from None
        self.name = name
        self.tools: dict[str, str] = {}
        """The server's own names, by ours."""
        self.schemas: tuple[ToolSchema, ...] = ()
        self._link: _Link | None = None
        self._links: set[asyncio.Task[None]] = set()
        self._next_wait = -math.inf

    def client(self) -> Client:
        # Nothing is asked of the user in a tool's middle, and no list is taken from a cache.
        return Client(self._configured.transport(), cache=None)

    @property
    def awaited(self) -> bool:
        """Whether an answer should wait for this server before it begins."""
        return not self.schemas and time.monotonic() >= self._next_wait

    async def prepare(self) -> None:
        """Connect, and learn the tools; a failure is in the log."""
        try:
            await self._connected()
        except ToolError as error:
            log.warning("%s", error)

    def pause(self) -> None:
        """An answer has waited; when that was in vain, let the next ones begin without."""
        if not self.schemas:
            self._next_wait = time.monotonic() + PAUSE

    def learn(self, tools: Iterable[wire.Tool]) -> None:
        """Take over what the server offers now."""
        names: dict[str, str] = {}
        schemas: list[ToolSchema] = []
        for tool in tools:
            name = re.sub(r"[^A-Za-z0-9_-]", "_", f"{self.name}{SEPARATOR}{tool.name}")
            if name in names or not NAME.fullmatch(name):
                log.warning("The server %s offers %r, whose name is taken or too long: left out", self.name, tool.name)
                continue
            names[name] = tool.name
            schemas.append(ToolSchema(name, storable(tool.description or tool.title or tool.name), tool.input_schema))
        self.tools, self.schemas = names, tuple(schemas)

    async def call(self, name: str, arguments: str) -> ToolOutcome:
        """Call a tool, by our name; raises `ToolError`. A call that fails is not repeated: it may have had effects."""
        given = _object(arguments)
        link = await self._connected()
        try:
            with link.in_use():
                return _outcome(await _promptly(link.client.call_tool(self.tools.get(name, name), given)))
        except MCPError as error:
            raise ToolError(f"The server {self.name} says: {error.message}") from None

    async def _connected(self) -> _Link:
        """A connection that works, as far as can be known; raises `ToolError`."""
        link = self._link
        if link is not None and link.usable:
            await link.settle()
        # Another call may have connected anew while this one waited for the proof.
        if self._link is None or not self._link.usable:
            self._link = _Link(self)
            self._links.add(self._link.task)
            self._link.task.add_done_callback(self._links.discard)
        link = self._link
        await asyncio.shield(link.ready)
        return link

    async def aclose(self) -> None:
        if self._link is not None and self._link.usable:
            self._link.close()
        loop = asyncio.get_running_loop()
        if ending := {task for task in self._links if task.get_loop() is loop}:
            await asyncio.wait(ending)


class _Link:
    """One connection, from its making to its end, in its own task."""

    client: Client

    def __init__(self, server: Server) -> None:
        self._server = server
        self._limit = anyio.CancelScope(deadline=anyio.current_time() + CONNECT_TIMEOUT)
        self._closing = asyncio.Event()
        self._proved = -math.inf
        self._proof: asyncio.Task[None] | None = None
        self._calls = 0
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ready.add_done_callback(asyncio.Future.exception)  # there may be nobody left who waits
        # An empty context: the connection belongs to no request.
        self.task = asyncio.get_running_loop().create_task(self._live(), context=contextvars.Context())

    @property
    def usable(self) -> bool:
        """Whether it lives, or may yet: in this event loop, and not closing."""
        same_loop = self.task.get_loop() is asyncio.get_running_loop()
        return same_loop and not self.task.done() and not self._closing.is_set()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """A call's time. One that fails, or is given up, puts the connection in doubt."""
        self._calls += 1
        try:
            yield
        except BaseException:
            self._doubt()
            raise
        else:
            self._proved = time.monotonic()
        finally:
            self._calls -= 1

    async def settle(self) -> None:
        """Return when it is known whether the connection works; one that does not is not `usable` any more.

        It works when it did just now. A server may do one thing at a time, so while it is at work and nothing has
        failed, its silence proves nothing.
        """
        if self.ready.done() and self._calls == 0 and time.monotonic() - self._proved >= PROVEN:
            self._doubt()
        if self._proof is not None:
            await asyncio.shield(self._proof)

    def _doubt(self) -> None:
        if self._proof is None or self._proof.done():
            self._proof = asyncio.get_running_loop().create_task(self._prove(), context=contextvars.Context())

    async def _prove(self) -> None:
        """See whether the server lists its tools in time, and end the connection when it does not. In a task of its
        own, for whoever asks may have less time."""
        try:
            self._server.learn(await _promptly(_tools_of(self.client), PROOF_TIMEOUT))
            self._proved = time.monotonic()
        except Exception as error:
            log.warning("The server %s does not answer any more: %s", self._server.name, _reason(error))
            self.close()

    def close(self) -> None:
        """Begin to end it."""
        self._closing.set()
        if self.ready.done():
            self._limit.deadline = anyio.current_time() + CLOSE_TIMEOUT
        else:
            self._limit.cancel()

    async def _live(self) -> None:
        why = f"it did not answer within {CONNECT_TIMEOUT:g} s"
        try:
            with self._limit:
                async with self._server.client() as self.client:
                    self._server.learn(await _tools_of(self.client))
                    self._limit.deadline = math.inf
                    self._proved = time.monotonic()
                    self.ready.set_result(None)
                    await self._closing.wait()
        except Exception as error:  # of the transport's tasks, too, as a group
            why = _reason(error)
            if self.ready.done():
                log.warning("The connection to the server %s broke: %s", self._server.name, why)
        finally:
            if self._closing.is_set():
                why = "the connection was closed"
            if not self.ready.done():
                self.ready.set_exception(ToolError(f"The server {self._server.name} cannot be reached: {why}"))


async def _promptly(work: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
    """The result of the work; raises `TimeoutError`. Whoever is cancelled here goes at once, while the SDK, which would
    first tell the server, does so behind."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=timeout)
        if not task.done():
            raise TimeoutError(f"no answer within {timeout:g} s")
        return task.result()
    finally:
        task.cancel()


async def _tools_of(client: Client) -> list[wire.Tool]:
    tools: list[wire.Tool] = []
    cursor: str | None = None
    for _ in range(_PAGES):
        page = await client.list_tools(cursor=cursor)
        tools += page.tools
        if (cursor := page.next_cursor) is None:
            break
    return tools


def _object(arguments: str) -> dict[str, Any]:
    try:
        given = jiter.from_json(storable(arguments).strip().encode() or b"{}")
    except ValueError as error:
        raise ToolError(f"The arguments are no JSON: {error}") from None
    if not isinstance(given, dict):
        raise ToolError("The arguments are no JSON object")
    return given


def _outcome(result: wire.CallToolResult) -> ToolOutcome:
    content = "\n".join(map(_text, result.content))
    if result.is_error:
        return ToolOutcome.error(content or "the tool failed and said nothing")
    return ToolOutcome.of(Result(content, "") if content else result.structured_content)


def _text(block: wire.ContentBlock) -> str:
    """What a model can read of a block. Pictures and sounds are named, for a tool's result is text."""
    match block:
        case wire.TextContent():
            return block.text
        case wire.ResourceLink():
            return f"{block.name}: {block.uri}"
        case wire.EmbeddedResource(resource=wire.TextResourceContents() as resource):
            return resource.text
        case wire.EmbeddedResource():
            return f"[{block.resource.uri}: not text, left out]"
        case _:
            return f"[{block.type}, {block.mime_type}: left out]"


def _reason(error: BaseException) -> str:
    """What went wrong, from inside the groups that anyio wraps it in."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}".removesuffix(": ")
