"""Turns: how a question and its answer are stored, once, however often the form is sent."""

from __future__ import annotations

import os
import secrets
import socket
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, NamedTuple

from django.db import IntegrityError, transaction
from django.db.models import Exists, Field, IntegerField, Q, QuerySet, UUIDField
from django.utils import timezone

from chat.accounting import quotas
from chat.accounting.alerts import note_refusal
from chat.accounts.known_logins import (
    SESSION_KINDS,
    TOKEN_KINDS,
    KnownLogin,
    make_session_condition,
    make_token_condition,
)
from chat.accounts.model_access import list_allowed_models
from chat.conversations.effort import change_effort, choose_effort
from chat.conversations.prompts import build_continuation_prompt, build_prompt
from chat.conversations.titles_by_rule import make_title
from chat.core.errors import COME_BACK_AFTER, RefusedError
from chat.core.events import Continued, Remark, Usage, describe_fallback, make_storable
from chat.core.tokens import estimate_tokens
from chat.leases import compute_lease_end
from chat.models import (
    NO_USAGE,
    Conversation,
    Message,
    NextQuestion,
    ProviderCall,
    Role,
    Status,
    TitledBy,
    User,
)
from chat.models.compiled import Insert, Placeholder, Select, Update
from chat.providers.base import Prompt

# Ids of questions and answers that a form asked for are derived from the form's own UUID, so that the primary key
# refuses the second of two equal forms, whichever process gets it.
NAMESPACE = uuid.UUID("6f1a2b52-7f0c-4c1e-9b53-0d6cf7f4a9d1")

_BOOT = secrets.token_hex(4)


class BusyError(RefusedError):
    """Another answer of the conversation is still being written."""

    status, code = 409, "busy"
    sentence = "The last answer is still being written. Wait for it, or stop it first."

    def __init__(self, answer: str = "") -> None:
        super().__init__(self.code)
        self.answer = answer


class TurnTakenError(RefusedError):
    """The same turn was sent before, with something else."""

    status, code, field = 409, "turn_taken", "turn"
    sentence = "This `turn` was sent before, with something else. The answer that it began is named here."

    def __init__(self, answer: Message) -> None:
        super().__init__(self.code)
        self.answer = str(answer.pk)


class DrainingError(RefusedError):
    """This process is about to end."""

    status, code = 503, "draining"
    sentence = "The server is restarting. Try again in a moment."
    retry_after = COME_BACK_AFTER


class Question(NamedTuple):
    """A question to store: its text, the `provider:model` to ask, and `turn`, the id of its form.

    The same `turn` twice is one question. `edits` is the earlier question whose place it takes, on a branch of its own;
    `response_schema` is the schema that the answer has to keep to; `effort` is the conversation's from now on, as a
    level or in the provider's word.
    """

    content: str
    model: str
    turn: uuid.UUID
    edits: uuid.UUID | None = None
    response_schema: dict[str, Any] | None = None
    effort: str = ""


class OnBehalf(NamedTuple):
    """A retry that a member of the staff asks for, and the failed answer of another user that it is for."""

    staff: User
    answer: Message


@dataclass(frozen=True, slots=True)
class StartedTurn:
    """A stored turn. `is_new` is false when the same turn was begun before: then there is nothing to start."""

    answer: Message
    prompt: Prompt | None = None
    call: ProviderCall | None = None
    usage: Usage = NO_USAGE
    """The usage of earlier runs of the same answer."""
    remark: Remark | None = None
    """The remark for readers on the model that answers, where a budget chose it."""

    @property
    def is_new(self) -> bool:
        return self.call is not None


def make_turn_id() -> uuid.UUID:
    """Return a new id of a form, by which sending it twice is recognised."""
    return uuid.uuid4()


def name_owner() -> str:
    """Return the name of this process, as the owner of the answers it writes."""
    return f"{socket.gethostname()[:40]}:{os.getpid()}:{_BOOT}"


