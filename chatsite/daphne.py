"""What daphne lacks: a lifespan, a drain, a limit for bodies, and backpressure. Twisted has the means for all."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any

import uvloop
from daphne import http_protocol
from daphne.http_protocol import WebRequest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.tcp import Connection, Port
from twisted.web.http_headers import Headers
from zope.interface import implementer

from chatsite.guard import Application, Message, Receive, Scope, Send

_NOTHING = Headers()


def is_serving() -> bool:
    """Whether this process was started as daphne, or as `manage.py runserver`, which is daphne too."""
    return not sys.modules.keys().isdisjoint({"daphne.cli", "daphne.management.commands.runserver"})


def run_on_uvloop() -> None:
    """Give the reactor the event loop that uvicorn has. daphne makes one of asyncio's own before it imports any
    application, and binds its sockets afterwards; in between nothing knows it."""
    running_on: Any = reactor
    slower = running_on._asyncioEventloop
    running_on.removeAll()
    running_on.__init__(uvloop.new_event_loop())
    slower.close()


def limit_bodies(most: int) -> None:
    """Cut a request off when its body grows beyond `most` bytes. daphne calls the application when it has the whole
    body, in a temporary file, so there it is too late. Twisted is kept from reading the forms in bodies, which it does
    for nobody here."""

    class LimitedRequest(WebRequest):  # type: ignore[misc]  # daphne has no types
        received = 0

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, parsePOSTFormSubmission=False, **kwargs)

        def gotLength(self, length: int | None) -> None:  # noqa: N802 - Twisted's name
            super().gotLength(length)
            self._count(length or 0)
            self.received = 0

        def handleContentChunk(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
            self._count(len(data))
            super().handleContentChunk(data)

        def _count(self, length: int) -> None:
            self.received += length
            if self.received > most:
                self.channel.transport.write(
                    b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
                )
                self.channel.loseConnection()

    http_protocol.WebRequest = LimitedRequest


@implementer(IPushProducer)
class _Flow:
    """Twisted says when its buffer is full (64 KiB) and when it is empty."""

    def __init__(self) -> None:
        self._resumed: asyncio.Event | None = None  # while it is full

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        self._resumed = self._resumed or asyncio.Event()

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        if self._resumed is not None:
            self._resumed.set()
            self._resumed = None

    def stopProducing(self) -> None:  # noqa: N802 - Twisted's name
        self.resumeProducing()

    async def wait(self) -> None:
        while self._resumed is not None:
            await self._resumed.wait()


class _Inbox:
    """What daphne tells the application of a request: its body, and that the client has gone. The queue of asyncio's
    that daphne makes for that holds 3 KiB for as long as the stream lasts."""

    def __init__(self, queue: asyncio.Queue[Message]) -> None:
        self._messages = [queue.get_nowait() for _ in range(queue.qsize())]
        self._waiting: asyncio.Future[None] | None = None

    def put_nowait(self, message: Message) -> None:
        self._messages.append(message)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def get(self) -> Message:
        while not self._messages:
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        return self._messages.pop(0)


def with_backpressure(application: Application) -> Application:
    """Wait with what is sent until what was sent before has been read."""

    async def flowing(scope: Scope, receive: Receive, send: Send) -> None:
        assert isinstance(send, partial)  # noqa: S101 - daphne.server.Server.create_application makes it
        protocol, flow = send.args[0], _Flow()
        if scope["type"] == "http":
            protocol.application_queue = inbox = _Inbox(protocol.application_queue)
            receive = inbox.get
            await _respond(application, scope, receive, send, protocol, flow)
        else:
            await _converse(application, scope, receive, send, protocol, flow)

    return flowing


async def _respond(
    application: Application, scope: Scope, receive: Receive, send: Send, request: Any, flow: _Flow
) -> None:
    is_streaming = is_over = False

    async def send_when_read(message: Message) -> None:
        nonlocal is_streaming, is_over
        begins = False
        await flow.wait()
        is_connected = request.channel is not None and not request.finished
        if message["type"] == "http.response.body":
            is_over = not message.get("more_body", False)
            if is_connected and not is_streaming and not is_over:
                is_streaming = begins = True
                request.registerProducer(flow, True)
                write_at_once(request.channel.transport)
            elif is_connected and is_streaming and is_over:
                request.unregisterProducer()
        await send(message)
        if begins:
            # A stream lasts for minutes. Both heads have been read and written, and are 5 KiB.
            request.requestHeaders, request.responseHeaders = _NOTHING, _NOTHING

    await application(scope, receive, send_when_read)
    if not is_over and request.channel is not None:
        request.channel.forceAbortClient()


def write_at_once(transport: Any) -> None:
    """Hand what is written to the socket now. Twisted waits until the event loop says that the socket is ready, and
    then asks it to say so no more, which costs more than the write. What the socket does not take goes that way."""
    if not isinstance(transport, Connection):
        return  # TLS of daphne's own

    def write(pieces: Iterable[bytes]) -> None:
        rest = b"".join(pieces)
        is_waiting = transport._tempDataBuffer or transport.offset < len(transport.dataBuffer)
        if transport.connected and not is_waiting:
            taken = transport.writeSomeData(rest)
            rest = rest[taken:] if isinstance(taken, int) else rest  # a failure is met once more, where it is handled
        if rest:
            transport.write(rest)  # type: ignore[no-untyped-call]

    transport.writeSequence = write  # type: ignore[method-assign]


async def _converse(
    application: Application, scope: Scope, receive: Receive, send: Send, protocol: Any, flow: _Flow
) -> None:
    # The channel of the upgraded request still stands as the producer of this transport.
    protocol.transport.unregisterProducer()
    protocol.transport.registerProducer(flow, True)

    async def send_when_read(message: Message) -> None:
        await flow.wait()
        await send(message)

    await application(scope, receive, send_when_read)


def stop_listening() -> None:
    """Take no more connections, so that a proxy goes to another process; those that are open go on."""
    readers: Any = reactor.getReaders()  # type: ignore[misc]  # the interface's methods have no self
    for port in readers:
        if isinstance(port, Port):
            port.stopListening()  # type: ignore[no-untyped-call]


def when_running(start: Callable[[], None], stop: Callable[[], Awaitable[None]]) -> None:
    """Call `start` on the event loop before the first request, and wait for `stop` before the end."""
    # `callLater`, because asyncio's loop does not run yet when the reactor says that it is running.
    reactor.callWhenRunning(reactor.callLater, 0, start)
    reactor.addSystemEventTrigger(
        "before",
        "shutdown",  # type: ignore[arg-type]  # its interface swaps the two names
        lambda: Deferred.fromFuture(asyncio.ensure_future(stop())),
    )
