"""HTTP/1.1 as far as tests need it, with control over every byte and over how a connection ends."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import zlib
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from time import monotonic
from typing import Any, NamedTuple, cast

READS_BETWEEN_PIECES = 3
"""Turns of the event loop that a client in the same loop needs to see one piece of the stream alone."""


class Request(NamedTuple):
    """One HTTP request; the names of its headers are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Respond = Callable[[Request, "Connection"], Awaitable[None]]


class Connection(asyncio.Protocol):
    """One TCP connection, which serves one request after the other until either side closes it."""

    def __init__(self, respond: Respond, connections: set[Connection], changed: Callable[[], None]) -> None:
        self._respond = respond
        self._connections = connections
        self._changed = changed
        self._received = bytearray()
        self._arrived = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self.lost_at: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve a client that has connected."""
        self._transport = cast("asyncio.Transport", transport)
        self.peer: tuple[str, int] = transport.get_extra_info("peername")[:2]
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # `write` returns when the kernel has everything, so that nothing sent is lost when the connection breaks.
        self._transport.set_write_buffer_limits(0)
        self._connections.add(self)
        self.task = asyncio.get_running_loop().create_task(self._serve())

    def data_received(self, data: bytes) -> None:
        """Keep what came. This goes on while a response is sent, so that a client that leaves is noticed at once."""
        self._received += data
        self._arrived.set()

    def eof_received(self) -> None:
        """End the connection when the client closes its side: half-open connections are of no use here."""
        self._note_loss()
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note when the connection ended, and wake whoever waits for that."""
        self._note_loss()
        self._connections.discard(self)
        self._changed()

    def pause_writing(self) -> None:
        """Make `write` wait: the client does not read as fast as we write."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let `write` go on: the client has caught up."""
        self._writable.set()

    def _note_loss(self) -> None:
        if self.lost_at is None:
            self.lost_at = monotonic()
            self.task.cancel()

    @property
    def _socket(self) -> socket.socket:
        return cast("socket.socket", self._transport.get_extra_info("socket"))

    async def _serve(self) -> None:
        try:
            keep_alive = True
            while keep_alive:
                request = await self._read_request()
                await self._respond(request, self)
                keep_alive = request.headers.get("connection", "").lower() != "close"
            self._transport.close()
        except BaseException:
            self._transport.abort()
            raise

    async def _read_request(self) -> Request:
        head = await self._wait_until(lambda: self._received.find(b"\r\n\r\n") + 1) - 1
        start, *lines = bytes(self._received[:head]).decode("latin-1").split("\r\n")
        method, path, _ = start.split(" ")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        end = head + 4 + int(headers.get("content-length", 0))
        await self._wait_until(lambda: len(self._received) >= end)
        body = bytes(self._received[head + 4 : end])
        del self._received[:end]
        return Request(method, path, headers, body)

    async def _wait_until(self, found: Callable[[], int]) -> int:
        while not (result := found()):
            self._arrived.clear()
            await self._arrived.wait()
        return result

    async def write(self, data: bytes) -> None:
        """Send, and wait while the client reads too slowly."""
        self._transport.write(data)
        await self._writable.wait()

    async def respond(
        self, status: int, body: bytes, content_type: str, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send a whole response."""
        length = {"content-type": content_type, "content-length": str(len(body))}
        await self.write(_encode_head(status, {**length, **(headers or {})}) + body)

    async def respond_json(self, status: int, value: Any, headers: Mapping[str, str] | None = None) -> None:
        """Send a whole response with a JSON body."""
        await self.respond(status, json.dumps(value).encode(), "application/json", headers)

    async def respond_partly(self, body: bytes, content_type: str, *, reset: bool) -> None:
        """Send half of a response and end the connection."""
        await self.write(_encode_head(200, {"content-type": content_type, "content-length": str(len(body))}))
        await self.write(body[: len(body) // 2])
        self.break_off(reset=reset)

    def break_off(self, *, reset: bool) -> None:
        """End the connection at once, by TCP reset or by an ordinary close."""
        if reset:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()
        else:
            self._transport.close()


class ChunkedBody:
    """A response body of unknown length, in HTTP chunks."""

    def __init__(
        self, connection: Connection, *, http_chunk_size: int = 0, gather_writes: bool = False, gzipped: bool = False
    ) -> None:
        self._connection = connection
        self._split_bytes = http_chunk_size
        self._one_write = gather_writes
        self._gathered = bytearray()
        self._packer = zlib.compressobj(wbits=31) if gzipped else None  # 31: in gzip's format

    async def start(self, headers: Mapping[str, str]) -> None:
        """Send the status and the headers."""
        gzipped = {"content-encoding": "gzip"} if self._packer else {}
        await self._connection.write(_encode_head(200, {**headers, **gzipped, "transfer-encoding": "chunked"}))

    async def write(self, data: bytes) -> None:
        """Send one HTTP chunk, or many when the stream is cut small."""
        if self._packer:
            data = self._packer.compress(data) + self._packer.flush(zlib.Z_SYNC_FLUSH)
        if not self._split_bytes:
            await self._send(_encode_chunk(data))
            return
        for start in range(0, len(data), self._split_bytes):
            await self._send(_encode_chunk(data[start : start + self._split_bytes]))
            for _ in range(READS_BETWEEN_PIECES):
                await asyncio.sleep(0)

    async def _send(self, data: bytes) -> None:
        if self._one_write:
            self._gathered += data
        else:
            await self._connection.write(data)

    async def flush(self) -> None:
        """Send what was gathered."""
        gathered, self._gathered = bytes(self._gathered), bytearray()
        if gathered:
            await self._connection.write(gathered)

    async def finish(self) -> None:
        """End the body as HTTP wants it."""
        rest = _encode_chunk(self._packer.flush()) if self._packer else b""
        await self._send(rest + b"0\r\n\r\n")
        await self.flush()

    async def break_off(self, rest: bytes, *, reset: bool) -> None:
        """End the connection in the middle of a chunk that holds `rest`."""
        await self._send(_encode_chunk(rest)[: len(rest) // 2])
        await self.flush()
        self._connection.break_off(reset=reset)


def _encode_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _encode_head(status: int, headers: Mapping[str, str]) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
