"""Lists of an MCP server's tools that change: each change is learned, and no server makes us list without end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, Self, cast

import pytest
from mcp import Client, MCPError
from mcp import types as wire

from chat.tools import mcp_connection
from chat.tools.mcp_connection import Connection
from tests.support.waiting import wait_until

CHANGED = wire.ToolListChangedNotification()
MANY = 1000


class ListingServer:
    """A server in place of the SDK's client: `answer` is awaited for each list, which has the tools `names`."""

    def __init__(self, answer: Callable[[ListingServer], Awaitable[object]]) -> None:
        self.names = ["a"]
        self.listings = 0
        self.learned: list[list[str]] = []
        self.announce: Any = None
        self._answer = answer

    def connect(self) -> Connection:
        return Connection("odd", self._make_client, lambda tools: self.learned.append([tool.name for tool in tools]))

    def _make_client(self, note_message: Any) -> Client:
        self.announce = lambda: note_message(CHANGED)
        return cast("Client", self)

    async def list_tools(self, cursor: str | None) -> Any:
        self.listings += 1
        tools = [wire.Tool(name=name, input_schema={}) for name in self.names]
        await self._answer(self)
        return SimpleNamespace(tools=tools, next_cursor=None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...


async def close(connection: Connection) -> None:
    connection.close()
    await asyncio.wait({connection.task})


async def test_a_server_that_announces_a_change_with_each_list_is_listed_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mcp_connection, "LISTING_PAUSE", 0.02)
    server = ListingServer(lambda server: server.announce())
    connection = server.connect()
    await connection.ready
    await asyncio.sleep(0.5)
    assert 3 <= server.listings <= 8  # after 0, 0, 0.04, 0.12, 0.28, 0.6 s; 25 without the doubling
    await close(connection)


async def test_a_flood_of_changes_is_one_listing_and_one_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_connection, "LISTING_PAUSE", 0.05)
    going_on = asyncio.Event()
    server = ListingServer(lambda _: going_on.wait())
    going_on.set()
    connection = server.connect()
    await connection.ready
    going_on.clear()
    tasks = len(asyncio.all_tasks())
    for _ in range(MANY):
        await server.announce()
        await asyncio.sleep(0)
    assert (server.listings, len(asyncio.all_tasks()) - tasks < 5) == (2, True)
    server.names = ["a", "b"]
    going_on.set()
    await wait_until(lambda: server.learned[-1] == ["a", "b"])
    await asyncio.sleep(0.3)
    assert server.listings == 3
    await close(connection)


async def test_a_change_that_is_announced_during_the_first_listing_is_learned() -> None:
    async def change_once(server: ListingServer) -> None:
        if server.names == ["a"]:
            server.names = ["a", "b"]
            await server.announce()

    server = ListingServer(change_once)
    connection = server.connect()
    await wait_until(lambda: server.learned == [["a"], ["a", "b"]])
    await close(connection)


@pytest.mark.parametrize("is_closed_by_us", [True, False])
async def test_a_listing_that_ends_with_its_connection_is_no_line_in_the_log(
    is_closed_by_us: bool, caplog: pytest.LogCaptureFixture
) -> None:
    going_on = asyncio.Event()

    async def break_later(server: ListingServer) -> None:
        if server.listings > 1:
            await going_on.wait()
            raise MCPError(wire.CONNECTION_CLOSED, "Connection closed")

    server = ListingServer(break_later)
    connection = server.connect()
    await connection.ready
    await server.announce()
    await wait_until(lambda: server.listings == 2)
    if is_closed_by_us:
        connection.close()
    going_on.set()
    await asyncio.sleep(0.05)
    await close(connection)
    assert caplog.text == ""


async def test_a_busy_server_is_asked_again_when_its_call_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_connection, "LISTING_PAUSE", 0.01)
    is_free = asyncio.Event()
    is_free.set()
    server = ListingServer(lambda _: is_free.wait())
    connection = server.connect()
    await connection.ready
    monkeypatch.setattr(mcp_connection, "CONNECT_TIMEOUT", 0.05)
    is_free.clear()
    with connection.use():
        server.names = ["a", "b"]
        await server.announce()
        await asyncio.sleep(0.3)
        assert server.listings == 2
        is_free.set()
    await wait_until(lambda: server.learned[-1] == ["a", "b"])
    await close(connection)
