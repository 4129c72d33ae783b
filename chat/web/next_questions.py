"""Views of the questions that wait for the end of an answer, below it on the chat page."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.views.decorators.http import require_POST, require_safe

from chat.accounts.visitors import Visitor
from chat.conversations import actions, next_questions
from chat.conversations.actions import get_owned_conversation
from chat.conversations.turn_ids import make_turn_id
from chat.core.errors import RefusedError
from chat.generation.process import get_runner
from chat.http.errors import show_refusal
from chat.http.requests import HtmxRequest, load_user
from chat.models import Conversation, NextQuestion, User
from chat.tasks import run_in_thread


@require_safe
def show_next(request: HtmxRequest, conversation_id: UUID) -> HttpResponse:
    """Return the next questions of a conversation, for a page that was told of a change."""
    conversation = get_owned_conversation(request.user, conversation_id)
    return render_next(request, conversation)


@require_POST
async def edit_next(request: HtmxRequest, next_id: int) -> HttpResponse:
    """Change the text of a next question."""
    user, text = await load_user(request), request.POST.get("text", "")
    try:
        conversation = await actions.edit_next(get_runner(), user, next_id, text)
    except RefusedError as error:
        return await run_in_thread(refuse_next, request, user, next_id, error)
    return await run_in_thread(render_next, request, conversation)


@require_POST
async def remove_next(request: HtmxRequest, next_id: int) -> HttpResponse:
    """Remove a next question."""
    conversation = await actions.remove_next(get_runner(), await load_user(request), next_id)
    return await run_in_thread(render_next, request, conversation)


@require_POST
async def send_next(request: HtmxRequest, next_id: int) -> HttpResponse:
    """Stop what is being answered, and ask the first next question now."""
    user = await load_user(request)
    try:
        conversation = await actions.send_next(get_runner(), user, Visitor.from_request(request, user), next_id)
    except RefusedError as error:
        return await run_in_thread(refuse_next, request, user, next_id, error)
    return await run_in_thread(render_next, request, conversation)


def refuse_next(request: HtmxRequest, user: User, next_id: int, error: RefusedError) -> HttpResponse:
    """Render the reason why a next question of the user's was not changed or asked."""
    return show_refusal(request, error, lambda: next_questions.get_owned_next_question(user, next_id).conversation)


def render_next(request: HtmxRequest, conversation: Conversation) -> HttpResponse:
    """Return the next questions of a conversation, or its page where there is no htmx."""
    if not request.htmx:
        return redirect(conversation)
    conversation = get_owned_conversation(request.user, conversation.pk)
    context = {"conversation": conversation, "next": next_questions.list_next_questions(conversation)}
    return render(request, "chat/_queue.html", context)


def render_kept(request: HtmxRequest, kept: NextQuestion) -> HttpResponse:
    """Return the next questions with a new one, and the id of the form for the one after it."""
    conversation = get_owned_conversation(request.user, kept.conversation_id)
    if not request.htmx:
        return redirect(conversation)
    context = {
        "conversation": conversation,
        "next": next_questions.list_next_questions(conversation),
        "next_turn": make_turn_id(),
    }
    return HttpResponse(render_to_string("chat/_kept.html", context, request))
