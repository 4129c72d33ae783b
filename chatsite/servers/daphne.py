"""Additions to daphne: a lifespan, a drain, a limit for bodies, and backpressure, by Twisted's own means.

Attributes that daphne and Twisted call private are touched in this module alone, because neither has a public way to
choose the event loop (`_asyncioEventloop`), to know whether Twisted still has bytes to write (`_tempDataBuffer`), or
to know the address of a request whose body is not whole (`_path`).
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from socket import SHUT_RDWR
from typing import Any
from weakref import proxy

import uvloop
from daphne import http_protocol
from daphne.http_protocol import WebRequest
from django.conf import settings
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.tcp import Connection, Port
from twisted.web import http
from zope.interface import implementer

from chat.core.errors import write_error_body
from chat.observability.outages import NotSavedError, log_outage
from chat.observability.tracing import choose_request_id
from chatsite.servers.backlog import take_backlog
from chatsite.servers.request_guard import (
    SLOWEST,
    TOO_LARGE,
    Application,
    Message,
    Receive,
    Scope,
    Send,
    find_longest_body,
)
from chatsite.servers.uvicorn import TOO_SLOW

# How many connections the system holds until they are accepted: uvicorn's default. The system may have a lower limit.
LISTEN_BACKLOG = 2048

NORMAL_CLOSURE = 1000  # of a WebSocket, RFC 6455

_clock: Any = reactor  # the interface's methods have no self


def is_serving() -> bool:
    """Return whether this process was started as daphne, or as `manage.py runserver`, which is daphne too."""
    return not sys.modules.keys().isdisjoint({"daphne.cli", "daphne.management.commands.runserver"})


def run_on_uvloop() -> None:
    """Replace the reactor's event loop with one of uvloop, which uvicorn uses too.

    daphne makes a loop of asyncio's own before it imports the application, and binds its sockets afterwards. In between
    nothing refers to that loop, so that it can be replaced.
    """
    running_on: Any = reactor
    slower = running_on._asyncioEventloop
    running_on.removeAll()
    running_on.__init__(uvloop.new_event_loop())
    slower.close()


_Channel: Any = http.HTTPChannel  # has no types


class ImpatientChannel(_Channel):  # type: ignore[misc]
    """A connection that is closed when no request begins on it in time.

    The time runs from its opening, and from the first byte of each further request. Twisted makes a request when its
    first line has come; from then on `LimitedRequest` keeps the time.
    """

    due: Any = None

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        super().connectionMade()
        self.due = _clock.callLater(settings.CHAT_HEAD_TIMEOUT, self.give_up)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        super().dataReceived(data)
        if self.requests:
            self.stop_waiting()
        elif self.due is None:
            self.due = _clock.callLater(settings.CHAT_HEAD_TIMEOUT, self.give_up)

    def connectionLost(self, reason: Any) -> None:  # noqa: N802 - Twisted's name
        self.stop_waiting()
        super().connectionLost(reason)

    def stop_waiting(self) -> None:
        if self.due is not None and self.due.active():
            self.due.cancel()
        self.due = None

    def give_up(self) -> None:
        self.due = None
        if not self.requests and self.transport is not None:
            self.transport.write(TOO_SLOW)
            self.loseConnection()


class LimitedRequest(WebRequest):  # type: ignore[misc]  # daphne has no types
    """A request that is cut off when its body grows beyond `most` bytes, and when head or body do not come in time."""

    most = 0
    received = 0
    due: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, parsePOSTFormSubmission=False, **kwargs)
        self.due = _clock.callLater(settings.CHAT_HEAD_TIMEOUT, self.give_up)

    def gotLength(self, length: int | None) -> None:  # noqa: N802 - Twisted's name
        self.most = find_longest_body(getattr(self.channel, "_path", b"").decode("latin-1").partition("?")[0])
        with self._refuse_when_full():
            super().gotLength(length)
        if self.due.active():
            self.due.reset(settings.CHAT_BODY_TIMEOUT)
        self._count(length or 0)
        self.received = 0

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        self._count(len(data))
        if self.due.active():
            self.due.delay(len(data) / SLOWEST)
        with self._refuse_when_full():
            super().handleContentChunk(data)

    @contextmanager
    def _refuse_when_full(self) -> Iterator[None]:
        """Refuse the request when the disk has no room for its body: Twisted keeps a large one in a file."""
        try:
            yield
        except OSError as error:
            log_outage(f"{self.uri!r}", error)
            refusal = NotSavedError()
            self._refuse(refusal.status, refusal.code, refusal.sentence, refusal.retry_after)

    def process(self) -> Any:
        self.stop_waiting()
        return super().process()

    def connectionLost(self, reason: Any) -> None:  # noqa: N802 - Twisted's name
        self.stop_waiting()
        super().connectionLost(reason)

    def stop_waiting(self) -> None:
        if self.due.active():
            self.due.cancel()

    def give_up(self) -> None:
        if self.channel is not None:
            self.channel.transport.write(TOO_SLOW)
            self.channel.loseConnection()

    def _count(self, length: int) -> None:
        self.received += length
        if self.received > self.most:
            self._refuse(413, "too_large", TOO_LARGE)

    def _refuse(self, status: int, code: str, sentence: str, retry_after: int = 0) -> None:
        """Answer in the application's place, which has not been called yet, and close the connection."""
        # The request knows its address when the body is whole; until then the connection has it.
        path: bytes = getattr(self.channel, "_path", b"")
        request_id = choose_request_id(self.getHeader("X-Request-ID") or "")
        self.channel.transport.write(write_refusal(path, status, code, sentence, retry_after, request_id))
        self.channel.loseConnection()


