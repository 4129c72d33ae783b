"""Transports to MCP servers: a process of ours, or an address."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx2
from mcp import StdioServerParameters, stdio_client
from mcp.client import Transport
from mcp.client.streamable_http import streamable_http_client
from pydantic import BaseModel, ConfigDict, HttpUrl, StringConstraints

from chat.tools.mcp_messages import MendedStream

# What the operating system, or HTTP, refuses only when the server is asked for the first time.
Plain = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]
Variable = Annotated[str, StringConstraints(pattern=r"^[^\x00=]+$")]
HeaderName = Annotated[str, StringConstraints(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")]
HeaderValue = Annotated[str, StringConstraints(pattern=r"^[\t\x20-\x7e]*$")]


class Process(BaseModel):
    """A process of ours, spoken to over its stdin and stdout.

    It gets PATH, HOME and the like from our environment and what `env` adds, so the site's keys stay with the site.
    """

    model_config = ConfigDict(extra="forbid")

    command: Annotated[str, StringConstraints(pattern=r"^[^\x00]+$")]
    args: list[Plain] = []
    env: dict[Variable, Plain] = {}

    def open_transport(self) -> Transport:
        parameters = StdioServerParameters(command=self.command, args=self.args, env=self.env)
        # What a server writes to its stderr belongs into our log. The SDK's default is what sys.stderr was at its
        # import.
        return stdio_client(parameters, errlog=sys.__stderr__ or sys.stderr)


class Address(BaseModel):
    """A server that is spoken to over streamable HTTP."""

    model_config = ConfigDict(extra="forbid")

    url: HttpUrl
    headers: dict[HeaderName, HeaderValue] = {}

    @asynccontextmanager
    async def open_transport(self) -> AsyncGenerator[Any, None]:
        # The times of the SDK's own client, which takes no headers: a server may hold a response open.
        timeout = httpx2.Timeout(30, read=300)
        async with (
            httpx2.AsyncClient(headers=self.headers, timeout=timeout) as http,
            streamable_http_client(str(self.url), http_client=http) as streams,
        ):
            yield streams


@asynccontextmanager
async def open_mended_transport(configured: Process | Address) -> AsyncGenerator[Any, None]:
    """Open the transport to a server whose messages are mended, see `chat.tools.mcp_messages`."""
    async with configured.open_transport() as (received, sent):
        yield MendedStream(received), sent
