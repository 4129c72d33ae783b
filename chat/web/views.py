"""Views of the chat pages. A request of htmx gets the partial that the whole page includes.

`chatsite.middleware.LoginMiddleware` lets only users through to a view that does not say otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import dropwhile
from types import MappingProxyType
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import ValidationError
from django.db.models import IntegerField, UUIDField
from django.http import Http404, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.template.loader import render_to_string
from django.templatetags.static import static
from django.utils.safestring import SafeString
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from chat.accounting.alerts import find_alerts
from chat.accounting.spending import Spending, describe_rest, find_spending
from chat.accounts.model_access import list_allowed_models
from chat.accounts.visitors import Visitor, find_session_user
from chat.conversations import actions
from chat.conversations.actions import get_owned_conversation
from chat.conversations.cost_line import CostLine, make_cost_line
from chat.conversations.effort import find_current_level
from chat.conversations.forms import ConversationForm, MessageForm
from chat.conversations.next_questions import NextQuestions, list_next_questions
from chat.conversations.opening import Piece, open_at
from chat.conversations.ratings import find_ratings
from chat.conversations.turn_ids import make_turn_id
from chat.core.errors import RefusedError
from chat.generation.process import get_process, get_runner
from chat.http.errors import add_retry_after, end_stream, refuse_without_login, render_complaint, show_refusal
from chat.http.negotiation import accepts_media_type
from chat.http.requests import HtmxRequest, confirm_login_later, load_user, read_turn_id
from chat.models import UNDO_FOR, Conversation, Message, NextQuestion, Role, User
from chat.models.compiled import Select
from chat.streaming import own_turn, responses
from chat.streaming.encoders import SSE
from chat.streaming.stencil import Stencil
from chat.tasks import run_in_thread
from chat.web.conversations import read_id
from chat.web.listed_conversations import show_new, show_open_around
from chat.web.next_questions import render_kept
from chat.web.time_zones import find_zone


@dataclass(frozen=True, slots=True)
class ShownTurn:
    """A question with the answer that is shown for it."""

    question: Message
    answer: Message | None

    @property
    def id(self) -> UUID:
        return self.question.pk


@login_not_required
@require_safe
def find_icon(request: HtmxRequest) -> HttpResponse:
    """Lead to the site's icon, where browsers look for that of a page which names none: one of the admin's, or JSON."""
    return redirect(static("chat/icon.svg"))


@require_safe
def show_home(request: HtmxRequest) -> HttpResponse:
    """Show an empty chat; its conversation is made with the first question.

    `?deleted=` is a conversation that was deleted a moment ago: the page says how to take that back.
    """
    context = build_page_context(request.user, None, zone=find_zone(request))
    if (deleted := read_id(request.GET.get("deleted", ""))) is not None:
        context |= {"deleted": actions.find_deleted(request.user, deleted), "undo_for": UNDO_FOR}
    return render(request, "chat/page.html", context)


@require_safe
async def show_conversation(request: HtmxRequest, conversation_id: UUID) -> HttpResponse:
    """Show the end of a conversation.

    With `?edits=` the composer holds an earlier question to edit. With `?before=` the turns before a question are
    shown, as a partial for htmx. With `?at=` it is opened at a message, on the branch of that.
    """
    user = await load_user(request)
    found = await run_in_thread(get_owned_conversation, user, conversation_id)
    if found.is_unread:
        await actions.mark_as_read(get_runner(), user, conversation_id)
    shown = found.leaf_id
    response = await run_in_thread(render_conversation, request, user, found)
    if found.leaf_id != shown:
        actions.tell_branch(get_runner(), found)
    return response


@require_http_methods(["GET", "HEAD", "POST"])
def edit_settings(request: HtmxRequest, conversation_id: UUID) -> HttpResponse:
    """Show or save a conversation's title and how it is answered; the page has the form that deletes it too."""
    found = get_owned_conversation(request.user, conversation_id)
    model = choose_model(found, list_allowed_models(request.user))
    form = ConversationForm(request.POST if request.method == "POST" else None, instance=found, model=model)
    if form.is_valid():
        form.save_fields()
        return redirect(found)
    status = 422 if form.is_bound else 200
    return render(request, "chat/settings.html", {"form": form, "conversation": found}, status=status)


@require_safe
def show_turn(request: HtmxRequest, conversation_id: UUID, question_id: UUID) -> HttpResponse:
    """Return a question with its newest answer, for a page that was told of it by another tab or device.

    `?after=` is the last answer on the page; 409 when the question does not follow it.
    """
    conversation = get_owned_conversation(request.user, conversation_id)
    if not request.htmx:
        return redirect(conversation)
    question = get_object_or_404(conversation.messages.filter(role=Role.USER), pk=question_id)
    if request.GET.get("after", parent := str(question.parent_id or "")) != parent:
        return HttpResponse(status=409)
    return HttpResponse(render_sent(ShownTurn(question, question.children.order_by("-created_at").first())))


