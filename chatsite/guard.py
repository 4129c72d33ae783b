"""What stands between a server and the site: no exception, no endless body, no reader that does not read."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from django.conf import settings

log = logging.getLogger(__name__)

Message = dict[str, Any]
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Any, Any, Any], Awaitable[None]]

# A reader that takes nothing for so long is cut off; it may come back with its position. Until then the server holds
# what its transport buffers, 64 KiB, and one piece of at most `chat.broker.LONGEST_BATCH` characters.
READER_PATIENCE = 30.0

TOO_LARGE = "This is more text than the site takes at once."
ENDING = "The server is restarting. Try again in a moment."


class _RefusedError(Exception):
    """The request is answered here, with a status and a sentence."""

    def __init__(self, status: int, code: str, sentence: str) -> None:
        super().__init__(code)
        self.status, self.code, self.sentence = status, code, sentence


class _SlowReaderError(Exception):
    """The other end does not read."""


class Guard:
    """Wraps an ASGI application. `open` counts the HTTP responses that are under way."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._open: set[object] = set()
        self._receiving: set[asyncio.Task[Any]] = set()
        self._hung_up: set[asyncio.Task[Any]] = set()

    @property
    def open(self) -> int:
        return len(self._open)

    def hang_up(self) -> None:
        """End the requests whose body has not come: nobody knows whether it ever will."""
        for task in list(self._receiving):
            self._hung_up.add(task)
            task.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._application(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send, self._receiving)
        if scope["type"] == "http":  # a socket ends when its server does
            self._open.add(exchange)
        try:
            await self._run(exchange)
        except _SlowReaderError:
            log.warning("%s: a reader that does not read was cut off", scope.get("path"))
        finally:
            self._open.discard(exchange)

    async def _run(self, exchange: _Exchange) -> None:
        """Let no exception out of a response: from a started stream it hangs daphne's client and stops its reaper."""
        try:
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
        except Exception:
            log.exception("%s %s failed", exchange.scope["type"], exchange.scope.get("path"))
            await exchange.end()


class _Exchange:
    """One request and its response."""

    __slots__ = (
        "_body_ended",
        "_body_left",
        "_is_begun",
        "_is_ended",
        "_is_http",
        "_receive",
        "_receiving",
        "_send",
        "scope",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send, receiving: set[asyncio.Task[Any]]) -> None:
        self.scope = scope
        self._receive, self._send = receive, send
        self._receiving = receiving
        self._is_http = scope["type"] == "http"
        self._body_left = settings.DATA_UPLOAD_MAX_MEMORY_SIZE if self._is_http else 0
        self._body_ended = not self._is_http
        self._is_begun = self._is_ended = False

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
            message = await self._receive()
        finally:
            self._receiving.discard(task)
        self._body_left -= len(message.get("body", b""))
        if self._body_left < 0:
            raise _RefusedError(413, "too_large", TOO_LARGE)
        self._body_ended = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        self._is_begun = True
        self._is_ended = message["type"] == "http.response.body" and not message.get("more_body")
        try:
            async with asyncio.timeout(READER_PATIENCE):
                await self._send(message)
        except TimeoutError as error:
            raise _SlowReaderError from error

    async def refuse(self, error: _RefusedError) -> None:
        if self._is_begun:
            await self.end()
            return
        is_api = self.scope["path"].startswith("/api/")
        body = json.dumps({"error": {"code": error.code, "message": error.sentence}}) if is_api else error.sentence
        headers = [
            (b"content-type", b"application/json" if is_api else b"text/plain; charset=utf-8"),
            (b"connection", b"close"),
            # For the page: the sentence belongs under the composer.
            (b"hx-retarget", b"#composer-error"),
        ]
        await self.send({"type": "http.response.start", "status": error.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body.encode()})

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
