"""A ledger of 20,000 rows for the tests that only read it, and plain SQL over its rows to compare with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from html import unescape
from typing import Any, NamedTuple

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.db.models import Model
from django.test import Client
from pytest_django import DjangoDbBlocker

from chat.accounting import rollups
from chat.accounting.selections import Selection, find_counted_days
from chat.models import SUM_TABLES, ProviderCall, User
from tests.support import ledger_rows


@pytest.fixture(scope="module")
def big_ledger(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Made once for a module, outside any test's transaction, and taken away after it."""
    with django_db_blocker.unblock():
        ledger_rows.write(ledger_rows.make_ledger_rows(20_000, ledger_rows.make_users(60), 120))
        rollups.catch_up()
    yield
    tables: list[type[Model]] = [ProviderCall, *SUM_TABLES, User, Group]
    with django_db_blocker.unblock():
        for table in tables:
            table._default_manager.all().delete()


class Totals(NamedTuple):
    calls: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    written_tokens: int
    reasoning_tokens: int
    searches: int
    estimated: int
    unpriced: int
    interrupted: int
    cost: Decimal


def add_up_in_sql(where: str = "TRUE", *params: Any) -> Totals:
    """Add up the settled rows in the database, with nothing of the site in between."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT COUNT(*), COALESCE(SUM(input_tokens), 0), COALESCE(SUM(output_tokens), 0), "
            "COALESCE(SUM(cached_tokens), 0), COALESCE(SUM(written_tokens + written_hour_tokens), 0), "
            "COALESCE(SUM(reasoning_tokens), 0), COALESCE(SUM(searches), 0), "
            "COUNT(CASE WHEN estimated THEN 1 END), COUNT(CASE WHEN cost IS NULL THEN 1 END), "
            "COUNT(CASE WHEN outcome = 'interrupted' THEN 1 END), COALESCE(SUM(cost), 0) "
            f"FROM chat_providercall WHERE outcome <> 'running' AND {where}",
            params,
        )
        row = cursor.fetchone()
    return Totals._make([*map(int, row[:-1]), Decimal(str(row[-1])).quantize(Decimal("0.00000001"))])


def choose_everything() -> Selection:
    first, last = find_counted_days() or (date.min, date.min)
    return Selection(first, last)


def load_page(client: Client, **query: str) -> str:
    response = client.get("/admin/usage/", query)
    assert response.status_code == 200, response.content
    return unescape(response.content.decode())


def read_cards(html: str) -> dict[str, str]:
    """Return the figures of the cards, by their names."""
    cards = re.findall(r"<dt>([^<]+)</dt>\s*<dd[^>]*>(.*?)</dd>\s*<dd[^>]*>(.*?)</dd>", html, re.DOTALL)
    figures = {}
    for name, figure, more in cards:
        exact = re.search(r'value="([^"]+)"', figure)
        figures[name] = exact[1] if exact else re.sub(r"<[^>]+>", "", figure).strip()
        figures[f"{name} more"] = " ".join(re.sub(r'<span class="change">.*?</span>', "", more).split())
    return figures
