"""The pages: what a person at a browser sees and does. A view answers htmx with the partial that the page includes.

`chatsite.middleware.LoginMiddleware` lets only users through to a view that does not say otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Literal, cast
from uuid import UUID

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import ValidationError
from django.db.models import IntegerField, UUIDField
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.template.loader import render_to_string
from django.utils.html import escape
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django_htmx.middleware import HtmxDetails

from chat import streams, turns
from chat.access import models_for
from chat.background import in_thread
from chat.errors import RefusedError
from chat.forms import ConversationForm, MessageForm
from chat.generation import runner
from chat.models import Conversation, Message, Role, User
from chat.models.prepared import Select
from chat.visitors import Visitor, user_of


class HtmxRequest(HttpRequest):
    """What the middleware makes of a request."""

    htmx: HtmxDetails
    user: User


@dataclass(frozen=True, slots=True)
class Shown:
    """A question with the answer that is shown for it."""

    question: Message
    answer: Message | None

    @property
    def id(self) -> UUID:
        return self.question.pk


@require_GET
def home(request: HtmxRequest) -> HttpResponse:
    """A new chat; the conversation begins with its first question."""
    return render(request, "chat/page.html", page(request.user, None))


@require_GET
def conversation(request: HtmxRequest, conversation_id: UUID) -> HttpResponse:
    """The end of a conversation. With `?edits=` a question stands in the box, to be asked in another way; with
    `?before=` it is what was said before one of them, which htmx gets as a partial."""
    found = owned_conversation(request.user, conversation_id)
    if request.htmx and "before" in request.GET:
        return render(request, "chat/_turns.html", said(found, request.GET))
    form = editing_form(request.user, found, request.GET["edits"]) if "edits" in request.GET else None
    return render(request, "chat/page.html", page(request.user, found, form, request.GET))


@require_http_methods(["GET", "POST"])
def conversation_settings(request: HtmxRequest, conversation_id: UUID) -> HttpResponse:
    """How a conversation is called and answered, and the way to delete it."""
    found = owned_conversation(request.user, conversation_id)
    form = ConversationForm(request.POST or None, instance=found)
    if request.method == "POST" and form.is_valid():
        form.save()
        return redirect(found)
    return render(request, "chat/settings.html", {"form": form, "conversation": found})


@require_POST
async def delete(request: HtmxRequest, conversation_id: UUID) -> HttpResponse:
    """Delete a conversation with all that was said. What it cost stays on the ledger."""
    user = await signed_in(request)
    found = await in_thread(owned_conversation, user, conversation_id)
    async for answer in found.messages.live():
        await runner().stop(answer.pk)
    await in_thread(found.delete)
    return redirect("home")


@require_GET
def turn(request: HtmxRequest, conversation_id: UUID, question_id: UUID) -> HttpResponse:
    """A question with its newest answer, for a page that has heard of it from another tab or device.

    `?after=` is the last answer that the page shows; 409 when the question does not follow it.
    """
    conversation = owned_conversation(request.user, conversation_id)
    if not request.htmx:
        return redirect(conversation)
    question = get_object_or_404(conversation.messages.filter(role=Role.USER), pk=question_id)
    if request.GET.get("after", parent := str(question.parent_id or "")) != parent:
        return HttpResponse(status=409)
    context = {
        "turn": Shown(question, question.children.order_by("-created_at").first()),
        "next_turn": turns.new_turn(),
        "conversation": conversation,
    }
    return render(request, "chat/_sent.html", context)


@require_GET
def conversations(request: HtmxRequest) -> HttpResponse:
    """The list of the sidebar; `?current=` is the conversation that its page shows."""
    if not request.htmx:
        return redirect("home")
    listed = Conversation.objects.owned_by(request.user)[:LISTED]
    context = {"conversations": listed, "current": request.GET.get("current", "")}
    return render(request, "chat/_conversations.html", context)


@require_POST
async def send(request: HtmxRequest) -> HttpResponse:
    user = await signed_in(request)
    try:
        begun = await runner().begin(user, partial(asked, user, request.POST), Visitor.of(request, user))
    except RefusedError as error:
        return later(await in_thread(refused, request, user, error), error)
    return await in_thread(sent, request, user, begun.answer)


@require_POST
async def stop(request: HtmxRequest) -> HttpResponse:
    """Stop whatever the conversation is being answered; its page learns the end from its stream."""
    user = await signed_in(request)
    form = MessageForm(request.POST, models=())
    form.is_valid()
    live = Message.objects.owned_by(user).live().filter(conversation=form.cleaned_data.get("conversation"))
    async for answer in live:
        await runner().stop(answer.pk)
    return HttpResponse(status=204) if request.htmx else redirect(request.headers.get("Referer", "home"))


@require_POST
async def retry(request: HtmxRequest, answer_id: UUID) -> HttpResponse:
    user = await signed_in(request)
    try:
        turn = partial(again, user, answer_id, request.POST.get("model"), turn_of(request))
        begun = await runner().begin(user, turn, Visitor.of(request, user))
    except RefusedError as error:
        return later(complaint(error.sentence, error.status), error)
    return await in_thread(shown_answer, request, begun.answer)


@require_POST
async def continue_(request: HtmxRequest, answer_id: UUID) -> HttpResponse:
    user = await signed_in(request)
    try:
        begun = await runner().begin(user, partial(further, user, answer_id), Visitor.of(request, user))
    except RefusedError as error:
        return later(complaint(error.sentence, error.status), error)
    return await in_thread(shown_answer, request, begun.answer)


@require_POST
def show(request: HtmxRequest, message_id: UUID) -> HttpResponse:
    """Show another attempt at the same question, or another wording of it, with what was said after it."""
    owned = Message.objects.owned_by(request.user).select_related("conversation")
    message = get_object_or_404(owned, pk=message_id)
    leaf = message.newest_leaf()
    Conversation.objects.filter(pk=message.conversation_id).update(leaf=leaf)
    if message.role == Role.USER:
        return reloaded(request, message.conversation)
    response = shown_answer(request, message)
    if leaf != message and request.htmx:
        response.headers["HX-Refresh"] = "true"
    return response


_own_answer = Select(
    Message,
    lambda user, pk: Message.objects.only("pk").answers().owned_by(user).filter(pk=pk),
    IntegerField(),
    UUIDField(),
)


@login_not_required  # who asked a moment ago has been let in, and follows at once
@require_GET
async def answer_stream(request: HtmxRequest, answer_id: UUID) -> HttpResponseBase:
    """The changes that keep a page up with its answer."""
    visitor = runner().asker(answer_id, request.session.session_key)
    if visitor is None:
        user = await user_of(request)
        if not isinstance(user, User):
            return no_user(request) or redirect_to_login(request.get_full_path())
        if not runner().writes_for(user, answer_id) and not await in_thread(_own_answer.keys, user.pk, answer_id):
            return stream_over("gone")
        visitor = Visitor.of(request, user)
    try:
        return streams.page_response(visitor, answer_id, streams.position_of(request) or 0)
    except ValueError:
        return stream_over("gone")


def stream_over(reason: Literal["gone", "login"]) -> HttpResponse:
    """What a page gets instead of a stream that it cannot have; any other response it would ask for again."""
    return HttpResponse(streams.sse(reason, event="done"), content_type=streams.SSE)


def no_user(request: HttpRequest) -> HttpResponse | None:
    """What a request of a session that has ended gets, other than the login page: nothing typed may be lost to it."""
    # htmx accepts a stream in answer to any request.
    is_stream = request.resolver_match is not None and request.resolver_match.url_name == "answer-stream"
    if is_stream and streams.SSE in request.headers.get("Accept", ""):
        return stream_over("login")
    if request.headers.get("HX-Request"):
        return complaint("This was not sent: you are not logged in any more. Your text is still here.", 401)
    return None


def csrf_failure(request: HtmxRequest, reason: str = "") -> HttpResponse:
    """A form from before a log-in elsewhere, or a forged one."""
    if is_api(request):
        return JsonResponse({"error": {"code": "csrf", "message": "Send the CSRF token in X-CSRFToken."}}, status=403)
    if request.headers.get("HX-Request"):
        return complaint("Your login has changed since this page was loaded. Reload it and send again.", 403)
    return render(request, "403_csrf.html", status=403)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """One body for what does not exist and for what belongs to someone else."""
    if is_api(request):
        return JsonResponse({"error": {"code": "not_found", "message": "There is no such thing here."}}, status=404)
    return render(request, "404.html", status=404)


def is_api(request: HttpRequest) -> bool:
    return request.path.startswith("/api/")


# Conversations in the sidebar.
LISTED = 100


async def signed_in(request: HttpRequest) -> User:
    """The user that the middleware let pass."""
    return cast("User", await request.auser())


def owned_conversation(user: User, conversation_id: UUID) -> Conversation:
    return get_object_or_404(Conversation.objects.owned_by(user), pk=conversation_id)


def owned_answer(user: User, answer_id: UUID) -> Message:
    answers = Message.objects.answers().owned_by(user).select_related("conversation")
    return get_object_or_404(answers, pk=answer_id)


def asked(user: User, fields: QueryDict) -> turns.Begun:
    """What a form asks, with a model that the user may use. Raises `UnusableError`."""
    form = MessageForm(fields, models=models_for(user))
    if not form.is_valid():
        raise UnusableError(form.sentence())
    return turns.ask(user, form.cleaned_data["conversation"], form.question())


class UnusableError(RefusedError):
    """The form cannot be taken as it is."""

    status, code = 422, "bad_request"

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


def again(user: User, answer_id: UUID, chosen: object, turn: UUID) -> turns.Begun:
    """A retry of a user's own answer, with a model that they may use."""
    answer = owned_answer(user, answer_id)
    return turns.retry(user, answer, model_for(answer, models_for(user), chosen), turn)


