"""What is due now and then beside the answers of a process: facts, limits, totals, alerts, reports, deletions."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from chat.accounting import meters, outbox, quotas, rollups
from chat.accounting.month_report import plan_report
from chat.broker.base import Broker
from chat.conversations.deletions import delete_expired, is_anything_expired
from chat.generation import lost_answers
from chat.observability.outages import FAULTS
from chat.site_facts import refresh_facts
from chat.tasks import run_and_close, run_in_thread, start_detached

log = logging.getLogger(__name__)

# Seconds between two corrections of what limits hold for calls that are gone; there is one also when an answer was
# lost.
RECOUNT_EVERY = 10.0

# Seconds between two searches for logs of answers that have ended without their owner, such as those that were deleted.
FORGET_EVERY = 10.0

# Seconds between two checks whether the report of a month is due.
PLAN_REPORT_EVERY = 600.0

# Rows of the ledger that are added to the sums at once: a few milliseconds of the thread that writes checkpoints.
COUNTED_AT_ONCE = 300


class Housekeeping:
    """The periodic work of one process. Every process does it, and whichever does it first has done it for all."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._recount_at = self._forget_at = self._plan_report_at = 0.0
        # Receivers of alerts may be slow, a long conversation takes a second to delete, and a month's calls to add up.
        self._delivery = _Chore(outbox.deliver, "alerts could not be sent, trying again")
        self._counting = _Chore(quotas.recount_new_meters, "new limits are not counted once more yet, trying again")
        self._deletion = _Chore(delete_expired, "deleted conversations are not gone yet, trying again")

    async def aclose(self) -> None:
        """Wait for the deletion and the counting under way; the outbox has its alerts until they are received."""
        await self._deletion.wait()
        await self._counting.wait()

    async def do_what_is_due(self, *, recounts: bool) -> None:
        """Do what is due; with `recounts` the limits are corrected now."""
        await run_in_thread(refresh_facts)
        await self._recount(at_once=recounts)
        await self._forget_ended()
        await self._plan_report()
        if not self._delivery.is_under_way and await run_in_thread(outbox.is_anything_due):
            self._delivery.begin()
        if not self._deletion.is_under_way and await run_in_thread(is_anything_expired):
            self._deletion.begin()
        await run_in_thread(rollups.count, COUNTED_AT_ONCE)

    async def _recount(self, *, at_once: bool) -> None:
        """Release what limits hold for answers and calls that are gone, and count new ones once more."""
        if at_once or time.monotonic() > self._recount_at:
            self._recount_at = time.monotonic() + RECOUNT_EVERY
            await run_in_thread(meters.recount)
            if not self._counting.is_under_way and await run_in_thread(meters.is_any_new):
                self._counting.begin()

    async def _forget_ended(self) -> None:
        """Delete the logs that other processes have left of answers that have ended, or were deleted, meanwhile."""
        if time.monotonic() < self._forget_at:
            return
        self._forget_at = time.monotonic() + FORGET_EVERY
        left = await self._broker.find_left()
        for answer in left - await run_in_thread(lost_answers.find_live, left) if left else ():
            await self._broker.forget(answer)

    async def _plan_report(self) -> None:
        """Have the report of the last month written into the outbox when its time has come."""
        if time.monotonic() > self._plan_report_at:
            self._plan_report_at = time.monotonic() + PLAN_REPORT_EVERY
            await run_in_thread(plan_report)


class _Chore:
    """Database work that may be long, run in a thread of its own, once at a time. `failure` is its log line."""

    def __init__(self, work: Callable[[], object], failure: str) -> None:
        self._work, self._failure = work, failure
        self._task: asyncio.Task[object] | None = None

    @property
    def is_under_way(self) -> bool:
        return self._task is not None

    def begin(self) -> None:
        self._task = start_detached(asyncio.to_thread(run_and_close, self._work))
        self._task.add_done_callback(self._end)

    async def wait(self) -> None:
        """Wait until nothing is under way."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    def _end(self, ended: asyncio.Task[object]) -> None:
        self._task = None
        error = None if ended.cancelled() else ended.exception()
        if isinstance(error, FAULTS):
            log.warning("%s: %s", self._failure, error)
        elif error is not None:
            log.error(self._failure, exc_info=error)
