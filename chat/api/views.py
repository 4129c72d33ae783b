"""Views of the HTTP API, for programs with a session or a bearer token. docs/events.md describes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse

from chat.accounts.visitors import Visitor
from chat.api import conversations, questions, response_shapes, shapes
from chat.api.operations import Operation, Parameter, choose_response_type, serve_programs
from chat.api.serializers import describe_models, describe_rating, describe_usage, serialize_message
from chat.conversations import actions, turns
from chat.conversations.actions import get_owned_answer, get_owned_conversation
from chat.conversations.ratings import find_rating, find_ratings, rate_answer, remove_rating
from chat.conversations.turn_ids import make_turn_id
from chat.generation.process import get_process, get_runner
from chat.http.bodies import read_body
from chat.http.errors import ApiError
from chat.http.json_responses import render_created, render_tagged
from chat.http.negotiation import JSON, read_preferences
from chat.models import LIVE, NO_USAGE, Message, ProviderCall, User
from chat.streaming import follow, responses
from chat.streaming.encoders import NDJSON, SSE
from chat.tasks import run_in_thread
from chat.units_of_work import wait_while_client_stays

_PING = Parameter("ping", "1: an NDJSON stream has a `ping` where nothing has come for a while.", "string")

_ASK = Operation(
    "POST",
    "Ask a question, and get the answer in the way that `Accept` and `Prefer` ask for.",
    {200: response_shapes.Answer, 202: response_shapes.Accepted},
    body=shapes.Question,
    refuses=(400, 409, 413, 415, 429),
    media_types=(JSON, NDJSON, SSE),
    parameters=(
        Parameter("Prefer", "`respond-async`: 202 at once, with the address of the events.", place="header"),
        _PING,
    ),
)
_FOLLOW = Operation(
    "GET",
    "Follow an answer from the reader's position on, or replay it.",
    {200: None, 204: None},
    refuses=(400,),
    media_types=(SSE, NDJSON),
    parameters=(
        Parameter("after", "The last position that the reader has.", "integer"),
        Parameter("Last-Event-ID", "The same, as an EventSource sends it.", place="header"),
        _PING,
    ),
)
_AGAIN = (400, 409, 413, 415, 429)


@serve_programs(Operation("GET", "List the models that the user may ask.", {200: response_shapes.Models}))
async def list_models(request: HttpRequest, user: User) -> HttpResponse:
    """Return the models that the user may ask, the default first."""
    return JsonResponse({"models": await run_in_thread(describe_models, user)})


@serve_programs(Operation("GET", "Show the user's limits and budgets.", {200: response_shapes.UsageReply}))
async def show_usage(request: HttpRequest, user: User) -> HttpResponse:
    """Return the user's limits and budgets, and how far they are used."""
    return JsonResponse(await run_in_thread(describe_usage, user))


@serve_programs(
    conversations.LIST,
    Operation(
        "POST",
        "Make an empty conversation.",
        {201: response_shapes.NewConversationReply},
        body=shapes.NewConversation,
        refuses=(400, 404, 413, 415),
    ),
)
async def serve_conversations(request: HttpRequest, user: User) -> HttpResponse:
    """List the user's conversations, or make an empty one; the same `turn` again is the same conversation."""
    if request.method != "POST":
        return await conversations.list_conversations(request, user)
    turn = shapes.get_given(read_body(request, shapes.NewConversation).turn)
    conversation = await run_in_thread(turns.keep_conversation, user, turn or make_turn_id())
    return render_created({"id": str(conversation.pk)}, reverse("api-conversation", args=(conversation.pk,)))


