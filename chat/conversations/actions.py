"""The actions of users: the one place where a turn is begun or changed.

The page, the API, the WebSocket, the staff and commands read a request, call an action, and write a response. An action
that begins or ends an answer is given the runner of this process, which is built above this package.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Protocol
from uuid import UUID

from django.db.models import QuerySet
from django.http import Http404
from django.shortcuts import get_object_or_404
from django.utils import timezone

from chat.accounts.model_access import list_allowed_models
from chat.accounts.model_registry import list_offered_models
from chat.accounts.visitors import Visitor
from chat.conversations import next_questions, turns
from chat.conversations.changes import Changes, apply_changes, make_branch_notice, make_notice, make_title_notice
from chat.conversations.deletions import GRACE
from chat.conversations.forms import MessageForm
from chat.conversations.kept_answers import StartedTurn
from chat.conversations.turn_ids import find_question_id, renew_turn
from chat.conversations.turn_refusals import BusyError, NoSuchConversationError
from chat.conversations.turns import Question
from chat.core.errors import RefusedError
from chat.models import UNDO_FOR, Conversation, ConversationQuerySet, Message, NextQuestion, User
from chat.tasks import run_in_thread


class Messenger(Protocol):
    """A carrier of news to a user's open pages: `chat.generation.notifications.Notices`."""

    def tell_user(self, user: int, notice: dict[str, Any]) -> None:
        """Send a notice to the open pages of a user."""


class AnswerRunner(Protocol):
    """The producer of answers: `chat.generation.runner.Runner`."""

    @property
    def notices(self) -> Messenger:
        """The carrier of news to users' open pages."""

    async def begin(self, user: User, turn: Callable[[], StartedTurn], by: Visitor | None = None) -> StartedTurn:
        """Keep a turn in a thread, and begin its answer."""

    async def stop(self, answer_id: UUID) -> None:
        """End an answer, in whichever process it is written, and wait for that."""

    def note_next(self, user_id: int, conversation_id: UUID) -> None:
        """Tell everybody that the next questions of a conversation have changed, and ask the first one if it is due."""


class InvalidQuestionError(RefusedError):
    """The fields of a question cannot be taken as they are."""

    status, code = 422, "bad_request"

    def __init__(self, sentence: str, field: str = "") -> None:
        super().__init__(sentence)
        self.sentence, self.field = sentence, field


class NoModelError(RefusedError):
    """Every model is reserved for groups that the user is not in."""

    status, code = 403, "no_model"
    sentence = "No model is available to you."


def get_owned_conversation(user: User, conversation_id: UUID) -> Conversation:
    """Return a user's own conversation. Raises Http404."""
    return get_object_or_404(Conversation.objects.owned_by(user), pk=conversation_id)


def get_owned_answer(user: User, answer_id: UUID) -> Message:
    """Return an answer in a user's own conversation. Raises Http404."""
    answers = Message.objects.answers().owned_by(user).select_related("conversation")
    return get_object_or_404(answers, pk=answer_id)


async def ask(
    runner: AnswerRunner,
    user: User,
    visitor: Visitor,
    fields: Mapping[str, Any],
    conversation_id: UUID | None = None,
    response_schema: dict[str, Any] | None = None,
    *,
    waits: bool = False,
    may_renew: bool = False,
) -> Message:
    """Keep a question and begin its answer; return that answer, with its question and conversation.

    `fields` are those of a `MessageForm`. The question goes to `conversation_id`, else to the form's own conversation,
    else to a new one. The same `turn` sent again returns the answer that it began. With `edits`, the question takes the
    place of an earlier one, on a branch of its own. With `waits` it raises `BusyError` also while next questions wait
    before it. With `may_renew`, as for a page's form, another text with the same `turn` is another question; otherwise
    it too returns the answer that the turn began. Raises `RefusedError`.
    """

    def keep_turn() -> StartedTurn:
        form = MessageForm(fields, models=list_allowed_models(user))
        if not form.is_valid():
            raise InvalidQuestionError(form.find_first_error(), next(iter(form.errors)))
        conversation = conversation_id or form.cleaned_data["conversation"]
        question = form.take_question()._replace(response_schema=response_schema)
        keep = partial(_keep_if_due, user, visitor, conversation, waits=waits and not question.edits)
        return turns.keep_under_own_turn(keep, question) if may_renew else keep(question)

    return (await runner.begin(user, keep_turn, visitor)).answer


