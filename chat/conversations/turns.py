"""Turns: how a question and its answer are stored, once, however often the form is sent."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any, NamedTuple

from django.db import IntegrityError, transaction
from django.db.models import Exists, Field, IntegerField, Q, QuerySet, UUIDField

from chat.accounting import quotas
from chat.accounts.known_logins import (
    SESSION_KINDS,
    TOKEN_KINDS,
    KnownLogin,
    LoginEndedError,
    make_session_condition,
    make_token_condition,
)
from chat.accounts.model_access import list_allowed_models
from chat.conversations.effort import change_effort, choose_effort
from chat.conversations.kept_answers import OnBehalf, StartedTurn, create_answer, open_first_call, plan_answer
from chat.conversations.prompts import build_continuation_prompt
from chat.conversations.titles_by_rule import make_title
from chat.conversations.turn_ids import NAMESPACE, derive_attempt_id, renew_turn
from chat.conversations.turn_refusals import (
    BusyError,
    NoSuchConversationError,
    NoSuchQuestionError,
    NotContinuableError,
    TurnTakenError,
)
from chat.core.events import Continued, describe_fallback, make_storable
from chat.leases import compute_lease_end, name_owner
from chat.models import (
    Conversation,
    Message,
    NextQuestion,
    Role,
    Status,
    TitledBy,
    User,
)
from chat.models.compiled import Placeholder, Select


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


def keep_conversation(user: User, turn: uuid.UUID) -> Conversation:
    """Store an empty conversation of the user's; the same turn again returns the one that it made.

    Raises `NoSuchConversationError` where that was deleted a moment ago, and `LoginEndedError` where the user was.
    """
    key = uuid.uuid5(NAMESPACE, f"empty conversation:{user.pk}:{turn}")
    try:
        conversation, _ = Conversation.objects.get_or_create(pk=key, defaults={"user": user})
    except IntegrityError as error:
        raise LoginEndedError from error
    if conversation.deleted_at is not None:
        raise NoSuchConversationError
    return conversation


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
    """The conditions, beside the ownership of the conversation, under which a question is stored."""

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


def keep_under_own_turn(keep: Callable[[Question], StartedTurn], question: Question) -> StartedTurn:
    """Keep a question, under a turn of its own where another text has been asked with the one that it has."""
    started = keep(question)
    if started.is_new or (asked := started.answer.parent) is None:
        return started
    turn = renew_turn(question.turn, asked.text, question.content)
    return started if turn == question.turn else keep(question._replace(turn=turn))


def _keep_within_budgets(user: User, model: str, keep: Callable[[str], StartedTurn]) -> StartedTurn:
    """Keep a turn with this model, or with the one that an exhausted budget names instead.

    The user must be allowed to use that one, and its own budgets must have room. Raises `quotas.BudgetError`.
    """
    asked, remark = [model], None
    while True:
        try:
            return replace(keep(asked[-1]), remark=remark)
        except quotas.BudgetError as error:
            quotas.note_refusal(error)
            instead = error.terms.fallback_model
            if not instead or instead in asked or instead not in list_allowed_models(user):
                raise
            remark = describe_fallback(f"The budget {error.terms.name} has no room for {model}", instead)
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
            answer = plan_answer(row, question.model, model, uuid.uuid4(), question.response_schema)
            return create_answer(user, answer, is_titled=is_titled)
    except IntegrityError as error:
        if (earlier := _find_answer(question_id)) is not None:
            return StartedTurn(earlier)
        if not User.objects.filter(pk=user.pk).exists():
            raise LoginEndedError from error
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
    failed one was the last message: a user who has continued the conversation keeps their page.
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
            attempt = plan_answer(question, model, with_model, answer_id, answer.response_schema)
            return create_answer(user, attempt, on_behalf)

    try:
        return _keep_within_budgets(user, model, keep)
    except IntegrityError as error:
        if (earlier := _find_attempt(answer, answer_id)) is not None:
            return StartedTurn(earlier)
        if not User.objects.filter(pk=user.pk).exists():
            raise LoginEndedError from error
        raise BusyError from error


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
            return replace(open_first_call(user, queued, build_continuation_prompt(queued, with_model)), usage=usage)

    try:
        return _keep_within_budgets(user, model, keep)
    except IntegrityError as error:
        raise BusyError from error


def _load_with_turn(answer: Message) -> Message:
    """Return the answer as it is stored now, with its question and conversation."""
    return Message.objects.select_related("conversation", "parent__conversation").get(pk=answer.pk)


def _find_parent(question: Question, conversation: Conversation) -> uuid.UUID | None:
    """Return the parent of a question: the end of the branch that is shown, or the parent of the edited question."""
    if question.edits is None:
        return conversation.leaf_id
    edited = conversation.messages.filter(role=Role.USER, pk=question.edits).first()
    if edited is None:
        raise NoSuchQuestionError
    remember_branch(conversation, edited.list_attempt_ids())
    return edited.parent_id


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


def remember_branch(conversation: Conversation, alternatives: Sequence[uuid.UUID]) -> None:
    """Note the leaf that is shown now on whichever of these messages is on the shown branch.

    `alternatives` are the attempts at one question, or its wordings. Another of them is about to be shown; when its
    user comes back to this one, the same leaf is shown again.
    """
    if conversation.leaf_id is not None:
        branch = Message.objects.select_branch(conversation.leaf_id)
        branch.filter(pk__in=alternatives).update(shown_leaf=conversation.leaf_id)