@serve_programs(
    Operation("GET", "Show a conversation.", {200: response_shapes.ConversationReply, 304: None}),
    conversations.CHANGE,
    conversations.DELETE,
    find_owned=get_owned_conversation,
)
async def serve_conversation(request: HttpRequest, user: User, conversation_id: UUID) -> HttpResponse:
    """Return a conversation with all its messages, change it, or delete it."""
    if request.method == "PATCH":
        return await conversations.change_conversation(request, user, conversation_id)
    if request.method == "DELETE":
        return await conversations.delete_conversation(request, user, conversation_id)
    found = await run_in_thread(_load_conversation, user, conversation_id)
    for message in found["messages"]:
        _note_poll(message)
    lasting = [{**message, "checkpoint": None} for message in found["messages"]]
    return render_tagged(request, found, {**found, "messages": lasting})


@serve_programs(_ASK, find_owned=get_owned_conversation, is_login_confirmed_later=True)
async def ask(request: HttpRequest, user: User, conversation_id: UUID) -> HttpResponseBase:
    """Ask, and return the answer in the way that `Accept` and `Prefer` ask for."""
    question = read_body(request, shapes.Question)
    visitor, schema = Visitor.from_request(request, user), await questions.read_schema(question)
    fields = questions.read_fields(question)
    answer = await actions.ask(get_runner(), user, visitor, fields, conversation_id, schema)
    await questions.check_turn(question, answer, schema)
    return await _respond(request, user, answer)


@serve_programs(
    Operation("GET", "Show an answer as it is now.", {200: response_shapes.Answer, 304: None}),
    find_owned=get_owned_answer,
)
async def show_answer(request: HttpRequest, user: User, answer_id: UUID) -> HttpResponse:
    """Return an answer as it is now."""
    found = await run_in_thread(_load_answer, user, answer_id)
    _note_poll(found)
    return render_tagged(request, found, {**found, "checkpoint": None})


def _note_poll(message: Mapping[str, Any]) -> None:
    """Count a program that asks for a live answer as watching it."""
    if message.get("status") in LIVE:
        get_runner().note_poll(UUID(message["id"]))


@serve_programs(_FOLLOW, find_owned=get_owned_answer)
async def stream_events(request: HttpRequest, user: User, answer_id: UUID) -> HttpResponseBase:
    """Stream the events of an answer from the reader's position on."""
    found = await run_in_thread(get_owned_answer, user, answer_id)
    try:
        after = responses.read_position(request)
    except ValueError:
        raise ApiError(400, "bad_request", "A position must be a whole number.", field="after") from None
    if after is not None and not found.is_live and after >= found.end:
        if after > found.end and not request.headers.get("Last-Event-ID"):
            raise ApiError(400, "bad_request", f"This answer ends at position {found.end}.", field="after")
        return HttpResponse(status=204)  # to any other response an EventSource would connect again, for ever
    return _stream(request, user, found, choose_response_type(request, _FOLLOW), after)


@serve_programs(
    Operation("POST", "Stop an answer.", {200: response_shapes.Answer}, body=shapes.Nothing, refuses=(400, 413, 415)),
    find_owned=get_owned_answer,
)
async def stop(request: HttpRequest, user: User, answer_id: UUID) -> HttpResponse:
    """End an answer, and return it."""
    read_body(request, shapes.Nothing)
    stopped = await actions.stop_answer(get_runner(), user, answer_id)
    return JsonResponse(await run_in_thread(_serialize_with_rating, stopped))


@serve_programs(
    Operation(
        "POST",
        "Answer a question once more, beside this answer.",
        {202: response_shapes.Accepted},
        body=shapes.Retry,
        refuses=_AGAIN,
    ),
    find_owned=get_owned_answer,
)
async def retry(request: HttpRequest, user: User, answer_id: UUID) -> HttpResponse:
    """Answer a question once more, with the `model` and the `effort` that the body may name."""
    wish = read_body(request, shapes.Retry)
    attempt = await actions.retry_answer(
        get_runner(),
        user,
        Visitor.from_request(request, user),
        answer_id,
        shapes.get_given(wish.turn) or make_turn_id(),
        model=shapes.get_given(wish.model),
        effort=shapes.get_given(wish.effort) or "",
        is_exact=True,
    )
    return _point_to_events(attempt)