@confirm_login_later
@require_POST
async def send(request: HtmxRequest) -> HttpResponseBase:
    """Ask what the composer holds, and return the turn's HTML, with the answer's stream behind it for a page.

    While an answer is being written the question is refused; one that `waits`, as the composer's do, is kept until its
    end, and with `now` that answer is stopped first.
    """
    user = await load_user(request)
    visitor, runner, is_first = Visitor.from_request(request, user), get_runner(), bool(request.POST.get("now"))
    try:
        if is_first:
            await stop_for_form(request, user, visitor)
        asked: Message | NextQuestion
        if request.POST.get("waits"):
            asked = await actions.ask_or_keep(runner, user, visitor, request.POST, is_first=is_first)
        else:
            asked = await actions.ask(runner, user, visitor, request.POST, may_renew=True)
    except RefusedError as error:
        if visitor.unconfirmed and not (await find_session_user(request)).is_authenticated:
            return refuse_without_login(request) or redirect_to_login(request.get_full_path())
        return add_retry_after(await run_in_thread(render_refusal, request, user, error), error)
    if isinstance(asked, NextQuestion):
        return await run_in_thread(render_kept, request, asked)
    return add_stream(request, visitor, await run_in_thread(render_turn, request, user, asked), asked)


async def stop_for_form(request: HtmxRequest, user: User, visitor: Visitor) -> None:
    """End what is being answered, so that the composer's question is asked now; one that is refused ends nothing.

    Raises `RefusedError` for a login that has ended.
    """
    form = MessageForm(request.POST, models=await run_in_thread(list_allowed_models, user))
    if form.is_valid():
        await run_in_thread(visitor.confirm)
        fields = form.cleaned_data
        await actions.stop_for(get_runner(), user, fields["conversation"], read_turn_id(request), fields["content"])


@require_POST
async def stop(request: HtmxRequest) -> HttpResponse:
    """End whatever is being answered in a conversation; its page learns of the end from its stream."""
    form = MessageForm(request.POST, models=())
    form.is_valid()
    conversation = await actions.stop_conversation(
        get_runner(), await load_user(request), form.cleaned_data.get("conversation")
    )
    return HttpResponse(status=204) if request.htmx else redirect(conversation or "home")


@require_POST
async def retry(request: HtmxRequest, answer_id: UUID) -> HttpResponseBase:
    """Answer a question once more, and return the new attempt's HTML, with its stream behind it for a page."""
    user = await load_user(request)
    visitor, turn_id = Visitor.from_request(request, user), read_turn_id(request)
    model, effort = request.POST.get("model"), request.POST.get("effort", "")
    try:
        attempt = await actions.retry_answer(
            get_runner(), user, visitor, answer_id, turn_id, model=model, effort=effort
        )
    except RefusedError as error:
        return await run_in_thread(refuse_for_answer, request, user, answer_id, error)
    return add_stream(request, visitor, await run_in_thread(render_answer, request, attempt), attempt)


@require_POST
async def continue_answer(request: HtmxRequest, answer_id: UUID) -> HttpResponseBase:
    """Go on with a partial answer, and return its HTML, with its stream behind it for a page."""
    user = await load_user(request)
    visitor = Visitor.from_request(request, user)
    try:
        answer = await actions.continue_answer(get_runner(), user, visitor, answer_id)
    except RefusedError as error:
        return await run_in_thread(refuse_for_answer, request, user, answer_id, error)
    return add_stream(request, visitor, await run_in_thread(render_answer, request, answer), answer)


def refuse_for_answer(request: HtmxRequest, user: User, answer_id: UUID, error: RefusedError) -> HttpResponse:
    """Render the reason why nothing was begun for an answer of the user's."""
    return show_refusal(request, error, lambda: actions.get_owned_answer(user, answer_id).conversation)


@require_POST
async def show_message(request: HtmxRequest, message_id: UUID) -> HttpResponse:
    """Show another attempt at a question, or another wording of it, with the messages that were last seen after it.

    The page gets the turn and those that follow it, in place of the turn that it shows there.
    """
    user = await load_user(request)
    message = await actions.show_message(get_runner(), user, message_id)
    return await run_in_thread(render_branch, request, user, message)


def render_branch(request: HtmxRequest, user: User, message: Message) -> HttpResponse:
    """Return the turn of a message and those that follow it, or the page where there is no htmx."""
    context = list_turns(message.conversation, {})
    question = message.pk if message.role == Role.USER else message.parent_id
    shown = list(dropwhile(lambda turn: turn.id != question, context["turns"]))
    if not (shown and request.htmx):  # or so much follows it that the end of the conversation begins after it
        return reload_page(request, message.conversation)
    context |= {"turns": shown, "is_longer": False, "line": write_cost_line(user, message.conversation)}
    return render(request, "chat/_shown.html", context)


