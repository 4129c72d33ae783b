"""Failed answers as the staff see them: which stand open, in which groups, who has read, dismissed and retried them.

An answer stands open while it is the last attempt at its question, ended `interrupted`, and is not dismissed. A later
attempt takes its place, however that one ended.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Count, Exists, F, Max, Min, OuterRef, Prefetch, Q
from django.utils import timezone

from chat.errors import CODES
from chat.models import (
    Dismissal,
    Message,
    MessageQuerySet,
    Reading,
    RetryBatch,
    RetryItem,
    Role,
    Status,
    User,
)

RETRY = "chat.retry_answer"
READ = "chat.read_conversations"

PAGE = 50

# A batch is one transaction to begin with; whoever has more asks again for the rest.
MOST_AT_ONCE = 5000

AGES = {
    "hour": ("Last hour", timedelta(hours=1)),
    "day": ("Last 24 hours", timedelta(days=1)),
    "week": ("Last 7 days", timedelta(days=7)),
    "month": ("Last 30 days", timedelta(days=30)),
}

OPEN_ITEMS = (RetryItem.Status.WAITING, RetryItem.Status.RUNNING)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which failed answers. An empty field asks for nothing; `user` is a part of a name; `until` is inclusive."""

    code: str = ""
    model: str = ""
    user: str = ""
    age: str = ""
    until: datetime | None = None
    answer: UUID | None = None

    def __str__(self) -> str:
        if self.answer:
            return "One answer"
        parts = [
            f"code {self.code}" if self.code else "",
            f"model {self.model}" if self.model else "",
            f"user “{self.user}”" if self.user else "",
            AGES[self.age][0].lower() if self.age else "",
        ]
        return ", ".join(filter(None, parts)).capitalize() or "All failed answers"

    def of(self, answers: MessageQuerySet) -> MessageQuerySet:
        wanted = Q()
        if self.answer:
            wanted &= Q(pk=self.answer)
        if self.code:
            wanted &= Q(error_code=self.code)
        if self.model:
            wanted &= Q(model=self.model)
        if self.user:
            wanted &= Q(conversation__user__username__icontains=self.user)
        if self.age:
            wanted &= Q(created_at__gte=timezone.now() - AGES[self.age][1])
        if self.until:
            wanted &= Q(created_at__lte=self.until)
        return answers.filter(wanted)


@dataclass(frozen=True, slots=True)
class Group:
    """Failed answers of one code and model: an outage is one of these. `retrying` of them are in a batch now."""

    code: str
    model: str
    count: int
    users: int
    retrying: int
    first: datetime
    last: datetime

    @property
    def message(self) -> str:
        return CODES[self.code].message

    @property
    def retryable(self) -> bool:
        return CODES[self.code].retryable

    @property
    def key(self) -> str:
        """An id for the page."""
        return "".join(letter if letter.isalnum() else "-" for letter in f"{self.code}-{self.model}")

    @property
    def idle(self) -> int:
        """How many a bulk retry would take."""
        return self.count - self.retrying


def failed() -> MessageQuerySet:
    """The answers that stand open."""
    return _last_attempts().exclude(_is_dismissed())


def dismissed() -> MessageQuerySet:
    """The answers that would stand open, were they not dismissed; each with that one as `standing`."""
    standing = Prefetch("dismissals", Dismissal.objects.filter(undone_at=None).select_related("by"), "standing")
    return _last_attempts().filter(_is_dismissed()).prefetch_related(standing)


def _last_attempts() -> MessageQuerySet:
    later = Message.objects.filter(
        parent=OuterRef("parent"), role=Role.ASSISTANT, created_at__gt=OuterRef("created_at")
    )
    return Message.objects.answers().filter(~Exists(later), status=Status.INTERRUPTED)


def _is_dismissed() -> Exists:
    return Exists(Dismissal.objects.filter(answer=OuterRef("pk"), undone_at=None))


def _is_retrying() -> Exists:
    return Exists(RetryItem.objects.filter(answer=OuterRef("pk"), status__in=OPEN_ITEMS))


def groups(answers: MessageQuerySet) -> list[Group]:
    """All groups, the latest failure first. There are at most as many as codes and models together allow."""
    rows = (
        answers.annotate(retrying=_is_retrying())
        .values("error_code", "model")
        .annotate(
            count=Count("pk"),
            users=Count("conversation__user", distinct=True),
            busy=Count("pk", filter=Q(retrying=True)),
            first=Min("created_at"),
            last=Max("created_at"),
        )
        .order_by("-last", "error_code", "model")
    )
    return [
        Group(row["error_code"], row["model"], row["count"], row["users"], row["busy"], row["first"], row["last"])
        for row in rows
    ]


def models_seen() -> list[str]:
    """The models that have failed, or that the site offers."""
    seen = Message.objects.filter(status=Status.INTERRUPTED).order_by("model").values_list("model", flat=True)
    return sorted({*seen.distinct(), *settings.CHAT_MODELS})


@dataclass(frozen=True, slots=True)
class Page:
    """Some answers, the latest first, and the cursor of those after them; empty at the end."""

    answers: list[Message]
    following: str


