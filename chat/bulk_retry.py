"""Retries on users' behalf: batches of failed answers that are asked again, a few at once.

A batch is rows in the database, so it outlives every page and process. The process that works on one renews its lease
and takes its items one by one, each by a conditional UPDATE. When the process is gone, `go_on` in any other takes the
batch over: an attempt that was begun is found again by its id, so nothing is asked twice.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from contextlib import aclosing
from datetime import timedelta
from functools import partial
from uuid import UUID
from weakref import WeakKeyDictionary

from django.conf import settings
from django.db import DatabaseError
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from chat import staff, streams, turns
from chat.background import detached, in_thread
from chat.generation import runner
from chat.models import Message, RetryBatch, RetryItem, Status
from chat.places import OverloadedError
from chat.turns import BusyError, DrainingError, lease, owner
from chat.views import model_for

log = logging.getLogger(__name__)

# A conversation that is being answered now is tried again after so many seconds, and so many times: ten minutes are
# CHAT_TOTAL_TIMEOUT's default, but nobody wants a batch to wait so long for one of them.
BUSY_PAUSE = 3.0
BUSY_TIMES = 20


class Retrier:
    """The batches that this process works on. Use `retrier()`: there is one for each event loop."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(settings.CHAT_STAFF_RETRIES)
        self._working: dict[UUID, asyncio.Task[None]] = {}

    async def go_on(self, batch: UUID) -> None:
        """Work on a batch, unless some process does or there is nothing left to do. Returns at once."""
        if batch in self._working or runner().draining or not await in_thread(_claim, batch):
            return
        self._working[batch] = detached(self._work(batch))

    async def _work(self, batch: UUID) -> None:
        keeper = asyncio.create_task(self._keep(batch, asyncio.current_task()))
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(settings.CHAT_STAFF_RETRIES):
                    group.create_task(self._take_items(batch))
            await in_thread(_finish, batch)
        except* DrainingError:
            await in_thread(_leave, batch)
        except* DatabaseError:
            log.exception("batch %s: left to whoever looks at it next", batch)
        finally:
            keeper.cancel()
            del self._working[batch]

    async def _keep(self, batch: UUID, work: asyncio.Task[None] | None) -> None:
        """Renew the lease; a batch that another process has taken over is let go."""
        while True:
            await asyncio.sleep(settings.CHAT_LEASE / 3)
            try:
                if await in_thread(_renew, batch):
                    continue
            except DatabaseError as error:
                log.warning("batch %s: the lease was not renewed: %s", batch, error)
                continue
            if work is not None:
                work.cancel()
            return

    async def _take_items(self, batch: UUID) -> None:
        """One worker: takes what is due, until nothing is left that waits."""
        while True:
            async with self._slots:  # for one item at a time, so that a second batch is not kept waiting by the first
                item = await in_thread(_next, batch)
                if item is not None:
                    await self._retry(item)
                    continue
            if not await in_thread(_waiting(batch).exists):
                return
            await asyncio.sleep(1)  # conversations that are being answered now

    async def _retry(self, item: RetryItem) -> None:
        try:
            begun = await self._begin(item)
        except BusyError:
            await in_thread(_put_off, item)
            return
        except OverloadedError as error:
            await in_thread(_put_back, item, error.retry_after)
            return
        except DrainingError:
            await in_thread(_items(item).update, status=RetryItem.Status.WAITING)
            raise
        if begun is None:
            return
        # Following it is watching it: an answer that staff have asked for is not cut off as abandoned.
        async with aclosing(streams.follow(begun, 0)) as batches:
            async for _ in batches:
                pass
        await in_thread(_settle, item, begun)

    async def _begin(self, item: RetryItem) -> UUID | None:
        """The attempt at an item, begun now or before this process had the batch; None when it needs none any more."""
        answer = await in_thread(_answer_of, item)
        by = item.batch.requested_by
        if answer is None or by is None:
            return None
        turn = _turn(item)
        user = answer.conversation.user
        model = model_for(answer, settings.CHAT_MODELS)
        attempt = (await runner().begin(user, partial(turns.retry, user, answer, model, turn, staff=by))).answer.pk
        if attempt != turns.attempt_id(answer, turn):  # the user was quicker
            await in_thread(_skip, item, "answered")
            return None
        await in_thread(_items(item).update, attempt=attempt)
        return attempt


