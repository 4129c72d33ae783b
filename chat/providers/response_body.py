"""The body of a provider's response: its bytes as they come, and nothing else of the call that brought it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import httpx2

from chat.core.errors import ChatError
from chat.core.failures import Cause
from chat.providers.errors import describe_local_failure, find_request_id
from chat.providers.unpacking import Unpacker, make_unpacker

# Compression would make the sender, or a proxy, gather tokens before it sends them.
_NOT_COMPRESSED = {"headers": {"Accept-Encoding": "identity"}}


# Seconds of silence after which the kernel asks whether the other machine is still there, seconds between two probes,
# and how many of them may be lost. A model may think for minutes without sending a byte, and a dead machine sends none.
PROBE_AFTER, PROBE_EVERY, PROBES = 20, 10, 3


@asynccontextmanager
async def post_request(client: Any, path: str, request: dict[str, Any]) -> AsyncGenerator[Body, None]:
    """Ask by the client of either SDK, and yield the body of the response.

    The connection serves the next call if the body was read to its end, and is closed otherwise.

    It is the SDK's own `post`, because `create` compares each turn of the request with its types, 0.2 ms and more. A
    stream lasts for minutes, and what it was asked with, the SDK's request and the head of the response, would last as
    long: 12 KiB.

    What fails from here on leaves as a `ChatError` that says whether the provider had accepted the request.
    """
    body = Body(await client.post(path, cast_to=httpx2.Response, body=request, options=_NOT_COMPRESSED, stream=True))
    del request
    async with _close_at_end(body):
        yield body


@asynccontextmanager
async def get_response(client: Any, path: str) -> AsyncGenerator[Body, None]:
    """Yield the body of the response to a GET; see `post_request`. No model is asked."""
    body = Body(await client.get(path, cast_to=httpx2.Response, options=_NOT_COMPRESSED, stream=True))
    async with _close_at_end(body):
        yield body


@asynccontextmanager
async def _close_at_end(body: Body) -> AsyncGenerator[Body, None]:
    """Let go of a response's body at the end, and raise every failure as a `ChatError`."""
    try:
        yield body
    except ChatError as error:
        error.is_accepted = not error.is_reported
        error.report = replace(error.report, request_id=body.request_id)
        raise
    except Exception as error:
        failure = describe_local_failure(error)
        failure.is_accepted = True
        if failure.cause == Cause.CONNECTION:
            failure.cause = Cause.BROKEN_STREAM
        failure.report = replace(failure.report, request_id=body.request_id)
        raise failure from error
    finally:
        await body.aclose()


class Body:
    """Reads what aiohttp has received, below the SDK and its HTTP client, through which each read is five generators.

    A body that came packed, which nobody asked for, is unpacked a little at a time.
    """

    def __init__(self, response: httpx2.Response) -> None:
        stream: Any = response.stream
        while hasattr(stream, "_stream"):
            stream = stream._stream
        # aiohttp's head and not the SDK's, whose `get` takes 20 calls.
        head = stream._aiohttp_response.headers
        self.content_type = head.get("content-type", "")
        self.request_id = find_request_id(head)
        self._unpacker = make_unpacker(", ".join(head.getall("content-encoding", ())))
        self._received = _forget_heads(stream._aiohttp_response)
        self._unpacked: Iterator[bytes] = iter(())
        if self._socket is not None:
            _probe_while_silent(self._socket.get_extra_info("socket"))

    async def read(self) -> bytes:
        """Return what has come, as soon as there is any; nothing when the body has ended.

        When the connection breaks, what had come before that is returned first.

        Between two reads the socket is left alone: the kernel gathers what comes, and the event loop wakes once for all
        of it, not once for each token.
        """
        if self._socket is not None:
            self._socket.resume_reading()
        try:
            if self._unpacker is not None:
                return await self._read_unpacked(self._unpacker)
            received: bytes = await self._received.content.readany()
            return received
        except Exception:
            if rest := self._take_buffered():
                return rest
            raise
        finally:
            if self._socket is not None:
                self._socket.pause_reading()

    async def _read_unpacked(self, unpacker: Unpacker) -> bytes:
        while not (piece := next(self._unpacked, b"")):
            if not (packed := await self._received.content.readany()):
                return b""
            self._unpacked = unpacker.feed(packed)
        return piece

    async def read_whole(self, max_bytes: int, head: bytes = b"") -> bytes:
        """Return all of it, after what was read already.

        Raises `ChatError` when it is a web page or longer than `max_bytes`.
        """
        whole = bytearray(head)
        while piece := await self.read():
            whole += piece
            if len(whole) > max_bytes:
                detail = f"answered with more than {max_bytes} bytes"
                raise ChatError("upstream_error", detail, may_pass=False, cause=Cause.BAD_ANSWER)
        self.refuse_page(whole)
        return bytes(whole)

    def refuse_page(self, start: bytes | bytearray) -> None:
        """Raise `ChatError` when this is a web page, as a proxy sends; `start` is how it begins.

        The label alone says nothing: Flask and PHP call whatever they stream HTML.
        """
        if self.content_type.startswith("text/html") and start.lstrip().startswith(b"<"):
            raise ChatError("upstream_error", "answered with a web page", cause=Cause.BAD_ANSWER)

    async def aclose(self) -> None:
        """Let go of the connection."""
        await self._received.__aexit__(None, None, None)

    @property
    def _socket(self) -> asyncio.Transport | None:
        """The connection's socket; None once the body has ended."""
        connection = self._received.connection
        return None if connection is None else connection.transport

    def _take_buffered(self) -> bytes:
        """Return what lies in aiohttp's buffer, once.

        aiohttp raises a broken connection to the next reader before it gives out what had arrived until then; text of
        the answer, and its end marker, would be lost.
        """
        if self._unpacker is not None:
            return b""
        content = self._received.content
        rest = b"".join(content._buffer)[content._buffer_offset :]
        content._buffer.clear()
        return rest


def _forget_heads(response: Any) -> Any:
    """Empty both heads that aiohttp's response holds until its body ends, 4 KiB: nobody asks for them any more."""
    response._request_info = None
    response._headers, response._raw_headers = {}, ()
    return response


def _probe_while_silent(connection: socket.socket) -> None:
    """Have the kernel end a connection whose other machine is gone, within a minute of silence.

    Only TCP connections on a system that lets these times be set have it.
    """
    if connection.family not in (socket.AF_INET, socket.AF_INET6) or not hasattr(socket, "TCP_KEEPIDLE"):
        return
    with suppress(OSError):  # the connection has broken already, which the next read finds out
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, PROBE_AFTER)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, PROBE_EVERY)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES)
