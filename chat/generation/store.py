"""Writing live answers to the database: their checkpoints and their ends, and the rows of their calls.

Every write names the fence that its owner began with, and its row count is the verdict: an owner that was paused and
then lost its answer finds no row to write to. Leases run by the database's clock, because the clocks of several
machines never agree. Call all of this in a thread, see `chat.tasks.run_in_thread`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import F, IntegerField, QuerySet, UUIDField
from django.db.models.functions import Now
from django.utils import timezone

from chat.accounting import ledger, quotas, rollups
from chat.core.events import Bookmark, Usage
from chat.core.failures import Failure, find_cause
from chat.core.tokens import estimate_tokens
from chat.core.transcript import Outline, Transcript
from chat.generation.verdict import STEP, STOPPED_BY_USER, Verdict, make_interruption
from chat.leases import name_owner, read_clock
from chat.models import USAGE_FIELDS, Conversation, Message, Outcome, ProviderCall, Status, ToolCall
from chat.models.compiled import Update
from chat.models.provider_calls import MAX_MILLISECONDS
from chat.observability import alarms, metrics


class StoredBookmark(NamedTuple):
    """The place where the response of the call with the row `call` can be taken up, and its position on the line."""

    bookmark: Bookmark
    position: int
    call: int

    @property
    def members(self) -> dict[str, Any]:
        """The bookmark as JSON for the database."""
        return {**asdict(self.bookmark), "position": self.position, "call": self.call}

    @classmethod
    def from_members(cls, members: Mapping[str, Any] | None) -> StoredBookmark | None:
        """Return what `members` wrote."""
        if members is None:
            return None
        bookmark = Bookmark(members["id"], members["number"], members["state"])
        return cls(bookmark, members["position"], members["call"])


class AnswerSnapshot(NamedTuple):
    """A live answer as a checkpoint keeps it."""

    id: UUID
    fence: int
    text: str
    reasoning: str
    outline: Outline
    position: int
    first_token_at: datetime | None
    bookmark: StoredBookmark | None = None
    """Of the call under way, as of the same moment as the text."""

    @property
    def transcript_values(self) -> tuple[Any, ...]:
        """The values of `TRANSCRIPT_FIELDS`."""
        return (*self[2:-1], None if self.bookmark is None else self.bookmark.members)

    @classmethod
    def from_transcript(
        cls,
        answer_id: UUID,
        fence: int,
        transcript: Transcript,
        first_token_at: datetime | None,
        bookmark: StoredBookmark | None = None,
    ) -> AnswerSnapshot:
        values = transcript.text, transcript.reasoning, transcript.outline, transcript.position
        return cls(answer_id, fence, *values, first_token_at, bookmark)


class LeaseStatus(NamedTuple):
    """A live answer's fence, and what others ask of its owner."""

    fence: int
    stop_requested: bool
    watched_ago: float | None = None  # seconds


class CallResult(NamedTuple):
    """The result of one upstream call: its row, its tokens, its times in milliseconds.

    `failure` is what is known of its failure, beyond the code of the verdict.
    """

    call: ProviderCall
    usage: Usage
    first_token_ms: int | None
    total_ms: int
    failure: Failure | None = None


TRANSCRIPT_FIELDS = ("text", "reasoning", "outline", "position", "first_token_at", "bookmark")


def _select_owned(answer: Any, fence: Any) -> QuerySet[Message]:
    return Message.objects.live().filter(pk=answer, fence=fence)


def _select_owned_up_to(answer: Any, fence: Any, position: Any) -> QuerySet[Message]:
    return _select_owned(answer, fence).filter(position__lte=position)


_KEPT_FIELDS = (*TRANSCRIPT_FIELDS, "status", "lease_until")
_keep = Update(Message, _KEPT_FIELDS, _select_owned, UUIDField(), IntegerField())
# While a checkpoint waits for a lock, a step of tools may write a later state of the same answer, which must stay.
_keep_newer = Update(Message, _KEPT_FIELDS, _select_owned_up_to, UUIDField(), IntegerField(), IntegerField())
_end = Update(
    Message,
    (*TRANSCRIPT_FIELDS, "status", "error_code", "finish_reason", "finished_at", "owner", "lease_until"),
    _select_owned,
    UUIDField(),
    IntegerField(),
)
_touch = Update(
    Conversation,
    ("updated_at", "answered_at"),
    lambda answer: Conversation.objects.filter(messages=answer),
    UUIDField(),
)


# Checkpoints


