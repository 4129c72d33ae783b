"""Batches of retries: beginning, resuming and stopping them, and their progress."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Count, F
from django.utils import timezone

from chat.conversations.open_failures import select_open_failures
from chat.core.errors import CODES
from chat.http.row_cursor import RowCursor
from chat.models import BatchLogEntry, Message, RetryBatch, RetryItem, User
from chat.staff.batch_log import note_in_log
from chat.staff.failures import MAX_AT_ONCE, Filter, is_retrying

# Batches on a page of their list: each is up to 5,000 items to count, 2 ms.
BATCHES_SHOWN = 20

LASTING = frozenset(code for code, error in CODES.items() if not error.retryable)
"""Codes of failures that a retry is unlikely to end otherwise."""

NOT_RETRYABLE = "not_retryable"


class Wish(NamedTuple):
    """A retry as a member of the staff asks for it.

    `model` is asked instead of each answer's own. Failures that are not retryable are only listed, unless `is_lasting`.
    """

    reason: str
    model: str = ""
    plan: RetryBatch.Plan = RetryBatch.Plan.ALL
    is_lasting: bool = True


def begin_batch(by: User, wanted: Filter, wish: Wish, form: UUID) -> RetryBatch:
    """Begin a batch of the open failures that are in no other batch; the same `form` again returns the same batch."""
    try:
        with transaction.atomic():
            batch = RetryBatch(
                pk=form,
                requested_by=by,
                reason=wish.reason,
                scope=str(wanted),
                model=wish.model,
                plan=wish.plan,
                is_released=wish.plan == RetryBatch.Plan.ALL,
            )
            batch.save(force_insert=True)
            answers = wanted.apply(select_open_failures()).exclude(is_retrying()).order_by("created_at", "pk")
            failed = answers.values_list("pk", "error_code")[:MAX_AT_ONCE]
            RetryItem.objects.bulk_create(
                (_make_item(batch, answer, code, wish) for answer, code in failed), ignore_conflicts=True
            )
            note_in_log(batch.pk, BatchLogEntry.What.BEGUN, by)
    except IntegrityError:
        return RetryBatch.objects.get(pk=form)
    return batch


def _make_item(batch: RetryBatch, answer: UUID, code: str, wish: Wish) -> RetryItem:
    if code in LASTING and not wish.is_lasting:
        return RetryItem(batch=batch, answer_id=answer, status=RetryItem.Status.SKIPPED, code=NOT_RETRYABLE)
    return RetryItem(batch=batch, answer_id=answer)


def resume_batch(by: User, batch: UUID) -> bool:
    """Go on with a paused batch; return False when it is not paused.

    One whose first answer is complete continues with the rest; one whose first answer failed tries another one first.
    """
    with transaction.atomic():
        paused = RetryBatch.objects.select_for_update().filter(pk=batch, paused_at__isnull=False, finished_at=None)
        found = paused.first()
        if found is None:
            return False
        is_confirmed = found.pause == RetryBatch.Pause.FIRST_COMPLETE
        found.paused_at, found.pause, found.failures_in_a_row = None, "", 0
        found.is_released = found.is_released or is_confirmed
        found.save(update_fields=["paused_at", "pause", "failures_in_a_row", "is_released"])
        what = BatchLogEntry.What.RELEASED if is_confirmed else BatchLogEntry.What.RESUMED
        note_in_log(batch, what, by)
    return True


def stop_batch(by: User, batch: UUID) -> None:
    """Begin no more retries of a batch. Those under way are finished: they are paid for."""
    now = timezone.now()
    with transaction.atomic():
        unfinished = RetryBatch.objects.filter(pk=batch, stopped_at=None, finished_at=None)
        if unfinished.update(stopped_by=by, stopped_at=now, paused_at=None, pause=""):
            note_in_log(batch, BatchLogEntry.What.STOPPED, by)
        RetryItem.objects.filter(batch=batch, status=RetryItem.Status.WAITING).update(
            status=RetryItem.Status.SKIPPED, code="stopped"
        )


def find_unseen_ends(user: User) -> list[Progress]:
    """Return the batches of this user that have ended and that they have not looked at since."""
    ended = RetryBatch.objects.filter(requested_by=user, finished_at__isnull=False, seen_at=None)
    return count_items(ended.select_related("requested_by", "stopped_by").order_by("-finished_at")[:5])


def mark_end_seen(user: User, batch: UUID) -> None:
    """Note that whoever began a batch has seen its end."""
    ended = RetryBatch.objects.filter(pk=batch, requested_by=user, finished_at__isnull=False, seen_at=None)
    ended.update(seen_at=timezone.now())


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a batch."""

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
        """`working`, `paused`, `stopping`, `stopped`, `finished`, or `waiting` for a process that continues it."""
        if self.batch.finished_at:
            return "stopped" if self.batch.stopped_at else "finished"
        if self.batch.paused_at:
            return "paused"
        if self.batch.lease_until is None or self.batch.lease_until < timezone.now():
            return "waiting"
        return "stopping" if self.batch.stopped_at else "working"

    @property
    def parts(self) -> list[tuple[str, float, float]]:
        """The parts of the bar: class, beginning and width of each in percent of all items."""
        shares, at = [], 0.0
        for kind in ("complete", "failed", "skipped", "running"):
            width = 100 * getattr(self, kind) / self.total if self.total else 0.0
            if width:
                shares.append((kind, round(at, 3), round(width, 3)))
            at += width
        return shares

    @property
    def sentence(self) -> str:
        """The state in words for screen readers; empty while the batch works."""
        figures = f"{self.complete} complete, {self.failed} failed, {self.skipped} skipped"
        if self.state == "finished":
            return f"The retry has ended: {figures}."
        if self.state == "stopped":
            return f"The retry was stopped: {figures}."
        if self.state == "paused":
            return f"The retry is paused. {self.batch.get_pause_display()}"
        return ""