def keep_conversation(user: User, turn: uuid.UUID) -> Conversation:
    """Store an empty conversation of the user's; the same turn again returns the one that it made."""
    key = uuid.uuid5(NAMESPACE, f"empty conversation:{user.pk}:{turn}")
    return Conversation.objects.get_or_create(pk=key, defaults={"user": user})[0]


def check_turn(answer: Message, content: str, model: str | None, response_schema: dict[str, Any] | None) -> None:
    """Refuse a question whose turn began the answer to another one. Raises `TurnTakenError`.

    `model` is the one that was named, None for none.
    """
    question = answer.parent
    is_same = (
        question is not None
        and question.text == make_storable(content).replace("\r\n", "\n")
        and answer.response_schema == response_schema
        and model in {None, answer.wanted_model}
    )
    if not is_same:
        raise TurnTakenError(answer)


def check_retry(answer: Message, turn: uuid.UUID, model: object) -> None:
    """Refuse the retry of a live answer, and a turn that began an attempt with another model. Raises `RefusedError`."""
    attempt = Message.objects.filter(pk=derive_attempt_id(answer, turn)).first()
    if attempt is None and answer.is_live:
        raise BusyError(str(answer.pk))
    if attempt is not None and model and model != attempt.wanted_model:
        raise TurnTakenError(attempt)


class Conditions(NamedTuple):
    """What has to be so, beside the conversation being the user's, when a question is kept in it."""

    login: KnownLogin | None = None
    """The login to confirm; None for one that counts already."""
    nothing_waits: bool = False
    """No next question is kept for the conversation."""


NO_CONDITIONS = Conditions()


def keep_question(
    user: User, conversation_id: uuid.UUID | None, question: Question, conditions: Conditions = NO_CONDITIONS
) -> StartedTurn:
    """Store a question and its queued answer, in a new conversation when none is given.

    The same question again returns the answer that it began before. Raises `NoSuchConversationError` when the
    conversation is not the user's or one of the `conditions` does not hold, `BusyError` while it has a live answer to
    another question, `quotas.QuotaError` when the user's limits do not allow it.
    """
    scope = f"{user.pk}:{conversation_id or 'new'}:{question.turn}"
    keep = partial(_keep_question, user, conversation_id, question, conditions, scope)
    return _keep_within_budgets(user, question.model, keep)


def find_question_id(user: User, conversation_id: uuid.UUID, turn: uuid.UUID) -> uuid.UUID:
    """Return the id of the question that a form asks in a conversation, whether it has been asked or not."""
    return uuid.uuid5(NAMESPACE, f"question:{user.pk}:{conversation_id}:{turn}")


def _keep_within_budgets(user: User, model: str, keep: Callable[[str], StartedTurn]) -> StartedTurn:
    """Keep a turn with this model, or with the one that an exhausted budget names instead.

    The user must be allowed to use that one, and its own budgets must have room. Raises `quotas.BudgetError`.
    """
    asked, remark = [model], None
    while True:
        try:
            return replace(keep(asked[-1]), remark=remark)
        except quotas.BudgetError as error:
            note_refusal(error.key)
            instead = error.fallback_model
            if not instead or instead in asked or instead not in list_allowed_models(user):
                raise
            remark = describe_fallback(f"The budget {error.budget} has no room for {model}", instead)
            asked.append(instead)


def _keep_question(
    user: User,
    conversation_id: uuid.UUID | None,
    question: Question,
    conditions: Conditions,
    scope: str,
    model: str,
) -> StartedTurn:
    question_id = uuid.uuid5(NAMESPACE, f"question:{scope}")
    try:
        with transaction.atomic():
            if conversation_id is None:
                conversation = Conversation(pk=uuid.uuid5(NAMESPACE, f"conversation:{scope}"), user=user)
            else:
                conversation = _lock_conversation(user, conversation_id, conditions)
            is_titled = _give_title(conversation, question.content)
            if question.effort:
                change_effort(conversation, question.model, question.effort)
            row = Message(
                pk=question_id,
                conversation=conversation,
                parent_id=_find_parent(question, conversation),
                role=Role.USER,
                text=question.content,
            )
            if not question.edits and (row.parent_id or conversation._state.adding):
                row.attempt_ids = [question_id]  # nothing follows the end of a branch
            answer = _plan_answer(row, question.model, model, uuid.uuid4(), question.response_schema)
            return _create_answer(user, answer, is_titled=is_titled)
    except IntegrityError as error:
        if (earlier := _find_answer(question_id)) is not None:
            return StartedTurn(earlier)
        raise BusyError from error


