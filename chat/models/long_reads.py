"""Reads of more rows than memory should hold at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any, TypeVar

from django.db import connection, transaction
from django.db.models import QuerySet

T = TypeVar("T")


def read_in_pieces(rows: QuerySet[Any, T], size: int) -> Iterator[T]:
    """Yield the rows of a query, of which `size` at a time come from the database.

    On PostgreSQL within a transaction: outside of one, a pooler such as pgbouncer gives the next piece to another
    session, which knows no such cursor. On SQLite, where a transaction is a writer's, without.
    """
    with transaction.atomic() if connection.vendor == "postgresql" else nullcontext():
        yield from rows.iterator(size)
