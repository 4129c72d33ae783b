"""The private directory of archives: exports that are kept for users, and uploads that wait for their import."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.core.signing import BadSignature, TimestampSigner

# Seconds for which an archive is kept, and a link to it is valid.
KEPT_FOR = 86_400

# Seconds after which a file without a job is deleted: an upload has its file a moment before its job.
ORPHANED_AFTER = 3600

_SIGNER_SALT = "chat.exchange"


class NoDirectoryError(Exception):
    """The site has no directory for archives."""


def find_directory() -> Path:
    """Return the directory; create it where it is missing, for the site's user alone.

    Raises `NoDirectoryError` where the operator has switched it off, and OSError.
    """
    if not settings.CHAT_EXCHANGE_DIRECTORY:
        raise NoDirectoryError
    path = Path(str(settings.CHAT_EXCHANGE_DIRECTORY))
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def find_path(job: UUID) -> Path:
    """Return the path of a job's file. Its name is the job's id: no part of it comes from a user."""
    return find_directory() / str(job)


def find_draft_path(job: UUID) -> Path:
    """Return the path of an archive that this process is writing; no other process has the same."""
    return find_directory() / f"{job}.{os.getpid()}"


def delete_file(job: UUID) -> None:
    """Delete a job's file and its drafts, if there are any."""
    if not settings.CHAT_EXCHANGE_DIRECTORY:
        return
    for path in find_directory().glob(f"{job}*"):
        path.unlink(missing_ok=True)


def delete_orphaned_files(jobs: Iterable[UUID]) -> int:
    """Delete the files that belong to none of these jobs; return how many."""
    known = {str(job) for job in jobs}
    deleted = 0
    for path in find_directory().iterdir():
        if path.name[:36] in known or time.time() - path.stat().st_mtime < ORPHANED_AFTER:
            continue
        path.unlink(missing_ok=True)
        deleted += 1
    return deleted


def sign(purpose: str, value: str) -> str:
    """Return a signed token of a value for an address; it is valid for a day and for this purpose alone."""
    return TimestampSigner(salt=f"{_SIGNER_SALT}.{purpose}").sign(value)


def unsign(purpose: str, token: str) -> str | None:
    """Return the value that was signed for this purpose within the last day; None for any other token."""
    try:
        return TimestampSigner(salt=f"{_SIGNER_SALT}.{purpose}").unsign(token, max_age=KEPT_FOR)
    except BadSignature:  # or one that has expired
        return None
