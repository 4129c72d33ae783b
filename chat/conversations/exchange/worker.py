"""The worker on jobs: one process on one job at a time, and any other when that process is gone."""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from threading import Event
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError

from chat.conversations.exchange import jobs
from chat.conversations.exchange.files import NoDirectoryError
from chat.conversations.exchange.job_run import LostJobError, run_job
from chat.models import ExchangeJob
from chat.tasks import OncePerLoop, run_and_close, run_in_thread, start_detached

log = logging.getLogger(__name__)

# Seconds between two deletions of archives that have been kept for long enough.
CLEAN_EVERY = 60.0

# Seconds for which a process that ends waits for the job that it has: longer than one conversation takes, as a rule.
LAST_WORK = 1.0

NO_ROOM = "The site could not write its file. Its operator finds the reason in the log."


class ExchangeWorker:
    """The jobs of this process. Get it from `get_exchange_worker()`: there is one for each event loop."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None
        self._is_leaving = False
        self._tenure = Event()  # set when the job at hand is to be let go
        self._clean_at = 0.0

    def wake(self) -> None:
        """Work on what waits, unless this process does so already; return at once."""
        if not self._is_leaving and (self._task is None or self._task.done()):
            self._task = start_detached(self._work())

    async def sweep(self) -> None:
        """Start work on jobs without a process; the sweeper calls this with each of its sweeps."""
        if self._is_leaving or not settings.CHAT_EXCHANGE_DIRECTORY:
            return
        if (self._task is None or self._task.done()) and await run_in_thread(jobs.select_waiting().exists):
            self.wake()
        if time.monotonic() > self._clean_at:
            self._clean_at = time.monotonic() + CLEAN_EVERY
            start_detached(self._clean_up())

    async def leave(self) -> None:
        """Release the job under way, so that another process can take it."""
        self._is_leaving = True
        self._tenure.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=LAST_WORK)

    async def _work(self) -> None:
        while not self._is_leaving and (job := await run_in_thread(jobs.claim_next)) is not None:
            await self._run(job)

    async def _run(self, job: ExchangeJob) -> None:
        self._tenure = Event()
        if self._is_leaving:
            self._tenure.set()
        renewal = asyncio.create_task(self._renew_lease(job.pk, self._tenure))
        try:
            # A thread of its own, not the one that all database work shares: this takes minutes.
            await asyncio.to_thread(run_and_close, partial(run_job, job, self._tenure.is_set))
        except LostJobError:
            await run_in_thread(jobs.leave_job, job.pk)
        except DatabaseError:
            log.exception("archive %s: left for another try", job.pk)
        except (OSError, NoDirectoryError) as error:
            log.error("archive %s: %s", job.pk, error)
            await run_in_thread(jobs.finish_job, job.pk, NO_ROOM)
        except Exception:
            log.exception("archive %s could not be finished", job.pk)
            await run_in_thread(jobs.finish_job, job.pk, jobs.GIVEN_UP)
        finally:
            renewal.cancel()

    async def _renew_lease(self, job: UUID, tenure: Event) -> None:
        """Renew the lease of a job until it is another process's, or was deleted; then have the work stop."""
        while True:
            await asyncio.sleep(settings.CHAT_LEASE / 3)
            try:
                if not await run_in_thread(jobs.renew_lease, job):
                    tenure.set()
                    return
            except DatabaseError as error:
                log.warning("archive %s: the lease was not renewed: %s", job, error)

    async def _clean_up(self) -> None:
        try:
            await asyncio.to_thread(run_and_close, jobs.clean_up)
        except (OSError, DatabaseError, NoDirectoryError) as error:
            log.warning("old archives could not be deleted: %s", error)


_workers = OncePerLoop(ExchangeWorker)


def get_exchange_worker() -> ExchangeWorker:
    """Return the exchange worker of the running event loop."""
    return _workers.get()