def load_batches() -> list[Progress]:
    """Return the batches that are not finished, and the latest others, five in all at most."""
    latest = RetryBatch.objects.order_by(F("finished_at").desc(nulls_first=True), "-created_at")
    return count_items(latest.select_related("requested_by", "stopped_by")[:5])


@dataclass(frozen=True, slots=True)
class BatchPage:
    """A page of all batches, the latest first, and the cursor of the next page; None on the last."""

    batches: list[Progress]
    next_cursor: RowCursor[UUID] | None


def load_batch_page(after: RowCursor[UUID] | None = None) -> BatchPage:
    """Return the page of batches after a cursor."""
    rows = RetryBatch.objects.select_related("requested_by", "stopped_by").order_by("-created_at", "-pk")
    if after is not None:
        rows = after.exclude_shown(rows.filter(created_at__lte=after.at), "created_at")
    found = list(rows[: BATCHES_SHOWN + 1])
    shown = found[:BATCHES_SHOWN]
    next_cursor = RowCursor(shown[-1].created_at, shown[-1].pk) if len(found) > BATCHES_SHOWN else None
    return BatchPage(count_items(shown), next_cursor)


def load_progress(batch: UUID) -> Progress | None:
    """Return the progress of a batch, None when there is no such batch."""
    found = count_items(RetryBatch.objects.select_related("requested_by", "stopped_by").filter(pk=batch))
    return found[0] if found else None


def find_first_attempt(batch: UUID) -> Message | None:
    """Return the attempt after which a batch waits for a confirmation; None when it waits for none."""
    item = (
        RetryItem.objects.filter(batch=batch, batch__pause=RetryBatch.Pause.FIRST_COMPLETE)
        .filter(status=RetryItem.Status.COMPLETE)
        .select_related("attempt__conversation__user")
        .first()
    )
    return item.attempt if item else None


def count_items(batches: Iterable[RetryBatch]) -> list[Progress]:
    """Return the progress of each batch."""
    by_id = {batch.pk: batch for batch in batches}
    counts: dict[UUID, dict[str, int]] = {pk: dict.fromkeys(RetryItem.Status.values, 0) for pk in by_id}
    rows = RetryItem.objects.filter(batch__in=by_id).order_by().values_list("batch", "status").annotate(n=Count("pk"))
    for batch, status, number in rows:
        counts[batch][status] = number
    return [Progress(batch, **counts[pk]) for pk, batch in by_id.items()]


def count_outcomes(batch: UUID) -> list[tuple[str, str, int]]:
    """Return status, code and number of the items that were tried and ended without a complete answer."""
    over = (RetryItem.Status.FAILED, RetryItem.Status.SKIPPED)
    rows = RetryItem.objects.filter(batch=batch, status__in=over).exclude(code=NOT_RETRYABLE).order_by("status", "code")
    return list(rows.values_list("status", "code").annotate(n=Count("pk")))


class RefusalCount(NamedTuple):
    """Answers that a batch left alone, because a failure of their code is not retryable."""

    code: str
    message: str
    number: int


def count_refused(batch: UUID) -> Sequence[RefusalCount]:
    """Return, by code, the answers that a batch left alone because a retry is unlikely to help, and why."""
    rows = RetryItem.objects.filter(batch=batch, code=NOT_RETRYABLE, answer__isnull=False).order_by(
        "answer__error_code"
    )
    counted = rows.values_list("answer__error_code").annotate(n=Count("pk"))
    return [RefusalCount(code, CODES[code].message, number) for code, number in counted if code in CODES]