def further(user: User, answer_id: UUID) -> turns.Begun:
    """Going on with a user's own answer, with a model that they may use."""
    answer = owned_answer(user, answer_id)
    return turns.continue_(user, answer, model_for(answer, models_for(user)))


def model_for(answer: Message, models: Sequence[str], chosen: object = None) -> str:
    """The model that a retry asks: the chosen one, otherwise the same again, while the user may use it. Raises
    `NoModelError`."""
    if not models:
        raise NoModelError
    return next((model for model in models if model == chosen), answer.model if answer.model in models else models[0])


class NoModelError(RefusedError):
    """Every model is for groups that the user is not in."""

    status, code = 403, "no_model"
    sentence = "There is no model that you may use."


def turn_of(request: HttpRequest) -> UUID:
    """The form's own id; a form without one is a form of its own."""
    try:
        return UUID(request.POST.get("turn", ""))
    except ValueError:
        return turns.new_turn()


def page(
    user: User,
    conversation: Conversation | None,
    form: MessageForm | None = None,
    asked: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """What the page shows: one conversation, or the place to begin one."""
    return {
        **(said(conversation, asked) if conversation else {}),
        "conversation": conversation,
        "current": str(conversation.pk) if conversation else "",
        "form": form or blank_form(user, conversation),
        "conversations": Conversation.objects.owned_by(user)[:LISTED],
        "heartbeat": settings.CHAT_HEARTBEAT,
        "is_demo": settings.CHAT_MODELS[0].startswith("demo:"),
    }


def said(conversation: Conversation, asked: Mapping[str, str]) -> dict[str, Any]:
    """The turns that are shown of a conversation."""
    try:
        before = UUID(asked.get("before", ""))
    except ValueError:
        before = None
    branch, is_longer = conversation.branch(before)
    return {"turns": shown(branch), "is_longer": is_longer, "conversation": conversation}


def blank_form(user: User, conversation: Conversation | None) -> MessageForm:
    """The composer: the conversation goes on with the model that answered last, while the user may use it."""
    initial: dict[str, Any] = {"turn": turns.new_turn()}
    models = models_for(user)
    if conversation is not None:
        last = conversation.leaf.model if conversation.leaf else ""
        initial |= {"conversation": conversation.pk, "model": last if last in models else None}
    return MessageForm(initial=initial, models=models)


def shown(branch: list[Message]) -> list[Shown]:
    answers = {message.parent_id: message for message in branch if message.role == Role.ASSISTANT}
    return [Shown(message, answers.get(message.pk)) for message in branch if message.role == Role.USER]


def editing_form(user: User, conversation: Conversation, question_id: str) -> MessageForm:
    """The composer with an earlier question in it."""
    try:
        question = conversation.messages.get(role=Role.USER, pk=question_id)
    except (Message.DoesNotExist, ValidationError):
        raise Http404 from None
    form = blank_form(user, conversation)
    initial = {**form.initial, "content": question.text, "edits": question.pk}
    return MessageForm(initial=initial, models=form.models)


def reloaded(request: HtmxRequest, conversation: Conversation) -> HttpResponse:
    """Another branch is another page."""
    if not request.htmx:
        return redirect(conversation)
    return HttpResponse(headers={"HX-Redirect": conversation.get_absolute_url()})


def sent(request: HtmxRequest, user: User, answer: Message) -> HttpResponse:
    """The new turn, and a composer that belongs to the conversation from now on."""
    conversation, is_first = answer.conversation, not request.POST.get("conversation")
    if request.POST.get("edits"):
        return reloaded(request, conversation)
    if not request.htmx:
        return redirect(conversation)
    assert answer.parent is not None  # noqa: S101 - an answer answers a question
    context = {
        "turn": Shown(answer.parent, answer),
        "next_turn": turns.new_turn(),
        "conversation": conversation,
        "current": str(conversation.pk),
        "conversations": Conversation.objects.owned_by(user)[:LISTED] if is_first else None,
    }
    response = HttpResponse(render_to_string("chat/_sent.html", context))
    if is_first:
        response.headers["HX-Push-Url"] = conversation.get_absolute_url()
    return response


def shown_answer(request: HtmxRequest, answer: Message) -> HttpResponse:
    if not request.htmx:
        return redirect(answer.conversation)
    return render(request, "chat/_answer.html", {"answer": answer})


def refused(request: HtmxRequest, user: User, error: RefusedError) -> HttpResponse:
    """Say why, and leave the text where it was typed."""
    if request.htmx:
        return complaint(error.sentence, error.status)
    form = MessageForm(request.POST, models=models_for(user))
    form.is_valid()
    current: UUID | None = form.cleaned_data.get("conversation")
    conversation = Conversation.objects.owned_by(user).filter(pk=current).first() if current else None
    context = {**page(user, conversation, form), "errors": [error.sentence]}
    return render(request, "chat/page.html", context, status=error.status)


def complaint(sentence: str, status: int) -> HttpResponse:
    """A sentence for the place under the composer."""
    headers = {"HX-Retarget": "#composer-error", "HX-Reswap": "innerHTML"}
    return HttpResponse(escape(sentence), status=status, headers=headers)


def later(response: HttpResponse, error: RefusedError) -> HttpResponse:
    """A refusal, with the seconds after which the same may be asked again."""
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    return response
