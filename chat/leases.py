"""Leases: who owns some work, and until when the owner answers for it.

They run by the database's clock, because the clocks of several machines never agree.
"""

from __future__ import annotations

import os
import secrets
import socket
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Now
from django.utils import timezone

_BOOT = secrets.token_hex(4)


def name_owner() -> str:
    """Return the name of this process, as the owner of the answers it writes."""
    return f"{socket.gethostname()[:40]}:{os.getpid()}:{_BOOT}"


def compute_lease_end() -> Any:
    """Return the end of a lease that is taken now, for a statement. SQLite's clock is the machine's."""
    if connection.vendor == "sqlite":
        return timezone.now() + timedelta(seconds=settings.CHAT_LEASE)
    return _add_to_now(settings.CHAT_LEASE)


@cache
def _add_to_now(seconds: float) -> CombinedExpression:
    """Return the database's time in so many seconds. All rows share it: one for each live answer would take 2 KiB."""
    return Now() + timedelta(seconds=seconds)


def read_clock() -> datetime:
    """Return the database's time. That of SQLite is the machine's."""
    if connection.vendor == "sqlite":
        return timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
        return now


def can_trust_leases() -> bool:
    """Return whether a lease that has run out means that its owner is gone.

    It does not until the database has run for the length of a lease: before it started, no owner could renew its own.
    """
    return _read_uptime() >= settings.CHAT_LEASE


def _read_uptime() -> float:
    """Return the seconds since the database's server started. SQLite has none that could be away."""
    if connection.vendor != "postgresql":
        return float("inf")
    with connection.cursor() as cursor:
        cursor.execute("SELECT extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())")
        return float(cursor.fetchone()[0])
