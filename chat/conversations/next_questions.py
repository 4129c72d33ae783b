"""Next questions: written while an answer is being written, kept by the server, and asked one after the other.

They are asked by whatever ends the answer, or by the sweep of any process. An answer that was stopped or interrupted
makes them wait until their user says so, and so does a question that is refused.
"""

from __future__ import annotations

from functools import partial
from itertools import chain
from typing import NamedTuple
from uuid import UUID

from django.db import transaction
from django.http import Http404
from django.shortcuts import get_object_or_404

from chat.accounts.model_access import list_allowed_models
from chat.conversations import turns
from chat.conversations.forms import MessageForm
from chat.conversations.kept_answers import StartedTurn
from chat.conversations.turn_ids import find_question_id, renew_turn
from chat.conversations.turn_refusals import NoSuchConversationError
from chat.conversations.turns import Question
from chat.core.errors import RefusedError
from chat.models import Conversation, Message, NextQuestion, Status, User

# Next questions of one conversation.
MAX_KEPT = 50


class TooManyError(RefusedError):
    """The maximum of questions waits already."""

    status, code = 429, "too_many"
    sentence = f"At most {MAX_KEPT} questions can wait. This one is still in the box."


class InvalidTextError(RefusedError):
    """The text of a question cannot be taken as it is."""

    status, code = 422, "bad_request"

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class NotDueError(Exception):
    """Nothing is to be asked now: another process has asked it, an answer is live, or its user has to say so."""


def keep_next_question(user: User, form: MessageForm) -> NextQuestion:
    """Keep the question of a valid form until the answer to the one before it is complete, and return it.

    The same form again is the same question; another text with its turn is another one. Raises `RefusedError`.
    """
    fields = form.cleaned_data
    conversation = Conversation.objects.owned_by(user).filter(pk=fields["conversation"]).first()
    if conversation is None:
        raise NoSuchConversationError
    with transaction.atomic():
        _lock(conversation.pk)
        if NextQuestion.objects.filter(conversation=conversation).count() >= MAX_KEPT:
            raise TooManyError
        kept, _ = NextQuestion.objects.get_or_create(
            conversation=conversation,
            turn=_find_free_turn(conversation, fields["turn"], fields["content"]),
            defaults={"text": fields["content"], "model": fields["model"], "effort": fields["effort"]},
        )
    return kept


def _find_free_turn(conversation: Conversation, turn: UUID, text: str) -> UUID:
    """Return the turn, or another where a question with another text has been asked with it, or is kept."""
    question = find_question_id(conversation.user, conversation.pk, turn)
    asked = Message.objects.filter(pk=question).values_list("text", flat=True)
    kept = NextQuestion.objects.filter(conversation=conversation, turn=turn).values_list("text", flat=True)
    return renew_turn(turn, next(chain(asked, kept), text), text)


def has_to_wait(user: User, conversation_id: UUID, turn: UUID) -> bool:
    """Return whether a question has to wait for others that are due before it, or is one of those that wait already.

    Without this, a form that is sent twice, or a question that comes just as an answer ends, would overtake them.
    """
    own = NextQuestion.objects.owned_by(user).filter(conversation=conversation_id)
    return own.filter(turn=turn).exists() or own.due().exists()


def _lock(conversation_id: UUID) -> None:
    """Lock a conversation before its next questions, as everything does that locks both."""
    Conversation.objects.select_for_update().filter(pk=conversation_id).order_by().values_list("pk").first()


def edit_next_question(user: User, pk: int, text: str) -> NextQuestion:
    """Change the text of a user's own next question; one that was refused may be asked again then.

    Raises Http404 for one that was asked meanwhile, or is another user's, and `RefusedError` for an invalid text.
    """
    kept = get_owned_next_question(user, pk)
    form = MessageForm({"content": text}, models=[kept.model])
    if not form.is_valid():
        raise InvalidTextError(form.find_first_error())
    if not NextQuestion.objects.filter(pk=kept.pk).update(text=form.cleaned_data["content"], refusal=""):
        raise Http404
    return kept


