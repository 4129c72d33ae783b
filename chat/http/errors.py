"""Responses that say why a request was refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeVar

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.html import escape
from django.views.defaults import server_error

from chat.core.errors import RefusedError, write_error_body
from chat.http.requests import HtmxRequest
from chat.models import Conversation
from chat.streaming import encoders

R = TypeVar("R", bound=HttpResponse)


class ApiError(RefusedError):
    """A refusal for programs."""

    def __init__(
        self, status: int, code: str, sentence: str, *, field: str = "", path: tuple[str, ...] = (), answer: str = ""
    ) -> None:
        super().__init__(code)
        self.status, self.code, self.sentence, self.answer = status, code, sentence, answer
        self.field, self.path = field or ".".join(path), path


NOT_FOUND = ApiError(404, "not_found", "Not found.")
UNAUTHORIZED = ApiError(401, "unauthorized", "Log in, or send a bearer token.")
BAD_TOKEN = ApiError(401, "unauthorized", "This token is not valid, or it has been revoked.")
INTERNAL = ApiError(500, "internal", "The site made a mistake. Its log has the reason, with the X-Request-ID.")


def render_json_refusal(error: RefusedError) -> JsonResponse:
    """Return a refusal as a program reads it, with the seconds after which to try again where they are known."""
    body = write_error_body(
        error.status,
        error.code,
        error.sentence,
        retryable=error.is_retryable,
        field=error.field,
        path=error.path,
        answer=error.answer,
    )
    response = JsonResponse(body, status=error.status)
    if error.status == 401:
        # RFC 9110, section 15.5.2: a 401 says how to log in; RFC 6750, section 3: and what is wrong with a token.
        reason = ', error="invalid_token"' if error is BAD_TOKEN else ""
        response.headers["WWW-Authenticate"] = f'Bearer realm="chat"{reason}'
    return add_retry_after(response, error)


def end_stream(reason: Literal["gone", "login"]) -> HttpResponse:
    """Return a stream that ends at once, with the reason; a page would ask again after any other response."""
    return HttpResponse(encoders.encode_sse(reason, event="done"), content_type=encoders.SSE)


def refuse_without_login(request: HttpRequest) -> HttpResponse | None:
    """Return the refusal for a request whose session has ended; None where the login page is the right response.

    A page that is open keeps the text that was typed into it.
    """
    # htmx accepts a stream in answer to any request.
    is_stream = request.resolver_match is not None and request.resolver_match.url_name == "answer-stream"
    if is_stream and encoders.SSE in request.headers.get("Accept", ""):
        return end_stream("login")
    if request.headers.get("HX-Request"):
        return render_complaint("This was not sent: you are no longer logged in. Your text is still here.", 401)
    if request.method == "POST" and request.resolver_match is not None and request.resolver_match.url_name == "send":
        return render_kept_text(request, "You are logged out", "This was not sent. Your text is still here.", 401)
    return None


# What a question is sent with, beside its text and the token.
_FIELDS = ("turn", "conversation", "edits", "model", "effort")


def render_kept_text(request: HttpRequest, heading: str, sentence: str, status: int) -> HttpResponse:
    """Return a page that says why a question was not sent, and sends it again: it is the same turn."""
    fields = [(name, request.POST[name]) for name in _FIELDS if name in request.POST]
    context = {"heading": heading, "sentence": sentence, "fields": fields, "content": request.POST.get("content", "")}
    return render(request, "kept_text.html", {**context, "needs_login": status == 401}, status=status)


def refuse_forged_form(request: HtmxRequest, reason: str = "") -> HttpResponse:
    """Refuse a form without a valid CSRF token: one from before a login in another tab, or a forged one."""
    if is_api(request):
        return render_json_refusal(ApiError(403, "csrf", "Send the CSRF token in X-CSRFToken."))
    if request.headers.get("HX-Request"):
        return render_complaint("Your login has changed since this page was loaded. Reload it and send again.", 403)
    if request.POST.get("content") and request.headers.get("Sec-Fetch-Site", "same-origin") == "same-origin":
        return render_kept_text(
            request, "Send it once more", "Your login has changed since this page was loaded, so it was not sent.", 403
        )
    return render(request, "403_csrf.html", status=403)


def render_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Return the same body for what does not exist and for what belongs to another user."""
    if is_api(request):
        return render_json_refusal(NOT_FOUND)
    return render(request, "404.html", status=404)


def render_server_error(request: HttpRequest) -> HttpResponse:
    """Return the response to a request that met a fault of the site's own."""
    return render_json_refusal(INTERNAL) if is_api(request) else server_error(request)


def make_bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Return the refusal of a request that cannot be read.

    Django's own looks for a CSRF token in the form, which is what could not be read: it raises again, a 500 without a
    word.
    """
    if is_api(request):
        return render_json_refusal(ApiError(400, "bad_request", "The server could not understand this request."))
    return HttpResponse(render_to_string("400.html"), status=400)


def refuse_host(request: HttpRequest) -> HttpResponse:
    """Return the refusal of a request for a host that is not the site's."""
    if is_api(request):
        return render_json_refusal(ApiError(400, "bad_request", "The Host header does not name this site."))
    # Without the request: it has no session and no user yet.
    return HttpResponse(render_to_string("400.html"), status=400)


def is_api(request: HttpRequest) -> bool:
    """Return whether a program asks, so that every refusal has to be JSON."""
    return request.path.startswith("/api/")


def render_complaint(sentence: str, status: int) -> HttpResponse:
    """Return a sentence that htmx shows under the composer."""
    headers = {"HX-Retarget": "#composer-error", "HX-Reswap": "innerHTML"}
    return HttpResponse(escape(sentence), status=status, headers=headers)


def show_refusal(
    request: HtmxRequest, error: RefusedError, find_conversation: Callable[[], Conversation]
) -> HttpResponse:
    """Render a refusal: under the composer, or without htmx on a page that leads back to the conversation.

    That is looked up for the page alone.
    """
    if request.htmx:
        return add_retry_after(render_complaint(error.sentence, error.status), error)
    heading = "Try again later" if error.status in {429, 503} else "That was not possible"
    context = {"heading": heading, "sentence": error.sentence, "back": find_conversation().get_absolute_url()}
    return add_retry_after(render(request, "refused.html", context, status=error.status), error)


def keep_out_of_error_log(response: R) -> R:
    """Mark a 5xx response whose reason is known and counted already: Django would log each one as an error."""
    response._has_been_logged = True  # type: ignore[attr-defined]  # Django's `log_response` has no public switch
    return response


def add_retry_after(response: R, error: RefusedError) -> R:
    """Return a response with the seconds after which the same may be asked again, where they are known."""
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    return response