def write_checkpoint(
    snapshots: Sequence[AnswerSnapshot], watched: Collection[UUID], calls: Sequence[rollups.Progress] = ()
) -> dict[UUID, LeaseStatus]:
    """Write all snapshots and renew their leases; return the lease status of the answers that are still ours.

    The same transaction notes for their owners that the answers in `watched`, which are written elsewhere, have readers
    here.

    The rows of running `calls` are written first, in a transaction of their own: a deletion takes the ledger's rows
    before the answers, and two that lock them in different orders would wait for each other.
    """
    if calls:
        rollups.write_progress(calls)
    with transaction.atomic():
        now = read_clock()
        lease_until = now + timedelta(seconds=settings.CHAT_LEASE)
        kept = _keep_newer.execute_many(
            (*snapshot.transcript_values, _find_status(snapshot), lease_until, *snapshot[:2], snapshot.position)
            for snapshot in snapshots
        )
        if watched:
            # A row that its owner is writing now is left for the next time: two processes that wait for each other's
            # rows would be a deadlock.
            free = Message.objects.live().select_for_update(skip_locked=True).filter(pk__in=watched)
            Message.objects.filter(pk__in=free.values("pk")).update(watched_at=now)
        statuses: dict[UUID, LeaseStatus] = {}
        owned = Message.objects.live().filter(owner=name_owner()) if snapshots else Message.objects.none()
        if kept == len(snapshots):  # all are ours; only rows with news are read, as reading 200 took 2 % of the time
            statuses = {snapshot.id: LeaseStatus(snapshot.fence, stop_requested=False) for snapshot in snapshots}
            owned = owned.exclude(stop_requested_at=None, watched_at=None)
        return statuses | {
            answer: LeaseStatus(fence, stop is not None, (now - watched_at).total_seconds() if watched_at else None)
            for answer, fence, stop, watched_at in owned.values_list("pk", "fence", "stop_requested_at", "watched_at")
        }


def request_stop(answer_id: UUID) -> None:
    """Note that the answer is to be stopped, for its owner in whatever process."""
    Message.objects.live().filter(pk=answer_id, stop_requested_at=None).update(stop_requested_at=Now())


def _find_status(snapshot: AnswerSnapshot) -> Status:
    return Status.STREAMING if snapshot.first_token_at else Status.QUEUED


# Steps of tools


def settle_step(snapshot: AnswerSnapshot, result: CallResult | None, tools: Sequence[ToolCall]) -> bool:
    """Write a checkpoint, settle the call that called these tools, and write the tools' rows: then they may be run.

    Return whether the answer was still ours. A tool that has its row is never run again: the process that continues the
    answer uses its result, or says that there is none.
    """
    with transaction.atomic():
        is_ours = keep(snapshot)
        if is_ours:
            ToolCall.objects.bulk_create(tools)
        results = [result] if result is not None else []
        settle_calls(results if is_ours else _exclude_followed(snapshot.id, results), STEP)
    return is_ours


def keep_tool_result(tool: ToolCall, fence: int) -> bool:
    """Write the result of a tool, before it is published; return whether the answer was still ours."""
    fields = {name: getattr(tool, name) for name in ("result", "summary", "ok", "milliseconds")}
    owned = Message.objects.live().filter(pk=tool.answer_id, fence=fence)
    rows = ToolCall.objects.filter(pk=tool.pk, finished_at=None, answer__in=owned)
    return rows.update(**fields, finished_at=timezone.now()) > 0


def keep(snapshot: AnswerSnapshot) -> bool:
    """Write the checkpoint of one answer and renew its lease; return whether it was still ours."""
    lease_until = read_clock() + timedelta(seconds=settings.CHAT_LEASE)
    values = (*snapshot.transcript_values, _find_status(snapshot), lease_until)
    return _keep(*values, snapshot.id, snapshot.fence) > 0


# Ends


def release(snapshot: AnswerSnapshot, results: Sequence[CallResult]) -> bool:
    """Leave an answer, as far as it has come, to the process that sweeps next; return whether it was still ours.

    Its call is settled, its lease is over, and no process is its owner. The fence rises too: otherwise a checkpoint of
    ours that is under way would write older text over this, and hold the answer for another lease.
    """
    with transaction.atomic():
        is_ours = keep(snapshot)
        if is_ours:
            released = Message.objects.filter(pk=snapshot.id, fence=snapshot.fence)
            released.update(owner="", lease_until=read_clock() - timedelta(seconds=1), fence=snapshot.fence + 1)
        for result in results:
            settle_call(result, make_interruption("server_restart" if is_ours else "server_lost"))
    return is_ours