def _give_title(conversation: Conversation, question: str) -> bool:
    """Title an untitled conversation by the gist of this question; return whether that changed it."""
    if conversation.title:
        return False
    conversation.title = make_title(question)
    conversation.titled_by = TitledBy.RULE if conversation.title else ""
    return bool(conversation.title)


@cache
def _prepare_lock(confirms: str, *, nothing_waits: bool) -> Select[Conversation]:
    """Return the statement that locks a conversation; `confirms` is "session" or "token", or "" for no login."""
    make_condition, kinds = _CONFIRMING[confirms]

    def select(user: Placeholder, pk: Placeholder, *login: Placeholder) -> QuerySet[Conversation]:
        rows = Conversation.objects.select_for_update().filter(user=user, pk=pk, deleted_at=None).order_by()
        if nothing_waits:
            rows = rows.filter(~Exists(NextQuestion.objects.filter(conversation=pk)))
        return rows.filter(make_condition(user, *login)) if make_condition else rows

    return Select(Conversation, select, IntegerField(), UUIDField(), *kinds)


_CONFIRMING: dict[str, tuple[Callable[..., Q] | None, tuple[Field[Any, Any], ...]]] = {
    "": (None, ()),
    "session": (make_session_condition, SESSION_KINDS),
    "token": (make_token_condition, TOKEN_KINDS),
}


def _lock_conversation(user: User, conversation_id: uuid.UUID, conditions: Conditions) -> Conversation:
    """Return a user's own conversation, locked until the transaction ends. Raises `NoSuchConversationError`."""
    login = conditions.login
    kind = "" if login is None else "token" if login.digest else "session"
    lock = _prepare_lock(kind, nothing_waits=conditions.nothing_waits)
    found = lock.get_first(user.pk, conversation_id, *(login.values if login else ()))
    if found is None:
        raise NoSuchConversationError
    return found


def keep_retry(
    user: User, answer: Message, model: str, turn: uuid.UUID, *, effort: str = "", staff: User | None = None
) -> StartedTurn:
    """Store one more queued answer to the same question, beside the earlier attempts.

    While an attempt is live, or when `turn` was sent before, that attempt is returned. Raises `BusyError` while
    another question of the conversation is being answered, `quotas.QuotaError` when the user's limits do not allow it.

    When `staff` asks for it on the user's behalf, the site bears the cost, and the new attempt is shown only where the
    failed one was the last message: a user who has gone on with the conversation keeps their page.
    """
    answer_id = derive_attempt_id(answer, turn)
    if (earlier := _find_attempt(answer, answer_id)) is not None:
        return StartedTurn(earlier)

    def keep(with_model: str) -> StartedTurn:
        with transaction.atomic():
            # Locked, as for a question: a title that is written meanwhile stays.
            questions = Message.objects.select_related("conversation").select_for_update(of=("conversation",))
            question = questions.get(children=answer)
            if effort:
                change_effort(question.conversation, model, effort)
            on_behalf = OnBehalf(staff, answer) if staff else None
            remember_branch(question.conversation, answer.list_attempt_ids())
            attempt = _plan_answer(question, model, with_model, answer_id, answer.response_schema)
            return _create_answer(user, attempt, on_behalf)

    try:
        return _keep_within_budgets(user, model, keep)
    except IntegrityError as error:
        if (earlier := _find_attempt(answer, answer_id)) is not None:
            return StartedTurn(earlier)
        raise BusyError from error


