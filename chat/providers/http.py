"""HTTP as the adapters use it: reading a response's stream to its end marker, and the options of their clients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx2

from chat.core.errors import ChatError
from chat.core.events import ProviderEvent
from chat.core.failures import Cause, ProviderReport
from chat.providers.decoder import Decoder
from chat.providers.response_body import Body
from chat.providers.sse import BOM
from chat.providers.unpacking import make_unpacker

USAGE_WAIT = 2.0  # seconds that a finished answer waits for its usage or its end marker
REUSE_WAIT = 0.05  # seconds for the HTTP body to end, which is what lets the connection serve the next answer
CONNECT_TIMEOUT = 2.5  # for DNS, all addresses and TLS together, so that a user is told of a failure within 3 s
FOREIGN_BODY_BYTES = 65_536  # how much is read of a body that is no stream; an error object is far smaller
FOREIGN_BODY_WAIT = 2.0


async def follow(body: Body, decoder: Decoder) -> AsyncGenerator[list[ProviderEvent], None]:
    """Yield a batch for each read, see `chat.providers.base.Provider.stream`. The caller closes the body."""
    read = head = b""
    while not head and len(read) <= FOREIGN_BODY_BYTES:
        if read:
            yield []
        if not (piece := await body.read()):
            raise ChatError("upstream_error", "answered with an empty body", cause=Cause.BAD_ANSWER)
        read += piece
        head = read.removeprefix(BOM).lstrip()
    if head.startswith(b"<"):
        body.refuse_page(head)
        raise await _refuse_missing_stream(read, body)
    if head.startswith((b"{", b"[")):  # the server ignores that a stream was asked for
        yield decoder.read_whole(await body.read_whole(decoder.max_bytes, read))
        return
    events, read, head = _read_events(body, decoder, read), b"", b""  # not held while the stream lasts
    async with aclosing(events) as batches:
        async for batch in batches:
            yield batch
    with suppress(Exception):
        async with asyncio.timeout(REUSE_WAIT):
            await body.read()


async def _read_events(body: Body, decoder: Decoder, read: bytes) -> AsyncGenerator[list[ProviderEvent], None]:
    """Yield a batch for each read of an event stream that begins with `read`, up to its end marker."""
    patience = _Patience()
    while True:
        events, read = decoder.feed(read), b""  # which would wait with the answer for the next one
        if events or not (decoder.finished or decoder.failure):
            yield events
        if _is_over(decoder):
            return
        try:
            read, why = await patience.read(body, may_end=decoder.may_end)
        except Exception:
            if held := decoder.release_rest():
                yield held
            raise
        if not read and (events := decoder.close(why)):
            yield events
        if _is_over(decoder):
            return


def _is_over(decoder: Decoder) -> bool:
    """Return whether the end marker has come. Raises the failure that the stream has reported."""
    if decoder.failure is not None:
        raise decoder.failure
    return decoder.finished


class _Patience:
    """Waits for the next read: for ever, or, once the answer may be whole, for `USAGE_WAIT` seconds in all."""

    def __init__(self) -> None:
        self._until: float | None = None

    async def read(self, body: Body, *, may_end: bool) -> tuple[bytes, str]:
        """Return what has come, or nothing and why. While the answer is not whole, a failure is raised."""
        ended = "the stream ended without its end marker"
        if not may_end:
            self._until = None
            return await body.read(), ended
        if self._until is None:
            self._until = asyncio.get_running_loop().time() + USAGE_WAIT
        try:
            async with asyncio.timeout_at(self._until):
                return await body.read(), ended
        except Exception as error:
            return b"", f"the stream broke off: {type(error).__name__}"


async def _refuse_missing_stream(head: bytes, body: Body) -> ChatError:
    whole = b"".join([head, *[read async for read in _limit_body(body.read)]])
    report = ProviderReport(message="answered with no event stream")  # what it is may be an answer, and is for the log
    return ChatError(
        "upstream_error", f"answered with no event stream: {whole!r}", cause=Cause.BAD_ANSWER, report=report
    )


async def _limit_body(read: Callable[[], Awaitable[bytes]]) -> AsyncGenerator[bytes, None]:
    """Yield as much of a short body as comes in time; a failure ends it like its end."""
    deadline = asyncio.get_running_loop().time() + FOREIGN_BODY_WAIT
    taken = 0
    while taken < FOREIGN_BODY_BYTES:
        try:
            async with asyncio.timeout_at(deadline):
                piece = await read()
        except Exception:
            return
        if not piece:
            return
        taken += len(piece)
        yield piece


class _LimitedBody(httpx2.AsyncByteStream):
    """The beginning of a body, unpacked; nothing of a body in a packing that is not known."""

    def __init__(self, stream: httpx2.AsyncByteStream, encoding: str) -> None:
        self._stream = stream
        self._encoding = encoding

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async with (
            aclosing(self._read_pieces()) as pieces,
            aclosing(_limit_body(lambda: anext(pieces, b""))) as limited,
        ):
            async for piece in limited:
                yield piece

    async def _read_pieces(self) -> AsyncGenerator[bytes, None]:
        unpacker = make_unpacker(self._encoding)
        async for read in self._stream:
            for piece in [read] if unpacker is None else unpacker.feed(read):
                yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _limit_error_body(response: httpx2.Response) -> None:
    """Give the SDKs no more than the beginning of an error's body: its status says enough.

    They read it to its end, however long it is or takes, and whatever it unpacks to.
    """
    if response.is_error and isinstance(response.stream, httpx2.AsyncByteStream):
        response.stream = _LimitedBody(response.stream, response.headers.pop("content-encoding", ""))


def make_http_options() -> dict[str, Any]:
    """Return how both SDKs' HTTP clients are made: many long streams, and no time limit but that of connecting."""
    return {
        # The transport takes `connect` for one address, and `pool` for all that goes before a request is sent.
        "timeout": httpx2.Timeout(None, connect=CONNECT_TIMEOUT, pool=CONNECT_TIMEOUT),
        # Nobody but the address that the operator gave gets the conversation and the key.
        "follow_redirects": False,
        # Nothing is kept between two calls: they are of different people, and a cookie of a load balancer's would send
        # all of them to one machine, one that is not ASCII stop them all.
        "cookies": CookieJar(DefaultCookiePolicy(allowed_domains=())),
        # A number, as the aiohttp transport takes None for its own 100. 60 s keeps a chatting user's
        # connection warm between two questions; httpx closes it after 5.
        "limits": httpx2.Limits(max_connections=10_000, keepalive_expiry=60),
        "event_hooks": {"response": [_limit_error_body]},
    }