@serve_programs(
    Operation(
        "POST",
        "Go on with a partial answer.",
        {202: response_shapes.Accepted},
        body=shapes.Continuation,
        refuses=_AGAIN,
    ),
    find_owned=get_owned_answer,
)
async def continue_answer(request: HttpRequest, user: User, answer_id: UUID) -> HttpResponse:
    """Go on with a partial answer, with the `model` that the body may name."""
    wish = read_body(request, shapes.Continuation)
    visitor, turn = Visitor.from_request(request, user), shapes.get_given(wish.turn)
    model = shapes.get_given(wish.model) or ""
    return _point_to_events(await actions.continue_answer(get_runner(), user, visitor, answer_id, turn, model=model))


@serve_programs(
    Operation(
        "POST",
        "Rate an answer.",
        {200: response_shapes.RatingReply},
        body=shapes.NewRating,
        refuses=(400, 409, 413, 415),
    ),
    Operation("DELETE", "Remove a rating.", {204: None}),
    find_owned=get_owned_answer,
)
async def change_rating(request: HttpRequest, user: User, answer_id: UUID) -> HttpResponse:
    """Keep the user's rating of an answer, or remove it."""
    if request.method == "DELETE":
        await run_in_thread(remove_rating, user, answer_id)
        return HttpResponse(status=204)
    rating = read_body(request, shapes.NewRating)
    kept = await run_in_thread(rate_answer, user, answer_id, questions.read_opinion(rating))
    return JsonResponse(describe_rating(kept))


async def _respond(request: HttpRequest, user: User, answer: Message) -> HttpResponseBase:
    if "respond-async" in read_preferences(request.headers.get("Prefer", "")):
        response = _point_to_events(answer)
        response.headers["Preference-Applied"] = "respond-async"
        return response
    media_type = choose_response_type(request, _ASK)
    if media_type != JSON:
        return _stream(request, user, answer, media_type, None)
    if not await wait_while_client_stays(follow.wait_for_end(get_process(), answer.pk, answer.fence)):
        return _point_to_events(answer)  # nobody reads this response; leaving is not Stop
    return JsonResponse(await run_in_thread(_load_ended, answer.pk))


def _stream(request: HttpRequest, user: User, answer: Message, media_type: str, after: int | None) -> HttpResponseBase:
    visitor, has_pings = Visitor.from_request(request, user), request.GET.get("ping", "") in {"1", "true"}
    return responses.make_events_response(get_process(), visitor, answer, media_type, after, has_pings=has_pings)


def _point_to_events(answer: Message) -> JsonResponse:
    body = {"answer": str(answer.pk), "events": reverse("api-events", args=(answer.pk,))}
    return render_created(body, reverse("api-answer", args=(answer.pk,)), 202)


def _load_conversation(user: User, conversation_id: UUID) -> dict[str, Any]:
    found = get_owned_conversation(user, conversation_id)
    usages = ProviderCall.objects.filter(answer__conversation=found).sum_usages()
    ratings = find_ratings(found.messages.values("pk"), user.pk)
    return {
        "id": str(found.pk),
        "title": found.title,
        "leaf": found.leaf_id and str(found.leaf_id),
        "messages": [
            serialize_message(message, usages.get(message.pk, NO_USAGE), ratings.get(message.pk))
            for message in found.messages.order_by("created_at")
        ],
    }


def _load_answer(user: User, answer_id: UUID) -> dict[str, Any]:
    return _serialize_with_rating(get_owned_answer(user, answer_id))


def _serialize_with_rating(answer: Message) -> dict[str, Any]:
    return serialize_message(answer, rating=find_rating(answer))


def _load_ended(answer_id: UUID) -> dict[str, Any]:
    """Return an answer that has ended. Raises Http404 where it was deleted instead, by an administrator for example."""
    return serialize_message(get_object_or_404(Message, pk=answer_id))
