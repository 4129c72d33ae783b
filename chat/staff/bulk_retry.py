"""Retries on users' behalf: batches of failed answers, a few at once.

A batch is rows in the database, so it outlives every page and process. The process that works on one renews its lease
and takes its items one by one, each by a conditional UPDATE. When the process is gone, the sweep of any other takes
the batch over: an attempt that was begun is found again by its id, so nothing is asked twice.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import deque
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from chat.conversations import actions
from chat.conversations.open_failures import select_open_failures
from chat.conversations.turn_ids import derive_attempt_id
from chat.conversations.turn_refusals import BusyError, DrainingError
from chat.core.errors import RefusedError
from chat.generation.admission import OverloadedError
from chat.generation.process import Process, get_process
from chat.leases import can_trust_leases, compute_lease_end, name_owner
from chat.models import BatchLogEntry, Message, RetryBatch, RetryItem, Status, User
from chat.observability.outages import FAULTS, classify_outage
from chat.staff import failures
from chat.staff.batch_log import note_in_log
from chat.streaming import follow
from chat.tasks import OncePerLoop, run_in_thread, start_detached
from chat.units_of_work import keep_whole

log = logging.getLogger(__name__)

# A conversation that is being answered is tried again after BUSY_PAUSE seconds, BUSY_TIMES times: one minute in all. An
# answer may take longer, by CHAT_TOTAL_TIMEOUT, but a batch should not wait so long for one of its items.
BUSY_PAUSE = 3.0
BUSY_TIMES = 20

# After this many failures in a row a batch pauses: whatever broke the answers still breaks them, and each further retry
# costs a call. One or two in a row may be chance, and with four under way at once failures come together.
PAUSE_AFTER = 5

# Failures that say nothing of the model: the process went away, and the next one continues the batch.
SERVER_WENT_AWAY = frozenset({"server_lost", "server_restart"})


class Retrier:
    """The batches that this process works on. Get it from `get_retrier()`: there is one for each event loop."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._runner = process.runner
        self._slots = asyncio.Semaphore(settings.CHAT_STAFF_RETRIES)
        self._working: dict[UUID, asyncio.Task[None]] = {}

    async def continue_batch(self, batch: UUID) -> None:
        """Work on a batch, unless a process does already or nothing is left to do; return at once.

        Claiming and working are one unit: a page that is closed meanwhile does not part them.
        """
        if batch not in self._working and not self._runner.draining:
            await keep_whole(self._claim_and_work(batch))

    async def sweep(self) -> None:
        """Work on the batches that no process works on; the sweeper calls this with each of its sweeps."""
        if not self._runner.draining:
            for batch in await run_in_thread(_find_lost):
                await self.continue_batch(batch)

    async def _claim_and_work(self, batch: UUID) -> None:
        if await run_in_thread(_claim, batch):
            self._working[batch] = start_detached(self._work(batch))

    async def _work(self, batch: UUID) -> None:
        renewal = asyncio.create_task(self._renew_lease(batch, asyncio.current_task()))
        try:
            left = deque(await run_in_thread(_find_begun, batch))
            async with asyncio.TaskGroup() as group:
                for _ in range(settings.CHAT_STAFF_RETRIES):
                    group.create_task(self._take_items(batch, left))
            if (ended := await run_in_thread(_finish, batch)) is not None:
                self._tell_starter(ended)
        except* DrainingError:
            await run_in_thread(_leave, batch)
        except* (*FAULTS, OSError):  # the disk is full
            log.exception("batch %s: left for another process to continue", batch)
        finally:
            renewal.cancel()
            del self._working[batch]

    async def _renew_lease(self, batch: UUID, work: asyncio.Task[None] | None) -> None:
        """Renew the lease of a batch until another process has taken it over; then cancel the work."""
        while True:
            await asyncio.sleep(settings.CHAT_LEASE / 3)
            try:
                if await run_in_thread(_renew, batch):
                    continue
            except FAULTS as error:
                log.warning("batch %s: the lease was not renewed: %s", batch, error)
                continue
            if work is not None:
                work.cancel()
            return

    async def _take_items(self, batch: UUID, left: deque[RetryItem]) -> None:
        """Retry items, one after the other: first those `left` by a lost process, then those that are due.

        Return when there is nothing to do before somebody resumes the batch, or at all.
        """
        while True:
            async with self._slots:  # held for one item at a time, so that batches share the slots
                item = left.popleft() if left else await run_in_thread(_take_next, batch)
                if item is not None:
                    await self._retry(item)
                    continue
            if await run_in_thread(_is_at_rest, batch):
                return
            await asyncio.sleep(1)  # conversations that are being answered now, or the first of a batch

    async def _retry(self, item: RetryItem) -> None:
        try:
            # The work may be cancelled when another process takes the batch over, but not between attempt and answer.
            attempt = await keep_whole(self._begin(item))
        except BusyError:
            await run_in_thread(_put_off, item)
            return
        except OverloadedError as error:
            await run_in_thread(_put_back, item, error.retry_after)
            return
        except DrainingError:
            await run_in_thread(_put_back, item)
            raise
        except RefusedError as error:
            await run_in_thread(_end_item, item, RetryItem.Status.FAILED, error.code)
            return
        except Message.DoesNotExist:  # it was deleted a moment ago
            await run_in_thread(_skip, item, "deleted")
            return
        except Exception as error:  # otherwise the sweep would try this item for ever, and no other would have its turn
            if classify_outage(error) is not None:  # which is no fault of the item's
                raise
            log.exception("batch %s: item %s could not be begun", item.batch_id, item.pk)
            await run_in_thread(_end_item, item, RetryItem.Status.FAILED, "site_error")
            return
        if attempt is None:
            return
        # Waiting counts as watching: the answer is not cut off as abandoned.
        await follow.wait_for_end(self._process, attempt)
        await run_in_thread(_settle, item, attempt)

    async def _begin(self, item: RetryItem) -> UUID | None:
        """Begin an item's attempt, or find the one begun already, and return its id; None when it needs none."""
        answer = await run_in_thread(_load_answer, item)
        if answer is None:
            return None
        turn = _derive_turn(item)
        attempt = derive_attempt_id(answer, turn)
        if not await Message.objects.filter(pk=attempt).aexists():
            by = await run_in_thread(_find_starter, item)
            if by is None:
                return None
            new = await actions.retry_on_behalf(self._runner, by, answer, turn, model=item.batch.model)
            if new.pk != attempt:  # the user was quicker
                await run_in_thread(_skip, item, "answered")
                return None
        await run_in_thread(_select_item(item).update, attempt=attempt)
        return attempt

    def _tell_starter(self, batch: RetryBatch) -> None:
        """Tell the open pages of whoever began a batch that it has ended."""
        if batch.requested_by_id is not None:
            notice = {"type": "batch", "batch": str(batch.pk), "address": batch.get_absolute_url()}
            self._runner.notices.tell_user(batch.requested_by_id, notice)