def remove_next_question(user: User, pk: int) -> NextQuestion:
    """Remove a user's own next question. Raises Http404 for one that was asked meanwhile, or is another user's."""
    kept = get_owned_next_question(user, pk)
    if not NextQuestion.objects.filter(pk=kept.pk).delete()[0]:
        raise Http404
    return kept


def get_owned_next_question(user: User, pk: int) -> NextQuestion:
    """Return a user's own next question. Raises Http404."""
    return get_object_or_404(NextQuestion.objects.owned_by(user).select_related("conversation"), pk=pk)


# Asking


def find_due(conversation_id: UUID, *, is_forced: bool = False) -> NextQuestion | None:
    """Return the next question that is to be asked now in a conversation; with `is_forced` also one that waits."""
    found = NextQuestion.objects.filter(conversation=conversation_id)
    return (found if is_forced else found.due()).select_related("conversation__user").first()


def keep_due_turn(due: NextQuestion, *, is_forced: bool) -> StartedTurn:
    """Keep a next question's turn, and delete it in the same transaction.

    Raises `NotDueError` when it is not to be asked any more, and `RefusedError`; then nothing has changed.
    """
    user = due.conversation.user
    with transaction.atomic():
        _lock(due.conversation_id)
        # As it is now: it may have been edited, and the last answer may have been continued.
        now = find_due(due.conversation_id, is_forced=is_forced)
        if now is None or now.pk != due.pk:
            raise NotDueError
        check_model(now, user)
        if not NextQuestion.objects.filter(pk=now.pk).delete()[0]:
            raise NotDueError
        question = Question(now.text, now.model, now.turn, effort=now.effort)
        # Another text may have been asked with its turn: it was edited, or an old page sent its turn before it.
        return turns.keep_under_own_turn(partial(turns.keep_question, user, now.conversation_id), question)


def check_model(kept: NextQuestion, user: User) -> None:
    """Raise `ModelGoneError` for a next question whose model its user may not use any more."""
    if kept.model not in list_allowed_models(user):
        raise ModelGoneError


class ModelGoneError(RefusedError):
    """The model that a next question is for is not offered to its user any more."""

    status, code = 403, "no_model"
    sentence = "The model that you chose for this question is no longer available to you."


def note_refusal(due: NextQuestion, refusal: RefusedError) -> None:
    """Keep the reason why a next question could not be asked; it waits for its user then."""
    NextQuestion.objects.filter(pk=due.pk).update(refusal=refusal.sentence[:400])


# What a page shows


class NextQuestions(NamedTuple):
    """The next questions of a conversation, and what they wait for."""

    questions: list[NextQuestion]
    sentence: str = ""
    is_live: bool = False
    """Whether an answer is being written now, at whose end they are asked."""
    is_waiting: bool = False
    """Whether their user has to say that they are to be asked."""


_ENDED = {
    Status.STOPPED: "You stopped the last answer, so this waits.",
    Status.INTERRUPTED: "The last answer was interrupted, so this waits.",
}


def list_next_questions(conversation: Conversation) -> NextQuestions:
    """Return the next questions of a conversation as its page shows them."""
    questions = list(NextQuestion.objects.filter(conversation=conversation))
    if not questions:
        return NextQuestions([])
    if conversation.messages.live().exists():
        return NextQuestions(questions, "Asked when this answer is complete.", is_live=True)
    if questions[0].refusal:
        return NextQuestions(questions, f"Not sent: {questions[0].refusal}", is_waiting=True)
    leaf = conversation.leaf
    if leaf is not None and (sentence := _ENDED.get(Status(leaf.status))):
        return NextQuestions(questions, sentence, is_waiting=True)
    return NextQuestions(questions, "About to be asked.")
