"""A call costs what the admin's table, CHAT_PRICES or the published lists say, in this order; or nobody knows."""

from __future__ import annotations

import sqlite3
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from chat.accounting import ledger
from chat.accounting.pricing import compute_cost, find_price
from chat.core.events import Usage
from chat.core.prices import Price
from chat.models import ModelPrice, ProviderCall, User
from tests.conftest import OPENAI
from tests.provider_server import ProviderServer, Script
from tests.support.server import Server
from tests.support.site import Site

MOMENT = datetime(2026, 1, 15, tzinfo=UTC)
MILLION = Usage(1_000_000, 1_000_000, cached_tokens=400_000)


def calculate_published_cost(model: str, usage: Usage = MILLION, base_url: str | None = None) -> Decimal | None:
    return compute_cost(usage, find_price(model, {}, base_url=base_url, at=MOMENT))


def test_a_published_price_counts_fresh_cached_and_written_tokens_apart() -> None:
    # $2.50 for fresh input, $1.25 for cached, $10 for output: what OpenAI has asked since October 2024.
    assert (
        calculate_published_cost("openai:gpt-4o")
        == Decimal("0.6") * Decimal("2.5") + Decimal("0.4") * Decimal("1.25") + 10
    )


def test_a_dated_name_has_the_price_of_its_model() -> None:
    assert calculate_published_cost("openai:gpt-4o-2024-08-06") == calculate_published_cost("openai:gpt-4o")


def test_a_long_prompt_has_the_price_of_its_step() -> None:
    short = calculate_published_cost("anthropic:claude-sonnet-4-5", Usage(100_000, 0))
    long = calculate_published_cost("anthropic:claude-sonnet-4-5", Usage(1_000_000, 0))
    assert short == Decimal("0.3")
    assert long is not None
    assert long > 10 * short


@pytest.mark.parametrize("model", ["openai:gpt-test", "openai:llama3", "nobody:gpt-4o", "anthropic:gpt-4o", "gpt-4o"])
def test_a_model_that_its_provider_does_not_list_has_no_price(model: str) -> None:
    assert calculate_published_cost(model) is None


def test_a_compatible_server_that_is_known_has_its_own_prices() -> None:
    groq = "https://api.groq.com/openai/v1"
    assert calculate_published_cost("openai:llama-3.3-70b-versatile", base_url=groq) == Decimal("1.38")
    assert calculate_published_cost("openai:gpt-4o", base_url=groq) is None


def test_a_compatible_server_that_is_unknown_has_prices_for_the_names_of_its_provider_alone() -> None:
    local = "http://127.0.0.1:11434/v1"
    assert calculate_published_cost("openai:llama3", base_url=local) is None
    assert calculate_published_cost("openai:gpt-4o", base_url=local) == calculate_published_cost("openai:gpt-4o")


def test_the_demo_provider_is_free_until_someone_prices_it() -> None:
    assert calculate_published_cost("demo:tour") == 0
    price = Price(Decimal(1), Decimal(1), Decimal(1))
    assert compute_cost(Usage(1_000_000, 0), find_price("demo:tour", {"demo:tour": price})) == 1


def test_a_cost_has_the_eight_places_that_the_ledger_keeps() -> None:
    third = Price(Decimal("0.333333"), Decimal(0), Decimal(0))
    assert str(compute_cost(Usage(1, 0), third)) == "3.3E-7"
    assert compute_cost(Usage(10, 0), third) == Decimal("0.00000333")


def test_the_settings_win_over_the_published_price(db: None, settings: Settings) -> None:
    settings.CHAT_PRICES = {"openai:gpt-4o": Price(Decimal(7), Decimal(0), Decimal(0))}
    assert ledger.find_call_price(call("openai:gpt-4o"), Usage(1_000_000, 5)) == 7


def test_the_admins_table_wins_over_the_settings_from_its_day_on(db: None, settings: Settings) -> None:
    settings.CHAT_PRICES = {"openai:gpt-4o": Price(Decimal(7), Decimal(0), Decimal(0))}
    today = timezone.now().date()
    for since, dollars in ((today - timedelta(9), 3), (today, 4), (today + timedelta(1), 5)):
        ModelPrice.objects.create(model="openai:gpt-4o", since=since, input=dollars, output=0)
    ModelPrice.objects.create(model="openai:gpt-4", since=today, input=6, output=0)
    costs = [
        ledger.find_call_price(call("openai:gpt-4o", days), Usage(1_000_000, 0, cached_tokens=500_000))
        for days in (0, 1, 9, 10)
    ]
    # On the tenth day before, only the settings knew: $7 for input, nothing for cached.
    assert costs == [4, 3, 3, Decimal("3.5")]


