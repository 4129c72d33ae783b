"""What the database has of answers in the making: their checkpoints, their ends, and those whose owner is gone.

Every write names the fence that its owner began with, and its row count is the verdict: an owner that was paused and
then reaped finds no row to write to. Leases run by the database's clock, because those of several machines never agree.
All of this is for a thread, see `chat.background.in_thread`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, IntegerField, QuerySet, UUIDField
from django.db.models.functions import Now
from django.utils import timezone

from chat import ledger, metrics, quotas
from chat.broker import LONGEST_BATCH, Batch
from chat.errors import CODES
from chat.events import Done, Error, Event, Terminal, Usage
from chat.models import LIVE, STOPPED, TOKEN_FIELDS, Conversation, Message, Outcome, ProviderCall, Status
from chat.models.prepared import Update
from chat.transcript import Outline, Transcript
from chat.turns import lease, owner
from chat.usage import estimate_tokens


class Verdict(NamedTuple):
    """How an answer ended."""

    status: Status
    reason: str = ""  # the finish reason of a complete answer, otherwise an error code or nothing

    @property
    def error_code(self) -> str:
        return self.reason if self.status == Status.INTERRUPTED else ""

    @property
    def finish_reason(self) -> str:
        return self.reason if self.status == Status.COMPLETE else ""

    @property
    def terminal(self) -> Terminal:
        if self.status == Status.INTERRUPTED:
            code = CODES[self.reason]
            return Error(self.reason, code.message, code.retryable)
        return STOPPED if self.status == Status.STOPPED else Done("complete", self.reason)


BY_ITS_USER = Verdict(Status.STOPPED)


def interrupted(code: str) -> Verdict:
    return Verdict(Status.INTERRUPTED, code)


class Row(NamedTuple):
    """What a checkpoint keeps of a live answer."""

    id: UUID
    fence: int
    text: str
    reasoning: str
    outline: Outline
    position: int
    first_token_at: datetime | None

    @property
    def said(self) -> tuple[Any, ...]:
        """The answer itself, as `SAID` has it."""
        return self[2:]

    @classmethod
    def of(cls, answer_id: UUID, fence: int, transcript: Transcript, first_token_at: datetime | None) -> Row:
        said = transcript.text, transcript.reasoning, transcript.outline, transcript.position
        return cls(answer_id, fence, *said, first_token_at)


class Word(NamedTuple):
    """What the database says about a live answer."""

    fence: int
    stop_requested: bool
    watched_ago: float | None  # seconds


class Bill(NamedTuple):
    """What is known of one upstream call when it has ended."""

    call: ProviderCall
    usage: Usage
    first_token_ms: int | None
    total_ms: int


SAID = ("text", "reasoning", "outline", "position", "first_token_at")


def _of_its_owner(answer: Any, fence: Any) -> QuerySet[Message]:
    return Message.objects.live().filter(pk=answer, fence=fence)


_keep = Update(Message, (*SAID, "status", "lease_until"), _of_its_owner, UUIDField(), IntegerField())
_end = Update(
    Message,
    (*SAID, "status", "error_code", "finish_reason", "finished_at", "owner", "lease_until"),
    _of_its_owner,
    UUIDField(),
    IntegerField(),
)
_touch = Update(Conversation, ("updated_at",), lambda answer: Conversation.objects.filter(messages=answer), UUIDField())


# Checkpoints


def checkpoint(rows: Sequence[Row], watched: Collection[UUID]) -> dict[UUID, Word]:
    """Write all rows and renew their leases, and tell the owners of the answers that are `watched` here but written
    elsewhere, in one transaction; return the database's word on the answers that are still ours."""
    with transaction.atomic():
        now = clock()
        lease_until = now + timedelta(seconds=settings.CHAT_LEASE)
        _keep.each((*row.said, _status(row), lease_until, row.id, row.fence) for row in rows)
        if watched:
            # A row that its owner is writing now is told the next time: two processes that wait for each other's rows
            # would be a deadlock.
            free = Message.objects.live().select_for_update(skip_locked=True).filter(pk__in=watched)
            Message.objects.filter(pk__in=free.values("pk")).update(watched_at=now)
        words = Message.objects.live().filter(owner=owner()) if rows else Message.objects.none()
        return {
            answer: Word(fence, stop is not None, (now - seen).total_seconds() if seen else None)
            for answer, fence, stop, seen in words.values_list("pk", "fence", "stop_requested_at", "watched_at")
        }


def clock() -> datetime:
    """The database's clock. That of SQLite is the machine's."""
    if connection.vendor == "sqlite":
        return timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
        return now


def request_stop(answer_id: UUID) -> None:
    """Leave word for the owner, wherever it is."""
    Message.objects.live().filter(pk=answer_id, stop_requested_at=None).update(stop_requested_at=Now())


def _status(row: Row) -> Status:
    return Status.STREAMING if row.first_token_at else Status.QUEUED


# Ends


