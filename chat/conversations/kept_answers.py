"""Answers as they are kept at first: queued, with their question, and with their first call on the ledger."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.db.models import UUIDField
from django.utils import timezone

from chat.accounting import quotas
from chat.conversations.prompts import build_prompt
from chat.conversations.turn_refusals import NoSuchConversationError
from chat.core.events import Remark, Usage
from chat.core.tokens import estimate_tokens
from chat.leases import compute_lease_end, name_owner
from chat.models import (
    NO_USAGE,
    Conversation,
    Message,
    ProviderCall,
    Role,
    Status,
    User,
)
from chat.models.compiled import Insert, Update
from chat.providers.base import Prompt


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


class AnswerPlan(NamedTuple):
    """An answer that is to be stored, with its question and the prompt of its first call."""

    question: Message
    answer: Message
    prompt: Prompt


def plan_answer(
    question: Message, asked_model: str, model: str, answer_id: uuid.UUID, response_schema: dict[str, Any] | None
) -> AnswerPlan:
    """Return a queued answer that is to be stored, owned by this process; `model` may replace `asked_model`."""
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
    return AnswerPlan(question, answer, prompt)


def create_answer(
    user: User, plan: AnswerPlan, on_behalf: OnBehalf | None = None, *, is_titled: bool = False
) -> StartedTurn:
    """Store an answer within a transaction, and its first row on the ledger."""
    question, answer, prompt = plan
    conversation = question.conversation
    if on_behalf is None:
        _show_branch(conversation, answer, is_titled=is_titled)
    _insert(*([question, answer] if question._state.adding else [answer]))
    if on_behalf and Conversation.objects.filter(pk=conversation.pk, leaf=on_behalf.answer).update(leaf=answer):
        conversation.leaf = answer
    return open_first_call(user, answer, prompt, on_behalf)


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
    """Show the branch that ends with an answer, and take the conversation out of the archive.

    The answer is inserted next: the database checks the reference when the transaction ends. Raises
    `NoSuchConversationError` for a conversation that was deleted a moment ago.
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


def open_first_call(user: User, answer: Message, prompt: Prompt, on_behalf: OnBehalf | None = None) -> StartedTurn:
    """Store the call's row on the ledger, with its reservation, and return the turn.

    Call this last in the transaction: a turn that was sent before is recognised by then, and is not counted twice.
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
