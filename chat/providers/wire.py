"""What providers that speak SSE over HTTP share: splitting bytes, gathering events, naming what went wrong."""

from __future__ import annotations

import asyncio
import json
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, suppress
from typing import Any, TypeVar

import httpx2
import msgspec

from chat.errors import ChatError
from chat.events import Finish, FinishReason, ProviderEvent, Reasoning, Token, ToolArguments, storable
from chat.providers.body import Body
from chat.providers.failures import stream_failure

MAX_LINE_BYTES = 8_000_000  # the longest honest line is one tool call's arguments, well under a megabyte
USAGE_WAIT = 2.0  # seconds that a finished answer waits for its usage or its end marker
REUSE_WAIT = 0.05  # seconds for the HTTP body to end, which is what lets the connection serve the next answer
CONNECT_TIMEOUT = 10.0
FOREIGN_BODY_BYTES = 65_536  # how much is read of a body that is no stream; an error object fits many times
FOREIGN_BODY_WAIT = 2.0

SSE = tuple[bytes, bytes]
"""One server-sent event: its name (empty when it has none) and its data."""

_BOM = b"\xef\xbb\xbf"
_Shape = TypeVar("_Shape")


class SSESplitter:
    """Splits a byte stream, cut anywhere, into server-sent events.

    An event is given out when its blank line has arrived; what the stream's end leaves unfinished is
    dropped, as the specification asks. No line, and no event, may be longer than `max_line_bytes`.
    """

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._limit = max_line_bytes
        self._open_line: list[bytes] = []
        self._open_bytes = 0
        self._name = b""
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._at_start = True
        self._after_cr = False

    def feed(self, read: bytes) -> Iterator[SSE]:
        """The events that this read completes; consume them all. A line too long raises `ChatError`."""
        for line in self._lines(read):
            if not line:
                if self._data:
                    yield self._name, b"\n".join(self._data)
                    self._data.clear()
                    self._data_bytes = 0
                self._name = b""
            elif line.startswith(b"data:"):
                self._add_data(line[6:] if line.startswith(b"data: ") else line[5:])
            elif line.startswith(b"event:"):
                self._name = line[6:].removeprefix(b" ")
            elif line == b"data":
                self._add_data(b"")

    def _lines(self, read: bytes) -> Iterator[bytes]:
        """The lines that this read completes, without their ends."""
        if self._after_cr and read:
            read = read.removeprefix(b"\n")
            self._after_cr = False
        if b"\n" not in read and b"\r" not in read:
            self._keep(read)
            return
        self._after_cr = read.endswith(b"\r")
        lines = read.splitlines()
        rest = b"" if read.endswith((b"\n", b"\r")) else lines.pop()
        lines[0] = self._completed(lines[0])
        for line in lines:
            if len(line) > self._limit:
                raise self._too_long()
            yield line
        self._keep(rest)

    def _completed(self, end: bytes) -> bytes:
        """The open line with its end; the pieces are joined once, so a long line costs linear time."""
        if self._open_line:
            end = b"".join((*self._open_line, end))
            self._open_line.clear()
            self._open_bytes = 0
        if self._at_start:
            self._at_start = False
            end = end.removeprefix(_BOM)
        return end

    def _keep(self, piece: bytes) -> None:
        if not piece:
            return
        self._open_line.append(piece)
        self._open_bytes += len(piece)
        # The first line may still lose a BOM, and how the bytes were cut must not decide.
        if self._open_bytes > self._limit + (len(_BOM) if self._at_start else 0):
            raise self._too_long()

    def _add_data(self, value: bytes) -> None:
        self._data.append(value)
        self._data_bytes += len(value) + 1
        if self._data_bytes > self._limit:
            raise self._too_long()

    def _too_long(self) -> ChatError:
        return ChatError("upstream_error", f"sent a line or event of more than {self._limit} bytes")


_SURROGATE_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")

TextKind = type[Token] | type[Reasoning] | str
"""Whose text it is: the answer's, the reasoning's, or, by its id, a tool call's arguments."""


