"""Django's handler, for responses that last for minutes: a few threads for all of them, and nothing held that a stream
does not need."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import django
from asgiref.sync import SyncToAsync, ThreadSensitiveContext
from django.core.handlers.asgi import ASGIHandler
from django.core.signals import request_started
from django.db import close_old_connections, reset_queries
from django.http import HttpRequest
from django.http.response import ResponseHeaders

# Django gives every request a thread of its own and keeps it until the response ends, for a stream that is minutes:
# 500 of them are 500 threads. Sync work here is queries of about a millisecond, so a few threads share it; one that an
# admin page keeps for a second delays an eighth of the others.
WORKERS = 8


class Handler(ASGIHandler):
    """Django's handler, with a shared thread for each request's sync work. It forgets what has its response."""

    def __init__(self) -> None:
        super().__init__()
        # Each request would go to a thread to begin. The end of the one before it has looked after the connections.
        request_started.disconnect(close_old_connections)
        request_started.disconnect(reset_queries)
        self._workers = cycle([ThreadSensitiveContext() for _ in range(WORKERS)])

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        SyncToAsync.thread_sensitive_context.set(next(self._workers))
        await self.handle(scope, receive, send)

    async def run_get_response(self, request: Any) -> Any:
        response = await super().run_get_response(request)
        _forget(request)
        return response

    if django.VERSION < (6,):  # from then on it is the raising that ends the response

        async def listen_for_disconnect(self, receive: Any) -> None:
            """Return when the client has gone. Django's own raises, and what is raised and the request hold each other,
            10 KiB until the garbage collector comes."""
            await receive()

    async def send_response(self, response: Any, send: Any) -> None:
        async def send_on(message: Any) -> None:
            await send(message)
            if message["type"] == "http.response.start":  # the head, which is held in two forms, 3 KiB
                message["headers"].clear()
                response.headers = ResponseHeaders({})

        await super().send_response(response, send_on)


def _forget(request: HttpRequest) -> None:
    """Let go of what the request was: its headers, three times, its body, session, messages and match of a URL are 12
    to 20 KiB. Django's handler holds them until the response ends, for a stream that is minutes, and they hold each
    other until the garbage collector comes."""
    request.close()
    request.scope["headers"].clear()  # type: ignore[attr-defined]  # an ASGI request has one
    vars(request).clear()


def django_application() -> Handler:
    """Set Django up and give its ASGI application."""
    django.setup(set_prefix=False)
    return Handler()
