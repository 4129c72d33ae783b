"""What machines ask of a process: does it answer, may it get requests, how does it fare.

These addresses stand before the rest of the site (see `chatsite.middleware`): they need no user, no session and no name
of the site, because a monitor asks a process by its address.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import DatabaseError, close_old_connections, connection
from django.http import HttpRequest, HttpResponse, JsonResponse

from chat import metrics
from chat.background import detached
from chat.generation import runner
from chat.visitors import bearer_token

# A database that does not answer in this time does not serve.
PATIENCE = 1.0

# One thread for all probes: they must not take those of requests while the database hangs.
_thread = ThreadPoolExecutor(1, "readiness")
_asking: dict[asyncio.AbstractEventLoop, asyncio.Task[bool]] = {}


async def healthz(request: HttpRequest) -> HttpResponse:
    """Whether this process answers; 503 while it drains."""
    draining = runner().draining
    return _told({"status": "draining" if draining else "ok"}, is_well=not draining)


async def readyz(request: HttpRequest) -> HttpResponse:
    """Whether this process should get requests, and what speaks against it. Without Redis answers go on, so a broker
    that is away is told of and no more."""
    here = runner()
    has_database, broker_is_up = await asyncio.gather(_has_database(), here.broker.is_up())
    is_late = here.keeper.pulse.lag > settings.CHAT_READY_LAG
    checks = {
        "database": "ok" if has_database else "unreachable",
        "broker": "ok" if broker_is_up else "away",
        "event_loop": "late" if is_late else "ok",
        "draining": here.draining,
    }
    is_ready = has_database and not is_late and not here.draining
    return _told({"status": "ready" if is_ready else "not ready", "checks": checks}, is_well=is_ready)


def _told(what: dict[str, object], *, is_well: bool) -> JsonResponse:
    response = JsonResponse(what, status=200 if is_well else 503)
    # Django logs each 503 as an error of its own; a probe every few seconds is told it already.
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response


async def scrape(request: HttpRequest) -> HttpResponse | None:
    """The metrics of this process, or nothing for who may not read them."""
    if not may_scrape(request):
        return None
    here = runner()
    figures = metrics.Figures(
        live=here.live_answers,
        waiting=here.places.waiting,
        draining=here.draining,
        broker="redis" if settings.REDIS_URL else "memory",
        broker_is_up=await here.broker.is_up(),
        lag=here.keeper.pulse.lag,
        checkpoint_age=here.keeper.pulse.checkpoint_age,
        pool=_pool(),
    )
    return HttpResponse(metrics.exposition(figures), content_type=metrics.CONTENT_TYPE)


View = Callable[[HttpRequest], Awaitable[HttpResponse | None]]

VIEWS: dict[str, View] = {"/healthz": healthz, "/readyz": readyz, "/metrics": scrape}


def may_scrape(request: HttpRequest) -> bool:
    """Who has the token, or asks from a network that is let in. A proxy's address says nothing about who asks it, so
    what a proxy has forwarded needs the token."""
    token = bearer_token(request.headers.get("Authorization", ""))
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


async def _has_database() -> bool:
    """Whether the database answers within `PATIENCE`. Probes that come meanwhile wait for the same answer."""
    loop = asyncio.get_running_loop()
    if loop not in _asking:
        _asking[loop] = detached(sync_to_async(_ask_database, thread_sensitive=False, executor=_thread)())
        _asking[loop].add_done_callback(lambda _: _asking.pop(loop))
    try:
        return await asyncio.wait_for(asyncio.shield(_asking[loop]), PATIENCE)
    except TimeoutError:
        return False


def _ask_database() -> bool:
    close_old_connections()
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except (DatabaseError, OSError):
        return False
    finally:
        close_old_connections()
    return True


def _pool() -> dict[str, int] | None:
    """What the pool of PostgreSQL connections says of itself."""
    pool = getattr(connection, "pool", None)
    return None if pool is None else dict(pool.get_stats())
