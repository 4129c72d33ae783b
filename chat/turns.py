"""Turns: how a question and its answer come into being, once, however often the form is sent."""

from __future__ import annotations

import os
import secrets
import socket
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Literal, NamedTuple

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import IntegerField, UUIDField, prefetch_related_objects
from django.db.models.functions import Now
from django.utils import timezone

from chat import quotas
from chat.context import fitted, room_in, size_of, window_of
from chat.errors import RefusedError
from chat.events import Continued, Lasting, Token, ToolArguments
from chat.events import ToolCall as ToolCalled
from chat.models import TITLE_LENGTH, Conversation, Message, ProviderCall, Role, Status, ToolCall, User, in_order
from chat.models.prepared import Insert, Select, Update
from chat.providers import Called, Prompt, Turn
from chat.transcript import Transcript
from chat.usage import estimate_tokens

# Ids of questions and answers that a form asked for are derived from the form's own UUID, so that the primary key
# refuses the second of two equal forms, whichever process gets it.
NAMESPACE = uuid.UUID("6f1a2b52-7f0c-4c1e-9b53-0d6cf7f4a9d1")

_SPEAKERS: dict[str, Literal["user", "assistant"]] = {Role.USER: "user", Role.ASSISTANT: "assistant"}

# Messages of a branch are read in such pieces, from its end, until the model's window is full. Most conversations are
# one piece; 128,000 tokens are three or four.
READ_AT_ONCE = 100

_BOOT = secrets.token_hex(4)


class BusyError(RefusedError):
    """Another answer of the conversation is still being written."""

    status, code = 409, "busy"
    sentence = "The last answer is still being written. Wait for it, or stop it first."


class DrainingError(RefusedError):
    """This process is about to end."""

    status, code = 503, "draining"
    sentence = "The server is restarting. Try again in a moment."


class Question(NamedTuple):
    """What is asked, of which model, by which form: the same `turn` twice is one question. `edits` is the earlier
    question in whose place it is asked, on a branch of its own; `response_schema` is what the answer has to keep to."""

    content: str
    model: str
    turn: uuid.UUID
    edits: uuid.UUID | None = None
    response_schema: dict[str, Any] | None = None


class OnBehalf(NamedTuple):
    """A retry that a member of the staff asks for, of this failed answer of somebody else's."""

    staff: User
    answer: Message


@dataclass(frozen=True, slots=True)
class Begun:
    """An answer to work on. `is_new` is false when the same turn was begun before: then there is nothing to start."""

    answer: Message
    prompt: Prompt | None = None
    call: ProviderCall | None = None

    @property
    def is_new(self) -> bool:
        return self.call is not None


def new_turn() -> uuid.UUID:
    """The id of a form, by which sending it twice is recognised."""
    return uuid.uuid4()


def owner() -> str:
    """This process, as the owner of the answers it writes."""
    return f"{socket.gethostname()[:40]}:{os.getpid()}:{_BOOT}"


def lease() -> Any:
    """Until when an owner that begins or goes on now has its answer, by the database's clock. That of SQLite is the
    machine's."""
    now = timezone.now() if connection.vendor == "sqlite" else Now()
    return now + timedelta(seconds=settings.CHAT_LEASE)


def ask(user: User, conversation_id: uuid.UUID | None, question: Question) -> Begun:
    """Keep the question and a queued answer, in a new conversation when none is given.

    The same question again gives the answer that it gave before. Raises `NoSuchConversationError` when the conversation
    is not the user's, `BusyError` while it has a live answer to something else, `quotas.QuotaError` when the user's
    limits do not allow it.
    """
    scope = f"{user.pk}:{conversation_id or 'new'}:{question.turn}"
    question_id = uuid.uuid5(NAMESPACE, f"question:{scope}")
    try:
        with transaction.atomic():
            if conversation_id is None:
                conversation = Conversation(pk=uuid.uuid5(NAMESPACE, f"conversation:{scope}"), user=user)
            else:
                conversation = _locked(user, conversation_id)
            conversation.title = conversation.title or title_of(question.content)
            asked = Message(
                pk=question_id,
                conversation=conversation,
                parent_id=_parent_of(question, conversation),
                role=Role.USER,
                text=question.content,
            )
            return _begin(user, asked, question.model, uuid.uuid4(), question.response_schema)
    except IntegrityError as error:
        if (known := _answer_to(question_id)) is not None:
            return Begun(known)
        raise BusyError from error