def settle(row: Row, verdict: Verdict, bills: Sequence[Bill]) -> bool:
    """Write an answer's end and its rows on the ledger; whether this was the write that ended it."""
    now = timezone.now()
    ending = verdict.status, verdict.error_code, verdict.finish_reason, now, "", None
    with transaction.atomic():
        is_ended = _end(*row.said, *ending, row.id, row.fence) > 0
        if is_ended:
            _touch(now, row.id)
        # What an answer cost stays, also when it was deleted meanwhile.
        if is_ended or not Message.objects.filter(pk=row.id).exists():
            for bill in bills:
                settle_call(bill, verdict)
    return is_ended


def open_call(answer_id: UUID, prompt_size: int, omitted: int = 0) -> ProviderCall:
    """A row on the ledger for a further upstream call of an answer, which leaves so many more messages out. Raises
    `quotas.QuotaError`."""
    if omitted:
        Message.objects.filter(pk=answer_id).update(omitted=F("omitted") + omitted)
    answer = Message.objects.select_related("conversation").get(pk=answer_id)
    first = answer.calls.order_by("pk").first()
    call = ProviderCall(
        user_id=answer.conversation.user_id,
        answer_id=answer_id,
        model=answer.model,
        input_tokens=estimate_tokens(prompt_size),
        billed_to=first.billed_to if first else ProviderCall.BilledTo.USER,
        requested_by_id=first.requested_by_id if first else None,
    )
    return quotas.admit(call, is_request=False)


def settle_call(bill: Bill, verdict: Verdict) -> None:
    """Settle one row of the ledger."""
    call = bill.call
    for name in TOKEN_FIELDS:
        setattr(call, name, getattr(bill.usage, name))
    call.estimated = bill.usage.estimated
    call.cost = ledger.cost_of(call, bill.usage)
    call.first_token_ms, call.total_ms = bill.first_token_ms, bill.total_ms
    call.outcome, call.error_code = Outcome(verdict.status.value), verdict.error_code
    if not ledger.settle(call):
        return
    quotas.settle(call)
    transaction.on_commit(partial(metrics.call_settled, call.model, call.outcome, call.error_code, bill.usage))


# Answers whose owner is gone


def seize_expired() -> list[Row]:
    """Become the owner of the live answers whose lease ran out; each as its last owner left it. The fence rises with
    the owner, so that of two who seize the same answer one finds no row, as does the owner before them.

    A database that has just started gives everyone a lease's time: no owner could renew its own while it was away.
    """
    if _uptime() < settings.CHAT_LEASE:
        return []
    expired = Message.objects.live().filter(lease_until__lt=Now()).values_list("pk", "fence")
    mine = [pk for pk, fence in expired if _seize(pk, fence)]
    return [
        Row.of(answer.pk, answer.fence, answer.transcript(), answer.first_token_at)
        for answer in Message.objects.filter(pk__in=mine)
    ]


def _uptime() -> float:
    """Seconds since the database's server started. SQLite has none that could be away."""
    if connection.vendor != "postgresql":
        return float("inf")
    with connection.cursor() as cursor:
        cursor.execute("SELECT extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())")
        return float(cursor.fetchone()[0])


def _seize(answer_id: UUID, fence: int) -> int:
    lost = Message.objects.live().filter(pk=answer_id, fence=fence, lease_until__lt=Now())
    return lost.update(fence=fence + 1, owner=owner(), lease_until=lease())


def settle_lost(row: Row) -> bool:
    """End an answer that was seized, with estimates for the call that was under way."""
    now = timezone.now()
    text, reasoning = estimate_tokens(len(row.text)), estimate_tokens(len(row.reasoning))
    bills, model = [], ""
    for call in ProviderCall.objects.filter(answer=row.id, outcome=Outcome.RUNNING):
        usage = Usage(call.input_tokens, text + reasoning, reasoning_tokens=reasoning, estimated=True)
        first = _milliseconds(call.started_at, row.first_token_at) if row.first_token_at else None
        bills.append(Bill(call, usage, first, _milliseconds(call.started_at, now)))
        model = call.model
    lost = interrupted("server_lost")
    if not settle(row, lost, bills):
        return False
    metrics.answer_ended(model, lost.status, lost.error_code)
    return True


def _milliseconds(start: datetime, end: datetime) -> int:
    return max(0, round((end - start).total_seconds() * 1000))


# Reading


class Kept(NamedTuple):
    """What the database has of an answer."""

    transcript: Transcript
    ending: tuple[Usage, Terminal] | None

    def since(self, position: int) -> Batch:
        """What a reader lacks, as a broker would give it."""
        until = position + LONGEST_BATCH
        events: list[Event] = [*self.transcript.since(position, until)]
        if self.ending is None or until < self.transcript.position:
            return Batch(position, events)
        told = position > self.transcript.position
        return Batch(position, [*events, *self.ending[told:]])


def kept(wanted: Mapping[UUID, int]) -> dict[UUID, Kept]:
    """The answers that exist, for readers who have them up to these positions: nothing is loaded of those that are live
    and have not grown."""
    found = {}
    grown = []
    for answer_id, position, status in Message.objects.filter(pk__in=wanted).values_list("pk", "position", "status"):
        if status in LIVE and position <= wanted[answer_id]:
            found[answer_id] = Kept(Transcript(position), None)
        else:
            grown.append(answer_id)
    for answer in Message.objects.filter(pk__in=grown):
        found[answer.pk] = Kept(answer.transcript(), None if answer.is_live else (answer.usage(), answer.terminal()))
    return found
