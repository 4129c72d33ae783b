"""The guard between a server and the site: it stops exceptions, endless bodies, and readers that do not read."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any

from django.conf import settings

from chat.conversations.exchange.files import unsign
from chat.core.errors import COME_BACK_AFTER, write_error_body
from chat.observability.outages import classify_outage, log_outage
from chat.observability.tracing import choose_request_id, request_id

log = logging.getLogger(__name__)

Message = dict[str, Any]
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Any, Any, Any], Awaitable[None]]

# A reader that takes nothing for so long is cut off; it may come back with its position. Until then the server holds
# what its transport buffers, 64 KiB, and one piece of at most `chat.broker.base.LONGEST_BATCH` characters.
READER_PATIENCE = 30.0

# The message of uvloop's error, below daphne, for a connection that was reset a moment ago.
HANDLE_CLOSED = "the handler is closed"

# A request that never becomes whole holds a connection, and a file of the process. Its head has `CHAT_HEAD_TIMEOUT`
# seconds, its body `CHAT_BODY_TIMEOUT` and one more for each `SLOWEST` bytes: one byte now and then does not help.
SLOWEST = 1000

# Bytes of a body after which other tasks have a turn. daphne has the whole body ready when it calls the site, so that
# one of 100 MB would be read without a pause: half a second in which no stream continues.
TURN_AFTER = 262_144

# Responses that last as long as an answer.
_STREAMS = (b"text/event-stream", b"application/x-ndjson")

TOO_LARGE = "This is more text than the site takes at once."
TOO_SLOW = "The request did not arrive in time."
NO_HOST = "Say in a Host header which site you ask."
ENDING = "The server is restarting. Try again in a moment."


# Where archives are brought; the rest of the address is a word that the site has signed for one of its users.
IMPORT_PATH = "/account/data/import/"


def find_longest_body(path: str) -> int:
    """Return how many bytes the body of a request may have: those of an archive for a user who was shown its form."""
    if path.startswith(IMPORT_PATH) and unsign("import", path.removeprefix(IMPORT_PATH).rstrip("/")) is not None:
        return settings.CHAT_IMPORT_MB * 1_000_000 + settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    return settings.DATA_UPLOAD_MAX_MEMORY_SIZE


class _RefusedError(Exception):
    """The request is answered here, with a status and a sentence."""

    def __init__(self, status: int, code: str, sentence: str, retry_after: int = 0) -> None:
        super().__init__(code)
        self.status, self.code, self.sentence, self.retry_after = status, code, sentence, retry_after


class _SlowReaderError(Exception):
    """The other end does not read."""


class _ClientLeftError(Exception):
    """The connection ended before what was sent."""


class Guard:
    """Wraps an ASGI application. `open` counts the HTTP responses that are under way."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._open: set[object] = set()
        self.receiving: set[asyncio.Task[Any]] = set()
        self._hung_up: set[asyncio.Task[Any]] = set()
        self.is_behind_proxy = False
        self.is_closing = False
        """True when each response asks its client to close the connection, so that no sender is cut off later."""

    @property
    def open(self) -> int:
        return len(self._open)

    def hang_up(self) -> None:
        """End the requests whose body has not come: nobody knows whether it ever will."""
        for task in list(self.receiving):
            self._hung_up.add(task)
            task.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._application(scope, receive, send)
            return
        exchange = _Exchange(_take_origin_form(scope), receive, send, self)
        if scope["type"] == "http":  # a socket ends when its server does
            self._open.add(exchange)
            if not self.is_behind_proxy:
                self.is_behind_proxy = any(name == b"x-forwarded-for" for name, _ in scope["headers"])
        try:
            await self._run(exchange)
        except _SlowReaderError:
            log.warning("%s: a reader that does not read was cut off", scope.get("path"))
        finally:
            self._open.discard(exchange)

    async def _run(self, exchange: _Exchange) -> None:
        """Run an exchange and let no exception out: from a stream, one hangs daphne's client and stops its reaper."""
        try:
            exchange.check_host()
            exchange.check_declared_length()
            await self._application(exchange.scope, exchange.receive, exchange.send)
        except _RefusedError as error:
            await exchange.refuse(error)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task not in self._hung_up:
                raise
            self._hung_up.discard(task)
            task.uncancel()
            await exchange.refuse(_RefusedError(503, "draining", ENDING))
        except _SlowReaderError:
            raise
        except _ClientLeftError:
            log.debug("%s: its client left", exchange.scope.get("path"))
        except Exception as error:
            outage = classify_outage(error)
            if outage is None:
                log.exception("%s %s failed", exchange.scope["type"], exchange.scope.get("path"))
                await exchange.end()
            else:  # in the middle of a stream, or before a socket's user is known
                log_outage(f"{exchange.scope['type']} {exchange.scope.get('path')}", error)
                await exchange.refuse(_RefusedError(outage.status, outage.code, outage.sentence, outage.retry_after))


_ABSOLUTE = re.compile(r"https?://([^/?#]*)", re.IGNORECASE)


def _take_origin_form(scope: Scope) -> Scope:
    """Return the scope of a request whose line has a whole address as if it had the path (RFC 9112, section 3.2.2).

    daphne takes such a line as it is; the host in it counts, whatever `Host` says.
    """
    found = _ABSOLUTE.match(scope["path"])
    if found is None:
        return scope
    raw_path = _ABSOLUTE.sub("", (scope.get("raw_path") or b"").decode("latin-1"), count=1)
    headers = [(name, value) for name, value in scope["headers"] if name != b"host"]
    return {
        **scope,
        "path": scope["path"][found.end() :] or "/",
        "raw_path": raw_path.encode("latin-1") or b"/",
        "headers": [(b"host", found[1].encode("latin-1", "replace")), *headers],
    }


