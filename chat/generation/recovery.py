"""Recovery: how an answer that was interrupted is continued automatically, and when it is not.

The sweep, when it finds an answer without an owner, and a run whose provider broke off in the middle of an answer, ask
here how to continue. An answer is continued in one transaction, in which its fence is the verdict: its text, the rows
of the calls that were lost, the count of its interruptions, and the row of the next call are written, or nothing is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from chat.accounting import quotas
from chat.accounts.model_access import list_allowed_models
from chat.conversations.prompts import build_resumption_prompt
from chat.core.errors import ChatError
from chat.core.events import (
    Continued,
    Notice,
    Reasoning,
    Remark,
    Thought,
    Token,
    ToolArguments,
    ToolCall,
    ToolResult,
    Usage,
)
from chat.core.transcript import Transcript
from chat.generation import lost_answers, store
from chat.generation.lost_answers import LostAnswer
from chat.generation.store import AnswerSnapshot, CallResult, StoredBookmark
from chat.generation.upstream_call import UpstreamCall
from chat.generation.verdict import make_interruption
from chat.leases import compute_lease_end
from chat.models import NO_USAGE, Message, Outcome, ProviderCall
from chat.models import ToolCall as ToolRow
from chat.providers.base import Prompt

# The notice to readers when a process continues an answer that another one has lost.
RESUMED = Notice("resumed", "The server that was writing this answer went away; another one has taken over.")

# Seconds: an answer that was lost longer ago has no reader who waits for it. A site that was down for a night does not
# start with yesterday's answers.
LOST_FOR_GOOD = 3600.0

NOT_RUN = "This was not run: the server that was writing the answer went away first."
NO_RESULT = "There is no result: the server went away while this ran. It may have had its effect."


class TakenUp(NamedTuple):
    """An answer that is continued: its transcript so far, its next prompt, and the ledger row of its next call.

    `joint` is the position up to which readers may have the answer; the `transcript` after it is new to all of them.
    """

    answer: Message
    transcript: Transcript
    joint: int
    prompt: Prompt
    call: ProviderCall
    usage: Usage
    """The usage of the calls before `call`."""
    cause: str
    """The code of the interruption."""
    bookmark: StoredBookmark | None = None
    """Where the response of `call` is taken up, if its provider keeps it; None when the provider is to be asked."""
    counted_user_id: int | None = None
    """Its user, if it counts towards a limit on their live answers until it ends."""


def may_be_continued(lost: LostAnswer) -> bool:
    """Return whether a lost answer may be continued, as far as is known without a query."""
    is_too_long = lost.snapshot.position > settings.CHAT_MAX_ANSWER_CHARS
    is_too_old = lost.seconds_ago > LOST_FOR_GOOD
    has_to_end = lost.is_stopped or lost.has_schema or is_too_long or is_too_old or not lost.is_whole
    return not has_to_end and lost.losses < settings.CHAT_FINISH_LOST


def may_be_left(prompt: Prompt) -> bool:
    """Return whether a process that is about to exit may leave the answer to another process to continue."""
    return settings.CHAT_FINISH_LOST > 0 and prompt.response_schema is None


def is_worth_another_call(error: ChatError, call: UpstreamCall, breaks: int) -> bool:
    """Return whether to continue an answer whose provider broke off, after `breaks` earlier times."""
    return (
        error.code == "upstream_error"
        and call.first_token_ms is not None
        and breaks < settings.CHAT_FINISH_BROKEN
        and call.prompt.response_schema is None
    )


def take_up(lost: LostAnswer) -> TakenUp | None:
    """Continue an answer that was seized, and return it; None when it may not be continued, or is not ours.

    `lost` has all of its text that is left anywhere. Call this with the tools that models are offered, see
    `offered_tools.store_with_tools`. Raises `QuotaError` when its user's limits have no room; the answer is unchanged
    then.
    """
    if not may_be_continued(lost):
        return None
    with transaction.atomic():
        answer = _load_owned(lost.snapshot)
        is_stopped = answer is not None and answer.stop_requested_at is not None  # perhaps since it was seized
        if answer is None or is_stopped or not _may_be_asked(answer) or not store.keep(lost.snapshot):
            return None
        Message.objects.filter(pk=answer.pk).update(losses=F("losses") + 1, interrupted_by=lost.cause)
        if (row := _renew_kept_call(answer, lost.snapshot.bookmark)) is not None:
            taken = _follow(answer, lost, row)
        else:
            lost_answers.settle_running_calls(lost.snapshot, make_interruption(lost.cause))
            taken = _continue_answer(answer, lost.snapshot, lost.cause)
        return taken._replace(counted_user_id=quotas.find_counted_user_id(taken.call))


def continue_after_break(snapshot: AnswerSnapshot, result: CallResult, code: str) -> TakenUp | None:
    """Continue a live answer whose call failed in the middle with an error code; None when the answer is not ours.

    Raises `QuotaError` when its user's limits have no room; the answer is unchanged then.
    """
    with transaction.atomic():
        answer = _load_owned(snapshot)
        if answer is None or not store.keep(snapshot):
            return None
        store.settle_call(result, make_interruption(code))
        Message.objects.filter(pk=answer.pk).update(breaks=F("breaks") + 1, interrupted_by=code)
        return _continue_answer(answer, snapshot, code)


def _load_owned(snapshot: AnswerSnapshot) -> Message | None:
    answers = Message.objects.live().select_related("conversation__user", "parent__conversation")
    return answers.filter(pk=snapshot.id, fence=snapshot.fence).first()


def _renew_kept_call(answer: Message, kept: StoredBookmark | None) -> ProviderCall | None:
    """Renew the lease of the call under way whose response its provider keeps, and return it; None when there is none.

    A sweep settles a call's row whose lease is much older than its live answer's, see `lost_calls`. Checkpoints renew
    both leases, but many answers may be taken up before the next one, so the row's lease is renewed here.
    """
    if kept is None:
        return None
    running = answer.calls.filter(pk=kept.call, outcome=Outcome.RUNNING)
    return running.first() if running.update(lease_until=compute_lease_end()) else None


def _may_be_asked(answer: Message) -> bool:
    """Return whether its user may still ask its model, or the staff that asked on their behalf."""
    user = answer.conversation.user
    if not user.is_active:
        return False
    is_asked_by_staff = answer.calls.filter(billed_to=ProviderCall.BilledTo.SITE).exists()
    return answer.model in (settings.CHAT_MODELS if is_asked_by_staff else list_allowed_models(user))


def _continue_answer(answer: Message, snapshot: AnswerSnapshot, cause: str) -> TakenUp:
    """Write the mark where an interrupted answer is continued and the row of its next call, within a transaction.

    Raises `QuotaError`.
    """
    answer.text, answer.reasoning, answer.outline = snapshot.text, snapshot.reasoning, snapshot.outline
    transcript = answer.restore_transcript()
    joint = transcript.position
    results, not_run = _settle_tools(answer, transcript)
    prompt = build_resumption_prompt(answer, answer.model)
    ToolRow.objects.bulk_create(not_run)
    is_cut = bool(not_run) or _is_cut_within_text(transcript)
    transcript.append(results)
    if is_cut:
        transcript.append([Continued()])
    usage = answer.sum_usage()
    call = store.open_call(answer.pk, prompt.size, transcript.position)
    store.keep(AnswerSnapshot.from_transcript(answer.pk, answer.fence, transcript, snapshot.first_token_at))
    return TakenUp(answer, transcript, joint, prompt, call, usage, cause)


def _follow(answer: Message, lost: LostAnswer, row: ProviderCall) -> TakenUp:
    """Return an answer that continues with the response of the call that was under way: nothing is asked again."""
    snapshot = lost.snapshot
    transcript = Transcript.restore(snapshot.text, snapshot.reasoning, snapshot.outline)
    before = Transcript()
    before.append(transcript.read_since(0, row.start or 0))
    answer.text, answer.reasoning, answer.outline = before.text, before.reasoning, before.outline
    prompt = build_resumption_prompt(answer, answer.model)
    usage = ProviderCall.objects.filter(answer=answer).exclude(pk=row.pk).sum_usages().get(answer.pk, NO_USAGE)
    return TakenUp(answer, transcript, transcript.position, prompt, row, usage, lost.cause, snapshot.bookmark)


def _is_cut_within_text(transcript: Transcript) -> bool:
    """Return whether the answer was interrupted within text or reasoning. The site's remarks do not count."""
    content = [event for event in transcript.read_since(0) if not isinstance(event, Remark)]
    return bool(content) and isinstance(content[-1], Token | Reasoning | Thought)


