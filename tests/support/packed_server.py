"""A server that answers every request with the same body, labelled as a test wants it."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self


class PackedServer:
    """Listens while its `async with` lasts."""

    def __init__(
        self, body: bytes, status: int, encoding: str = "gzip", content_type: str = "text/event-stream"
    ) -> None:
        self._body = body
        self._status = status
        self._labels = f"content-type: {content_type}\r\ncontent-encoding: {encoding}\r\n"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._respond, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()

    async def _respond(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 {self._status} Said\r\n{self._labels}"
        writer.write(f"{head}content-length: {len(self._body)}\r\n\r\n".encode() + self._body)
        writer.close()
