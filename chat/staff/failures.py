"""Failed answers as the staff see them: those that are open, in groups, those that were dismissed or recovered.

An answer that was interrupted and then continued (see `chat.generation.recovery`) is no failure; it has a
list of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import quote
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Count, Exists, Max, Min, OuterRef, Prefetch, Q, QuerySet
from django.utils import timezone
from django.utils.text import capfirst

from chat.accounts.user_names import find_few_users
from chat.conversations.open_failures import (
    match_dismissed,
    match_failed_elsewhere,
    select_failed_last_attempts,
    select_open_failures,
)
from chat.core.errors import CODES
from chat.http.row_cursor import RowCursor
from chat.models import (
    LIVE,
    Dismissal,
    Message,
    MessageQuerySet,
    Outcome,
    ProviderCall,
    RetryItem,
    Status,
    User,
)

RETRY = "chat.retry_answer"

PAGE = 50

# A batch is begun in one transaction; more answers than this need another batch. As many are put in groups, the latest
# ones: 50 ms on SQLite, where a year's 125,000 take a second.
MAX_AT_ONCE = 5000

AGES = {
    "hour": ("Last hour", timedelta(hours=1)),
    "day": ("Last 24 hours", timedelta(days=1)),
    "week": ("Last 7 days", timedelta(days=7)),
    "month": ("Last 30 days", timedelta(days=30)),
}

OPEN_ITEMS = (RetryItem.Status.WAITING, RetryItem.Status.RUNNING)


@dataclass(frozen=True, slots=True)
class Filter:
    """A choice of failed answers. An empty field leaves all; `user` is a part of a name; both times are inclusive.

    `answers` are those that were ticked one by one.
    """

    code: str = ""
    model: str = ""
    user: str = ""
    age: str = ""
    since: datetime | None = None
    until: datetime | None = None
    answer: UUID | None = None
    answers: tuple[UUID, ...] = ()

    def __str__(self) -> str:
        if self.answer or len(self.answers) == 1:
            return "One answer"
        if self.answers:
            return f"{len(self.answers)} chosen answers"
        parts = [
            f"code {self.code}" if self.code else "",
            f"model {self.model}" if self.model else "",
            f"user “{self.user}”" if self.user else "",
            AGES[self.age][0].lower() if self.age else "",
        ]
        return capfirst(", ".join(filter(None, parts))) or "All failed answers"

    def apply(self, answers: MessageQuerySet, code_field: str = "error_code") -> MessageQuerySet:
        """Return those of the answers that this filter leaves; their codes are in `code_field`."""
        wanted = Q()
        if self.answer:
            wanted &= Q(pk=self.answer)
        if self.answers:
            wanted &= Q(pk__in=self.answers)
        if self.code:
            wanted &= Q(**{code_field: self.code})
        if self.model:
            wanted &= Q(model=self.model)
        if self.user:
            users = find_few_users(self.user)
            named = Q(conversation__user__username__icontains=self.user)
            wanted &= named if users is None else Q(conversation__user__in=users)
        if self.age:
            wanted &= Q(created_at__gte=timezone.now() - AGES[self.age][1])
        if self.since:
            wanted &= Q(created_at__gte=self.since)
        if self.until:
            wanted &= Q(created_at__lte=self.until)
        return answers.filter(wanted)


@dataclass(frozen=True, slots=True)
class Group:
    """Failed answers of one code and model, such as those of an outage. `retrying` of them are in a batch now."""

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
        """The id of the group on its page, without white space; no other group has it."""
        return f"{self.code}-{quote(self.model, safe='')}"

    @property
    def idle(self) -> int:
        """The number of answers that a bulk retry would take."""
        return self.count - self.retrying


def select_dismissed_failures() -> MessageQuerySet:
    """Return the answers that would be open if they were not dismissed, each with its dismissal as `standing`."""
    standing = Prefetch("dismissals", Dismissal.objects.filter(undone_at=None).select_related("by"), "standing")
    dismissed = Message.objects.filter(match_dismissed())  # asked first: it is quicker to tell than the rest
    return select_failed_last_attempts(dismissed).prefetch_related(standing)


def select_recovered_answers() -> MessageQuerySet:
    """Return the answers that were interrupted and then continued automatically, however they ended after that."""
    return Message.objects.answers().exclude(interrupted_by="")


def count_recovered(answers: MessageQuerySet) -> dict[str, int]:
    """Return how many of these answers have finished, are being written, were stopped, and failed in the end."""
    return answers.aggregate(
        total=Count("pk"),
        finished=Count("pk", filter=Q(status=Status.COMPLETE)),
        live=Count("pk", filter=Q(status__in=LIVE)),
        failed=Count("pk", filter=Q(status=Status.INTERRUPTED)),
    )


def is_retrying() -> Exists:
    """Return the condition that an answer is in a batch that has not ended for it."""
    return Exists(RetryItem.objects.filter(answer=OuterRef("pk"), status__in=OPEN_ITEMS))


def group_failures(answers: MessageQuerySet) -> list[Group]:
    """Return the groups of the latest of some answers, `MAX_AT_ONCE` at most.

    There is at most one for each code and model, and the one with the latest failure is first.
    """
    latest = answers.order_by("-created_at", "-pk").values("pk")[:MAX_AT_ONCE]
    rows = (
        Message.objects.filter(pk__in=latest)
        .annotate(retrying=is_retrying())
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


def load_model_names() -> list[str]:
    """Return the models that have failed or that the site offers."""
    failed = Message.objects.filter(status=Status.INTERRUPTED)
    # Read along the index that begins with these two; then one answer of each model is looked for that did not come
    # from another site.
    pairs = failed.order_by("error_code", "model").values_list("error_code", "model").distinct()
    here = failed.exclude(match_failed_elsewhere())
    others = {model for _, model in pairs}.difference(settings.CHAT_MODELS)
    return sorted({*settings.CHAT_MODELS, *(model for model in others if here.filter(model=model).exists())})


@dataclass(frozen=True, slots=True)
class Page:
    """A page of answers, the latest first, and the cursor of the next page; None on the last."""

    answers: list[Message]
    next_cursor: RowCursor[UUID] | None


def load_page(answers: MessageQuerySet, after: RowCursor[UUID] | None = None) -> Page:
    """Return the page of answers after a cursor, without their text."""
    if after is not None:
        answers = after.exclude_shown(answers.filter(created_at__lte=after.at), "created_at")
    rows = list(
        answers.annotate(retrying=is_retrying())
        .select_related("conversation__user")
        .defer("text", "reasoning", "outline", "conversation__title")
        .prefetch_related(prefetch_failed_calls())
        .order_by("-created_at", "-pk")[: PAGE + 1]
    )
    shown = rows[:PAGE]
    last = shown[-1] if len(rows) > PAGE else None
    return Page(shown, RowCursor(last.created_at, last.pk) if last else None)


def prefetch_failed_calls() -> Prefetch[str, QuerySet[ProviderCall], str]:
    """Return what loads answers' failed calls with them, the last one first, as `failed_calls`."""
    calls = ProviderCall.objects.filter(purpose=ProviderCall.Purpose.ANSWER, outcome=Outcome.INTERRUPTED)
    return Prefetch("calls", calls.order_by("-pk"), "failed_calls")


def dismiss(by: User, wanted: Filter, note: str) -> int:
    """Take answers off the list, and return how many."""
    with transaction.atomic():
        answers = wanted.apply(select_open_failures())[:MAX_AT_ONCE].values_list("pk", flat=True)
        rows = [Dismissal(answer_id=answer, by=by, note=note) for answer in answers]
        Dismissal.objects.bulk_create(rows, ignore_conflicts=True)
    return len(rows)


def undo_dismissal(by: User, answer: UUID) -> bool:
    """Put a dismissed answer back on the list; return False when it was not dismissed."""
    standing = Dismissal.objects.filter(answer=answer, undone_at=None)
    return bool(standing.update(undone_by=by, undone_at=timezone.now()))