def write_refusal(path: bytes, status: int, code: str, sentence: str, retry_after: int, request_id: str) -> bytes:
    """Return a whole response: JSON for the API, a sentence for any other address."""
    is_api = path.startswith(b"/api/")
    body = json.dumps(write_error_body(status, code, sentence, retryable=status == 503)) if is_api else sentence
    head = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "Connection: close",
        f"Content-Type: {'application/json' if is_api else 'text/plain; charset=utf-8'}",
        f"X-Request-ID: {request_id}",
        f"Content-Length: {len(body.encode())}",
        *([f"Retry-After: {retry_after}"] if retry_after else []),
    ]
    return "\r\n".join([*head, "", body]).encode()


def limit_bodies() -> None:
    """Cut requests off whose body grows too long, or whose head or body does not come in time.

    daphne calls the application when it has the whole body, in a temporary file, so there it is too late. Twisted is
    kept from reading the forms in bodies, which the site does itself.
    """
    http_protocol.WebRequest = LimitedRequest
    http.HTTPChannel = ImpatientChannel  # type: ignore[misc]  # its factory looks here


@implementer(IPushProducer)
class _Flow:
    """A producer for Twisted, which says when its buffer is full (64 KiB) and when it is empty."""

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


def add_backpressure(application: Application) -> Application:
    """Wrap an application so that what it sends waits until what it sent before has been read."""

    async def respond_at_readers_pace(scope: Scope, receive: Receive, send: Send) -> None:
        assert isinstance(send, partial)  # noqa: S101 - daphne.server.Server.create_application makes it
        protocol, flow = send.args[0], _Flow()
        if scope["type"] == "http":
            await _respond(application, scope, receive, send, protocol, flow)
        else:
            await _converse(application, scope, receive, send, protocol, flow)

    return respond_at_readers_pace


async def _respond(
    application: Application, scope: Scope, receive: Receive, send: Send, request: Any, flow: _Flow
) -> None:
    is_streaming = is_over = False

    async def send_when_read(message: Message) -> None:
        nonlocal is_streaming, is_over
        await flow.wait()
        is_connected = request.channel is not None and not request.finished
        if message["type"] == "http.response.body":
            is_over = not message.get("more_body", False)
            if is_connected and not is_streaming and not is_over:
                is_streaming = True
                request.registerProducer(flow, True)
                write_at_once(request.channel.transport)
            elif is_connected and is_streaming and is_over:
                request.unregisterProducer()
        try:
            await send(message)
        except RuntimeError:
            # A client that resets its connection together with its request: uvloop lets Twisted read the request,
            # closes its own handle, and tells nobody. Twisted finds out here, and would never let the connection go.
            if request.channel is not None:
                request.channel.forceAbortClient()

    await application(scope, receive, send_when_read)
    if not is_over and request.channel is not None:
        request.channel.forceAbortClient()