def _keep_if_due(
    user: User, visitor: Visitor, conversation_id: UUID | None, question: Question, *, waits: bool
) -> StartedTurn:
    """Keep a question, if its visitor's login holds and, with `waits`, no next question comes before it.

    Both are conditions of the statement that locks the conversation, so neither costs a statement of its own in the
    ordinary case. Raises `RefusedError`.
    """
    if conversation_id is None:
        visitor.confirm()
        return turns.keep_question(user, None, question)
    conditions = turns.Conditions(visitor.unconfirmed, nothing_waits=waits)
    try:
        started = turns.keep_question(user, conversation_id, question, conditions)
    except NoSuchConversationError:
        if conditions == turns.NO_CONDITIONS:
            raise
    else:
        visitor.unconfirmed = None
        return started
    visitor.confirm()
    if waits and next_questions.has_to_wait(user, conversation_id, question.turn):
        raise BusyError
    return turns.keep_question(user, conversation_id, question)


async def ask_or_keep(
    runner: AnswerRunner, user: User, visitor: Visitor, fields: Mapping[str, Any], *, is_first: bool = False
) -> Message | NextQuestion:
    """Ask, as `ask` does; while the conversation's last answer is being written, keep the question until its end.

    Unless it `is_first`, it also waits for the next questions that are due. Raises `RefusedError`: another wording of
    an earlier question cannot wait, and is refused while an answer is being written.
    """
    try:
        return await ask(runner, user, visitor, fields, waits=not is_first, may_renew=True)
    except BusyError:
        kept = await run_in_thread(_keep_next, user, visitor, fields)
    if kept is None:
        raise BusyError
    runner.note_next(user.pk, kept.conversation_id)
    return kept


def _keep_next(user: User, visitor: Visitor, fields: Mapping[str, Any]) -> NextQuestion | None:
    """Keep a question that has to wait; None for another wording of an earlier one, which cannot."""
    visitor.confirm()
    form = MessageForm(fields, models=list_allowed_models(user))
    if not form.is_valid():
        raise InvalidQuestionError(form.find_first_error(), next(iter(form.errors)))
    return None if form.cleaned_data["edits"] else next_questions.keep_next_question(user, form)


async def ask_next(
    runner: AnswerRunner, conversation_id: UUID, by: Visitor | None = None, *, is_forced: bool = False
) -> Message | None:
    """Ask the first of a conversation's next questions if it is due, and return its answer.

    With `is_forced`, ask one too that waits for its user. A question that is refused is kept, with the reason, and None
    is returned. Raises `RefusedError` for a refusal that passes by itself, so that the question is asked later.
    """
    due = await run_in_thread(next_questions.find_due, conversation_id, is_forced=is_forced)
    if due is None:
        return None
    user = due.conversation.user
    keep_turn = partial(next_questions.keep_due_turn, due, is_forced=is_forced)
    try:
        answer = (await runner.begin(user, keep_turn, by)).answer
    except next_questions.NotDueError:
        return None
    except RefusedError as refusal:
        if refusal.status == 503 or isinstance(refusal, BusyError):
            raise
        await run_in_thread(next_questions.note_refusal, due, refusal)
        answer = None
    runner.note_next(user.pk, conversation_id)
    return answer


async def edit_next(runner: AnswerRunner, user: User, next_id: int, text: str) -> Conversation:
    """Change the text of a user's own next question, and return its conversation.

    Raises `RefusedError`, or Http404 for one that was asked meanwhile, or is anybody else's.
    """
    kept = await run_in_thread(next_questions.edit_next_question, user, next_id, text)
    runner.note_next(user.pk, kept.conversation_id)
    return kept.conversation


async def remove_next(runner: AnswerRunner, user: User, next_id: int) -> Conversation:
    """Remove a user's own next question, and return its conversation. Raises Http404, as `edit_next` does."""
    kept = await run_in_thread(next_questions.remove_next_question, user, next_id)
    runner.note_next(user.pk, kept.conversation_id)
    return kept.conversation


async def stop_for(runner: AnswerRunner, user: User, conversation_id: UUID | None, turn: UUID, text: str) -> None:
    """End whatever is being answered in a user's own conversation, so that a form's question can be asked there.

    A form that is sent twice ends nothing the second time: its question has been asked. Another text with the same
    `turn` is another question, as for `ask` with `may_renew`.
    """
    if conversation_id is None:
        return
    questions = Message.objects.filter(pk=find_question_id(user, conversation_id, turn))
    async for asked in questions.values_list("text", flat=True):
        turn = renew_turn(turn, asked, text)
    question = find_question_id(user, conversation_id, turn)
    if not await Message.objects.filter(pk=question).aexists():
        live = Message.objects.live().owned_by(user).filter(conversation=conversation_id)
        await _stop_all(runner, live.exclude(parent=question))  # not the form's own, if it was asked just now