def settle(
    snapshot: AnswerSnapshot, verdict: Verdict, results: Sequence[CallResult], counted_user_id: int | None = None
) -> bool:
    """Write an answer's end and settle its rows on the ledger; return whether this was the write that ended it.

    `counted_user_id` is its user, if it counts towards a limit on their live answers, which it does no longer then.
    """
    now = timezone.now()
    ending = verdict.status, verdict.error_code, verdict.finish_reason, now, "", None
    with transaction.atomic():
        snapshot = snapshot._replace(bookmark=None)
        is_ended = _end(*snapshot.transcript_values, *ending, snapshot.id, snapshot.fence) > 0
        if is_ended:
            _touch(now, now, snapshot.id)
        # What a call cost is written also when another process has ended its answer meanwhile, or the answer was
        # deleted: a deletion counts as a Stop by the user.
        is_lost = not is_ended and verdict == make_interruption("server_lost")
        is_deleted = is_lost and not Message.objects.filter(pk=snapshot.id).exists()
        uncounted = counted_user_id if is_ended or is_deleted else None
        own = results if is_ended else _exclude_followed(snapshot.id, results)
        settle_calls(own, STOPPED_BY_USER if is_deleted else verdict, uncounted)
    return is_ended


def _exclude_followed(answer_id: UUID, results: Iterable[CallResult]) -> list[CallResult]:
    """Return the results of an answer's former owner without the call that its new owner follows on the same row."""
    kept = Message.objects.live().filter(pk=answer_id).values_list("bookmark", flat=True).first()
    followed = StoredBookmark.from_members(kept)
    return [result for result in results if followed is None or result.call.pk != followed.call]


def open_call(answer_id: UUID, prompt_size: int, start: int, omitted: int = 0) -> ProviderCall:
    """Write a row on the ledger for a further upstream call of an answer, and return it.

    The call begins at position `start` and leaves `omitted` more messages out. Raises `quotas.QuotaError`.
    """
    if omitted:
        Message.objects.filter(pk=answer_id).update(omitted=F("omitted") + omitted)
    answer = Message.objects.select_related("conversation").get(pk=answer_id)
    first = answer.calls.order_by("pk").first()
    call = ProviderCall(
        user_id=answer.conversation.user_id,
        answer_id=answer_id,
        model=answer.model,
        input_tokens=estimate_tokens(prompt_size),
        start=start,
        billed_to=first.billed_to if first else ProviderCall.BilledTo.USER,
        requested_by_id=first.requested_by_id if first else None,
    )
    return quotas.admit(call, is_request=False)


def settle_call(result: CallResult, verdict: Verdict) -> bool:
    """Settle one row of the ledger; return False when it had been settled before."""
    with transaction.atomic(savepoint=False):
        return settle_calls([result], verdict) > 0


def settle_calls(results: Iterable[CallResult], verdict: Verdict, counted_user_id: int | None = None) -> int:
    """Settle rows of the ledger, then what they hold of limits; return how many had not been settled before."""
    settled = [result.call for result in results if _settle_row(result, verdict)]
    quotas.settle(settled, counted_user_id)
    return len(settled)


def _settle_row(result: CallResult, verdict: Verdict) -> bool:
    call = result.call
    for name in USAGE_FIELDS:
        setattr(call, name, getattr(result.usage, name))
    call.estimated = result.usage.estimated
    call.cost = ledger.find_call_price(call, result.usage)
    call.first_token_ms, call.total_ms = result.first_token_ms, result.total_ms
    call.outcome, call.error_code = Outcome(verdict.status.value), verdict.error_code
    if verdict.error_code:
        _note_failure(call, result.failure or Failure(find_cause(verdict.error_code)))
    if not ledger.settle(call):
        return False
    if call.error_code == "provider_budget":
        alarms.report_empty_budget(call.model)
    transaction.on_commit(partial(metrics.count_call, call.model, call.outcome, call.error_code, result.usage))
    return True


def _note_failure(call: ProviderCall, failure: Failure) -> None:
    report = failure.report
    call.error_cause, call.error_status = failure.cause.value, report.status
    call.error_kind, call.error_message, call.request_id = report.kind, report.message, report.request_id


def count_milliseconds(start: datetime, end: datetime) -> int:
    """Return the milliseconds between two moments, at least 0 and at most what a row of the ledger takes.

    A site may be started again months after it died. PostgreSQL refused a row with so many milliseconds, and with it
    all others of the same sweep.
    """
    return min(MAX_MILLISECONDS, max(0, round((end - start).total_seconds() * 1000)))
