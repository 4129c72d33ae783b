"""A read in pieces works where each piece may be asked of another session, as behind pgbouncer, and locks nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.db import connection

import chat
from chat.models import User
from chat.models.long_reads import read_in_pieces

ROWS, PIECE = 5, 2


@pytest.mark.django_db(transaction=True)
def test_all_rows_come_and_the_transaction_ends_with_them() -> None:
    User.objects.bulk_create(User(username=f"user-{number}") for number in range(ROWS))
    rows = read_in_pieces(User.objects.order_by("pk").values_list("username", flat=True), PIECE)
    assert next(rows) == "user-0"
    assert connection.in_atomic_block == (connection.vendor == "postgresql")
    assert [*rows] == [f"user-{number}" for number in range(1, ROWS)]
    assert not connection.in_atomic_block


@pytest.mark.django_db(transaction=True)
def test_the_transaction_ends_where_the_reader_stops_early() -> None:
    User.objects.bulk_create(User(username=f"user-{number}") for number in range(ROWS))
    for _ in read_in_pieces(User.objects.order_by("pk"), PIECE):
        break
    assert not connection.in_atomic_block


def test_every_read_in_pieces_is_made_there() -> None:
    """The other tests have one session each, and would not notice."""
    files = Path(chat.__path__[0]).rglob("*.py")
    assert {path.name for path in files if re.search(r"\.a?iterator\(", path.read_text())} == {"long_reads.py"}