async def send_next(runner: AnswerRunner, user: User, visitor: Visitor, next_id: int) -> Conversation:
    """Stop what is being answered in a user's own conversation, ask this next question of it, and return it.

    A question that is not the first one any more, as when the same was sent twice, changes nothing, and one whose
    model is not offered any more stops nothing. Raises `RefusedError`, or Http404 for one that was asked meanwhile, or
    is anybody else's.
    """
    wanted = await run_in_thread(next_questions.get_owned_next_question, user, next_id)
    first = await run_in_thread(next_questions.find_due, wanted.conversation_id, is_forced=True)
    if first is not None and first.pk == wanted.pk:
        await run_in_thread(next_questions.check_model, first, user)
        await stop_for(runner, user, wanted.conversation_id, wanted.turn, wanted.text)
        await ask_next(runner, wanted.conversation_id, visitor, is_forced=True)
    return wanted.conversation


async def retry_answer(
    runner: AnswerRunner,
    user: User,
    visitor: Visitor,
    answer_id: UUID,
    turn: UUID,
    *,
    model: object = None,
    effort: str = "",
    is_exact: bool = False,
) -> Message:
    """Answer a question once more beside the user's answer to it, and return the new attempt.

    `model` is used when the user may choose it, otherwise the one that the answer was asked of. `effort`, where it is
    given, is the conversation's from now on. The same `turn` sent again returns the attempt that it began. With
    `is_exact`, for programs, nothing else than what was asked for is done: a model that is not offered, a live answer
    and a turn that was sent with another model are refused. Raises `RefusedError`, or Http404 for an answer of somebody
    else's.
    """

    def keep_turn() -> StartedTurn:
        answer, allowed = get_owned_answer(user, answer_id), list_allowed_models(user)
        if is_exact:
            _check_offer(model, allowed)
            turns.check_retry(answer, turn, model)
        wanted = choose_model(answer.wanted_model, allowed, model)
        return turns.keep_retry(user, answer, wanted, turn, effort=effort)

    return (await runner.begin(user, keep_turn, visitor)).answer


async def continue_answer(
    runner: AnswerRunner,
    user: User,
    visitor: Visitor,
    answer_id: UUID,
    turn: UUID | None = None,
    *,
    model: str = "",
) -> Message:
    """Go on with a partial answer of the user's, in the same message, and return it.

    `model` continues it; without one, the model that wrote the answer. The `turn` of the last continuation sent again
    changes nothing. Raises `RefusedError`, or Http404 for an answer of somebody else's.
    """

    def keep_turn() -> StartedTurn:
        answer, allowed = get_owned_answer(user, answer_id), list_allowed_models(user)
        _check_offer(model, allowed)
        return turns.keep_continuation(user, answer, choose_model(answer.model, allowed, model), turn)

    return (await runner.begin(user, keep_turn, visitor)).answer


async def retry_on_behalf(
    runner: AnswerRunner, staff: User, answer: Message, turn: UUID, *, model: str = ""
) -> Message:
    """Retry a failed answer at the site's expense and return the attempt.

    `model` is one that the site offers; without it the answer's own is asked, or the first one where that is not
    offered any more. The page of its user changes only where the failed answer was the last message. Raises
    `RefusedError`, for a model that is not offered too.
    """
    user, offered = answer.conversation.user, list_offered_models()
    if model and model not in offered:
        raise NoModelError
    model = choose_model(answer.wanted_model, offered, model)
    return (await runner.begin(user, partial(turns.keep_retry, user, answer, model, turn, staff=staff))).answer


async def stop_answer(runner: AnswerRunner, user: User, answer_id: UUID) -> Message:
    """End a user's own answer with what there is of it, and return it. Raises Http404 for anybody else's."""
    answer = await run_in_thread(get_owned_answer, user, answer_id)
    await runner.stop(answer.pk)
    return await run_in_thread(get_owned_answer, user, answer_id)


async def stop_conversation(runner: AnswerRunner, user: User, conversation_id: UUID | None) -> Conversation | None:
    """End whatever is being answered in a user's own conversation, and return it; None when it does not exist."""
    if conversation_id is None:
        return None
    conversation = await Conversation.objects.owned_by(user).filter(pk=conversation_id).afirst()
    if conversation is not None:
        await _stop_all(runner, conversation.messages.live())
    return conversation


