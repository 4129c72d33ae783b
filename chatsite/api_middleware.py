"""Middleware for the API's responses: CORS, gzip, `Vary`, and the media type of a refusal."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.cache import patch_vary_headers
from django.utils.decorators import async_only_middleware
from django.utils.text import compress_string

from chat.http.errors import is_api
from chat.http.negotiation import JSON, accepts_gzip, choose_media_type

PROBLEM = "application/problem+json"

# Below that gzip wins nothing, above the other it would hold the event loop for milliseconds.
LEAST_COMPRESSED = 1_000
MAX_ON_LOOP = 50_000

# BREACH reads a secret out of compressed bodies that repeat what an attacker sent beside it. No body of the API holds
# one: tokens and CSRF tokens never stand in it. So many random bytes in each head blur its length all the same.
RANDOM_BYTES = 100

ALLOWED_HEADERS = "Accept, Authorization, Content-Type, If-None-Match, Last-Event-ID, Prefer, X-Request-ID"
EXPOSED_HEADERS = "Allow, ETag, Location, Preference-Applied, Retry-After, WWW-Authenticate, X-Request-ID"
ALLOWED_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
PREFLIGHT_LASTS = 600  # seconds; Chromium keeps one for two hours at most


@async_only_middleware
def ApiMiddleware(  # noqa: N802 - named as Django names middleware
    get_response: Callable[[HttpRequest], Awaitable[HttpResponseBase]],
) -> Callable[[HttpRequest], Awaitable[HttpResponseBase]]:
    """Add what responses of the API have in common; others pass."""

    async def middleware(request: HttpRequest) -> HttpResponseBase:
        if not is_api(request):
            return await get_response(request)
        if _is_preflight(request):
            response: HttpResponseBase = _answer_preflight()
        else:
            response = await get_response(request)
            patch_vary_headers(response, ("Accept", "Authorization", "Prefer"))
            if response.status_code in {204, 304}:
                del response.headers["Content-Type"]  # of nothing
            if isinstance(response, HttpResponse):
                _name_problem(request, response)
                await _compress(request, response)
        _allow_origin(request, response)
        return response

    return middleware


def _is_preflight(request: HttpRequest) -> bool:
    """Return whether a browser asks for a page of another origin whether it may send a request."""
    asks = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
    return asks and bool(_find_allowed_origin(request))


def _answer_preflight() -> HttpResponse:
    headers = {
        "Access-Control-Allow-Methods": ALLOWED_METHODS,
        "Access-Control-Allow-Headers": ALLOWED_HEADERS,
        "Access-Control-Max-Age": str(PREFLIGHT_LASTS),
    }
    return HttpResponse(status=204, headers=headers)


def _allow_origin(request: HttpRequest, response: HttpResponseBase) -> None:
    """Let pages of the origins in `CHAT_API_ORIGINS` read the response.

    Credentials are never allowed: such a page sends a bearer token, and no cookie of a reader's counts there.
    """
    if not settings.CHAT_API_ORIGINS:
        return
    if settings.CHAT_API_ORIGINS != ["*"]:
        patch_vary_headers(response, ("Origin",))
    if allowed := _find_allowed_origin(request):
        response.headers["Access-Control-Allow-Origin"] = allowed
        response.headers["Access-Control-Expose-Headers"] = EXPOSED_HEADERS


def _find_allowed_origin(request: HttpRequest) -> str:
    """Return what `Access-Control-Allow-Origin` says to a request, "" for nothing."""
    origin = request.headers.get("Origin", "")
    if settings.CHAT_API_ORIGINS == ["*"]:
        return "*" if origin else ""
    return origin if origin.lower() in settings.CHAT_API_ORIGINS else ""


def _name_problem(request: HttpRequest, response: HttpResponse) -> None:
    """Call a refusal a problem (RFC 9457) for a client that names that media type; others get `application/json`."""
    is_refusal = response.status_code >= 400 and response.headers.get("Content-Type") == JSON
    if is_refusal and choose_media_type(request.headers.get("Accept"), (JSON, PROBLEM)) == PROBLEM:
        response.headers["Content-Type"] = PROBLEM


async def _compress(request: HttpRequest, response: HttpResponse) -> None:
    """Compress JSON for a client that takes gzip. Streams never come here: buffered, they would be none."""
    if len(response.content) < LEAST_COMPRESSED or "json" not in response.headers.get("Content-Type", ""):
        return
    patch_vary_headers(response, ("Accept-Encoding",))
    if response.has_header("Content-Encoding") or not accepts_gzip(request.headers.get("Accept-Encoding", "")):
        return
    whole = response.content
    if len(whole) > MAX_ON_LOOP:
        response.content = await asyncio.to_thread(compress_string, whole, max_random_bytes=RANDOM_BYTES)
    else:
        response.content = compress_string(whole, max_random_bytes=RANDOM_BYTES)
    response.headers["Content-Encoding"] = "gzip"
    response.headers["Content-Length"] = str(len(response.content))
