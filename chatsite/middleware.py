"""What every request gets: an id that the log and the response share, headers that keep a page at home, a user."""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import middleware as auth
from django.contrib.messages import middleware as messages
from django.contrib.sessions import middleware as sessions
from django.http import HttpRequest, HttpResponseBase
from django.middleware import clickjacking, common, csrf, security
from django.utils.decorators import async_only_middleware
from django.utils.deprecation import MiddlewareMixin

from chat import monitoring, views
from chat.tracing import request_id
from chat.visitors import user_of

access = logging.getLogger("chatsite.access")

# A proxy's id is kept when it is harmless in a log line.
_HARMLESS = re.compile(r"[A-Za-z0-9._-]{1,64}")

# A page needs no other origin and runs no script but the site's files. `data:` is for the icons inside the style sheet.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class OnLoop(MiddlewareMixin):
    """A middleware of Django's that works on the event loop. Django hands each of them over to a thread, once for the
    request and once for the response, 0.2 ms of CPU time each; those below read headers and write headers."""

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        before = getattr(self, "process_request", None)
        response: HttpResponseBase | None = before(request) if before else None
        response = response or await self.get_response(request)  # type: ignore[misc]  # which is async here
        after = getattr(self, "process_response", None)
        if after and self.waits(request):
            response = await sync_to_async(after)(request, response)
        elif after:
            response = after(request, response)
        return response

    def waits(self, request: HttpRequest) -> bool:
        """Whether the end of this request's response has to go to the database."""
        return False


class SecurityMiddleware(OnLoop, security.SecurityMiddleware): ...


class SessionMiddleware(OnLoop, sessions.SessionMiddleware):
    def waits(self, request: HttpRequest) -> bool:
        return request.session.modified or settings.SESSION_SAVE_EVERY_REQUEST


class CommonMiddleware(OnLoop, common.CommonMiddleware): ...


class CsrfViewMiddleware(OnLoop, csrf.CsrfViewMiddleware):
    async def process_view(  # type: ignore[override]  # Django takes either
        self, request: HttpRequest, callback: Callable[..., Any], callback_args: Any, callback_kwargs: Any
    ) -> HttpResponseBase | None:
        return super().process_view(request, callback, callback_args, callback_kwargs)


class AuthenticationMiddleware(OnLoop, auth.AuthenticationMiddleware): ...


class MessageMiddleware(OnLoop, messages.MessageMiddleware):
    def waits(self, request: HttpRequest) -> bool:
        kept = request._messages  # type: ignore[attr-defined]  # the middleware's own
        return bool(kept.used or kept.added_new)


class XFrameOptionsMiddleware(OnLoop, clickjacking.XFrameOptionsMiddleware): ...


class LoginMiddleware(auth.LoginRequiredMiddleware):
    """Every view is for users only, unless it says otherwise; see `chat.views.no_user` for those who are not.

    Session and user are looked up in one go, and left where sync and async views look for them.
    """

    async def process_view(  # type: ignore[override]  # Django takes either
        self, request: HttpRequest, view_func: Callable[..., Any], view_args: Any, view_kwargs: Any
    ) -> HttpResponseBase | None:
        if not getattr(view_func, "login_required", True):
            return None
        user = await user_of(request)
        if not user.is_authenticated:
            return await sync_to_async(self.handle_no_permission)(request, view_func)
        return None

    def handle_no_permission(  # type: ignore[override]  # any response will do, not only a redirect
        self, request: HttpRequest, view_func: Callable[..., Any]
    ) -> HttpResponseBase:
        return views.no_user(request) or super().handle_no_permission(request, view_func)


@async_only_middleware
def RequestMiddleware(  # noqa: N802 - named as Django names middleware
    get_response: Callable[[HttpRequest], Awaitable[HttpResponseBase]],
) -> Callable[[HttpRequest], Awaitable[HttpResponseBase]]:
    async def middleware(request: HttpRequest) -> HttpResponseBase:
        given = request.headers.get("X-Request-ID", "")
        request_id.set(given if _HARMLESS.fullmatch(given) else f"{random.getrandbits(48):012x}")
        if request.headers.get("Authorization", "").startswith("Bearer "):
            # No browser sends a bearer token by itself, so there is nothing to forge; see chat.api.
            request._dont_enforce_csrf_checks = True  # type: ignore[attr-defined]
        begun = time.monotonic()
        response = await get_response(request)
        _log_access(request, response, time.monotonic() - begun)
        response.headers["X-Request-ID"] = request_id.get()
        response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        return response

    return middleware


def _log_access(request: HttpRequest, response: HttpResponseBase, seconds: float) -> None:
    """One line for a request: until its response begins, because a stream lasts as long as its answer. No query: people
    search for what they said."""
    if not settings.CHAT_ACCESS_LOG or request.path.startswith(settings.STATIC_URL):
        return
    line = {
        "method": request.method,
        "path": request.path,
        "status": response.status_code,
        "ms": round(seconds * 1000, 1),
    }
    access.info("%(method)s %(path)s %(status)s %(ms)s ms", line, extra={"fields": line})


@async_only_middleware
def MonitoringMiddleware(  # noqa: N802 - named as Django names middleware
    get_response: Callable[[HttpRequest], Awaitable[HttpResponseBase]],
) -> Callable[[HttpRequest], Awaitable[HttpResponseBase]]:
    """Answer monitors before anything looks at the host, the session or the user. Who may not see what is there goes on
    to where there is nothing."""

    async def middleware(request: HttpRequest) -> HttpResponseBase:
        view = monitoring.VIEWS.get(request.path_info) if request.method in {"GET", "HEAD"} else None
        return (view and await view(request)) or await get_response(request)

    return middleware