class Batch:
    """Gathers the events of one network read: neighbouring pieces of one text become one storable event.

    A server that escapes its JSON may send the halves of a surrogate pair in two deltas; the first half
    waits for the second, across reads too.
    """

    def __init__(self) -> None:
        self._events: list[ProviderEvent] = []
        self._kind: TextKind = Token
        self._pieces: list[str] = []
        self._halves: dict[TextKind, str] = {}

    def text(self, kind: TextKind, piece: str) -> None:
        """Add a piece of text."""
        if kind is not self._kind and kind != self._kind:
            self._join()
            self._kind = kind
        self._pieces.append(piece)

    def put(self, event: ProviderEvent) -> None:
        """Add any other event."""
        self._join()
        self._events.append(event)

    def finish(self, reason: FinishReason) -> None:
        """Add the end marker; a half of a pair waits no longer."""
        self._join()
        halves, self._halves = self._halves, {}
        for kind, half in halves.items():
            self._append(kind, storable(half))
        self._events.append(Finish(reason))

    def take(self) -> list[ProviderEvent]:
        """What was gathered since the last time."""
        self._join()
        events, self._events = self._events, []
        return events

    def _join(self) -> None:
        if not self._pieces:
            return
        text = "".join(self._pieces)
        self._pieces.clear()
        self._append(self._kind, self._mended(text))

    def _mended(self, text: str) -> str:
        if text.isascii() and not self._halves:
            return storable(text)
        text = self._halves.pop(self._kind, "") + text
        if "\ud800" <= text[-1:] <= "\udbff":
            self._halves[self._kind] = text[-1]
            text = text[:-1]
        return storable(_SURROGATE_PAIR.sub(_joined_pair, text))

    def _append(self, kind: TextKind, text: str) -> None:
        if text:
            self._events.append(ToolArguments(kind, text) if isinstance(kind, str) else kind(text))


def _joined_pair(pair: re.Match[str]) -> str:
    return pair[0].encode("utf-16-le", "surrogatepass").decode("utf-16-le")


_ANYTHING = msgspec.json.Decoder(Any)


class Decoder(ABC):
    """Turns the bytes of one answer into events; a provider says what each server-sent event means.

    `finished` is set with the `Finish`, `ended` when nothing more can come. A failure is kept in `failure`
    rather than raised, so that the events before it in the same read are not lost.
    """

    def __init__(self, max_line_bytes: int) -> None:
        self._splitter = SSESplitter(max_line_bytes)
        self._batch = Batch()
        self.finished = False
        self.ended = False
        self.failure: ChatError | None = None

    def feed(self, read: bytes) -> list[ProviderEvent]:
        """The events that this read brought."""
        try:
            for name, data in self._splitter.feed(read):
                if data:
                    self._event(name, data)
                if self.ended:
                    break
        except ChatError as error:
            self.failure = error
        return self._batch.take()

    def whole(self, data: bytes) -> list[ProviderEvent]:
        """The events of an answer that is one JSON object; raises `ChatError` when it is an error or no answer."""
        said = self._decoded(_ANYTHING, data)
        if isinstance(said, dict) and _is_error(said):
            raise stream_failure(said)
        self._whole(data)
        if not self.finished:
            raise ChatError("upstream_error", "answered without saying how the answer ended")
        return self._batch.take()

    @abstractmethod
    def _whole(self, data: bytes) -> None:
        """Add what the answer means to the batch."""

    @abstractmethod
    def _event(self, name: bytes, data: bytes) -> None:
        """Add what one server-sent event means to the batch; raise `ChatError` when it is an error."""

    def _told(self, data: bytes) -> ChatError:
        """The failure that this event's data tells of."""
        return stream_failure(self._decoded(_ANYTHING, data))

    def _finish(self, reason: FinishReason) -> None:
        if not self.finished:
            self.finished = True
            self._batch.finish(reason)

    @staticmethod
    def _decoded(decoder: msgspec.json.Decoder[_Shape], data: bytes) -> _Shape:
        try:
            return decoder.decode(data)
        except msgspec.ValidationError as error:
            raise ChatError("upstream_error", f"sent JSON of an unknown shape: {error}") from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return _decoded_slowly(decoder.type, data)


