"""Additions to uvicorn: many connections at once, an end of waiting for heads that never become whole, and a drain."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

import uvloop
from django.conf import settings

from chatsite.servers.backlog import take_backlog

TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

# How many connections are accepted in one turn of the event loop. libuv accepts one from each descriptor that listens
# (https://github.com/libuv/libuv/pull/3696), and a turn is 10 ms when a hundred questions come in a second: half of
# 200 new connections waited for 137 ms and a tenth for 620, a click on Stop among them; with eight for 19 and 83.
# First words of 500 questions from pages within 5 s, p50 and p99: 1.3 and 2.1 s in place of 2.1 and 5.0.
LISTENERS = 8


async def take_many_at_once(handle_exit: Any) -> None:
    """Listen on further descriptors of the sockets that uvicorn listens on, so that connections do not wait for turns.

    It closes them with its own. `handle_exit` is its handler of signals, see `stop_listening`. asyncio's own event loop
    takes all connections that wait.
    """
    server: Any = getattr(handle_exit, "__self__", None)
    loop = asyncio.get_running_loop()
    if not isinstance(loop, uvloop.Loop) or not hasattr(server, "servers") or server.should_exit:
        return
    config = server.config

    def make_protocol() -> Any:
        return config.http_protocol_class(
            config=config, server_state=server.server_state, app_state=server.lifespan.state
        )

    for listener in [each for known in server.servers for each in known.sockets]:
        for _ in range(LISTENERS - 1):
            further = socket.socket(fileno=os.dup(listener.fileno()))
            create = loop.create_unix_server if further.family == socket.AF_UNIX else loop.create_server
            server.servers.append(await create(make_protocol, sock=further, backlog=config.backlog, ssl=config.ssl))


def close_half_sent(config: Any) -> None:
    """Have connections closed on which no request's head is whole within `CHAT_HEAD_TIMEOUT` seconds.

    The time runs from the opening of the connection, and from the first byte of each further request. uvicorn would
    wait for ever, and each such connection takes one of the files that the process may have open.
    `chatsite.servers.request_guard` keeps the time of the rest of a request.
    """
    protocol = config.http_protocol_class
    config.http_protocol_class = type("Impatient", (_Impatience, protocol), {})


async def stop_listening(handle_exit: Any) -> None:
    """Accept no more connections, so that a proxy goes to another process.

    Open connections go on, and those that the system has already established are still accepted. `handle_exit` is
    uvicorn's signal handler, a method of its server: left to itself, it closes the listening sockets and, with them,
    each connection whose first request is still on its way.
    """
    servers = getattr(getattr(handle_exit, "__self__", None), "servers", [])
    await take_backlog(listener.fileno() for server in servers for listener in server.sockets)
    for server in servers:
        server.close()


class _Impatience:
    """A mixin for either of uvicorn's HTTP protocols: it closes a connection whose next head does not come in time."""

    cycle: Any  # both have these
    transport: Any

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)  # type: ignore[misc]  # uvicorn's, as the next two
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)  # type: ignore[misc]
        if self._has_head:
            self._end_waiting()
        elif self._waiting is None:
            self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_waiting()
        super().connection_lost(exc)  # type: ignore[misc]

    @property
    def _has_head(self) -> bool:
        """True while a request is being answered, or when a WebSocket has taken the connection over."""
        is_answering = self.cycle is not None and not self.cycle.response_complete
        return is_answering or self.transport.get_protocol() is not self

    def _wait_for_head(self) -> None:
        self._waiting = asyncio.get_running_loop().call_later(settings.CHAT_HEAD_TIMEOUT, self._give_up)

    def _end_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _give_up(self) -> None:
        self._waiting = None
        if not self._has_head and not self.transport.is_closing():
            self.transport.write(TOO_SLOW)
            self.transport.close()