def test_cached_input_may_have_a_price_of_its_own_in_the_table(db: None) -> None:
    ModelPrice.objects.create(model="openai:x", since=date(2020, 1, 1), input=4, output=8, cached=1)
    assert ledger.find_call_price(call("openai:x"), MILLION) == Decimal("2.4") + Decimal("0.4") + 8


def call(model: str, days_ago: int = 0) -> ProviderCall:
    return ProviderCall(model=model, started_at=timezone.now() - timedelta(days=days_ago))


async def test_prices_of_the_table_are_on_the_ledger(site: Site, provider: ProviderServer) -> None:
    await ModelPrice.objects.acreate(model=OPENAI, since=date(2020, 1, 1), input=Decimal("2.5"), output=10)
    provider.script = Script(text="x", usage=Usage(1000, 100))
    answer = await site.ask()
    call = await ProviderCall.objects.aget(answer=UUID(answer["id"]))
    assert call.cost == Decimal("0.0035")


PRICES = ("input", "output", "cached", "written", "written_hour", "search")


@pytest.mark.parametrize("field", PRICES)
@pytest.mark.parametrize(
    "value", ["-1", "-0.000001", "10000.000001", "999999", "1e9", "NaN", "Infinity", "-inf", "sNaN", "x"]
)
def test_an_admin_cannot_set_a_price_that_breaks_sums(db: None, field: str, value: str) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    form = {"model": "openai:house", "since": "2026-01-01", "input": "1", "output": "1", "cached": "", field: value}
    page = client.post("/admin/chat/modelprice/add/", form)
    assert page.status_code == 200
    assert "errorlist" in page.content.decode()
    assert not ModelPrice.objects.exists()


@pytest.mark.parametrize("field", PRICES)
@pytest.mark.parametrize("value", [Decimal(-1), Decimal("10000.01"), Decimal(999_999)])
def test_the_database_takes_no_such_price_from_anybody(db: None, field: str, value: Decimal) -> None:
    prices = {"input": Decimal(1), "output": Decimal(1), field: value}
    with pytest.raises(IntegrityError), transaction.atomic():
        ModelPrice.objects.bulk_create([ModelPrice(model="openai:house", since=date(2026, 1, 1), **prices)])


def test_a_price_at_either_bound_is_taken(db: None) -> None:
    ModelPrice.objects.create(model="openai:house", since=date(2026, 1, 1), input=0, output=10_000, cached=10_000)
    assert ledger.find_call_price(call("openai:house"), MILLION) == Decimal(14_000)


def test_impossible_prices_of_before_are_removed_by_the_migration(tmp_path: Path) -> None:
    server = Server("daphne", tmp_path / "site.sqlite3")
    server.manage("migrate", "chat", "0012", "--verbosity", "0")
    columns = "INSERT INTO chat_modelprice (model, since, input, output, cached) VALUES"
    with sqlite3.connect(tmp_path / "site.sqlite3") as connection:
        connection.execute(f"{columns} ('demo:a', '2026-01-01', -100, -200, NULL), ('demo:b', '2026-01-01', 1, 2, 1)")
    connection.close()
    assert "demo:a since 2026-01-01" in server.manage("migrate", "chat", "0013")
    with sqlite3.connect(tmp_path / "site.sqlite3") as connection:
        assert connection.execute("SELECT model FROM chat_modelprice").fetchall() == [("demo:b",)]
    connection.close()


def test_an_admin_sets_a_price_and_no_price_is_below_nothing(db: None) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    form = {"model": "openai:house", "since": "2026-01-01", "input": "0.25", "output": "1.5", "cached": ""}
    assert "Ensure this value" in client.post("/admin/chat/modelprice/add/", {**form, "input": "-1"}).content.decode()
    assert client.post("/admin/chat/modelprice/add/", form).status_code == 302
    assert ledger.find_call_price(call("openai:house"), MILLION) == Decimal("1.75")
