"""Middleware for every request: an id that the log and the response share, headers that keep a page at home, a user."""

from __future__ import annotations

import asyncio
import codecs
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import middleware as auth
from django.contrib.auth.views import redirect_to_login
from django.contrib.messages import get_messages
from django.contrib.messages import middleware as messages
from django.contrib.messages.storage.base import BaseStorage
from django.contrib.sessions import middleware as sessions
from django.core.exceptions import BadRequest, DisallowedHost
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseNotFound,
    HttpResponsePermanentRedirect,
)
from django.http.multipartparser import MultiPartParserError
from django.middleware import clickjacking, common, csrf, security
from django.shortcuts import resolve_url
from django.utils.cache import patch_cache_control
from django.utils.decorators import async_only_middleware
from django.utils.deprecation import MiddlewareMixin
from django.utils.http import escape_leading_slashes
from django.utils.log import log_response

from chat.accounts.visitors import find_known_user, find_session_user, is_session_key, read_bearer_token
from chat.core.errors import COME_BACK_AFTER
from chat.http import errors
from chat.http.bodies import NO_JSON
from chat.http.requests import find_page_of_form
from chat.observability.outages import FAULTS
from chat.observability.tracing import choose_request_id, request_id
from chat.web import probes
from chatsite import outages

log = logging.getLogger(__name__)
access = logging.getLogger("chatsite.access")

# A page needs no other origin and runs no script but the site's files. `data:` is for the icons inside the style sheet.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class OnLoop(MiddlewareMixin):
    """A middleware of Django's that works on the event loop.

    Django hands each of them over to a thread, once for the request and once for the response, 0.2 ms of CPU time each;
    those below read headers and write headers.
    """

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        before = getattr(self, "process_request", None)
        response: HttpResponseBase | None = before(request) if before else None
        response = response or await self.get_response(request)  # type: ignore[misc]  # which is async here
        after = getattr(self, "process_response", None)
        try:
            if after and self.needs_database(request):
                response = await sync_to_async(after)(request, response)
            elif after:
                response = after(request, response)
        except FAULTS as error:  # a session that cannot be kept
            if (outage := outages.respond_to_outage(request, error)) is None:
                raise
            return outage
        return response

    def needs_database(self, request: HttpRequest) -> bool:
        """Return whether the end of this request's response has to go to the database."""
        return False


class SecurityMiddleware(OnLoop, security.SecurityMiddleware):
    """Django's, on the event loop."""


class SessionMiddleware(OnLoop, sessions.SessionMiddleware):
    """Django's, on the event loop unless the session has to be written."""

    def process_request(self, request: HttpRequest) -> None:
        """Find the request's session; a cookie that cannot be the key of one is none, and is deleted as an old one."""
        name = settings.SESSION_COOKIE_NAME
        if name in request.COOKIES and not is_session_key(request.COOKIES[name]):
            request.COOKIES[name] = ""
        super().process_request(request)

    def needs_database(self, request: HttpRequest) -> bool:
        return request.session.modified or settings.SESSION_SAVE_EVERY_REQUEST


class KeptRedirect(HttpResponsePermanentRedirect):
    """A permanent redirect that keeps method and body: by a 301 a POST comes again as a GET (RFC 9110, 15.4.9)."""

    status_code = 308


class CommonMiddleware(OnLoop, common.CommonMiddleware):
    """Django's, on the event loop, with one log line for a foreign host, and 308 where a slash is missing."""

    response_redirect_class = KeptRedirect

    def get_full_path_with_slash(self, request: HttpRequest) -> str:
        """Return the path with its slash. Django's raises for a POST with DEBUG, whose body this redirect keeps."""
        return escape_leading_slashes(request.get_full_path(force_append_slash=True))

    def process_request(  # type: ignore[override]  # any response will do, not only a redirect
        self, request: HttpRequest
    ) -> HttpResponseBase | None:
        """Refuse a host that is not the site's, with one line in the log.

        Django's own has a traceback, and scanners ask a hundred times a minute.
        """
        try:
            return super().process_request(request)
        except DisallowedHost as error:
            response = errors.refuse_host(request)
            # Django's, because it adds a line of its own to every refusal that was not logged by it.
            log_response("%s %s refused: %s", request.method, request.path, error, response=response, logger=log)
            return response


def read_form_with_files(request: HttpRequest) -> None:
    """Read a form of the kind that may have files. Raise `BadRequest` or `MultiPartParserError` for an unreadable one.

    That it has to be in UTF-8 Django checks of the other kind alone: half a character, which other encodings can
    write, would fail wherever it is shown or stored.
    """
    if request.encoding is not None and codecs.lookup(request.encoding).name != "utf-8":
        raise BadRequest("a form with files must be in UTF-8")
    try:
        request.POST  # noqa: B018 - reads it
    except TypeError as error:  # of a part's parameter that comes whole and in pieces (RFC 2231)
        raise BadRequest("a part of the form has a head that cannot be read") from error


class CsrfViewMiddleware(OnLoop, csrf.CsrfViewMiddleware):
    """Django's, on the event loop; a program without a login gets its 401 first."""

    async def process_view(  # type: ignore[override]  # Django takes either
        self, request: HttpRequest, callback: Callable[..., Any], callback_args: Any, callback_kwargs: Any
    ) -> HttpResponseBase | None:
        if request.method == "POST" and request.content_type == "multipart/form-data":
            # Django reads the form for its token. One with a file of 100 MB would hold the event loop for a second.
            try:
                await asyncio.to_thread(read_form_with_files, request)
            except (BadRequest, MultiPartParserError):
                if not errors.is_api(request):
                    raise
                return errors.render_json_refusal(NO_JSON)
        refusal = super().process_view(request, callback, callback_args, callback_kwargs)
        if refusal is not None and errors.is_api(request) and not (await find_session_user(request)).is_authenticated:
            return errors.render_json_refusal(errors.UNAUTHORIZED)  # there is no session that a token would belong to
        return refusal