async def delete_conversation(runner: AnswerRunner, user: User, conversation_id: UUID) -> None:
    """Delete a user's own conversation with all its messages, and end its answer. Its cost stays on the ledger.

    It is gone at once for everybody, and can be restored for `UNDO_FOR` seconds; then the sweep deletes its rows.
    Raises Http404 for anybody else's, and for one that is deleted already.
    """
    if not await run_in_thread(_select_own(user, conversation_id).update, deleted_at=timezone.now()):
        raise Http404
    runner.notices.tell_user(user.pk, make_notice(conversation_id, "deleted"))
    await _stop_all(runner, Message.objects.live().filter(conversation=conversation_id))


async def restore_conversation(runner: AnswerRunner, user: User, conversation_id: UUID) -> None:
    """Take the deletion of a user's own conversation back. Raises Http404 once it is gone for good."""
    since = timezone.now() - timedelta(seconds=UNDO_FOR + GRACE)
    deleted = Conversation.objects.filter(user=user, pk=conversation_id, deleted_at__gte=since)
    if not await run_in_thread(deleted.update, deleted_at=None):
        raise Http404
    runner.notices.tell_user(user.pk, make_notice(conversation_id, "restored"))


def find_deleted(user: User, conversation_id: UUID) -> Conversation | None:
    """Return a conversation that its user has deleted and can still restore."""
    since = timezone.now() - timedelta(seconds=UNDO_FOR)
    return Conversation.objects.filter(user=user, pk=conversation_id, deleted_at__gte=since).first()


def get_deleted_conversation(user: User, conversation_id: UUID) -> Conversation:
    """Return a conversation that its user has deleted and can still restore. Raises Http404."""
    found = find_deleted(user, conversation_id)
    if found is None:
        raise Http404
    return found


async def change_conversation(runner: AnswerRunner, user: User, conversation_id: UUID, changes: Changes) -> None:
    """Rename, pin or archive a user's own conversation, or all of it at once, and tell the user's other pages.

    Raises Http404 for anybody else's, and for one that is deleted meanwhile.
    """
    if not await run_in_thread(apply_changes, user, conversation_id, changes):
        raise Http404
    for change in changes.names:
        runner.notices.tell_user(user.pk, make_notice(conversation_id, change))
    if changes.title is not None:
        runner.notices.tell_user(user.pk, make_title_notice(conversation_id, changes.title))


async def mark_as_read(runner: AnswerRunner, user: User, conversation_id: UUID) -> None:
    """Note that the user sees the conversation now, and tell their other pages where that is news."""
    if await run_in_thread(note_reading, user, conversation_id):
        runner.notices.tell_user(user.pk, make_notice(conversation_id, "read"))


def note_reading(user: User, conversation_id: UUID) -> bool:
    """Note that the user sees the conversation now; return whether an answer had ended in it since they last did."""
    return _select_own(user, conversation_id).unread().update(read_at=timezone.now()) > 0


def _select_own(user: User, conversation_id: UUID) -> ConversationQuerySet:
    return Conversation.objects.owned_by(user).filter(pk=conversation_id)


async def _stop_all(runner: AnswerRunner, answers: QuerySet[Message]) -> None:
    async for answer in answers:
        await runner.stop(answer.pk)


async def show_message(runner: AnswerRunner, user: User, message_id: UUID) -> Message:
    """Show another attempt at a question, or another wording of it, with the messages that were last seen after it.

    Tell the user's other pages. Return that message, whose conversation knows its new leaf. Raises Http404 for a
    message of anybody else's.
    """
    message = await run_in_thread(change_branch, user, message_id)
    tell_branch(runner, message.conversation)
    return message


def tell_branch(runner: AnswerRunner, conversation: Conversation) -> None:
    """Tell the user's open pages which branch of a conversation is shown now."""
    runner.notices.tell_user(conversation.user_id, make_branch_notice(conversation))


def change_branch(user: User, message_id: UUID) -> Message:
    """Put a conversation on the branch of a message and return the message, see `show_message`."""
    owned = Message.objects.owned_by(user).select_related("conversation")
    message = get_object_or_404(owned, pk=message_id)
    turns.remember_branch(message.conversation, message.list_attempt_ids())
    message.conversation.leaf = leaf = message.find_leaf()
    Conversation.objects.filter(pk=message.conversation_id).update(leaf=leaf)
    return message


def _check_offer(model: object, models: Sequence[str]) -> None:
    """Raise `InvalidQuestionError` for a model that was asked for by its name and is not one of these."""
    if model and model not in models:
        raise InvalidQuestionError("This site does not offer that model.", "model")


def choose_model(own: str, models: Sequence[str], chosen: object = None) -> str:
    """Return the model for another call of an answer: the chosen one, otherwise its own, otherwise the first.

    Only one of `models` is returned. Raises `NoModelError` when there are none.
    """
    if not models:
        raise NoModelError
    return next((model for model in models if model == chosen), own if own in models else models[0])