# The rows of a batch


def _find_lost() -> list[UUID]:
    """Return the batches that have something to do and no process that does it."""
    if not can_trust_leases():
        return []
    return list(_select_without_owner().filter(_has_work()).values_list("pk", flat=True))


def _select_without_owner() -> QuerySet[RetryBatch]:
    return RetryBatch.objects.filter(Q(lease_until=None) | Q(lease_until__lt=Now()), finished_at=None)


def _has_work() -> Q:
    """Return the condition that a batch has work: a paused one only where a lost process had begun something."""
    running = RetryItem.objects.filter(batch=OuterRef("pk"), status=RetryItem.Status.RUNNING)
    return Q(paused_at=None) | Q(Exists(running))


def _claim(batch: UUID) -> bool:
    """Become the process that works on a batch; return False when another one is, or when it has nothing to do."""
    free = _select_without_owner().filter(_has_work(), pk=batch)
    return bool(free.update(owner=name_owner(), lease_until=compute_lease_end()))


def _renew(batch: UUID) -> int:
    return _select_own(batch).update(lease_until=compute_lease_end())


def _leave(batch: UUID) -> None:
    _select_own(batch).update(owner="", lease_until=None)


def _select_own(batch: UUID) -> QuerySet[RetryBatch]:
    return RetryBatch.objects.filter(pk=batch, owner=name_owner())


def _finish(batch: UUID) -> RetryBatch | None:
    """Leave a batch; return it when that was its end."""
    with transaction.atomic():
        unfinished = RetryItem.objects.filter(batch=batch, status__in=failures.OPEN_ITEMS)
        if unfinished.exists() or not _select_own(batch).filter(finished_at=None).update(
            owner="", lease_until=None, finished_at=timezone.now(), paused_at=None, pause=""
        ):
            _leave(batch)
            return None
        note_in_log(batch, BatchLogEntry.What.FINISHED)
    return RetryBatch.objects.get(pk=batch)


def _select_waiting(batch: UUID) -> QuerySet[RetryItem]:
    return RetryItem.objects.filter(batch=batch, status=RetryItem.Status.WAITING)


def _select_running(batch: UUID) -> QuerySet[RetryItem]:
    return RetryItem.objects.filter(batch=batch, status=RetryItem.Status.RUNNING)


def _is_at_rest(batch: UUID) -> bool:
    """Return whether a batch has nothing to do: no item waits, or it is paused and none is being written."""
    if not _select_waiting(batch).exists():
        return True
    is_paused = RetryBatch.objects.filter(pk=batch, paused_at__isnull=False).exists()
    return is_paused and not _select_running(batch).exists()


def _find_begun(batch: UUID) -> list[RetryItem]:
    """Return the items that the process that had the batch before was working on."""
    return list(_select_running(batch).select_related("batch").order_by("pk"))


def _take_next(batch: UUID) -> RetryItem | None:
    """Take the next item that is due; None when there is none, or when it is not its time yet.

    The batch is locked meanwhile, so that of a batch that tries one first only one is taken, and none after a pause.
    """
    with transaction.atomic():
        held = _select_own(batch).select_for_update().filter(paused_at=None).first()
        if held is None or (not held.is_released and _select_running(batch).exists()):
            return None
        due = _select_waiting(batch).filter(due_at__lte=timezone.now()).select_related("batch")
        item = due.order_by("due_at", "pk").first()
        if item is not None:
            _select_item(item).update(status=RetryItem.Status.RUNNING)
        return item


