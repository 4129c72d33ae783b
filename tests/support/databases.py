"""Databases with the user `demo` in them. One is migrated, as an operator does it, and every other is a copy, in all
processes of a test run: the commands take seven seconds of CPU time, a copy none, and a dump 0.2 s to load.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import psycopg

from tests.support.needs import find_program
from tests.support.server import Server
from tests.support.services import START, create_database

# The variable of the directory that a test run's processes share.
SHARED = "CHATSITE_TEST_TEMPLATES"


class Prepared(NamedTuple):
    """A database as `Server` takes it, and the bearer token of its user."""

    database: Path | str
    token: str


def prepare_database(directory: Path, postgres: str = "") -> Prepared:
    """Make an SQLite file in `directory`, or a database on the PostgreSQL at this URL."""
    template = _prepare_template(postgres)
    if isinstance(template.database, Path):
        return template._replace(database=Path(shutil.copy(template.database, directory)))
    name = template.database.rpartition("/")[2]
    return template._replace(database=create_database(postgres, f"site_{uuid4().hex}", name))


def prepare_tested_database(directory: Path) -> Prepared:
    """Make a database as `prepare_database` does, on the PostgreSQL that DATABASE_URL names if it names one.

    `make test-postgres` sets it.
    """
    url = os.environ.get("DATABASE_URL", "")
    return prepare_database(directory, url if url.startswith("postgres") else "")


@contextmanager
def serve_new_site(kind: str, directory: Path, **environment: str) -> Iterator[tuple[Server, str]]:
    """Serve a site with a database of its own; yield the server and the token of its user."""
    database, token = prepare_tested_database(directory)
    with Server(kind, database, logs=directory, **environment) as server:
        yield server, token


@cache
def _prepare_template(postgres: str) -> Prepared:
    """Return what is copied: an SQLite file, or a database on this PostgreSQL, of which other copies may be made."""
    directory = _find_shared_directory()
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kept = directory / ("site.sql" if postgres else "site.sqlite3")
        token = kept.with_suffix(".token" if postgres else ".sqlite3.token")
        if not token.exists():
            token.write_text(_make_template(kept, postgres))
    if not postgres:
        return Prepared(kept, token.read_text())
    database = create_database(postgres, f"template_{uuid4().hex}")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(kept.read_bytes())
    return Prepared(database, token.read_text())


def _make_template(kept: Path, postgres: str) -> str:
    """Make and keep a migrated database, a PostgreSQL as its dump; return the token of its user."""
    database = create_database(postgres, f"migrated_{uuid4().hex}") if postgres else kept
    server = Server("daphne", database, logs=kept.parent)
    server.manage("migrate", "--verbosity", "0")
    server.manage("demologin")
    token = server.manage("apitoken", "demo")
    if postgres:
        command = [find_program("pg_dump"), "--inserts", "--no-owner", str(database)]
        dump = subprocess.run(command, check=True, capture_output=True, text=True, timeout=START).stdout
        # Newer ones begin and end with a command of psql.
        kept.write_text("".join(line for line in dump.splitlines(keepends=True) if not line.startswith("\\")))
    return token


def _find_shared_directory() -> Path:
    """Return the directory of this run's templates. `share_templates` makes one for several processes."""
    if SHARED not in os.environ:
        atexit.register(shutil.rmtree, share_templates(), ignore_errors=True)
    return Path(os.environ[SHARED])


def share_templates() -> Path:
    """Make the directory of the templates for this process and those that it starts; whoever calls it removes it."""
    os.environ[SHARED] = tempfile.mkdtemp(prefix="chatsite-template-")
    return Path(os.environ[SHARED])