_own_answer = Select(
    Message,
    lambda user, pk: Message.objects.only("fence").answers().owned_by(user).filter(pk=pk),
    IntegerField(),
    UUIDField(),
)


@login_not_required  # a visitor who asked a moment ago has been let in already
@require_safe
async def stream_answer(request: HtmxRequest, answer_id: UUID) -> HttpResponseBase:
    """Stream the changes that keep a page up to date with its answer."""
    visitor, fence = get_runner().take_recent_visitor(answer_id, request.session.session_key), 0
    if visitor is None:
        user = await find_session_user(request)
        if not isinstance(user, User):
            return refuse_without_login(request) or redirect_to_login(request.get_full_path())
        if not get_runner().is_writing_for(user, answer_id):
            answer = await run_in_thread(_own_answer.get_first, user.pk, answer_id)
            if answer is None:
                return end_stream("gone")
            fence = answer.fence
        visitor = Visitor.from_request(request, user)
    try:
        after = responses.read_position(request) or 0
        return responses.make_page_response(get_process(), visitor, answer_id, after, fence)
    except ValueError:
        return end_stream("gone")


def render_conversation(request: HtmxRequest, user: User, conversation: Conversation) -> HttpResponse:
    """Return the page of a conversation, or for htmx its turns before one of them."""
    if request.htmx and "before" in request.GET:
        return render(request, "chat/_turns.html", list_turns(conversation, request.GET))
    form = make_editing_form(user, conversation, request.GET["edits"]) if "edits" in request.GET else None
    context = build_page_context(user, conversation, form, request.GET, zone=find_zone(request))
    context["is_live"] = conversation.leaf is not None and conversation.leaf.is_live and not request.GET
    return render(request, "chat/page.html", context)


def build_page_context(
    user: User,
    conversation: Conversation | None,
    form: MessageForm | None = None,
    query: Mapping[str, str] = MappingProxyType({}),
    *,
    zone: ZoneInfo,
) -> dict[str, Any]:
    """Return the context of the chat page: of one conversation, or of an empty chat."""
    models = list_allowed_models(user)
    return {
        **(list_turns(conversation, query) if conversation else {}),
        "line": write_cost_line(user, conversation),
        "conversation": conversation,
        "form": form or make_blank_form(user, conversation),
        "unavailable_model": find_unavailable_model(conversation, models),
        "conversations": show_open_around(user, zone, conversation),
        "alert": find_alerts(user).first(),
        "next": list_next_questions(conversation) if conversation else NextQuestions([]),
        "heartbeat": settings.CHAT_HEARTBEAT,
        "is_demo": settings.CHAT_MODELS[0].startswith("demo:"),
    }


def write_cost_line(user: User, conversation: Conversation | None) -> CostLine:
    """Return the line below the composer: what the conversation came to, or what is left to the user."""
    if conversation is None:
        return CostLine(rest=describe_rest(user.pk))
    return make_cost_line(conversation.pk, conversation.leaf_id, choose_model(conversation, list_allowed_models(user)))


def list_turns(conversation: Conversation, query: Mapping[str, str]) -> dict[str, Any]:
    """Return the turns that are shown of a conversation: its last, as far as `?at=`, or those before `?before=`."""
    at = read_id(query.get("at", ""))
    piece = open_at(conversation, at) if at else Piece(before=read_id(query.get("before", "")))
    branch, is_longer = conversation.load_branch(piece.before, piece.most)
    answers = [message.pk for message in branch if message.role == Role.ASSISTANT]
    spent, ratings = find_spending(answers), find_ratings(answers, conversation.user_id)
    for message in branch:
        message.spending = spent.get(message.pk, Spending())
        message.rating = ratings.get(message.pk)
    return {"turns": pair_turns(branch), "is_longer": is_longer, "conversation": conversation}


def make_blank_form(user: User, conversation: Conversation | None) -> MessageForm:
    """Return an empty composer, with the model that was asked last while the user may use it."""
    models = list_allowed_models(user)
    model = (
        choose_model(conversation, models) if conversation and conversation.leaf else choose_last_model(user, models)
    )
    initial: dict[str, Any] = {"turn": make_turn_id(), "model": model}
    if conversation is not None:
        initial["conversation"] = conversation.pk
    return MessageForm(initial={**initial, "effort": find_current_level(conversation, model)}, models=models)


def choose_model(conversation: Conversation | None, models: Sequence[str]) -> str:
    """Return the model of the next answer: the one that was asked last, while it may be used, otherwise the default."""
    last = conversation.leaf.wanted_model if conversation is not None and conversation.leaf else ""
    return last if last in models else next(iter(models), "")