_conversation = Select(
    Conversation,
    lambda user, pk: Conversation.objects.select_for_update().filter(user=user, pk=pk).order_by(),
    IntegerField(),
    UUIDField(),
)


def _locked(user: User, conversation_id: uuid.UUID) -> Conversation:
    found = _conversation.first(user.pk, conversation_id)
    if found is None:
        raise NoSuchConversationError
    return found


def retry(user: User, answer: Message, model: str, turn: uuid.UUID, *, staff: User | None = None) -> Begun:
    """Answer the same question once more, beside the earlier attempts.

    While an attempt is live, or when `turn` was sent before, that attempt is the result. Raises `BusyError` while
    another question of the conversation is being answered, `quotas.QuotaError` when the user's limits do not allow it.

    When `staff` asks for it on the user's behalf the site bears the cost, and the new attempt is shown only where the
    failed one was the last thing said: nobody's page is torn away from what they went on with.
    """
    answer_id = attempt_id(answer, turn)
    if (known := _attempt(answer, answer_id)) is not None:
        return Begun(known)
    try:
        with transaction.atomic():
            question = Message.objects.select_related("conversation").get(children=answer)
            on_behalf = OnBehalf(staff, answer) if staff else None
            return _begin(user, question, model, answer_id, answer.response_schema, on_behalf)
    except IntegrityError as error:
        if (known := _attempt(answer, answer_id)) is not None:
            return Begun(known)
        raise BusyError from error


# What a model is told that cannot be made to go on with its own words.
GO_ON = (
    "Your last message was cut off. Go on with it exactly where it ends, in the same language and format. "
    "Repeat nothing, and say nothing about this."
)


class NotContinuableError(RefusedError):
    """The answer cannot be gone on with: it is whole, empty, or something else was said after it."""

    status, code = 409, "not_continuable"
    sentence = "This answer cannot be continued."


def continue_(user: User, answer: Message, model: str) -> Begun:
    """Go on with a partial answer in the same message, marked where it was joined.

    While it is live again already, it is the result. Raises `NotContinuableError`, or `BusyError` while another
    question of the conversation is being answered.
    """
    if answer.is_live:
        return Begun(answer)
    if not answer.is_continuable:
        raise NotContinuableError
    transcript = answer.transcript()
    transcript.append([Continued()])
    try:
        with transaction.atomic():
            going_on = Message.objects.filter(pk=answer.pk, status=answer.status, fence=answer.fence)
            if not going_on.update(
                status=Status.QUEUED,
                error_code="",
                finish_reason="",
                model=model,
                outline=transcript.outline,
                position=transcript.position,
                owner=owner(),
                fence=answer.fence + 1,
                lease_until=lease(),
                stop_requested_at=None,
                watched_at=None,
                finished_at=None,
            ):
                return Begun(_with_its_turn(answer))
            going_on_now = _with_its_turn(answer)
            return _called(user, going_on_now, _going_on(going_on_now, model))
    except IntegrityError as error:
        raise BusyError from error


def _with_its_turn(answer: Message) -> Message:
    return Message.objects.select_related("conversation", "parent__conversation").get(pk=answer.pk)


def _going_on(answer: Message, model: str) -> Prompt:
    """Anthropic's models go on with the last turn when it is their own (and it must not end in a blank); others have to
    be told."""
    assert answer.parent is not None  # noqa: S101 - an answer answers a question
    begun = [Turn("assistant", answer.text.rstrip())]
    if not model.startswith("anthropic:"):
        begun.append(Turn("user", GO_ON))
    return _prompt(answer.parent, model, begun)[0]


