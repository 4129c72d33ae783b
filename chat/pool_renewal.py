"""The pool of connections to PostgreSQL, renewed when one of them turns out to take no writes."""

from __future__ import annotations

import time

from django.db import connection

# https://www.postgresql.org/docs/current/errcodes-appendix.html: read_only_sql_transaction
IS_READ_ONLY = "25006"


class PoolRenewal:
    """Replaces the connections of the pool when one turns out to take no writes.

    Whether a session takes them may be settled when it begins (`default_transaction_read_only`), or by the server that
    a name stood for then. In the pool such a connection stays for an hour, when the database has long been writable.
    """

    EVERY = 2.0
    """Seconds between two renewals: a database that is read-only for long is not asked for connections all the time."""

    def __init__(self) -> None:
        self._due_at = 0.0

    def renew_after(self, error: BaseException) -> None:
        """Replace the connections if the error says that one is read-only; those in use are closed after their use."""
        if getattr(error.__cause__, "sqlstate", None) != IS_READ_ONLY or time.monotonic() < self._due_at:
            return
        self._due_at = time.monotonic() + self.EVERY
        pool = getattr(connection, "pool", None)
        if pool is not None:
            pool.drain()


pool_renewal = PoolRenewal()
