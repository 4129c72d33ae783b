"""Databases with the user `demo` in them. One is migrated, as an operator does it, and every other is a copy: three
commands take six seconds of CPU time, and a copy none."""

from __future__ import annotations

import atexit
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from uuid import uuid4

from tests.server import Server
from tests.services import create_database


class Prepared(NamedTuple):
    """A database as `Server` takes it, and the bearer token of its user."""

    database: Path | str
    token: str


def new(directory: Path, postgres: str = "") -> Prepared:
    """An SQLite file in `directory`, or a database on the PostgreSQL at this URL."""
    template = _template(postgres)
    if isinstance(template.database, Path):
        return template._replace(database=Path(shutil.copy(template.database, directory)))
    name = template.database.rpartition("/")[2]
    return template._replace(database=create_database(postgres, f"site_{uuid4().hex}", name))


def tested(directory: Path) -> Prepared:
    """As `new`, on the PostgreSQL that DATABASE_URL names if it names one: `make test-postgres` does."""
    url = os.environ.get("DATABASE_URL", "")
    return new(directory, url if url.startswith("postgres") else "")


@contextmanager
def prepared(kind: str, directory: Path, **environment: str) -> Iterator[tuple[Server, str]]:
    """A running server with a database of its own, and the token of its user."""
    database, token = tested(directory)
    with Server(kind, database, logs=directory, **environment) as server:
        yield server, token


@cache
def _template(postgres: str) -> Prepared:
    kept = TemporaryDirectory(prefix="chatsite-template-")
    atexit.register(kept.cleanup)
    directory = Path(kept.name)
    database = create_database(postgres, f"template_{uuid4().hex}") if postgres else directory / "site.sqlite3"
    server = Server("daphne", database, logs=directory)
    server.manage("migrate", "--verbosity", "0")
    server.manage("demologin")
    return Prepared(database, server.manage("apitoken", "demo"))
