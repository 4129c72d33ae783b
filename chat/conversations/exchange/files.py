"""The private directory of archives: those that are made for users, and those that users bring."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.core.signing import BadSignature, TimestampSigner

# Seconds for which an archive is kept, and a link to it holds.
KEPT_FOR = 86_400

# Seconds after which a file is nobody's that has no job: an upload has a file a moment before its job.
NOBODYS_AFTER = 3600

_SIGNER_SALT = "chat.exchange"


class NoDirectoryError(Exception):
    """The site has no directory for archives."""


def find_directory() -> Path:
    """Return the directory, which is made when it is not there: only the site's user may read it.

    Raises `NoDirectoryError` where the operator wants none, and OSError.
    """
    if not settings.CHAT_EXCHANGE_DIRECTORY:
        raise NoDirectoryError
    path = Path(str(settings.CHAT_EXCHANGE_DIRECTORY))
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def find_path(job: UUID) -> Path:
    """Return the place of a job's file. Its name is the job's id alone: nothing of it comes from a user."""
    return find_directory() / str(job)


def find_draft_path(job: UUID) -> Path:
    """Return the place of an archive that is being written by this process, so that no other writes to it too."""
    return find_directory() / f"{job}.{os.getpid()}"


def delete_file(job: UUID) -> None:
    """Delete a job's file and its drafts, if there are any."""
    if not settings.CHAT_EXCHANGE_DIRECTORY:
        return
    for path in find_directory().glob(f"{job}*"):
        path.unlink(missing_ok=True)


def delete_nobodys_files(jobs: Iterable[UUID]) -> int:
    """Delete the files that are of none of these jobs; return how many."""
    known = {str(job) for job in jobs}
    deleted = 0
    for path in find_directory().iterdir():
        if path.name[:36] in known or time.time() - path.stat().st_mtime < NOBODYS_AFTER:
            continue
        path.unlink(missing_ok=True)
        deleted += 1
    return deleted


def sign(purpose: str, value: str) -> str:
    """Return a word for an address that holds for a day, for this purpose alone."""
    return TimestampSigner(salt=f"{_SIGNER_SALT}.{purpose}").sign(value)


def unsign(purpose: str, word: str) -> str | None:
    """Return what was signed for this purpose within the last day; None for any other word."""
    try:
        return TimestampSigner(salt=f"{_SIGNER_SALT}.{purpose}").unsign(word, max_age=KEPT_FOR)
    except BadSignature:  # or one that has expired
        return None