def _select_item(item: RetryItem) -> QuerySet[RetryItem]:
    return RetryItem.objects.filter(pk=item.pk)


def _derive_turn(item: RetryItem) -> UUID:
    """Return the id of the item's retry, by which a second one is recognised, as by that of a form."""
    return uuid.uuid5(item.batch_id, str(item.answer_id))


def _load_answer(item: RetryItem) -> Message | None:
    """Return the answer to retry; skip the item and return None when that is gone, or deleted a moment ago."""
    answers = Message.objects.filter(conversation__deleted_at=None).select_related("conversation__user")
    answer = answers.filter(pk=item.answer_id).first() if item.answer_id else None
    if answer is None:
        _skip(item, "deleted")
    return answer


def _find_starter(item: RetryItem) -> User | None:
    """Return who asks for an item's attempt, which was not begun yet; None when it is not to be begun now.

    Skip it then when a retry is not needed or wanted any more, and put it back when its batch was paused meanwhile.
    """
    batch = RetryBatch.objects.select_related("requested_by").get(pk=item.batch_id)
    if batch.stopped_at or batch.requested_by is None:
        _skip(item, "stopped")
    elif not select_open_failures().filter(pk__in=[item.answer_id]).exists():
        _skip(item, "answered")
    elif batch.paused_at:
        _put_back(item)
    else:
        return batch.requested_by
    return None


def _skip(item: RetryItem, code: str) -> None:
    _end_item(item, RetryItem.Status.SKIPPED, code)


def _put_off(item: RetryItem) -> None:
    """Put an item off whose conversation is being answered; skip it when that has happened too often."""
    if item.delays >= BUSY_TIMES:
        _skip(item, "busy")
        return
    _put_back(item, BUSY_PAUSE, delays=1)


def _put_back(item: RetryItem, seconds: float = 0.0, *, delays: int = 0) -> None:
    """Make an item due again in `seconds`, unless a process that took its batch over has ended it."""
    due_at = timezone.now() + timedelta(seconds=seconds) if seconds else F("due_at")
    running = _select_item(item).filter(status=RetryItem.Status.RUNNING)
    running.update(status=RetryItem.Status.WAITING, delays=F("delays") + delays, due_at=due_at)


def _settle(item: RetryItem, attempt: UUID) -> None:
    """Set the status of an item from the end of its attempt."""
    ended = Message.objects.filter(pk=attempt).first()
    if ended is None:
        _skip(item, "deleted")
    elif ended.status == Status.COMPLETE:
        _end_item(item, RetryItem.Status.COMPLETE)
    elif ended.status == Status.STOPPED:
        _skip(item, "stopped_by_user")
    else:
        _end_item(item, RetryItem.Status.FAILED, ended.error_code)


def _end_item(item: RetryItem, status: RetryItem.Status, code: str = "") -> None:
    """End an item once, and note what that means for its batch."""
    with transaction.atomic():
        batch = RetryBatch.objects.select_for_update().get(pk=item.batch_id)
        if not _select_item(item).filter(status=RetryItem.Status.RUNNING).update(status=status, code=code):
            return  # a process that took the batch over has ended it
        if status == RetryItem.Status.COMPLETE:
            _note_success(batch)
        elif status == RetryItem.Status.FAILED:
            _note_failure(batch, code)


def _note_success(batch: RetryBatch) -> None:
    if batch.failures_in_a_row:
        batch.failures_in_a_row = 0
        batch.save(update_fields=["failures_in_a_row"])
    if batch.is_released:
        return
    if batch.plan == RetryBatch.Plan.ASK:
        _pause(batch, RetryBatch.Pause.FIRST_COMPLETE)
        return
    batch.is_released = True
    batch.save(update_fields=["is_released"])
    note_in_log(batch.pk, BatchLogEntry.What.RELEASED)


def _note_failure(batch: RetryBatch, code: str) -> None:
    if code in SERVER_WENT_AWAY:
        return
    batch.failures_in_a_row += 1
    batch.save(update_fields=["failures_in_a_row"])
    if not batch.is_released:
        _pause(batch, RetryBatch.Pause.FIRST_FAILED, code)
    elif batch.failures_in_a_row >= PAUSE_AFTER:
        _pause(batch, RetryBatch.Pause.FAILURES, code)


def _pause(batch: RetryBatch, why: RetryBatch.Pause, code: str = "") -> None:
    """Pause a batch that has more to do."""
    if batch.paused_at is not None or batch.stopped_at is not None or not _select_waiting(batch.pk).exists():
        return
    batch.paused_at, batch.pause = timezone.now(), why
    batch.save(update_fields=["paused_at", "pause"])
    note_in_log(batch.pk, BatchLogEntry.What.PAUSED, detail=f"{why.value}{f', last {code}' if code else ''}")


_retriers = OncePerLoop(lambda: Retrier(get_process()))


def get_retrier() -> Retrier:
    """Return the retrier of the running event loop."""
    return _retriers.get()