def write_at_once(transport: Any) -> None:
    """Write to the socket at once instead of in the next turn of the event loop.

    Twisted has the event loop watch the socket, writes when it is writable, and has the watching stopped again, which
    costs more than the write. Only what the socket does not take at once is written that way.
    """
    if isinstance(transport, Connection):  # and not TLS of daphne's own
        # By a weak reference: a connection that refers to itself would wait for the garbage collector.
        transport.writeSequence = partial(_write, proxy(transport))  # type: ignore[method-assign]


def _write(transport: Any, pieces: Iterable[bytes]) -> None:
    rest = b"".join(pieces)
    is_waiting = transport._tempDataBuffer or transport.offset < len(transport.dataBuffer)
    if transport.connected and not is_waiting:
        taken = transport.writeSomeData(rest)
        rest = rest[taken:] if isinstance(taken, int) else rest  # a failure is met once more, where it is handled
    if rest:
        transport.write(rest)


async def _converse(
    application: Application, scope: Scope, receive: Receive, send: Send, protocol: Any, flow: _Flow
) -> None:
    # The channel of the upgraded request still stands as the producer of this transport.
    protocol.transport.unregisterProducer()
    protocol.transport.registerProducer(flow, True)
    protocol.failByDrop = False  # a frame that is too large ends with 1009, not with a connection that is cut
    scope.setdefault("extensions", {})["websocket.http.response"] = {}
    denial: Message = {}

    async def send_when_read(message: Message) -> None:
        await flow.wait()
        if message["type"] == "websocket.http.response.start":
            denial.update(message)
        elif message["type"] == "websocket.http.response.body":
            _deny(protocol, denial, message.get("body", b""))
        elif message["type"] == "websocket.close" and protocol.state == protocol.STATE_OPEN:
            # Not by daphne's own call: there autobahn takes only the codes of applications, and 1009, 1011 and 1013
            # raise.
            protocol.sendCloseFrame(code=message.get("code", NORMAL_CLOSURE))
        else:
            await send(message)

    await application(scope, receive, send_when_read)


def _deny(protocol: Any, start: Message, body: bytes) -> None:
    """Answer a handshake with a response of HTTP, which daphne does not do: it knows one refusal, a 403."""
    headers = [(name.decode(), value.decode()) for name, value in start["headers"]]
    del protocol.handshake_deferred  # nobody waits for the handshake any more
    protocol.sendHttpErrorResponse(start["status"], HTTPStatus(start["status"]).phrase, headers)
    protocol.sendData(body)
    protocol.dropConnection(abort=False)
    protocol.server.protocol_disconnected(protocol)


def _find_ports() -> list[Any]:
    readers: Any = reactor.getReaders()  # type: ignore[misc]  # the interface's methods have no self
    return [reader for reader in readers if isinstance(reader, Port)]


def let_many_connect() -> None:
    """Let as many connections wait to be accepted as uvicorn does.

    Twisted's listen backlog is 50. When another process is restarted, all of its readers come at once: behind nginx,
    200 of them were answered 504, because the 51st connection and each after it waited longer than nginx does, a
    second.
    """
    for port in _find_ports():
        port.socket.listen(LISTEN_BACKLOG)


async def stop_listening() -> None:
    """Accept no more connections, so that a proxy goes to another process.

    Open connections go on, and those that the system has already established are still accepted.
    """
    ports = _find_ports()
    await take_backlog(port.fileno() for port in ports)
    for port in ports:
        # Twisted closes it in the next round; without this, clients that connect until then would be reset.
        port.socket.shutdown(SHUT_RDWR)
        port.stopListening()


def list_addresses() -> str:
    """Return where daphne listens, as `host:port` or `unix:path`, separated by commas."""
    hosts = [port.getHost() for port in _find_ports()]
    return ", ".join(f"{host.host}:{host.port}" if hasattr(host, "port") else f"unix:{host.name}" for host in hosts)


def run_while_serving(start: Callable[[], None], stop: Callable[[], Awaitable[None]]) -> None:
    """Call `start` on the event loop before the first request, and wait for `stop` before the end."""
    # `callLater`, because asyncio's loop does not run yet when the reactor says that it is running.
    reactor.callWhenRunning(reactor.callLater, 0, start)
    reactor.addSystemEventTrigger(
        "before",
        "shutdown",  # type: ignore[arg-type]  # its interface swaps the two names
        lambda: Deferred.fromFuture(asyncio.ensure_future(stop())),
    )
