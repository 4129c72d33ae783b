"""The rows of export and import jobs: starting one, claiming it for a process, and its progress."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from chat.conversations.exchange import files
from chat.conversations.turn_ids import NAMESPACE
from chat.core.errors import RefusedError
from chat.core.events import make_storable
from chat.core.lines import join_lines
from chat.leases import can_trust_leases, compute_lease_end, name_owner
from chat.models import ExchangeJob, User

# A job that kills its process, or makes the database time out, is given up after this many tries at one place.
MAX_TRIES = 5
GIVEN_UP = "The site could not finish this. The reason is in its log."

# The conversations that a report names with what was left out of them. Its counts are of all.
MAX_NOTES = 100

# Jobs that stay on a user's page after they have ended, and for how long.
LISTED = 10
LISTED_FOR = timedelta(days=30)


class TooManyJobsError(RefusedError):
    """The user has as many unfinished jobs as one may have."""

    status, code = 429, "busy"
    sentence = "Wait until your other exports and imports have ended, or stop one."


class NoArchivesError(RefusedError):
    """The operator has switched archives off."""

    status, code = 404, "not_found"
    sentence = "Exports and imports of everything are switched off on this site."


@dataclass(slots=True)
class Report:
    """The result of an import: how many conversations were imported, and what was left out of them.

    `notes` are pairs: a conversation's title, and what was left out of it or why it was left out.
    """

    brought: int = 0
    already_here: int = 0
    empty: int = 0
    unreadable: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    notes: list[list[str]] = field(default_factory=list)
    unnamed: int = 0
    """How many notes there was no room for."""

    def note(self, title: str, sentence: str) -> None:
        """Note something about one conversation."""
        if len(self.notes) < MAX_NOTES:
            self.notes.append([make_storable(title) or "New chat", sentence])
        else:
            self.unnamed += 1

    def add_left_out(self, title: str, left_out: Counter[str]) -> None:
        """Add what was left out of one conversation."""
        if not left_out:
            return
        for what, times in left_out.items():
            if what in self.left_out or len(self.left_out) < MAX_NOTES:
                self.left_out[what] = self.left_out.get(what, 0) + times
        named = (f"{what} ({times} times)" if times > 1 else what for what, times in list(left_out.items())[:20])
        self.note(title, f"Left out: {', '.join(named)}.")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def read_report(job: ExchangeJob) -> Report:
    """Return a job's report so far."""
    return Report(**job.report)


def begin_job(user: User, kind: ExchangeJob.Kind, turn: UUID, name: str = "", draft: Path | None = None) -> ExchangeJob:
    """Store a job for the next free process, with the file that the user uploads: `draft` is moved to its place.

    `turn` is the id of the form: the same form sent twice is one job. Raises `TooManyJobsError`; of two jobs that are
    started at once too.
    """
    id_ = uuid5(NAMESPACE, f"{kind}:{user.pk}:{turn}")  # not `turn` itself: the client would choose the name of a file
    with transaction.atomic():
        User.objects.select_for_update(no_key=True).get(pk=user.pk)
        if (job := ExchangeJob.objects.filter(user=user, pk=id_).first()) is not None:
            return job
        if ExchangeJob.objects.filter(user=user, finished_at=None).count() >= settings.CHAT_USER_EXCHANGES:
            raise TooManyJobsError
        size = draft.stat().st_size if draft else 0
        shown_name = join_lines(make_storable(name))[:200]
        job = ExchangeJob.objects.create(pk=id_, user=user, kind=kind, name=shown_name, size=size)
        if draft is not None:
            draft.replace(files.find_path(id_))
        return job


def list_jobs(user: User) -> list[ExchangeJob]:
    """Return a user's jobs for their page, newest first."""
    since = timezone.now() - LISTED_FOR
    return list(ExchangeJob.objects.filter(user=user, created_at__gt=since)[:LISTED])


def delete_job(user: User, job: UUID) -> bool:
    """Delete a job of a user with its file, and so stop it; return whether there was one."""
    found = ExchangeJob.objects.filter(user=user, pk=job).delete()[0]
    if found:
        files.delete_file(job)
    return found > 0


# For the process that works on a job


def claim_next() -> ExchangeJob | None:
    """Claim the job that has waited longest for this process; return None when there is none."""
    if not can_trust_leases():
        return None
    for job in select_waiting().order_by("created_at")[:10]:
        claimed = select_waiting().filter(pk=job.pk)
        if job.tries >= MAX_TRIES:
            claimed.update(finished_at=timezone.now(), error=GIVEN_UP, owner="", lease_until=None)
        elif claimed.update(owner=name_owner(), lease_until=compute_lease_end(), tries=F("tries") + 1):
            return ExchangeJob.objects.select_related("user").filter(pk=job.pk).first()
    return None


def select_waiting() -> QuerySet[ExchangeJob]:
    """Return the jobs that no process works on."""
    return ExchangeJob.objects.filter(Q(lease_until=None) | Q(lease_until__lt=Now()), finished_at=None)


def select_own(job: UUID) -> QuerySet[ExchangeJob]:
    """Return the row of a job while this process is its owner."""
    return ExchangeJob.objects.filter(pk=job, owner=name_owner(), finished_at=None)


def renew_lease(job: UUID) -> bool:
    """Renew the lease of a job; return whether it is still this process's."""
    return bool(select_own(job).update(lease_until=compute_lease_end()))


def leave_job(job: UUID) -> None:
    """Leave a job to the next free process, without counting a failed try."""
    select_own(job).update(owner="", lease_until=None, tries=0)


def note_progress(job: UUID, **fields: Any) -> bool:
    """Write the progress of a job; return whether it is still this process's: if not, the caller rolls back."""
    return bool(select_own(job).update(tries=0, **fields))


def finish_job(job: UUID, error: str = "", **fields: Any) -> bool:
    """End a job; return whether it was still this process's."""
    ended = {"finished_at": timezone.now(), "owner": "", "lease_until": None, "error": error[:300]}
    return bool(select_own(job).update(**ended, **fields))


def clean_up() -> None:
    """Delete the archives that have been kept for a day, the uploads of ended jobs, and files without a job."""
    before = timezone.now() - timedelta(seconds=files.KEPT_FOR)
    ended = ExchangeJob.objects.filter(finished_at__lt=before, kind=ExchangeJob.Kind.EXPORT)
    for job in ended.values_list("pk", flat=True):
        files.delete_file(job)
    ended.delete()
    ExchangeJob.objects.filter(finished_at__lt=timezone.now() - LISTED_FOR).delete()
    kept = ExchangeJob.objects.filter(Q(finished_at=None) | Q(kind=ExchangeJob.Kind.EXPORT))
    files.delete_orphaned_files(kept.values_list("pk", flat=True))