def page(answers: MessageQuerySet, cursor: str = "") -> Page:
    """The answers after a cursor: a place in their order, which new failures do not move. Their text is not loaded.

    Raises ValueError for what is not a cursor.
    """
    if cursor:
        moment, _, key = cursor.partition("_")
        at, pk = datetime.fromisoformat(moment), UUID(key)
        if at.tzinfo is None:
            raise ValueError(cursor)
        answers = answers.filter(Q(created_at__lt=at) | Q(created_at=at, pk__lt=pk))
    rows = list(
        answers.annotate(retrying=_is_retrying())
        .select_related("conversation__user")
        .defer("text", "reasoning", "outline", "conversation__title")
        .order_by("-created_at", "-pk")[: PAGE + 1]
    )
    shown = rows[:PAGE]
    last = shown[-1] if len(rows) > PAGE else None
    return Page(shown, f"{last.created_at.isoformat()}_{last.pk}" if last else "")


# Reading


def read(reader: User, messages: Iterable[Message], place: Reading.Place) -> None:
    """Note down that somebody of the staff is shown these messages. Their own are not noted."""
    Reading.objects.bulk_create(
        Reading(
            reader=reader,
            reader_name=reader.get_username(),
            message=message,
            message_key=message.pk,
            owner_id=message.conversation.user_id,
            place=place,
        )
        for message in messages
        if message.conversation.user_id != reader.pk
    )


# Dismissing


def dismiss(by: User, wanted: Filter, note: str) -> int:
    """Take answers off the list; how many."""
    with transaction.atomic():
        answers = wanted.of(failed())[:MOST_AT_ONCE].values_list("pk", flat=True)
        rows = [Dismissal(answer_id=answer, by=by, note=note) for answer in answers]
        Dismissal.objects.bulk_create(rows, ignore_conflicts=True)
    return len(rows)


def undo(by: User, answer: UUID) -> bool:
    """Put a dismissed answer back on the list; whether it was dismissed."""
    standing = Dismissal.objects.filter(answer=answer, undone_at=None)
    return bool(standing.update(undone_by=by, undone_at=timezone.now()))


# Batches


def begin_batch(by: User, wanted: Filter, reason: str, form: UUID) -> RetryBatch:
    """A batch of the answers that stand open and are in no other. The same `form` again is the same batch."""
    try:
        with transaction.atomic():
            batch = RetryBatch(pk=form, requested_by=by, reason=reason, scope=str(wanted))
            batch.save(force_insert=True)
            answers = wanted.of(failed()).exclude(_is_retrying()).order_by("created_at", "pk")
            keys = answers.values_list("pk", flat=True)[:MOST_AT_ONCE]
            RetryItem.objects.bulk_create(
                (RetryItem(batch=batch, answer_id=answer) for answer in keys), ignore_conflicts=True
            )
    except IntegrityError:
        return RetryBatch.objects.get(pk=form)
    return batch


def stop_batch(by: User, batch: UUID) -> None:
    """Begin no more of its answers. Those being written go on: they are paid for."""
    now = timezone.now()
    with transaction.atomic():
        RetryBatch.objects.filter(pk=batch, stopped_at=None, finished_at=None).update(stopped_by=by, stopped_at=now)
        RetryItem.objects.filter(batch=batch, status=RetryItem.Status.WAITING).update(
            status=RetryItem.Status.SKIPPED, code="stopped"
        )


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a batch is. `state` is working, finished, stopped or waiting: for a process to go on with it."""

    batch: RetryBatch
    waiting: int
    running: int
    complete: int
    failed: int
    skipped: int

    @property
    def total(self) -> int:
        return self.waiting + self.over + self.running

    @property
    def over(self) -> int:
        return self.complete + self.failed + self.skipped

    @property
    def state(self) -> str:
        if self.batch.finished_at:
            return "stopped" if self.batch.stopped_at else "finished"
        if self.batch.lease_until is None or self.batch.lease_until < timezone.now():
            return "waiting"
        return "stopping" if self.batch.stopped_at else "working"


def batches() -> list[Progress]:
    """Those that are not finished, and the latest others."""
    latest = RetryBatch.objects.order_by(F("finished_at").desc(nulls_first=True), "-created_at")
    return progress_of(latest.select_related("requested_by", "stopped_by")[:5])


def progress(batch: UUID) -> Progress | None:
    """None when there is no such batch."""
    found = progress_of(RetryBatch.objects.select_related("requested_by", "stopped_by").filter(pk=batch))
    return found[0] if found else None


def progress_of(found: Iterable[RetryBatch]) -> list[Progress]:
    by_id = {batch.pk: batch for batch in found}
    counts: dict[UUID, dict[str, int]] = {pk: dict.fromkeys(RetryItem.Status.values, 0) for pk in by_id}
    rows = RetryItem.objects.filter(batch__in=by_id).order_by().values_list("batch", "status").annotate(n=Count("pk"))
    for batch, status, number in rows:
        counts[batch][status] = number
    return [Progress(batch, **counts[pk]) for pk, batch in by_id.items()]


def outcomes(batch: UUID) -> list[tuple[str, str, int]]:
    """Status, code and number of the items that are over and not complete."""
    over = (RetryItem.Status.FAILED, RetryItem.Status.SKIPPED)
    rows = RetryItem.objects.filter(batch=batch, status__in=over).order_by("status", "code")
    return list(rows.values_list("status", "code").annotate(n=Count("pk")))
