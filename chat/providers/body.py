"""The body of a provider's response: its bytes as they come, and nothing else of the call that brought it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx2

from chat.errors import ChatError

# Compression would make the sender, or a proxy, gather tokens before it sends them.
_NOT_COMPRESSED = {"headers": {"Accept-Encoding": "identity"}}


@asynccontextmanager
async def asked(client: Any, path: str, request: dict[str, Any]) -> AsyncGenerator[Body, None]:
    """Ask by the client of either SDK, and give the body of the response. The connection serves the next call if the
    body was read to its end, and is closed otherwise.

    It is the SDK's own `post`, because `create` compares each turn of the request with its types, 0.2 ms and more. A
    stream lasts for minutes, and what it was asked with, the SDK's request and the head of the response, would last as
    long: 12 KiB.
    """
    body = Body(await client.post(path, cast_to=httpx2.Response, body=request, options=_NOT_COMPRESSED, stream=True))
    del request
    try:
        yield body
    finally:
        await body.aclose()


class Body:
    """Reads what aiohttp has received, below the SDK and its HTTP client, through which each read is five generators.

    A body that came packed, which nobody asked for, is read through the HTTP client, because that unpacks it.
    """

    def __init__(self, response: httpx2.Response) -> None:
        self.content_type = response.headers.get("content-type", "")
        stream: Any = response.stream
        while hasattr(stream, "_stream"):
            stream = stream._stream
        self._received = stream._aiohttp_response
        # Both heads, 5 KiB, are of use to nobody any more.
        self._received._request_info = self._received._headers = self._received._raw_headers = None
        is_packed = response.headers.get("content-encoding", "identity") != "identity"
        self._unpacked = response.aiter_bytes() if is_packed else None

    async def read(self) -> bytes:
        """What has come, as soon as there is any; nothing when the body has ended. When the connection breaks, first
        what had come before that.

        Between two reads the socket is left alone: the kernel gathers what comes, and the event loop wakes once for all
        of it, not once for each token.
        """
        if self._socket is not None:
            self._socket.resume_reading()
        try:
            if self._unpacked is not None:
                return await anext(self._unpacked, b"")
            received: bytes = await self._received.content.readany()
            return received
        except Exception:
            if rest := self._rest():
                return rest
            raise
        finally:
            if self._socket is not None:
                self._socket.pause_reading()

    async def whole(self, max_bytes: int) -> bytes:
        """All of it; raises `ChatError` when it is a web page or longer than `max_bytes`."""
        self.refuse_page()
        pieces, size = [], 0
        while piece := await self.read():
            pieces.append(piece)
            size += len(piece)
            if size > max_bytes:
                raise ChatError("upstream_error", f"answered with more than {max_bytes} bytes")
        return b"".join(pieces)

    def refuse_page(self) -> None:
        """Raise `ChatError` when this is a web page, as a proxy sends."""
        if self.content_type.startswith("text/html"):
            raise ChatError("upstream_error", "answered with a web page")

    async def aclose(self) -> None:
        """Let go of the connection."""
        if self._unpacked is not None:
            await self._unpacked.aclose()
        await self._received.__aexit__(None, None, None)

    @property
    def _socket(self) -> asyncio.Transport | None:
        """The connection, until the body has ended."""
        connection = self._received.connection
        return None if connection is None else connection.transport

    def _rest(self) -> bytes:
        """What lies in aiohttp's buffer, once. It raises a broken connection to the next reader before it gives out
        what had arrived until then; text of the answer, and its end marker, would be lost."""
        if self._unpacked is not None:
            return b""
        content = self._received.content
        rest = b"".join(content._buffer)[content._buffer_offset :]
        content._buffer.clear()
        return rest