class NoSuchConversationError(RefusedError):
    """The conversation does not exist, or belongs to someone else: nobody is told which."""

    status, code = 404, "not_found"
    sentence = "This conversation is not there any more."


class NoSuchQuestionError(RefusedError):
    """What is to be edited is not a question of this conversation."""

    status, code = 404, "not_found"
    sentence = "The question that you edited is not there any more."


def _parent_of(question: Question, conversation: Conversation) -> uuid.UUID | None:
    """What the question follows: the end of the branch that is shown, or what the edited question followed."""
    if question.edits is None:
        return conversation.leaf_id
    edited = conversation.messages.filter(role=Role.USER, pk=question.edits).first()
    if edited is None:
        raise NoSuchQuestionError
    return edited.parent_id


def attempt_id(answer: Message, turn: uuid.UUID) -> uuid.UUID:
    """The id of the attempt that a retry of `answer` by the form `turn` makes."""
    return uuid.uuid5(NAMESPACE, f"retry:{answer.pk}:{turn}")


def _answer_to(question_id: uuid.UUID) -> Message | None:
    return (
        Message.objects.answers()
        .select_related("conversation")
        .filter(parent=question_id)
        .order_by("created_at")
        .first()
    )


def _attempt(answer: Message, answer_id: uuid.UUID) -> Message | None:
    attempts = answer.attempts().select_related("conversation")
    return attempts.filter(pk=answer_id).first() or attempts.live().first()


def _begin(
    user: User,
    question: Message,
    model: str,
    answer_id: uuid.UUID,
    response_schema: dict[str, Any] | None,
    on_behalf: OnBehalf | None = None,
) -> Begun:
    """Within the transaction: the queued answer, already owned by this process, and its first row on the ledger."""
    conversation = question.conversation
    prompt, omitted = _prompt(question, model)
    prompt = replace(prompt, response_schema=response_schema)
    answer = Message(
        pk=answer_id,
        conversation=conversation,
        parent=question,
        role=Role.ASSISTANT,
        status=Status.QUEUED,
        model=model,
        omitted=omitted,
        response_schema=response_schema,
        owner=owner(),
        fence=1,
        lease_until=lease(),
    )
    if on_behalf is None:
        _lead_to(conversation, answer)
    _insert(*([question, answer] if question._state.adding else [answer]))
    if on_behalf and Conversation.objects.filter(pk=conversation.pk, leaf=on_behalf.answer).update(leaf=answer):
        conversation.leaf = answer
    return _called(user, answer, prompt, on_behalf)


_insert = Insert(Message)
_show = Update(
    Conversation,
    ("leaf", "title", "updated_at"),
    lambda pk: Conversation.objects.filter(pk=pk),
    UUIDField(),
)


def _lead_to(conversation: Conversation, answer: Message) -> None:
    """Show the branch that ends with an answer which is inserted next: the database looks when the transaction ends."""
    conversation.leaf_id = answer.pk  # not the answer, which holds its conversation
    if conversation._state.adding:
        conversation.save()
    else:
        _show(answer.pk, conversation.title, timezone.now(), conversation.pk)


def _called(user: User, answer: Message, prompt: Prompt, on_behalf: OnBehalf | None = None) -> Begun:
    """With its row on the ledger. Last, so that a turn that was sent before has been recognised by then, and counts
    once."""
    call = ProviderCall(
        user_id=user.pk,
        answer_id=answer.pk,  # by its number: the row is kept as long as the call lasts, the answer need not be
        model=answer.model,
        billed_to=ProviderCall.BilledTo.SITE if on_behalf else ProviderCall.BilledTo.USER,
        requested_by=on_behalf.staff if on_behalf else None,
        input_tokens=estimate_tokens(prompt.size),
    )
    return Begun(answer, prompt, quotas.admit(call))


_branch = Select(
    Message,
    lambda end, most: Message.objects.only("parent", "role", "text", "outline").on_branch(end, most),
    UUIDField(),
    IntegerField(),
)