class _Exchange:
    """One request and its response."""

    __slots__ = (
        "_body_due",
        "_body_ended",
        "_body_left",
        "_body_of_turn",
        "_guard",
        "_is_begun",
        "_is_ended",
        "_is_http",
        "_receive",
        "_receiving",
        "_send",
        "scope",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send, guard: Guard) -> None:
        self.scope = scope
        self._receive, self._send = receive, send
        self._guard = guard
        self._receiving = guard.receiving
        self._is_http = scope["type"] == "http"
        self._body_left = find_longest_body(scope["path"]) if self._is_http else 0
        self._body_ended = not self._is_http
        self._body_of_turn = 0  # bytes since other tasks had a turn
        self._body_due = 0.0  # on the event loop's clock, from the first time that somebody waits for it
        self._is_begun = self._is_ended = False

    def check_host(self) -> None:
        """Refuse a request of HTTP/1.1 that names no host (RFC 9112, section 3.2); uvicorn does so itself."""
        if self._is_http and self.scope.get("http_version") == "1.1" and b"host" not in dict(self.scope["headers"]):
            raise _RefusedError(400, "bad_request", NO_HOST)

    def check_declared_length(self) -> None:
        declared = dict(self.scope["headers"]).get(b"content-length", b"0") if self._is_http else b"0"
        if declared.isdigit() and int(declared) > self._body_left:
            raise _RefusedError(413, "too_large", TOO_LARGE)

    async def receive(self) -> Message:
        if self._body_ended:
            return await self._receive()
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - an application runs in a task
        self._receiving.add(task)
        try:
            message = await self._receive_in_time()
        finally:
            self._receiving.discard(task)
        size = len(message.get("body", b""))
        self._body_left -= size
        self._body_due += size / SLOWEST
        if self._body_left < 0:
            raise _RefusedError(413, "too_large", TOO_LARGE)
        self._body_ended = not message.get("more_body", False)
        self._body_of_turn += size
        if self._body_of_turn >= TURN_AFTER:
            self._body_of_turn = 0
            await asyncio.sleep(0)
        return message

    async def _receive_in_time(self) -> Message:
        """Return the next piece of the body. Raise `_RefusedError` when the body does not come in time."""
        self._body_due = self._body_due or asyncio.get_running_loop().time() + settings.CHAT_BODY_TIMEOUT
        try:
            async with asyncio.timeout_at(self._body_due):
                return await self._receive()
        except TimeoutError as error:
            raise _RefusedError(408, "too_slow", TOO_SLOW) from error

    async def send(self, message: Message) -> None:
        self._is_begun = True
        self._is_ended = message["type"] == "http.response.body" and not message.get("more_body")
        if message["type"] == "http.response.start":
            await self._send_head(message)
        else:
            await self._send_patiently(message)

    async def _send_head(self, message: Message) -> None:
        """Send the head of a response.

        The response closes its connection when the process is about to end, and when it is a stream, during which that
        may begin: so no client sends a further request on a connection that is about to be cut.

        A stream lasts for minutes, and the stack frames that wait for its end hold the heads of request and response,
        2 KiB: both are emptied.
        """
        head: list[tuple[bytes, bytes]] = message["headers"]
        names = {name.lower(): value for name, value in head}
        is_stream = names.get(b"content-type", b"").startswith(_STREAMS)
        if b"connection" not in names and (self._guard.is_closing or is_stream):
            head.append((b"connection", b"close"))
        await self._send_patiently(message)
        if is_stream:
            head.clear()
            self.scope["headers"].clear()

    async def _send_patiently(self, message: Message) -> None:
        """Send a message to a client that reads. Raise `_SlowReaderError` or `_ClientLeftError` where it does not."""
        try:
            async with asyncio.timeout(READER_PATIENCE):
                await self._send(message)
        except TimeoutError as error:
            raise _SlowReaderError from error
        except OSError as error:  # what ASGI says a send raises after a disconnect; uvicorn does so for WebSockets
            raise _ClientLeftError from error
        except RuntimeError as error:
            if HANDLE_CLOSED not in str(error):
                raise
            raise _ClientLeftError from error

    async def refuse(self, error: _RefusedError) -> None:
        if self._is_begun or not self._is_http:
            await self.end()
            return
        is_api = self.scope["path"].startswith("/api/")
        is_retryable = error.status == 503
        body = error.sentence
        if is_api:
            body = json.dumps(write_error_body(error.status, error.code, error.sentence, retryable=is_retryable))
        headers = [
            (b"content-type", b"application/json" if is_api else b"text/plain; charset=utf-8"),
            (b"connection", b"close"),
            # For the page: the sentence belongs under the composer.
            (b"hx-retarget", b"#composer-error"),
            (b"x-request-id", self._find_request_id().encode()),
        ]
        if error.retry_after or is_retryable:
            headers.append((b"retry-after", str(error.retry_after or COME_BACK_AFTER).encode()))
        await self.send({"type": "http.response.start", "status": error.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body.encode()})

    def _find_request_id(self) -> str:
        """Return the id of the request in the log, or one by which a proxy's log knows it; else a new one."""
        if (known := request_id.get()) != "-":
            return known
        given = dict(self.scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        return choose_request_id(given)

    async def end(self) -> None:
        """End the response in whatever state a failure left it."""
        if not self._is_http:
            await self.send({"type": "websocket.close", "code": 1011})
            return
        if not self._is_begun:
            headers = [(b"content-type", b"text/plain")]
            await self.send({"type": "http.response.start", "status": 500, "headers": headers})
        if not self._is_ended:
            await self.send({"type": "http.response.body", "body": b"", "more_body": False})
