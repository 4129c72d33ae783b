"""Addresses for monitors: whether a process answers, whether it should get requests, and its metrics.

These addresses stand before the rest of the site (see `chatsite.middleware`): they need no user, no session and no name
of the site, because a monitor asks a process by its address.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from ipaddress import ip_address

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import DatabaseError, close_old_connections, connection
from django.db.migrations.loader import MigrationLoader
from django.http import HttpRequest, HttpResponse, JsonResponse

from chat.accounts.visitors import read_bearer_token
from chat.core.errors import COME_BACK_AFTER, write_error_body
from chat.generation.process import get_runner
from chat.http.errors import keep_out_of_error_log
from chat.observability import metrics
from chat.tasks import start_detached

log = logging.getLogger(__name__)

# A database that does not answer in this time does not serve.
PATIENCE = 1.0

# The first answer also says whether the database has all tables, which loads every migration: a tenth of a second, and
# some on a loaded machine.
FIRST_PATIENCE = 5.0

# One thread for all probes: they must not take those of requests while the database hangs.
_thread = ThreadPoolExecutor(1, "readiness")
_running_probes: dict[asyncio.AbstractEventLoop, asyncio.Task[DatabaseState]] = {}

NOT_MIGRATED = "The database lacks tables of this version of the site. Its operator has to run: manage.py migrate"


class DatabaseState(StrEnum):
    """The state of the database, as a probe found it."""

    OK = "ok"
    UNREACHABLE = "unreachable"
    NOT_MIGRATED = "not migrated"


class _Migrations:
    """Knows whether the database has the tables of this version of the site.

    Once it has them it is not asked again: a newer version of the site only adds to it while this process runs (see
    docs/deploy.md).
    """

    applied = False
    missing = False  # the last check found that some were not applied

    def check(self) -> bool:
        """Return whether all are applied; raise DatabaseError when the database cannot say."""
        if not self.applied:
            loader = MigrationLoader(connection)
            self.applied = all(node in loader.applied_migrations for node in loader.graph.leaf_nodes())
            self.missing = not self.applied
        return self.applied


_migrations = _Migrations()


async def report_health(request: HttpRequest) -> HttpResponse:
    """Tell whether this process answers; 503 while it drains."""
    draining = get_runner().draining
    return _report({"status": "draining" if draining else "ok"}, is_well=not draining)


async def report_readiness(request: HttpRequest) -> HttpResponse:
    """Tell whether this process should get requests, and why not.

    Answers continue without Redis, so a broker that is away is reported but does not make the process unready.
    """
    runner = get_runner()
    database, broker_is_up = await asyncio.gather(_probe_database(), runner.broker.is_up())
    is_late = runner.supervisor.pulse.lag > settings.CHAT_READY_LAG
    checks = {
        "database": database,
        "broker": "ok" if broker_is_up else "away",
        "event_loop": "late" if is_late else "ok",
        "draining": runner.draining,
    }
    is_ready = database == DatabaseState.OK and not is_late and not runner.draining
    body: dict[str, object] = {"status": "ready" if is_ready else "not ready", "checks": checks}
    if database == DatabaseState.NOT_MIGRATED:
        body["message"] = NOT_MIGRATED
    return _report(body, is_well=is_ready)


def look_at_database() -> None:
    """Find out, before the first request, whether the database has its tables; wait `PATIENCE` seconds at most.

    If it lacks some, log that, and let `refuse_unmigrated` answer every request until it has them.
    """
    try:
        state = _thread.submit(_look_up_state).result(PATIENCE)
    except TimeoutError:
        return
    if state == DatabaseState.NOT_MIGRATED:
        log.error(NOT_MIGRATED)


async def refuse_unmigrated(request: HttpRequest) -> HttpResponse | None:
    """Return a sentence with status 503 in place of any page while the database lacks tables, and nothing otherwise."""
    if not _migrations.missing or await _probe_database() != DatabaseState.NOT_MIGRATED:
        return None
    response: HttpResponse
    if request.path_info.startswith("/api/"):
        response = JsonResponse(write_error_body(503, "not_ready", NOT_MIGRATED, retryable=True), status=503)
    else:
        response = HttpResponse(f"{NOT_MIGRATED}\n", status=503, content_type="text/plain; charset=utf-8")
    response.headers["Retry-After"] = "5"
    return keep_out_of_error_log(response)


def _report(body: dict[str, object], *, is_well: bool) -> JsonResponse:
    response = JsonResponse(body, status=200 if is_well else 503)
    if not is_well:
        response.headers["Retry-After"] = str(COME_BACK_AFTER)
    return keep_out_of_error_log(response)


async def scrape(request: HttpRequest) -> HttpResponse | None:
    """Return the metrics of this process, or None when the request may not read them."""
    if not may_scrape(request):
        return None
    runner = get_runner()
    figures = metrics.Figures(
        live=runner.live_answers,
        waiting=runner.resources.slots.waiting,
        draining=runner.draining,
        broker="redis" if settings.REDIS_URL else "memory",
        broker_is_up=await runner.broker.is_up(),
        lag=runner.supervisor.pulse.lag,
        checkpoint_age=runner.supervisor.pulse.checkpoint_age,
        pool=_read_pool_figures(),
    )
    return HttpResponse(metrics.render_scrape(figures), content_type=metrics.CONTENT_TYPE)


View = Callable[[HttpRequest], Awaitable[HttpResponse | None]]

VIEWS: dict[str, View] = {"/healthz": report_health, "/readyz": report_readiness, "/metrics": scrape}


def may_scrape(request: HttpRequest) -> bool:
    """Return whether a request may read the metrics: by its token, or by its network.

    A request that a proxy has forwarded needs the token: the proxy's address says nothing about the client's.
    """
    token = read_bearer_token(request.headers.get("Authorization", ""))
    if settings.CHAT_METRICS_TOKEN and secrets.compare_digest(token.encode(), settings.CHAT_METRICS_TOKEN.encode()):
        return True
    if any(name in request.headers for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via")):
        return False
    try:
        address = ip_address(request.META.get("REMOTE_ADDR") or "")
    except ValueError:  # a Unix socket has none
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return any(address in network for network in settings.CHAT_METRICS_NETWORKS)


async def _probe_database() -> DatabaseState:
    """Return the state of the database, within `PATIENCE` seconds; probes at the same time share one query."""
    loop = asyncio.get_running_loop()
    if loop not in _running_probes:
        _running_probes[loop] = start_detached(
            sync_to_async(_look_up_state, thread_sensitive=False, executor=_thread)()
        )
        _running_probes[loop].add_done_callback(lambda _: _running_probes.pop(loop))
    try:
        patience = PATIENCE if _migrations.applied else FIRST_PATIENCE
        return await asyncio.wait_for(asyncio.shield(_running_probes[loop]), patience)
    except TimeoutError:
        return DatabaseState.UNREACHABLE


def _look_up_state() -> DatabaseState:
    if not is_reachable():
        return DatabaseState.UNREACHABLE
    try:
        return DatabaseState.OK if _migrations.check() else DatabaseState.NOT_MIGRATED
    except DatabaseError:
        return DatabaseState.UNREACHABLE
    finally:
        close_old_connections()


def is_reachable() -> bool:
    """Return whether the database answers a query now."""
    close_old_connections()
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except (DatabaseError, OSError):
        return False
    finally:
        close_old_connections()
    return True


def _read_pool_figures() -> dict[str, int] | None:
    """Return the figures of the pool of PostgreSQL connections; None without a pool."""
    pool = getattr(connection, "pool", None)
    return None if pool is None else dict(pool.get_stats())