class NotContinuableError(RefusedError):
    """The answer cannot be continued: it is complete or empty, or a later message follows it."""

    status, code = 409, "not_continuable"
    sentence = "This answer cannot be continued."


def keep_continuation(user: User, answer: Message, model: str, turn: uuid.UUID | None = None) -> StartedTurn:
    """Queue a partial answer again, to go on in the same message, with a mark where it was joined.

    While it is live again already, and when `turn` continued it last, it is returned as it is. Raises
    `NotContinuableError`, or `BusyError` while another question of the conversation is being answered.
    """
    if answer.is_live or (turn is not None and turn == answer.continued_by):
        return StartedTurn(answer)
    if not answer.is_continuable:
        raise NotContinuableError
    transcript = answer.restore_transcript()
    transcript.append([Continued()])

    def keep(with_model: str) -> StartedTurn:
        with transaction.atomic():
            row = Message.objects.owned_by(user).filter(pk=answer.pk, status=answer.status, fence=answer.fence)
            if not row.update(
                status=Status.QUEUED,
                error_code="",
                finish_reason="",
                model=with_model,
                asked_model=model if model != with_model else "",
                effort=choose_effort(answer.conversation, with_model),
                outline=transcript.outline,
                position=transcript.position,
                owner=name_owner(),
                fence=answer.fence + 1,
                lease_until=compute_lease_end(),
                stop_requested_at=None,
                watched_at=None,
                finished_at=None,
                continued_by=turn,
                is_indexed=False,
            ):
                return StartedTurn(_load_with_turn(answer))
            queued = _load_with_turn(answer)
            usage = queued.sum_usage()
            return replace(_open_first_call(user, queued, build_continuation_prompt(queued, with_model)), usage=usage)

    try:
        return _keep_within_budgets(user, model, keep)
    except IntegrityError as error:
        raise BusyError from error


def _load_with_turn(answer: Message) -> Message:
    """Return the answer as it is stored now, with its question and conversation."""
    return Message.objects.select_related("conversation", "parent__conversation").get(pk=answer.pk)


class NoSuchConversationError(RefusedError):
    """The conversation does not exist, or belongs to another user; the response does not say which."""

    status, code = 404, "not_found"
    sentence = "This conversation no longer exists."


class NoSuchQuestionError(RefusedError):
    """The message to edit is not a question of this conversation."""

    status, code = 404, "not_found"
    sentence = "The question that you edited no longer exists."


def _find_parent(question: Question, conversation: Conversation) -> uuid.UUID | None:
    """Return the parent of a question: the end of the branch that is shown, or the parent of the edited question."""
    if question.edits is None:
        return conversation.leaf_id
    edited = conversation.messages.filter(role=Role.USER, pk=question.edits).first()
    if edited is None:
        raise NoSuchQuestionError
    remember_branch(conversation, edited.list_attempt_ids())
    return edited.parent_id


def derive_attempt_id(answer: Message, turn: uuid.UUID) -> uuid.UUID:
    """Return the id of the attempt that a retry of `answer` by the form `turn` makes."""
    return uuid.uuid5(NAMESPACE, f"retry:{answer.pk}:{turn}")


def _find_answer(question_id: uuid.UUID) -> Message | None:
    """Return the first answer to a question, None when it was never stored."""
    return (
        Message.objects.answers()
        .select_related("conversation")
        .filter(parent=question_id)
        .order_by("created_at")
        .first()
    )


def _find_attempt(answer: Message, answer_id: uuid.UUID) -> Message | None:
    """Return the attempt with this id, otherwise the live one; None when there is neither."""
    attempts = answer.select_attempts().select_related("conversation")
    return attempts.filter(pk=answer_id).first() or attempts.live().first()


class _Plan(NamedTuple):
    """An answer that is to be stored, with its question and the prompt of its first call."""

    question: Message
    answer: Message
    prompt: Prompt


