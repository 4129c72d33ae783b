"""Outages of the database, and of a full disk: one sentence for users and one log line."""

from __future__ import annotations

import errno
import logging
import sqlite3

from django.db import DatabaseError, InterfaceError, OperationalError

from chat.core.errors import RefusedError
from chat.pool_renewal import IS_READ_ONLY

log = logging.getLogger(__name__)


# What Django raises for a fault of the database; `InterfaceError` is no subclass of `DatabaseError`.
FAULTS = (DatabaseError, InterfaceError)


class OutageError(RefusedError):
    """The database does not serve. It may in a moment, and nothing was kept of what was asked."""

    retry_after: int = 0


class UnreachableError(OutageError):
    """There is no connection to the database, or none in time."""

    code = "unavailable"
    sentence = "The site cannot reach its database right now. Try again in a moment."
    retry_after = 5


class NotSavedError(OutageError):
    """Nothing more can be written: a disk is full, or may only be read."""

    code = "not_saved"
    sentence = "The site cannot save anything right now, so this was not sent. Try again in a few minutes."
    retry_after = 60


# https://www.sqlite.org/rescode.html; the low byte is the kind of a more exact code.
_SQLITE_IS_FULL = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR}
_SQLITE_IS_AWAY = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOMEM,
}

# https://www.postgresql.org/docs/current/errcodes-appendix.html: disk_full
_POSTGRESQL_IS_FULL = {"53100", IS_READ_ONLY}

# Those that psycopg does not call operational: idle_in_transaction_session_timeout, transaction_timeout. The server has
# closed the connection of a process that was held up.
_POSTGRESQL_IS_AWAY = {"25P03", "25P04"}

_DISK_IS_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


def is_without_connection(error: BaseException) -> bool:
    """Return whether the pool of connections had none in time: each further request would wait as long for one."""
    return type(error.__cause__).__module__.startswith("psycopg_pool")


def classify_outage(error: BaseException) -> OutageError | None:
    """Return what an error of the database or the disk means to whoever asked; None for a fault of the site's own."""
    if isinstance(error, OutageError):
        return error
    if not isinstance(error, FAULTS):
        is_full = (
            isinstance(error, OSError) and error.errno in _DISK_IS_FULL
        )  # the file of a large request, for example
        return NotSavedError() if is_full else None
    cause = error.__cause__
    if isinstance(cause, sqlite3.Error):
        kind = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if kind in _SQLITE_IS_FULL:
            return NotSavedError()
        return UnreachableError() if kind in _SQLITE_IS_AWAY else None
    sqlstate = getattr(cause, "sqlstate", None)
    if sqlstate in _POSTGRESQL_IS_FULL:
        return NotSavedError()
    # Everything that psycopg calls operational is outside of the site's control: no connection, a shutdown, too many
    # clients, no memory, a deadlock.
    is_away = isinstance(error, OperationalError | InterfaceError) or sqlstate in _POSTGRESQL_IS_AWAY
    return UnreachableError() if is_away else None


def log_outage(where: str, error: BaseException) -> None:
    """Write one line about a request or a task that met an outage."""
    first = str(error).strip().partition("\n")[0]
    log.warning("%s: the database does not serve: %s: %s", where, type(error).__name__, first)
