"""Requests that meet a database which does not serve: 503, a sentence where it is read, one line in the log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render

from chat.http.errors import add_retry_after, is_api, keep_out_of_error_log, render_complaint, render_json_refusal
from chat.observability.circuit import get_circuit
from chat.observability.outages import (
    OutageError,
    UnreachableError,
    classify_outage,
    is_without_connection,
    log_outage,
)
from chat.pool_renewal import pool_renewal


def respond_to_outage(request: HttpRequest, error: Exception) -> HttpResponseBase | None:
    """Return the response to a request that an outage met; None when the error is another one."""
    outage = classify_outage(error)
    if outage is None:
        return None
    if is_without_connection(error):
        get_circuit().note_failure()
    pool_renewal.renew_after(error)
    log_outage(f"{request.method} {request.path}", error)
    return _refuse(request, outage)


def _refuse(request: HttpRequest, outage: OutageError) -> HttpResponseBase:
    return keep_out_of_error_log(add_retry_after(_render(request, outage), outage))


def _render(request: HttpRequest, outage: OutageError) -> HttpResponse:
    if is_api(request):
        return render_json_refusal(outage)
    if request.headers.get("HX-Request"):
        return render_complaint(outage.sentence, outage.status)
    # A browser without scripts has left the page with its text.
    content = request.POST.get("content", "") if request.method == "POST" else ""
    return render(None, "503.html", {"sentence": outage.sentence, "content": content}, status=outage.status)


class OutageMiddleware:
    """Answers for views that an outage met, and for all requests of the moment after a failure to connect.

    Other middleware asks `respond_to_outage` itself: Django tells only of views.
    """

    sync_capable = False
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Awaitable[HttpResponseBase]]) -> None:
        assert iscoroutinefunction(get_response)  # noqa: S101 - the site is served over ASGI alone
        self._get_response = get_response
        markcoroutinefunction(self)

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        try:
            async with get_circuit().guard():
                return await self._get_response(request)
        except UnreachableError as refusal:  # before the request reached its view
            return _refuse(request, refusal)
        except Exception as error:
            if (outage := respond_to_outage(request, error)) is None:
                raise
            return outage

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponseBase | None:
        return respond_to_outage(request, exception)
