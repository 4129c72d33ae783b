"""Tools of MCP servers: whatever the operator connects, as `server__tool`.

A server is configured as `{"command", "args", "env"}` (a process) or as `{"url", "headers"}` (an address); see
`chat.tools.mcp_transports`. Connections are made on first use, kept, and made again after a failure.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import re
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from mcp import Client, MCPError
from mcp import types as wire
from mcp.client.session import MessageHandlerFnT
from pydantic import ValidationError

from chat.core.events import make_storable
from chat.providers.base import ToolSchema
from chat.tools.base import NAME, ToolError, ToolOutcome
from chat.tools.mcp_connection import Connection, await_result
from chat.tools.mcp_results import make_outcome, parse_arguments
from chat.tools.mcp_transports import Address, Process, open_mended_transport
from chat.tools.process_groups import list_process_groups

log = logging.getLogger(__name__)

PAUSE = 30.0
"""Seconds after a failure in which no answer waits for that server, unless it calls a tool of it."""

SEPARATOR = "__"


class Servers:
    """The servers by name, as a toolbox's second source of tools."""

    def __init__(self, configuration: Mapping[str, Mapping[str, Any]]) -> None:
        """Raise `ToolError` for a server that is configured wrongly."""
        self._servers = {name: Server(name, fields) for name, fields in configuration.items()}

    async def prepare(self, timeout: float) -> None:
        """Wait for the servers whose tools are not known, `timeout` seconds at most."""
        awaited = [server for server in self._servers.values() if server.is_awaited]
        tasks = [asyncio.ensure_future(server.prepare()) for server in awaited]
        try:
            if tasks:
                await asyncio.wait(tasks, timeout=timeout)
        finally:
            for task in tasks:
                task.cancel()
        for server in awaited:
            server.pause()

    def list_schemas(self) -> tuple[ToolSchema, ...]:
        return tuple(schema for server in self._servers.values() for schema in server.schemas)

    def offers(self, name: str) -> bool:
        server = self._servers.get(name.partition(SEPARATOR)[0])
        return server is not None and name in server.tools

    async def call(self, name: str, arguments: str) -> ToolOutcome:
        return await self._servers[name.partition(SEPARATOR)[0]].call(name, arguments)

    async def aclose(self) -> None:
        await asyncio.gather(*(server.aclose() for server in self._servers.values()))

    def end(self, number: int) -> bool:
        """Send a signal to the servers' processes that still run, and to what they have started.

        Return whether there was any. A process in the middle of a call does not see that its stdin is closed, and would
        outlive the site.
        """
        groups = list_process_groups() if any(server.is_process for server in self._servers.values()) else []
        for group in groups:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(group, number)
        return bool(groups)


class Server:
    """One server, over whichever connection there is at the moment."""

    def __init__(self, name: str, fields: Mapping[str, Any]) -> None:
        if not re.fullmatch(r"[A-Za-z0-9-]+(_[A-Za-z0-9-]+)*", name) or len(name) > 32:
            raise ToolError(f"{name!r} is no name for a server: letters, digits, - and single _, at most 32")
        kind: type[Process | Address] = Address if "url" in fields else Process
        try:
            self._configured = kind.model_validate(fields)
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
            raise ToolError(f"The server {name} is configured wrongly: {wrong}") from None
        self.name = name
        self.tools: dict[str, str] = {}
        """The server's own names, by ours."""
        self.schemas: tuple[ToolSchema, ...] = ()
        self._connection: Connection | None = None
        self._connection_tasks: set[asyncio.Task[None]] = set()
        self._next_wait = -math.inf

    def make_client(self, note_message: MessageHandlerFnT) -> Client:
        # A tool may ask the user nothing, and no list is taken from a cache.
        return Client(open_mended_transport(self._configured), cache=None, message_handler=note_message)

    @property
    def is_process(self) -> bool:
        return isinstance(self._configured, Process)

    @property
    def is_awaited(self) -> bool:
        """True when an answer should wait for this server before it begins."""
        return not self.schemas and time.monotonic() >= self._next_wait

    async def prepare(self) -> None:
        """Connect, and learn the tools; log a failure."""
        try:
            await self._connect()
        except ToolError as error:
            log.warning("%s", error)

    def pause(self) -> None:
        """Note that an answer has waited; if that was in vain, let the next ones begin without this server."""
        if not self.schemas:
            self._next_wait = time.monotonic() + PAUSE

    def learn(self, tools: Iterable[wire.Tool]) -> None:
        """Replace what is known of the tools by what the server offers now."""
        names: dict[str, str] = {}
        schemas: list[ToolSchema] = []
        for tool in tools:
            name = re.sub(r"[^A-Za-z0-9_-]", "_", f"{self.name}{SEPARATOR}{tool.name}")
            if name in names or not NAME.fullmatch(name):
                log.warning("The server %s offers %r, whose name is taken or too long: left out", self.name, tool.name)
                continue
            names[name] = tool.name
            schemas.append(
                ToolSchema(name, make_storable(tool.description or tool.title or tool.name), tool.input_schema)
            )
        self.tools, self.schemas = names, tuple(schemas)

    async def call(self, name: str, arguments: str) -> ToolOutcome:
        """Call a tool, by our name; raises `ToolError`. A call that fails is not repeated: it may have had effects."""
        given = parse_arguments(arguments)
        connection = await self._connect()
        try:
            with connection.use():
                return make_outcome(await await_result(connection.client.call_tool(self.tools.get(name, name), given)))
        except MCPError as error:
            raise ToolError(f"The server {self.name} says: {error.message}") from None

    async def _connect(self) -> Connection:
        """Return a connection that works, as far as can be known; raise `ToolError` when there is none."""
        connection = self._connection
        if connection is not None and connection.is_usable:
            await connection.settle()
        # Another call may have connected again while this one waited for the proof.
        if self._connection is None or not self._connection.is_usable:
            self._connection = Connection(self.name, self.make_client, self.learn)
            self._connection_tasks.add(self._connection.task)
            self._connection.task.add_done_callback(self._connection_tasks.discard)
        connection = self._connection
        await asyncio.shield(connection.ready)
        return connection

    async def aclose(self) -> None:
        if self._connection is not None and self._connection.is_usable:
            self._connection.close()
        loop = asyncio.get_running_loop()
        if ending := {task for task in self._connection_tasks if task.get_loop() is loop}:
            await asyncio.wait(ending)