def _plan_answer(
    question: Message, asked_model: str, model: str, answer_id: uuid.UUID, response_schema: dict[str, Any] | None
) -> _Plan:
    """Return a queued answer that this process owns; `model` may take the place of the one that was asked for."""
    prompt, omitted = build_prompt(question, model, response_schema=response_schema)
    answer = Message(
        pk=answer_id,
        conversation=question.conversation,
        parent=question,
        role=Role.ASSISTANT,
        status=Status.QUEUED,
        model=model,
        asked_model=asked_model if asked_model != model else "",
        effort=prompt.capabilities.choose_effort(prompt.effort),
        omitted=omitted,
        response_schema=response_schema,
        owner=name_owner(),
        fence=1,
        lease_until=compute_lease_end(),
    )
    return _Plan(question, answer, prompt)


def _create_answer(
    user: User, plan: _Plan, on_behalf: OnBehalf | None = None, *, is_titled: bool = False
) -> StartedTurn:
    """Store an answer within a transaction, and its first row on the ledger."""
    question, answer, prompt = plan
    conversation = question.conversation
    if on_behalf is None:
        _show_branch(conversation, answer, is_titled=is_titled)
    _insert(*([question, answer] if question._state.adding else [answer]))
    if on_behalf and Conversation.objects.filter(pk=conversation.pk, leaf=on_behalf.answer).update(leaf=answer):
        conversation.leaf = answer
    return _open_first_call(user, answer, prompt, on_behalf)


_insert = Insert(Message)
_SHOWN = ("leaf", "effort", "updated_at", "archived_at")
_update_shown = Update(
    Conversation, _SHOWN, lambda pk: Conversation.objects.filter(pk=pk, deleted_at=None), UUIDField()
)
# The title alone where this question gave it: another device may have renamed the conversation since it was read.
_update_shown_and_titled = Update(
    Conversation,
    (*_SHOWN, "title", "titled_by"),
    lambda pk: Conversation.objects.filter(pk=pk, deleted_at=None, title=""),
    UUIDField(),
)


def _show_branch(conversation: Conversation, answer: Message, *, is_titled: bool) -> None:
    """Show the branch that ends with an answer which is inserted next; a conversation leaves the archive with that.

    The database checks the reference when the transaction ends. Raises `NoSuchConversationError` for a conversation
    that was deleted a moment ago.
    """
    conversation.leaf_id = answer.pk  # not the answer, which holds its conversation
    if conversation._state.adding:
        conversation.save()
        return
    shown = answer.pk, conversation.effort, timezone.now(), None
    if is_titled and _update_shown_and_titled(*shown, conversation.title, conversation.titled_by, conversation.pk):
        return
    if not _update_shown(*shown, conversation.pk):
        raise NoSuchConversationError


def remember_branch(conversation: Conversation, places: Sequence[uuid.UUID]) -> None:
    """Keep which leaf is shown now with whichever of these messages of one place stands on its branch.

    Another of them is about to be shown there; going back to this one shows that leaf again.
    """
    if conversation.leaf_id is not None:
        branch = Message.objects.select_branch(conversation.leaf_id)
        branch.filter(pk__in=places).update(shown_leaf=conversation.leaf_id)


def _open_first_call(user: User, answer: Message, prompt: Prompt, on_behalf: OnBehalf | None = None) -> StartedTurn:
    """Store the call's row on the ledger, with its reservation, and return the turn.

    This comes last in the transaction: a turn that was sent before has been recognised by then, and counts once.
    """
    call = ProviderCall(
        user_id=user.pk,
        answer_id=answer.pk,  # by its number: the row is kept as long as the call lasts, the answer need not be
        model=answer.model,
        billed_to=ProviderCall.BilledTo.SITE if on_behalf else ProviderCall.BilledTo.USER,
        requested_by=on_behalf.staff if on_behalf else None,
        input_tokens=estimate_tokens(prompt.size),
        start=answer.position,
    )
    return StartedTurn(answer, prompt, quotas.admit(call))
