"""The site as an ASGI application, for daphne and uvicorn: it sweeps from the start and drains at the end."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import threading
import time
from importlib import import_module
from types import FrameType
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatsite.settings")

from chatsite.servers.handler import make_application

_pages = make_application()

from channels.routing import ProtocolTypeRouter  # noqa: E402 - Django has to be set up first
from django.conf import settings  # noqa: E402
from django.template.loader import get_template  # noqa: E402

from chat.accounts.model_registry import describe_models  # noqa: E402
from chat.api.websocket import serve_socket  # noqa: E402
from chat.conversations.exchange.worker import get_exchange_worker  # noqa: E402
from chat.generation.process import get_runner  # noqa: E402
from chat.rendering import highlight  # noqa: E402
from chat.search import index as search_index  # noqa: E402
from chat.staff.bulk_retry import get_retrier  # noqa: E402
from chat.tasks import start_detached  # noqa: E402
from chat.web import probes  # noqa: E402
from chatsite.apps import refuse_bad_tools  # noqa: E402
from chatsite.servers import daphne, uvicorn  # noqa: E402
from chatsite.servers.cpu_affinity import share_one_core  # noqa: E402
from chatsite.servers.open_files import allow_many_open_files  # noqa: E402
from chatsite.servers.request_guard import Application, Guard, Receive, Scope, Send  # noqa: E402
from chatsite.socket_logins import add_login  # noqa: E402
from chatsite.static_files import find_version  # noqa: E402

log = logging.getLogger(__name__)

# Seconds for which an idle connection is kept open (keep-alive): uvicorn's default, and what the site takes instead,
# which is what nginx and browsers do.
UVICORNS_DEFAULT = 5
KEPT_FOR = 75

# Templates that a process loads before its first request.
FIRST_SHOWN = (
    "chat/page.html",
    "chat/_sent.html",
    "chat/_question.html",
    "chat/_own_answer.html",
    "chat/_own_live_foot.html",
    "chat/_own_answer_foot.html",
)

# Seconds that a process behind a proxy lives on after SIGTERM. It tells the proxy to close each connection that is used
# meanwhile, and the proxy closes the others after 0.5 s (`keepalive_timeout` in deploy/nginx.conf). So no connection is
# left on which a question may be under way when the process ends. Without a proxy it waits only for the requests of
# clients that have just connected.
LINGER = 1.2
JUST_CONNECTED = 0.1

# Seconds: uvicorn begins to listen when the application is ready, and does not tell the application. After this time it
# is taken to listen.
LISTENS_AFTER = 0.2

# From SIGTERM to the exit it takes `CHAT_DRAIN` and 2 s at most, whatever hangs. Of these 2 s the first are for writing
# the ends of answers, the next for the last bytes of responses. `EXIT_AFTER` seconds after the drain's own time the
# process ends, whatever still keeps it: a thread that waits for a database, for example.
SETTLE_FOR = 0.8
LAST_BYTES = 0.7
EXIT_AFTER = 1.85

# No object of a question needs the garbage collector to be freed (`tests/generation/test_memory.py`), so it may run
# rarely. Of the 15 s in which 1,000 questions begin and end it takes 1.3 s with Python's own thresholds (700, 10, 10),
# up to 0.22 s at a time, during which every answer waits; with these thresholds it takes 0.2 s, up to 0.04 s at a time.
GARBAGE_THRESHOLDS = (20_000, 20, 20)

refuse_bad_tools()

_guard = Guard(ProtocolTypeRouter({"http": _pages, "websocket": add_login(serve_socket)}))
_draining: asyncio.Task[None] | None = None


def answer_lifespan(application: Application) -> Application:
    """Answer the lifespan protocol, which uvicorn speaks and daphne and Django do not."""

    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await application(scope, receive, send)
            return
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                _keep_connections(receive)
                prepare()
                server_handler = signal.getsignal(signal.SIGTERM)
                _drain_on_sigterm(before_stopping=False)
                start_detached(_note_listening(receive, server_handler))
                await send({"type": "lifespan.startup.complete"})
            else:
                await drain(0)
                await send({"type": "lifespan.shutdown.complete"})
                return

    return respond


def prepare() -> None:
    """Prepare the process for its first request, on its event loop."""
    allow_many_open_files()
    probes.look_at_database()
    get_runner().supervisor.sweeper.sweeps += [get_retrier().sweep, search_index.sweep, get_exchange_worker().sweep]
    get_runner().prepare()
    if settings.CHAT_ONE_CORE:
        share_one_core()
    # The first question would wait for these, 0.1 s, and somebody's answer for the lexers.
    import_module(settings.ROOT_URLCONF)
    highlight.prepare_lexers()
    find_version()
    for name in FIRST_SHOWN:
        get_template(name)
    # What is loaded by now stays for good. Searching it for garbage would block the event loop for 0.1 s each time.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)


def _keep_connections(receive: Receive) -> None:
    """Have uvicorn close half-sent requests, and keep idle connections longer than its default of 5 s.

    With the default, an event loop that is 5 s late takes a connection for idle although its next question is waiting
    in the socket, and resets it. A figure that the operator has set stays.
    """
    config: Any = getattr(getattr(receive, "__self__", None), "config", None)
    if config is not None:
        uvicorn.close_half_sent(config)
    if getattr(config, "timeout_keep_alive", None) == UVICORNS_DEFAULT:
        config.timeout_keep_alive = KEPT_FOR


async def drain(seconds: float) -> None:
    """Let answers end within `seconds`, and their followers read the end.

    This is done once: a second call waits for the drain that is under way.
    """
    global _draining  # noqa: PLW0603 - a process ends once
    if _draining is None:
        _draining = start_detached(_drain(seconds))
    await asyncio.shield(_draining)


def _find_uvicorn_address(receive: Receive) -> str:
    config: Any = getattr(getattr(receive, "__self__", None), "config", None)
    if uds := getattr(config, "uds", None):
        return f"unix:{uds}"
    return f"{getattr(config, 'host', '?')}:{getattr(config, 'port', '?')}"


async def _note_listening(receive: Receive, server_handler: Any) -> None:
    """Have uvicorn accept many connections at once, and write to the log that it listens."""
    await asyncio.sleep(LISTENS_AFTER)
    if _guard.is_closing:  # it was stopped at once
        return
    try:
        await uvicorn.take_many_at_once(server_handler)
    except OSError as error:  # no more files, for example
        log.warning("connections are taken one at a time, which is slow when many come at once: %s", error)
    _log_listening(_find_uvicorn_address(receive))


def _log_listening(addresses: str) -> None:
    log.info("listening on %s, process %d, answers from %s", addresses, os.getpid(), describe_models())


async def _drain(seconds: float) -> None:
    log.info("draining: no new questions, %d answers have %g s", get_runner().live_answers, seconds)
    leaving = start_detached(get_exchange_worker().leave())
    finished, interrupted = await get_runner().drain(seconds, SETTLE_FOR)
    await leaving
    log.info("drained: %d finished, %d interrupted", finished, interrupted)
    _guard.hang_up()
    await _let_responses_end(LAST_BYTES)


async def _let_responses_end(seconds: float) -> None:
    end = time.monotonic() + seconds
    while _guard.open and time.monotonic() < end:  # noqa: ASYNC110 - there is nothing to be woken by
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.05)  # what has been sent is still on its way to the socket


def _drain_on_sigterm(*, before_stopping: bool) -> None:
    """Drain when the signal comes, and pass it on to the server's own handler.

    uvicorn asks the application to shut down only after all connections have ended, so streams would wait for answers
    that wait for the shutdown: it gets the signal before the drain is over. daphne cuts all connections at the signal,
    so it gets it after the drain (`before_stopping`).
    """
    loop = asyncio.get_running_loop()
    server_handler = signal.getsignal(signal.SIGTERM)

    def pass_signal_on(number: int, frame: FrameType | None) -> None:
        if callable(server_handler):
            server_handler(number, frame)

    async def drain_and_stop() -> None:
        _guard.is_closing = True
        end = time.monotonic() + settings.CHAT_DRAIN + SETTLE_FOR + LAST_BYTES
        lingering = asyncio.ensure_future(asyncio.sleep(LINGER if _guard.is_behind_proxy else JUST_CONNECTED))
        draining = asyncio.ensure_future(drain(settings.CHAT_DRAIN))
        if before_stopping:
            await daphne.stop_listening()
            await draining
            await lingering
            await _let_responses_end(end - time.monotonic())
        else:
            await uvicorn.stop_listening(server_handler)
            await lingering
        pass_signal_on(signal.SIGTERM, None)
        await draining

    def handle(number: int, frame: FrameType | None) -> None:
        _exit_within(settings.CHAT_DRAIN + EXIT_AFTER)
        loop.call_soon_threadsafe(lambda: start_detached(drain_and_stop()))

    signal.signal(signal.SIGTERM, handle)


def _exit_within(seconds: float) -> None:
    """End the process after `seconds`, unless it has ended by itself.

    Nothing is lost by that: what could be written has been written, and the sweep of another process finds the rest.
    """

    def end() -> None:
        log.warning("exiting: something hangs, and was waited for long enough")
        logging.shutdown()
        os._exit(0)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


def _run_on_daphne(application: Application) -> Application:
    def start() -> None:
        daphne.let_many_connect()
        prepare()
        _drain_on_sigterm(before_stopping=True)
        _log_listening(daphne.list_addresses())

    # Ctrl+C, and whatever else stops daphne, does not wait for answers to end, and writes the text that they have.
    daphne.run_while_serving(start, lambda: drain(0))
    daphne.limit_bodies()
    return daphne.add_backpressure(application)


application: Application = answer_lifespan(_guard)
if daphne.is_serving():
    daphne.run_on_uvloop()
    application = _run_on_daphne(application)
