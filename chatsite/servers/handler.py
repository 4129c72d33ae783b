"""Django's handler, for responses that last for minutes: a few threads serve all of them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from typing import Any

import django
from asgiref.sync import SyncToAsync, ThreadSensitiveContext
from django.core.handlers.asgi import ASGIHandler
from django.core.signals import request_started
from django.db import close_old_connections, reset_queries

from chat import units_of_work

# Django gives every request a thread of its own and keeps it until the response ends, for a stream that is minutes:
# 500 of them are 500 threads. Sync work here is queries of about a millisecond, so a few threads share it; one that an
# admin page keeps for a second delays an eighth of the others.
WORKERS = 8

# The methods that change nothing, by RFC 9110, section 9.2.1.
SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


class Handler(ASGIHandler):
    """Django's handler, with a shared thread for each request's sync work, and with units of work kept whole."""

    def __init__(self) -> None:
        super().__init__()
        # Each request would go to a thread to begin. The end of the one before it has looked after the connections.
        request_started.disconnect(close_old_connections)
        request_started.disconnect(reset_queries)
        self._workers = cycle([ThreadSensitiveContext() for _ in range(WORKERS)])

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        SyncToAsync.thread_sensitive_context.set(next(self._workers))
        units_of_work.client.set(None if scope["method"].upper() in SAFE else units_of_work.Client())
        await self.handle(scope, receive, send)

    def create_request(self, scope: Mapping[str, Any], body_file: Any) -> Any:
        """Return Django's request; one whose `Content-Type` has parameters that cannot be read has none of them.

        Django raises ValueError for a parameter in an unknown encoding, and TypeError for one that comes whole and in
        pieces (RFC 2231): outside of what makes a response of an error, so that every address failed.
        """
        try:
            return super().create_request(scope, body_file)
        except (TypeError, ValueError):
            headers = [
                (name, value.partition(b";")[0] if name == b"content-type" else value)
                for name, value in scope["headers"]
            ]
            return super().create_request({**scope, "headers": headers}, body_file)

    async def run_get_response(self, request: Any) -> Any:
        """Return the response to a request, and empty the request: Django's handler holds it until the response ends.

        What a request changes is a unit of work, from the first middleware to the last: here, so that no view and no
        middleware has to see to it. `listen_for_disconnect` waits for its end, and only after that one does Django
        cancel the task that this runs in.

        A request that is not emptied holds 45 KiB more for a page's stream (149 instead of 104 with 100 streams on a
        busy machine), and 8 for one of the API: its headers, session, user and messages, for minutes.
        """
        client = units_of_work.client.get()
        try:
            response = await super().run_get_response(request)
        finally:
            if client is not None:
                client.end_unit()
        request.close()
        vars(request).clear()
        return response

    async def listen_for_disconnect(self, receive: Any) -> None:
        """Return when the client has gone and its unit of work, if it has one, is over.

        Django then cancels what is left, the sending of the response, and closes the request's body. Its own raises
        `RequestAborted`, which it ignores: that exception and the frame in `handle` refer to each other, and all that a
        request has made, with the text of its answer, would wait for the garbage collector.
        """
        await receive()
        if (client := units_of_work.client.get()) is not None:
            await client.leave()


def make_application() -> Handler:
    """Set Django up and give its ASGI application."""
    django.setup(set_prefix=False)
    return Handler()
