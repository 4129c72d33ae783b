"""The HTTP API: the pages' rules for programs, with a session or a bearer token. docs/events.md describes it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec
from uuid import UUID

from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.urls import reverse

from chat import streams, structure, turns, visitors
from chat.access import models_for
from chat.background import in_thread
from chat.errors import RefusedError
from chat.events import Usage
from chat.forms import MessageForm
from chat.generation import runner
from chat.models import NO_USAGE, Conversation, Message, ProviderCall, User
from chat.views import again, further, later, owned_answer, owned_conversation
from chat.visitors import Visitor, bearer_token, user_of_token

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, User, P], Awaitable[HttpResponseBase]]


class ApiError(Exception):
    """An answer of 4xx or 5xx with `{"error": {"code", "message"}}`."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(code)
        self.status, self.code, self.message = status, code, message

    def response(self) -> JsonResponse:
        return JsonResponse({"error": {"code": self.code, "message": self.message}}, status=self.status)


# What a program may say of a question.
ASKED = ("content", "model", "turn", "edits")

NOT_FOUND = ApiError(404, "not_found", "There is no such thing here.")
UNAUTHORIZED = ApiError(401, "unauthorized", "Log in, or send a bearer token.")


def api(*methods: str) -> Callable[[View[P]], Callable[..., Coroutine[Any, Any, HttpResponseBase]]]:
    """A view for programs: its methods, its user, and every refusal as JSON."""

    def decorate(view: View[P]) -> Callable[..., Coroutine[Any, Any, HttpResponseBase]]:
        @login_not_required  # here a refusal is JSON, not a login page
        @wraps(view)
        async def wrapped(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            try:
                if request.method not in methods:
                    raise ApiError(405, "method_not_allowed", f"Use {' or '.join(methods)}.")
                return await view(request, await user_of(request), *args, **kwargs)
            except ApiError as error:
                return error.response()
            except RefusedError as error:
                return later(ApiError(error.status, error.code, error.sentence).response(), error)
            except Http404:
                return NOT_FOUND.response()

        return wrapped

    return decorate


async def user_of(request: HttpRequest) -> User:
    """The user of the bearer token if there is one, otherwise of the session."""
    if token := bearer_token(request.headers.get("Authorization", "")):
        user: object = await in_thread(user_of_token, token)
    else:
        user = await visitors.user_of(request)
    if not isinstance(user, User):
        raise UNAUTHORIZED
    return user


@api("POST")
async def conversations(request: HttpRequest, user: User) -> HttpResponse:
    conversation = await Conversation.objects.acreate(user=user)
    return JsonResponse({"id": str(conversation.pk)}, status=201)


@api("GET")
async def conversation(request: HttpRequest, user: User, conversation_id: UUID) -> HttpResponse:
    return JsonResponse(await in_thread(_conversation, user, conversation_id))


@api("POST")
async def messages(request: HttpRequest, user: User, conversation_id: UUID) -> HttpResponseBase:
    """Ask, and get the answer in the way that `Accept` and `Prefer` ask for."""
    begun = await runner().begin(user, lambda: turns.ask(user, conversation_id, _asked(request, models_for(user))))
    return await _respond(request, user, begun.answer)


@api("GET")
async def answer(request: HttpRequest, user: User, answer_id: UUID) -> HttpResponse:
    return JsonResponse(await in_thread(_owned, user, answer_id))


@api("GET")
async def events(request: HttpRequest, user: User, answer_id: UUID) -> HttpResponseBase:
    found = await in_thread(owned_answer, user, answer_id)
    try:
        after = streams.position_of(request)
    except ValueError:
        raise ApiError(400, "bad_request", "A position is a whole number.") from None
    return streams.events_response(Visitor.of(request, user), found, _media_type(request) or streams.SSE, after)


@api("POST")
async def stop(request: HttpRequest, user: User, answer_id: UUID) -> HttpResponse:
    found = await in_thread(owned_answer, user, answer_id)
    await runner().stop(found.pk)
    return JsonResponse(await in_thread(_owned, user, answer_id))


@api("POST")
async def retry(request: HttpRequest, user: User, answer_id: UUID) -> HttpResponse:
    chosen = _body(request).get("model") if request.body else None
    begun = await runner().begin(user, partial(again, user, answer_id, chosen, turns.new_turn()))
    return _accepted(begun.answer)


@api("POST")
async def continue_(request: HttpRequest, user: User, answer_id: UUID) -> HttpResponse:
    return _accepted((await runner().begin(user, partial(further, user, answer_id))).answer)


async def _respond(request: HttpRequest, user: User, answer: Message) -> HttpResponseBase:
    if "respond-async" in request.headers.get("Prefer", ""):
        return _accepted(answer)
    if media_type := _media_type(request):
        return streams.events_response(Visitor.of(request, user), answer, media_type, None)
    async with aclosing(streams.follow(answer.pk, 0)) as batches:
        async for _ in batches:
            pass
    return JsonResponse(await in_thread(_written, answer.pk))


def _media_type(request: HttpRequest) -> str | None:
    """The kind of stream that the client asks for, or None when it wants plain JSON."""
    accept = request.headers.get("Accept", "")
    return next((media_type for media_type in streams.ENCODERS if media_type in accept), None)


def _accepted(answer: Message) -> JsonResponse:
    return JsonResponse({"answer": str(answer.pk), "events": reverse("api-events", args=(answer.pk,))}, status=202)


def _asked(request: HttpRequest, models: Sequence[str]) -> turns.Question:
    return question(_body(request), models)


def _body(request: HttpRequest) -> dict[str, Any]:
    try:
        body = json.loads(request.body)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise ApiError(400, "bad_request", "The body must be a JSON object.")
    return body


def question(fields: Mapping[str, Any], models: Sequence[str]) -> turns.Question:
    """What a program asks, as the page's form reads it. Raises `ApiError`. For a thread: see `structure.usable`."""
    if not isinstance(fields.get("content"), str):
        raise ApiError(400, "bad_request", "`content` must be a string.")
    form = MessageForm({name: fields[name] for name in ASKED if fields.get(name) is not None}, models=models)
    if not form.is_valid():
        raise ApiError(400, "bad_request", form.sentence())
    return form.question()._replace(response_schema=_schema(fields))


def _schema(fields: Mapping[str, Any]) -> dict[str, Any] | None:
    """The schema of the answer, given as it is or as OpenAI's API has it."""
    ours, theirs = fields.get("response_schema"), fields.get("response_format")
    if theirs is not None:
        match theirs:
            case {"type": "text"}:
                theirs = None
            case {"type": "json_schema", "json_schema": {"schema": dict(theirs)}}:
                pass
            case _:
                raise ApiError(400, "bad_request", "`response_format` must have a `json_schema` with its `schema`.")
    if ours is not None and theirs is not None:
        raise ApiError(400, "bad_request", "Send `response_schema` or `response_format`, not both.")
    given = theirs if ours is None else ours
    try:
        return None if given is None else structure.usable(given)
    except structure.UnusableSchemaError as error:
        raise ApiError(400, "bad_request", str(error)) from None


def _conversation(user: User, conversation_id: UUID) -> dict[str, Any]:
    found = owned_conversation(user, conversation_id)
    usages = ProviderCall.objects.filter(answer__conversation=found).usages()
    return {
        "id": str(found.pk),
        "title": found.title,
        "leaf": found.leaf_id and str(found.leaf_id),
        "messages": [
            as_json(message, usages.get(message.pk, NO_USAGE))
            for message in found.messages.order_by("created_at").defer("outline")
        ],
    }


def _owned(user: User, answer_id: UUID) -> dict[str, Any]:
    return as_json(owned_answer(user, answer_id))


def _written(answer_id: UUID) -> dict[str, Any]:
    return as_json(Message.objects.get(pk=answer_id))


def as_json(message: Message, usage: Usage | None = None) -> dict[str, Any]:
    """A message as the public contract writes it; a question has the fields that mean something for it. Its usage is
    read, unless it is given."""
    common = {
        "id": str(message.pk),
        "conversation": str(message.conversation_id),
        "parent": message.parent_id and str(message.parent_id),
        "role": message.role,
        "text": message.text,
    }
    if message.role == "user":
        return common
    return {
        **common,
        "model": message.model,
        "status": message.status,
        "reasoning": message.reasoning,
        "finish_reason": message.finish_reason or None,
        "response_schema": message.response_schema,
        "position": message.position,
        "error": _error(message),
        "usage": asdict(usage or message.usage()),
        "timings": {
            "queued": message.created_at.isoformat(),
            "first_token_ms": message.first_token_ms,
            "total_ms": message.total_ms,
        },
    }


def _error(message: Message) -> dict[str, Any] | None:
    if not message.error_code:
        return None
    return {"code": message.error_code, "message": message.error_message, "retryable": message.retryable}
