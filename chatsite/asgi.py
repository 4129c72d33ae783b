"""The site as an ASGI application, for daphne and uvicorn: it sweeps from the start and drains at the end."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import time
from importlib import import_module
from types import FrameType
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatsite.settings")

from chatsite.workers import django_application

_pages = django_application()

from channels.auth import AuthMiddlewareStack  # noqa: E402 - Django has to be set up first
from channels.routing import ProtocolTypeRouter  # noqa: E402
from django.conf import settings  # noqa: E402
from django.template.loader import get_template  # noqa: E402

from chat import generation, rendering  # noqa: E402
from chat.background import detached  # noqa: E402
from chat.consumers import sockets  # noqa: E402
from chat.tools import Toolbox, ToolError  # noqa: E402
from chatsite import daphne  # noqa: E402
from chatsite.environment import refuse  # noqa: E402
from chatsite.guard import Application, Guard, Receive, Scope, Send  # noqa: E402
from chatsite.one_core import share_one_core  # noqa: E402

log = logging.getLogger(__name__)

# Seconds for which a connection is kept between two requests; the second as nginx and browsers do.
UVICORNS_DEFAULT = 5
KEPT_FOR = 75

FIRST_SHOWN = ("chat/page.html", "chat/_sent.html", "chat/_answer_foot.html")

# A drain waits so long for the last bytes of responses, after their answers have ended.
LAST_BYTES = 0.7

try:
    Toolbox(settings.CHAT_TOOLS, settings.CHAT_MCP).check()
except ToolError as error:
    refuse("CHAT_TOOLS", f"or CHAT_MCP cannot be used: {error}")

_guard = Guard(ProtocolTypeRouter({"http": _pages, "websocket": AuthMiddlewareStack(sockets)}))
_draining: asyncio.Task[None] | None = None


def living(application: Application) -> Application:
    """Answer the lifespan protocol, which uvicorn speaks and daphne and Django do not."""

    async def alive(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await application(scope, receive, send)
            return
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                _keep_connections(receive)
                prepare()
                _drain_on_sigterm(before_stopping=False)
                await send({"type": "lifespan.startup.complete"})
            else:
                await drain(0)
                await send({"type": "lifespan.shutdown.complete"})
                return

    return alive


def prepare() -> None:
    """What a server does before its first request, on its event loop."""
    generation.runner().prepare()
    if settings.CHAT_ONE_CORE:
        share_one_core()
    # The first question would wait for these, 0.1 s, and somebody's answer for the lexers.
    import_module(settings.ROOT_URLCONF)
    rendering.prepare()
    for name in FIRST_SHOWN:
        get_template(name)
    # All this stays. To look through it for garbage would hold the event loop for 0.1 s, each time.
    gc.collect()
    gc.freeze()


def _keep_connections(receive: Receive) -> None:
    """Have uvicorn keep idle connections for longer than its default of 5 s, unless its operator wants something else.
    An event loop that is so much behind takes one for idle whose next question waits in its socket, and resets it."""
    config: Any = getattr(getattr(receive, "__self__", None), "config", None)
    if getattr(config, "timeout_keep_alive", None) == UVICORNS_DEFAULT:
        config.timeout_keep_alive = KEPT_FOR


async def drain(seconds: float) -> None:
    """Let answers end within so many seconds, and let those who follow them hear of it. Done once: who asks again waits
    for the drain that is under way."""
    global _draining  # noqa: PLW0603 - a process ends once
    if _draining is None:
        _draining = detached(_drain(seconds))
    await asyncio.shield(_draining)


async def _drain(seconds: float) -> None:
    await generation.runner().drain(seconds)
    _guard.hang_up()
    end = time.monotonic() + LAST_BYTES
    while _guard.open and time.monotonic() < end:  # noqa: ASYNC110 - there is nothing to be woken by
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.05)  # what has been sent is still on its way to the socket


def _drain_on_sigterm(*, before_stopping: bool) -> None:
    """Drain when the signal comes. uvicorn stops listening at once, and asks the application to shut down only after
    all connections have ended: streams would wait for answers that wait for the shutdown. daphne cuts all connections
    at once, so it hears of the signal only when the drain is over."""
    loop = asyncio.get_running_loop()
    server_handler = signal.getsignal(signal.SIGTERM)

    def hand_on(number: int, frame: FrameType | None) -> None:
        if callable(server_handler):
            server_handler(number, frame)

    async def drain_and_stop() -> None:
        if before_stopping:
            daphne.stop_listening()
        await drain(settings.CHAT_DRAIN)
        if before_stopping:
            hand_on(signal.SIGTERM, None)

    def handle(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(lambda: detached(drain_and_stop()))
        if not before_stopping:
            hand_on(number, frame)

    signal.signal(signal.SIGTERM, handle)


def _on_daphne(application: Application) -> Application:
    def start() -> None:
        prepare()
        _drain_on_sigterm(before_stopping=True)

    # Ctrl+C, and what else stops daphne, does not wait for answers; it writes what they have.
    daphne.when_running(start, lambda: drain(0))
    daphne.limit_bodies(settings.DATA_UPLOAD_MAX_MEMORY_SIZE)
    return daphne.with_backpressure(application)


application: Application = living(_guard)
if daphne.is_serving():
    daphne.run_on_uvloop()
    application = _on_daphne(application)