class AuthenticationMiddleware(OnLoop, auth.AuthenticationMiddleware):
    """Django's, on the event loop."""


class MessageMiddleware(OnLoop, messages.MessageMiddleware):
    """Django's, on the event loop unless there are messages to keep."""

    def needs_database(self, request: HttpRequest) -> bool:
        kept = get_messages(request)
        return isinstance(kept, BaseStorage) and (kept.used or kept.added_new)


class XFrameOptionsMiddleware(OnLoop, clickjacking.XFrameOptionsMiddleware):
    """Django's, on the event loop."""


class LoginMiddleware(auth.LoginRequiredMiddleware):
    """Every view is for users only, unless it says otherwise; the others get `chat.http.errors.refuse_without_login`.

    Session and user are looked up in one go, and left where sync and async views look for them.
    """

    async def process_view(  # type: ignore[override]  # Django takes either
        self, request: HttpRequest, view_func: Callable[..., Any], view_args: Any, view_kwargs: Any
    ) -> HttpResponseBase | None:
        if not getattr(view_func, "login_required", True):
            return None
        if getattr(view_func, "is_login_confirmed_later", False) and find_known_user(request) is not None:
            return None
        try:
            user = await find_session_user(request)
        except FAULTS as error:
            if (response := outages.respond_to_outage(request, error)) is None:
                raise
            return response
        if not user.is_authenticated:
            return await sync_to_async(self.handle_no_permission)(request, view_func)
        return None

    def handle_no_permission(  # type: ignore[override]  # any response will do, not only a redirect
        self, request: HttpRequest, view_func: Callable[..., Any]
    ) -> HttpResponseBase:
        if (refusal := errors.refuse_without_login(request)) is not None:
            return refusal
        if request.method in {"GET", "HEAD"}:
            return super().handle_no_permission(request, view_func)
        # The login page leads on by a GET, which the address of a form does not answer: to the form's page instead.
        return redirect_to_login(find_page_of_form(request) or resolve_url("home"))


@async_only_middleware
def RequestMiddleware(  # noqa: N802 - named as Django names middleware
    get_response: Callable[[HttpRequest], Awaitable[HttpResponseBase]],
) -> Callable[[HttpRequest], Awaitable[HttpResponseBase]]:
    """Give each request an id, each response the site's policy, and the access log a line."""

    async def middleware(request: HttpRequest) -> HttpResponseBase:
        request_id.set(choose_request_id(request.headers.get("X-Request-ID", "")))
        if read_bearer_token(request.headers.get("Authorization", "")):
            # No browser sends a bearer token by itself, so there is nothing to forge; see chat.api.operations.
            request._dont_enforce_csrf_checks = True  # type: ignore[attr-defined]
        started_at = time.monotonic()
        response = await get_response(request)
        if response.streaming and request.method == "HEAD":
            response = _drop_content(response)
        if response.status_code == 503:
            response.headers.setdefault("Retry-After", str(COME_BACK_AFTER))
        _log_access(request, response, time.monotonic() - started_at)
        response.headers["X-Request-ID"] = request_id.get()
        response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        return response

    return middleware


def _drop_content(response: HttpResponseBase) -> HttpResponse:
    """Return the head of a stream: the server leaves the content out, and would wait for its end."""
    response.close()
    head = HttpResponse(status=response.status_code, headers=dict(response.headers))
    head.cookies = response.cookies
    return head


def _log_access(request: HttpRequest, response: HttpResponseBase, seconds: float) -> None:
    """Write one line for a request, with the time until its response began: a stream lasts as long as its answer.

    It has no query: people search for what they said.
    """
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
def PrivacyMiddleware(  # noqa: N802 - named as Django names middleware
    get_response: Callable[[HttpRequest], Awaitable[HttpResponseBase]],
) -> Callable[[HttpRequest], Awaitable[HttpResponseBase]]:
    """Keep every response out of caches, a browser's own included: each of them may hold what somebody said.

    Static files and the addresses for monitors are answered before this middleware and keep their own headers.
    """

    async def middleware(request: HttpRequest) -> HttpResponseBase:
        response = await get_response(request)
        patch_cache_control(response, private=True, no_store=True)
        return response

    return middleware


def _is_our_host(request: HttpRequest) -> bool:
    try:
        request.get_host()
    except DisallowedHost:
        return False
    return True


@async_only_middleware
def MonitoringMiddleware(  # noqa: N802 - named as Django names middleware
    get_response: Callable[[HttpRequest], Awaitable[HttpResponseBase]],
) -> Callable[[HttpRequest], Awaitable[HttpResponseBase]]:
    """Answer monitors before anything looks at the host, the session or the user.

    A client that may not see their addresses gets the site's 404.
    """

    async def middleware(request: HttpRequest) -> HttpResponseBase:
        view = probes.VIEWS.get(request.path_info) if request.method in {"GET", "HEAD"} else None
        answer = await view(request) if view else None
        if view and answer is None and not _is_our_host(request):
            return HttpResponseNotFound()
        answer = answer or await probes.refuse_unmigrated(request)
        return answer or await get_response(request)

    return middleware