# The rows of a batch


def _claim(batch: UUID) -> bool:
    """Become the process that works on the batch. What was under way is taken up again from its beginning."""
    free = Q(lease_until=None) | Q(lease_until__lt=Now())
    mine = RetryBatch.objects.filter(free, pk=batch, finished_at=None).update(owner=owner(), lease_until=lease())
    if mine:
        RetryItem.objects.filter(batch=batch, status=RetryItem.Status.RUNNING).update(status=RetryItem.Status.WAITING)
    return bool(mine)


def _renew(batch: UUID) -> int:
    return RetryBatch.objects.filter(pk=batch, owner=owner()).update(lease_until=lease())


def _leave(batch: UUID) -> None:
    RetryBatch.objects.filter(pk=batch, owner=owner()).update(owner="", lease_until=None)


def _finish(batch: UUID) -> None:
    RetryBatch.objects.filter(pk=batch, owner=owner()).update(owner="", lease_until=None, finished_at=timezone.now())


def _waiting(batch: UUID) -> QuerySet[RetryItem]:
    return RetryItem.objects.filter(batch=batch, status=RetryItem.Status.WAITING)


def _next(batch: UUID) -> RetryItem | None:
    """Take the next item that is due."""
    due = _waiting(batch).filter(due_at__lte=timezone.now()).select_related("batch__requested_by")
    while (item := due.order_by("due_at", "pk").first()) is not None:
        if _waiting(batch).filter(pk=item.pk).update(status=RetryItem.Status.RUNNING):
            return item
    return None


def _items(item: RetryItem) -> QuerySet[RetryItem]:
    return RetryItem.objects.filter(pk=item.pk)


def _turn(item: RetryItem) -> UUID:
    """As a form's own id makes a retry that is sent twice one retry."""
    return uuid.uuid5(item.batch_id, str(item.answer_id))


def _answer_of(item: RetryItem) -> Message | None:
    """The answer to retry; None, and the item is skipped, when it needs none any more or nobody wants it now."""
    kept = Message.objects.select_related("conversation__user")
    answer = kept.filter(pk=item.answer_id).first() if item.answer_id else None
    if answer is None:
        _skip(item, "deleted")
        return None
    if Message.objects.filter(pk=turns.attempt_id(answer, _turn(item))).exists():
        return answer  # begun already, by a process that is gone
    if item.batch.stopped_at or item.batch.requested_by is None:
        _skip(item, "stopped")
        return None
    if not staff.failed().filter(pk=answer.pk).exists():
        _skip(item, "answered")
        return None
    return answer


def _skip(item: RetryItem, code: str) -> None:
    _items(item).update(status=RetryItem.Status.SKIPPED, code=code)


def _put_off(item: RetryItem) -> None:
    """Its conversation is being answered now: later, or not at all when that goes on and on."""
    if item.delays >= BUSY_TIMES:
        _skip(item, "busy")
        return
    _put_back(item, BUSY_PAUSE, delays=1)


def _put_back(item: RetryItem, seconds: float, *, delays: int = 0) -> None:
    """It is due in so many seconds."""
    later = timezone.now() + timedelta(seconds=seconds)
    _items(item).update(status=RetryItem.Status.WAITING, delays=F("delays") + delays, due_at=later)


def _settle(item: RetryItem, attempt: UUID) -> None:
    ended = Message.objects.filter(pk=attempt).first()
    if ended is None:
        _skip(item, "deleted")
    elif ended.status == Status.COMPLETE:
        _items(item).update(status=RetryItem.Status.COMPLETE)
    elif ended.status == Status.STOPPED:
        _skip(item, "stopped_by_user")
    else:
        _items(item).update(status=RetryItem.Status.FAILED, code=ended.error_code)


_retriers: WeakKeyDictionary[asyncio.AbstractEventLoop, Retrier] = WeakKeyDictionary()


def retrier() -> Retrier:
    """The retrier of the running event loop."""
    loop = asyncio.get_running_loop()
    if loop not in _retriers:
        _retriers[loop] = Retrier()
    return _retriers[loop]
