"""Additions to uvicorn: an end of waiting for the head of a request that never becomes whole, and a drain."""

from __future__ import annotations

import asyncio
from typing import Any

from django.conf import settings

from chatsite.servers.backlog import take_backlog

TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


def close_half_sent(config: Any) -> None:
    """Have connections closed on which no request's head is whole within `CHAT_HEAD_TIMEOUT` seconds.

    The time runs from the opening of the connection, and from the first byte of each further request. uvicorn would
    wait for ever, and each of them is a file that the process may not open. The rest of a request is
    `chatsite.servers.request_guard`'s.
    """
    protocol = config.http_protocol_class
    config.http_protocol_class = type("Impatient", (_Impatience, protocol), {})


async def stop_listening(handle_exit: Any) -> None:
    """Take no more connections, so that a proxy goes to another process.

    Open connections go on, and those that the system has made are still taken. `handle_exit` is uvicorn's handler of
    signals, which is a method of its server: by itself it closes, all at once, the listening sockets and each
    connection whose first request is still on its way.
    """
    servers = getattr(getattr(handle_exit, "__self__", None), "servers", [])
    await take_backlog(listener.fileno() for server in servers for listener in server.sockets)
    for server in servers:
        server.close()


class _Impatience:
    """Stands before either of uvicorn's protocols."""

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
