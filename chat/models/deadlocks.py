"""Work that PostgreSQL may undo as a deadlock with another process's."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from django.db import OperationalError, transaction

T = TypeVar("T")

TRIES = 3

# https://www.postgresql.org/docs/current/errcodes-appendix.html: deadlock_detected
_DEADLOCK = "40P01"


def retry_after_deadlock(work: Callable[[], T], using: str | None = None) -> T:
    """Do work in a transaction and return its result; do it again, at most `TRIES` times, when it was a deadlock.

    Within a transaction it is a savepoint's: what came before is kept, and so are its locks.
    """
    tries = 1
    while True:
        try:
            with transaction.atomic(using=using):
                return work()
        except OperationalError as error:
            if tries == TRIES or getattr(error.__cause__, "sqlstate", None) != _DEADLOCK:
                raise
            tries += 1