def choose_last_model(user: User, models: Sequence[str]) -> str:
    """Return the model for a new chat: that of the user's latest conversation, while it may be used, or the default."""
    asked = Conversation.objects.owned_by(user).filter(leaf__isnull=False).select_related("leaf")
    return choose_model(asked.order_by("-updated_at").first() if len(models) > 1 else None, models)


def find_unavailable_model(conversation: Conversation | None, models: Sequence[str]) -> str:
    """Return the model that was asked last, if it may not be used any more, such as a retired one; else nothing."""
    last = conversation.leaf.wanted_model if conversation is not None and conversation.leaf else ""
    return "" if last in models else last


def pair_turns(branch: list[Message]) -> list[ShownTurn]:
    """Return the questions of a branch, each with its answer."""
    answers = {message.parent_id: message for message in branch if message.role == Role.ASSISTANT}
    return [ShownTurn(message, answers.get(message.pk)) for message in branch if message.role == Role.USER]


def make_editing_form(user: User, conversation: Conversation, question_id: str) -> MessageForm:
    """Return the composer with an earlier question in it. Raises Http404."""
    try:
        question = conversation.messages.get(role=Role.USER, pk=question_id)
    except (Message.DoesNotExist, ValidationError):
        raise Http404 from None
    form = make_blank_form(user, conversation)
    initial = {**form.initial, "content": question.text, "edits": question.pk}
    return MessageForm(initial=initial, models=form.models)


def reload_page(request: HtmxRequest, conversation: Conversation) -> HttpResponse:
    """Return a response that loads the conversation's page, because another branch is shown now."""
    if not request.htmx:
        return redirect(conversation)
    return HttpResponse(headers={"HX-Redirect": conversation.get_absolute_url()})


def render_turn(request: HtmxRequest, user: User, answer: Message) -> HttpResponse:
    """Return the new turn, with a composer for the next one in the same conversation."""
    conversation, is_first = answer.conversation, not request.POST.get("conversation")
    if not request.htmx:
        return redirect(conversation)
    if request.POST.get("edits") and not request.POST.get("in_place"):
        return reload_page(request, conversation)
    assert answer.parent is not None  # noqa: S101 - an answer answers a question
    if (shown := request.POST.get("after")) and shown != str(answer.parent.parent_id):
        return reload_page(request, conversation)  # another tab has changed to another branch
    beginning = ""
    if is_first:
        context = {"conversation": conversation, "row": show_new(conversation, find_zone(request))}
        beginning = render_to_string("chat/_beginning.html", context)
    response = HttpResponse(render_sent(ShownTurn(answer.parent, answer), beginning))
    if is_first:
        response.headers["HX-Push-Url"] = conversation.get_absolute_url()
    return response


_sent = Stencil("chat/_sent.html", "turn", "next_turn", "conversation", "beginning")


def render_sent(turn: ShownTurn, beginning: str = "") -> SafeString:
    """Return a turn with a composer for the next one, and what else a page is told of its first one."""
    places = {
        "turn": render_to_string("chat/_turn.html", {"turn": turn}),
        "next_turn": make_turn_id(),
        "conversation": turn.question.conversation_id,
        "beginning": beginning,
    }
    return _sent.fill(places)


def render_answer(request: HtmxRequest, answer: Message) -> HttpResponse:
    """Return an answer's HTML, or its page where there is no htmx."""
    if not request.htmx:
        return redirect(answer.conversation)
    return HttpResponse(own_turn.render_answer(answer))


def add_stream(request: HtmxRequest, visitor: Visitor, sent: HttpResponse, answer: Message) -> HttpResponseBase:
    """Return what was rendered of an answer, followed by its stream, for a page whose script takes both at once."""
    is_shown = request.htmx and "HX-Redirect" not in sent.headers
    if not is_shown or not answer.is_live or not accepts_media_type(request.headers.get("Accept", ""), SSE):
        return sent
    # Its stream is this one: whoever asks for another has to be let in as anybody is.
    get_runner().take_recent_visitor(answer.pk, visitor.session)
    return responses.make_sent_response(get_process(), visitor, sent, answer)


def render_refusal(request: HtmxRequest, user: User, error: RefusedError) -> HttpResponse:
    """Render the reason why a question was refused, and leave its text in the composer."""
    if request.htmx:
        return render_complaint(error.sentence, error.status)
    form = MessageForm(request.POST, models=list_allowed_models(user))
    form.is_valid()
    current: UUID | None = form.cleaned_data.get("conversation")
    conversation = Conversation.objects.owned_by(user).filter(pk=current).first() if current else None
    context = {**build_page_context(user, conversation, form, zone=find_zone(request)), "errors": [error.sentence]}
    return render(request, "chat/page.html", context, status=error.status)
