"""Operations: what each route of the API takes and returns, declared once, and what all routes have in common.

A view is made with `serve_programs`, from one `Operation` a method; `/api/schema/` is generated from the declarations.
All routes have: 405 and OPTIONS with `Allow`, HEAD where GET is, 401 before anything is read, 406 before anything is
stored, and every refusal as JSON.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, cast
from uuid import UUID

import msgspec
from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase

from chat.accounts import visitors
from chat.accounts.visitors import find_bearer, find_known_user, read_bearer_token
from chat.conversations.actions import InvalidQuestionError
from chat.core.errors import RefusedError
from chat.http.errors import BAD_TOKEN, NOT_FOUND, UNAUTHORIZED, ApiError, render_json_refusal
from chat.http.negotiation import JSON, choose_media_type
from chat.models import User
from chat.streaming.encoders import NDJSON, SSE
from chat.tasks import run_in_thread

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, User, P], Awaitable[HttpResponseBase]]
FindOwned = Callable[[User, UUID], object]

# The refusals of every operation besides its own: no login, no CSRF token, no media type that fits, a
# condition that does not hold, a database that does not serve.
COMMON_REFUSALS = (401, 403, 404, 406, 412, 503)

# The statuses that judge what was sent, and so come after the 404 of what is not there for the user.
ABOUT_THE_BODY = frozenset({400, 412, 415, 422})


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter or a header of an operation."""

    name: str
    description: str
    kind: str = "string"
    place: str = "query"


@dataclass(frozen=True, slots=True)
class Operation:
    """The operation of one method of a route.

    `returns` has the shape of each good response by its status, None for one without a body; `refuses` the further
    statuses of refusals. `media_types` are those on offer for the response, the site's favourite first: a stream is one
    of the answer's events.
    """

    method: str
    summary: str
    returns: Mapping[int, type[msgspec.Struct] | None]
    body: type[msgspec.Struct] | None = None
    refuses: tuple[int, ...] = ()
    media_types: tuple[str, ...] = (JSON,)
    parameters: tuple[Parameter, ...] = field(default=())
    is_public: bool = False


class ApiView(Protocol):
    """A view of the API, with the operations that it was made from."""

    operations: Mapping[str, Operation]

    def __call__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, HttpResponseBase]: ...


def serve_programs(
    *operations: Operation, find_owned: FindOwned | None = None, is_login_confirmed_later: bool = False
) -> Callable[[View[P]], ApiView]:
    """Make a view for programs from what its methods do: find the user, and write every refusal as JSON.

    `find_owned` looks up what the first id of the address names, and raises Http404 where the user has no such thing:
    then that is the refusal, whatever is wrong with the body besides.

    With `is_login_confirmed_later` the user may be one that an earlier request of the same login has found, and the
    view confirms the login before it returns or changes anything, and before it refuses the request.
    """
    by_method = _index_by_method(operations)

    def decorate(view: View[P]) -> ApiView:
        @wraps(view)
        async def wrapped(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            async def respond(operation: Operation) -> HttpResponseBase:
                user = find_known_user(request) if is_login_confirmed_later else None
                is_unconfirmed = user is not None
                if user is None:
                    user = await find_user(request)
                try:
                    choose_response_type(request, operation)
                    _check_precondition(request)
                    return await view(request, user, *args, **kwargs)
                except (RefusedError, Http404) as error:
                    if is_unconfirmed:
                        await find_user(request)
                    # Looked up only now, so that a valid request does not pay for a second look-up.
                    if find_owned is not None and getattr(error, "status", 404) in ABOUT_THE_BODY:
                        await run_in_thread(find_owned, user, cast("UUID", next(iter(kwargs.values()))))
                    raise

            return await _serve(request, by_method, respond)

        return _declare(wrapped, by_method)

    return decorate


def serve_anyone(operation: Operation) -> Callable[[Callable[[HttpRequest], Awaitable[HttpResponseBase]]], ApiView]:
    """Make a view that needs no login, otherwise like `serve_programs`."""
    by_method = _index_by_method((replace(operation, is_public=True),))

    def decorate(view: Callable[[HttpRequest], Awaitable[HttpResponseBase]]) -> ApiView:
        @wraps(view)
        async def wrapped(request: HttpRequest) -> HttpResponseBase:
            async def respond(operation: Operation) -> HttpResponseBase:
                choose_response_type(request, operation)
                _check_precondition(request)
                return await view(request)

            return await _serve(request, by_method, respond)

        return _declare(wrapped, by_method)

    return decorate


def _index_by_method(operations: Iterable[Operation]) -> dict[str, Operation]:
    by_method = {operation.method: operation for operation in operations}
    if "GET" in by_method:
        by_method["HEAD"] = replace(by_method["GET"], method="HEAD")
    return by_method


def _declare(view: Any, by_method: Mapping[str, Operation]) -> ApiView:
    """Return a view with its operations, which Django lets in without a login: a refusal is JSON, not a login page."""
    view.operations = by_method
    declared: ApiView = login_not_required(view)
    return declared


async def _serve(
    request: HttpRequest,
    by_method: Mapping[str, Operation],
    respond: Callable[[Operation], Awaitable[HttpResponseBase]],
) -> HttpResponseBase:
    """Return the response, or the refusal as JSON."""
    operation = by_method.get(request.method or "")
    if operation is None:
        return _describe_methods(request, ", ".join([*by_method, "OPTIONS"]))
    try:
        return await respond(operation)
    except InvalidQuestionError as error:
        return render_json_refusal(ApiError(400, error.code, error.sentence, field=error.field))
    except RefusedError as error:
        return render_json_refusal(error)
    except Http404:
        return render_json_refusal(NOT_FOUND)


def _check_precondition(request: HttpRequest) -> None:
    """Raise `ApiError` for an `If-Match` with a tag (RFC 9110, section 13.1.1).

    It asks for a strong comparison, and the site's tags are all weak, which never match: a client that depends on it
    gets this error before anything is changed.
    """
    if request.headers.get("If-Match", "*").strip() not in {"*", ""}:
        raise ApiError(412, "precondition_failed", "`If-Match` never holds here: the site's tags are weak ones.")


def _describe_methods(request: HttpRequest, allow: str) -> HttpResponse:
    """Return the methods of a route: to OPTIONS as they are, to any other method as a refusal (RFC 9110, 15.5.6)."""
    if request.method == "OPTIONS":
        response = HttpResponse(status=204)
    else:
        response = render_json_refusal(ApiError(405, "method_not_allowed", f"This address takes {allow}."))
    response.headers["Allow"] = allow
    return response


async def find_user(request: HttpRequest) -> User:
    """Return the user of the bearer token if there is one, otherwise of the session. Raises `ApiError`."""
    if token := read_bearer_token(request.headers.get("Authorization", "")):
        bearer = await find_bearer(request, token)
        if bearer is None:
            raise BAD_TOKEN
        return bearer
    user: object = await visitors.find_session_user(request)
    if not isinstance(user, User):
        raise UNAUTHORIZED
    return user


def choose_response_type(request: HttpRequest, operation: Operation) -> str:
    """Return the media type of the response that the client likes best. Raises `ApiError` where it takes none.

    A program that names a stream in all its requests reads JSON: it gets that where there is no stream.
    """
    accept = request.headers.get("Accept")
    chosen = choose_media_type(accept, operation.media_types)
    if chosen is None and operation.media_types == (JSON,) and choose_media_type(accept, (SSE, NDJSON)):
        return JSON
    if chosen is None:
        raise ApiError(406, "not_acceptable", f"This address sends {' or '.join(operation.media_types)}.")
    return chosen
