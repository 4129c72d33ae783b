"""One bad row of the ledger breaks no sum and no report: it is left out and named."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.core.management import call_command
from django.db import connection
from django.test import Client
from pytest_django import Settings

from chat.accounting import quotas, rollups
from chat.admin import usage_csv
from chat.core.events import Usage
from chat.core.prices import Price
from chat.models import USAGE_FIELDS, ProviderCall, UsageDay, User
from chat.web import account
from tests.provider_server import ProviderServer, Script
from tests.support.site import Site
from tests.support.usage_ledger import choose_everything, load_page

# Each column with what it may hold for some reason; SQLite takes anything, PostgreSQL what its types can.
BAD: list[tuple[str, str]] = [
    ("cost", "'NaN'"),
    ("cost", "-0.00000001"),
    ("cost", "-999999"),
    ("cost", "999999"),
    ("input_tokens", "2000000000"),
    ("output_tokens", "2147483647"),
    ("cached_tokens", "1000000001"),
    ("written_tokens", "1000000001"),
    ("written_hour_tokens", "2147483647"),
    ("searches", "1000001"),
    ("total_ms", "2147483647"),
]
ANYTHING: list[tuple[str, str]] = [
    ("cost", "'Infinity'"),
    ("cost", "9e999"),
    ("cost", "1e300"),
    ("cost", "'a lot'"),
    ("input_tokens", "9223372036854775807"),
    ("reasoning_tokens", "1e40"),
    ("first_token_ms", "9223372036854775807"),
]


def add_sound_row() -> ProviderCall:
    return ProviderCall.objects.create(
        user=User.objects.first(), model="openai:gpt-4o", outcome="complete", input_tokens=5, cost=Decimal("0.5")
    )


# What PostgreSQL's types refuse is tried on SQLite alone.
ROWS = [*BAD, *(pytest.param(row, marks=pytest.mark.sqlite) for row in ANYTHING)]


@pytest.fixture(params=ROWS, ids="=".join)
def bad(request: pytest.FixtureRequest, user: User) -> Iterator[ProviderCall]:
    """A bad row between two good ones."""
    column, value = request.param
    add_sound_row()
    call = add_sound_row()
    add_sound_row()
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE chat_providercall SET {column} = {value} WHERE id = {call.pk}")
    yield call
    # Neither Django's serialiser nor anything else has to read it after the test.
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE chat_providercall SET {column} = 0 WHERE id = {call.pk}")


async def write_rows_as_csv() -> list[str]:
    selection = await sync_to_async(choose_everything)()
    written = "".join([lines async for lines in usage_csv.write_calls(selection)])
    return written.splitlines()[1:]


def read_sums() -> tuple[int, int, int]:
    row = UsageDay.objects.get()
    return row.calls, row.input_tokens, row.cost_units


def test_a_bad_row_is_left_out_of_the_sums_and_named(bad: ProviderCall, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "chat.accounting.rollups"):
        assert rollups.catch_up() == 3
    assert read_sums() == (2, 10, 100_000_000)
    assert f"call {bad.pk} (openai:gpt-4o" in caplog.text
    assert rollups.catch_up() == 0
    assert rollups.rebuild() == 3
    assert read_sums() == (2, 10, 100_000_000)
    [named] = rollups.find_rows_left_out()
    assert named.call == bad.pk


def test_every_report_works_and_names_the_bad_row(bad: ProviderCall, client: Client) -> None:
    client.force_login(User.objects.create_superuser("root"))
    shown = load_page(client)
    assert f"call {bad.pk} (openai:gpt-4o" in shown
    for path in ("calls/", "calls/csv/", "csv/user/"):
        response: Any = client.get(f"/admin/usage/{path}")
        assert response.status_code == 200, path
    rows = async_to_sync(write_rows_as_csv)()
    assert len(rows) == 2
    assert not any(row.startswith(f"{bad.pk},") for row in rows)
    assert client.get("/admin/chat/providercall/").status_code == 200
    assert client.get("/account/usage/").status_code == 200
    out, err = io.StringIO(), io.StringIO()
    call_command("usage_report", "--rebuild", stdout=out, stderr=err)
    assert f"call {bad.pk} (openai:gpt-4o" in err.getvalue()


def test_the_user_of_a_bad_row_can_go_on(bad: ProviderCall, user: User, settings: Settings) -> None:
    """What a new allowance begins with is what the sound rows have."""
    settings.CHAT_USER_COST_PER_MONTH = Decimal(10)
    assert quotas.find_standing(user).cost.used == 1
    assert account.load_days(user, datetime.now(UTC))[-1].tokens == 10


def test_a_row_that_was_put_right_is_counted_again(bad: ProviderCall) -> None:
    rollups.catch_up()
    with connection.cursor() as cursor:
        columns = ("cost", *USAGE_FIELDS)
        cursor.execute(
            f"UPDATE chat_providercall SET {', '.join(f'{name} = 0' for name in columns)}, first_token_ms = NULL, "
            f"total_ms = NULL WHERE id = {bad.pk}"
        )
    rollups.rebuild()
    assert UsageDay.objects.get().calls == 3
    assert rollups.find_rows_left_out() == []


@pytest.mark.parametrize("price", ["NaN", "-100", "Infinity", "1e30"])
async def test_an_invalid_price_does_not_interrupt_an_answer(
    site: Site, provider: ProviderServer, settings: Settings, price: str
) -> None:
    amount = Decimal(price)
    settings.CHAT_PRICES = {"openai:gpt-test": Price(amount, amount, amount)}
    settings.CHAT_USER_COST_PER_MONTH = Decimal(10)
    answer = await site.ask("Hello")
    assert answer["status"] == "complete"
    call = await ProviderCall.objects.aget()
    assert (call.outcome, call.cost) == ("complete", None)


async def test_absurd_tokens_of_a_provider_are_an_estimate(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="12345678", usage=Usage(10**18, 3))
    answer = await site.ask("1234")
    assert answer["status"] == "complete"
    assert answer["usage"]["estimated"]
    assert (await ProviderCall.objects.aget()).input_tokens == 1