def _decoded_slowly(shape: type[_Shape], data: bytes) -> _Shape:
    """As the standard library reads it, which knows lone surrogates and NaN."""
    try:
        return msgspec.convert(json.loads(data), shape)
    except (ValueError, RecursionError) as error:
        raise ChatError("upstream_error", f"sent malformed JSON: {type(error).__name__}") from error


async def follow(body: Body, decoder: Decoder) -> AsyncGenerator[list[ProviderEvent], None]:
    """Yield a batch of events for each read that brought any; who opened the body closes it."""
    read = await _first_read(body)
    while not decoder.finished:
        if not read:
            raise ChatError("upstream_error", "the stream ended without its end marker")
        events, read = decoder.feed(read), b""  # which would wait with the answer for the next one
        if events:
            yield events
        if decoder.failure and not decoder.finished:
            raise decoder.failure
        if not decoder.finished:
            read = await body.read()
    async with aclosing(_after_finish(body, decoder)) as rest:
        async for events in rest:
            yield events


async def _first_read(body: Body) -> bytes:
    """What begins the stream; raises `ChatError` when it is no stream but a web page or a JSON object."""
    body.refuse_page()
    head = b""
    while read := await body.read():
        head += read
        text = head.removeprefix(_BOM).lstrip()
        if text.startswith((b"{", b"[", b"<")):
            raise await _foreign_body(text, body)
        if text or len(head) > FOREIGN_BODY_BYTES:
            return head
    raise ChatError("upstream_error", "answered with an empty body")


async def _foreign_body(head: bytes, body: Body) -> ChatError:
    whole = b"".join([head, *[read async for read in _limited(body.read)]])
    try:
        said = json.loads(whole)
    except (ValueError, RecursionError):
        return ChatError("upstream_error", f"answered with no event stream: {whole!r}")
    if isinstance(said, dict) and _is_error(said):
        return stream_failure(said)
    return ChatError("upstream_error", "answered with a JSON body, not with an event stream")


def _is_error(said: dict[str, Any]) -> bool:
    return bool(said.get("error")) or "error" in (said.get("object"), said.get("type"))


async def _after_finish(body: Body, decoder: Decoder) -> AsyncGenerator[list[ProviderEvent], None]:
    """The usage that may follow. Nothing is raised any more: the answer has ended well."""
    deadline = asyncio.get_running_loop().time() + USAGE_WAIT
    while not decoder.ended and not decoder.failure:
        try:
            async with asyncio.timeout_at(deadline):
                read = await body.read()
        except Exception:
            return
        if not read:
            return
        if events := decoder.feed(read):
            yield events
    with suppress(Exception):
        async with asyncio.timeout(REUSE_WAIT):
            await body.read()


async def _limited(read: Callable[[], Awaitable[bytes]]) -> AsyncGenerator[bytes, None]:
    """As much of a short body as comes in time; a failure ends it like its end."""
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
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = aiter(self._stream)
        async with aclosing(_limited(lambda: anext(pieces, b""))) as limited:
            async for piece in limited:
                yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _limit_error_body(response: httpx2.Response) -> None:
    """The SDKs read an error's body to its end, however long it is or takes; its status says enough."""
    if response.is_error and isinstance(response.stream, httpx2.AsyncByteStream):
        response.stream = _LimitedBody(response.stream)


def http_options() -> dict[str, Any]:
    """How both SDKs' HTTP clients are made: many long streams, and no time limit but that of connecting."""
    return {
        "timeout": httpx2.Timeout(None, connect=CONNECT_TIMEOUT),
        # A number, as the aiohttp transport takes None for its own 100. 60 s keeps a chatting user's
        # connection warm between two questions; httpx closes it after 5.
        "limits": httpx2.Limits(max_connections=10_000, keepalive_expiry=60),
        "event_hooks": {"response": [_limit_error_body]},
    }