def _settle_tools(answer: Message, transcript: Transcript) -> tuple[list[ToolResult], list[ToolRow]]:
    """Return the tool results that readers have not had, and new rows for the calls that were never started.

    A tool that has a row was started. Where its result is not known it stays unknown: it is not run again.
    """
    rows: dict[str, list[ToolRow]] = {}
    for known in answer.tool_calls.all():
        rows.setdefault(known.call_id, []).append(known)
    results: list[ToolResult] = []
    not_run: list[ToolRow] = []
    for call in _read_calls(transcript):
        found = rows.get(call.id[:200], [])
        row: ToolRow | None = found.pop(0) if found else None
        if call.is_answered:
            continue
        if row is None:
            row = _make_unrun_row(answer, call)
            not_run.append(row)
        elif row.finished_at is None:
            unknown = ToolRow.objects.filter(pk=row.pk, finished_at=None)
            unknown.update(result=NO_RESULT, summary=NO_RESULT, finished_at=timezone.now())
            row.refresh_from_db()  # its result may have come just now
        results.append(ToolResult(call.id, row.summary, row.ok, row.milliseconds))
    return results, not_run


@dataclass
class _Call:
    """A tool call as the transcript has it: the model may not have finished its arguments."""

    id: str
    name: str
    arguments: str = ""
    is_answered: bool = False


def _read_calls(transcript: Transcript) -> list[_Call]:
    """Return the tool calls in their order. An id may come again in a later step."""
    calls: list[_Call] = []
    for event in transcript.read_since(0):
        if isinstance(event, ToolCall):
            calls.append(_Call(event.id, event.name))
            continue
        if not isinstance(event, ToolArguments | ToolResult):
            continue
        call = next((call for call in reversed(calls) if call.id == event.id and not call.is_answered), None)
        if call is not None and isinstance(event, ToolArguments):
            call.arguments += event.delta
        elif call is not None:
            call.is_answered = True
    return calls


def _make_unrun_row(answer: Message, call: _Call) -> ToolRow:
    return ToolRow(
        answer=answer,
        call_id=call.id[:200],
        name=call.name[:64],
        arguments=call.arguments,
        result=NOT_RUN,
        summary=NOT_RUN,
        finished_at=timezone.now(),
    )