def _told(question: Message, room: float | None) -> tuple[list[Turn], int]:
    """The end of the branch up to the question, without answers that never said a word: all that has room, and little
    more; and how many messages stand before that, which are not read."""
    turns = _said(question)
    earlier = question.parent_id
    while earlier is not None and (room is None or size_of(turns) <= room):
        messages = in_order(_branch(earlier, READ_AT_ONCE), earlier)
        prefetch_related_objects([message for message in messages if _has_events(message)], "tool_calls")
        turns = [turn for message in messages for turn in _said(message)] + turns
        earlier = messages[0].parent_id
    return turns, Message.objects.length_of_branch(earlier) if earlier else 0


def _has_events(message: Message) -> bool:
    """Whether there is more in it than text, such as a tool that it called."""
    return any(isinstance(entry, dict) for entry in message.outline)


def _said(message: Message) -> list[Turn]:
    """What was said in a message. An answer that called tools is several turns, with the results between them."""
    if message.role == Role.USER or not _has_events(message):
        return [Turn(_SPEAKERS[message.role], message.text)] if message.text else []
    results: dict[str, list[ToolCall]] = {}
    for result in message.tool_calls.all():
        results.setdefault(result.call_id, []).append(result)
    turns: list[Turn] = []
    step = _Step()
    for event in Transcript.restore(message.text, "", message.outline).since(0):
        if isinstance(event, Token) and step.calls:
            turns += step.turns(results)
            step = _Step()
        step.take(event)
    return turns + step.turns(results)


@dataclass
class _Step:
    """What one upstream call said: a text, then calls."""

    text: str = ""
    calls: dict[str, Called] = field(default_factory=dict)

    def take(self, event: Lasting) -> None:
        if isinstance(event, Token):
            self.text += event.content
        elif isinstance(event, ToolCalled):
            self.calls[event.id] = Called(event.id, event.name, "")
        elif isinstance(event, ToolArguments) and event.id in self.calls:
            known = self.calls[event.id]
            self.calls[event.id] = Called(known.id, known.name, known.arguments + event.delta)

    def turns(self, results: dict[str, list[ToolCall]]) -> list[Turn]:
        """With the result of each call, which the providers insist on."""
        if not self.text and not self.calls:
            return []
        said = Turn("assistant", self.text, tuple(self.calls.values()))
        return [said, *(self._result(call, results.get(call.id, [])) for call in self.calls.values())]

    def _result(self, call: Called, results: list[ToolCall]) -> Turn:
        if not results:
            return Turn("tool", "There is no result: the answer ended first.", call_id=call.id, ok=False)
        result = results.pop(0)  # an id may come again in a later step
        return Turn("tool", result.result, call_id=call.id, ok=result.ok)


def _prompt(question: Message, model: str, begun: Sequence[Turn] = ()) -> tuple[Prompt, int]:
    """What the model is asked, with as much of the past as it can read, and what it has `begun` to answer; and how many
    messages were left out."""
    conversation = question.conversation
    system = conversation.system_prompt or settings.CHAT_SYSTEM_PROMPT
    prompt = Prompt(
        model.partition(":")[2],
        (Turn("system", system),) if system else (),
        max_output_tokens=conversation.max_tokens or settings.CHAT_MAX_TOKENS.get(model),
        temperature=conversation.temperature,
    )
    window = window_of(model, settings.CHAT_CONTEXT_WINDOWS)
    said, unread = _told(question, None if window is None else room_in(prompt, window))
    prompt, omitted = fitted(replace(prompt, turns=(*prompt.turns, *said, *begun)), window)
    return prompt, unread + omitted


def title_of(content: str) -> str:
    """A title from the first question: its first line, cut between words."""
    line = " ".join(content.strip().partition("\n")[0].split())
    if len(line) <= TITLE_LENGTH:
        return line
    return line[: TITLE_LENGTH - 1].rsplit(" ", 1)[0].rstrip(",.;:") + "…"
