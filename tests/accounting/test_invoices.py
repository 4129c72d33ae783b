"""What the ledger says a call costs is what the provider's invoice says, to the last unit."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from pytest_django import Settings

from chat.accounting import ledger
from chat.core.events import Usage
from chat.core.prices import Price, split_input
from chat.models import ModelPrice, ProviderCall, UsageDay

SONNET = "anthropic:claude-sonnet-4-5"
DAY = datetime(2026, 6, 1, tzinfo=UTC)

# 20,000 tokens of input: 12,000 read from the cache, 3,000 written for 5 minutes, 1,000 for an hour, 4,000 neither.
CALL = Usage(20_000, 500, cached_tokens=12_000, written_tokens=3_000, written_hour_tokens=1_000, searches=2)


def calculate_cost(model: str, usage: Usage) -> Decimal | None:
    return ledger.find_call_price(ProviderCall(model=model, started_at=DAY), usage)


# Anthropic's list for claude-sonnet-4-5: $3 input, $0.30 read, $3.75 written, $6 written for 1 h, $15 output, $10 for
# a thousand searches. OpenAI's for gpt-4o: $2.50, $1.25, no price for writing, $10, $10.
INVOICES = [
    pytest.param(SONNET, Usage(4_000, 0), "0.012", id="input"),
    pytest.param(SONNET, Usage(12_000, 0, cached_tokens=12_000), "0.0036", id="read from the cache"),
    pytest.param(SONNET, Usage(3_000, 0, written_tokens=3_000), "0.01125", id="written"),
    pytest.param(SONNET, Usage(1_000, 0, written_hour_tokens=1_000), "0.006", id="written for an hour"),
    pytest.param(SONNET, Usage(0, 500), "0.0075", id="output"),
    pytest.param(SONNET, Usage(0, 0, searches=2), "0.02", id="searches"),
    pytest.param(SONNET, CALL, "0.06035", id="all of them"),
    pytest.param(SONNET, Usage(1, 0, cached_tokens=1), "0.0000003", id="one token"),
    pytest.param("openai:gpt-4o", Usage(1_000, 100, cached_tokens=200, written_tokens=300), "0.00325", id="no price"),
]


# The models of today. A call of Claude's has 20,000 tokens of input, of which 12,000 were read, 3,000 written for 5
# minutes and 1,000 for an hour, 500 of output, of which 200 are reasoning and cost no more, and 2 searches for $0.02.
# OpenAI writes for one time only: 4,000 of 20,000.
TODAY = datetime(2026, 11, 28, tzinfo=UTC)
THOUGHT = replace(CALL, reasoning_tokens=200)
WRITTEN = Usage(20_000, 500, cached_tokens=12_000, written_tokens=4_000, reasoning_tokens=200)
LONG = Usage(120_000, 1_000, cached_tokens=100_000, written_tokens=15_000)
LONGER = Usage(300_000, 1_000, cached_tokens=200_000, written_tokens=90_000)
MODERN = [
    # $8, $0.20 read, $10 written, $16 for an hour, $40: 0.032 + 0.0024 + 0.03 + 0.016 + 0.02 + 0.02
    ("anthropic:claude-fable-5-2", THOUGHT, "0.1204"),
    # $4, $0.20, $5, $8, $20: 0.016 + 0.0024 + 0.015 + 0.008 + 0.01 + 0.02
    ("anthropic:claude-opus-5-5", THOUGHT, "0.0714"),
    # $2, $0.10, $2.50, $4, $10: 0.008 + 0.0012 + 0.0075 + 0.004 + 0.005 + 0.02
    ("anthropic:claude-sonnet-5-5", THOUGHT, "0.0457"),
    # $0.10, $0.01, $0.125, $0.20, $0.50: 0.0004 + 0.00012 + 0.000375 + 0.0002 + 0.00025 + 0.02
    ("anthropic:claude-haiku-5-5", THOUGHT, "0.021345"),
    # Above 100,000 five times as much, here 5,000 of neither kind: 0.0025 + 0.005 + 0.009375 + 0.0025
    ("anthropic:claude-haiku-5-5", LONG, "0.019375"),
    # $2, $0.10 read, $2.50 written, $10: 0.008 + 0.0012 + 0.01 + 0.005
    ("openai:gpt-6.2-sol", WRITTEN, "0.0242"),
    # Above 272,000 twice as much, output 1.5 times: 10,000 x $4 + 200,000 x $0.20 + 90,000 x $5 + 1,000 x $15
    ("openai:gpt-6.2-sol", LONGER, "0.545"),
    # $8, $0.40, $10, $40: 0.032 + 0.0048 + 0.04 + 0.02
    ("openai:gpt-6.2-astra", WRITTEN, "0.0968"),
    # $1, $0.05, $1.25, $5: 0.004 + 0.0006 + 0.005 + 0.0025
    ("openai:gpt-6.1-terra", WRITTEN, "0.0121"),
    # $0.10, $0.01, $0.125, $0.50: 0.0004 + 0.00012 + 0.0005 + 0.00025
    ("openai:gpt-6-luna", WRITTEN, "0.00127"),
    # $2.50, $0.25, writing as input, $15: 0.01 + 0.003 + 0.01 + 0.0075
    ("openai:gpt-5.4", WRITTEN, "0.0305"),
]


@pytest.mark.parametrize(("model", "usage", "dollars"), MODERN)
def test_calls_cost_what_the_published_prices_give_by_hand(db: None, model: str, usage: Usage, dollars: str) -> None:
    assert ledger.find_call_price(ProviderCall(model=model, started_at=TODAY), usage) == Decimal(dollars)


@pytest.mark.parametrize(("model", "usage", "dollars"), INVOICES)
def test_a_call_is_priced_by_the_published_list(db: None, model: str, usage: Usage, dollars: str) -> None:
    assert calculate_cost(model, usage) == Decimal(dollars)


# What 4,000 + 12,000 + 3,000 + 1,000 tokens of input, 500 of output and 2 searches cost by a table of the admin's.
TABLE = [
    pytest.param({"input": 4, "output": 8}, "0.091", id="only what it must have"),
    pytest.param({"input": 4, "output": 8, "cached": 1}, "0.055", id="cached"),
    pytest.param({"input": 4, "output": 8, "cached": 1, "written": 0}, "0.04", id="written for nothing"),
    pytest.param({"input": 4, "output": 8, "cached": 1, "written_hour": 10}, "0.057", id="written for an hour"),
    pytest.param({"input": 4, "output": 8, "cached": 1, "search": 25}, "0.105", id="searches"),
]


@pytest.mark.parametrize(("prices", "dollars"), TABLE)
def test_a_call_is_priced_by_the_table_in_the_admin(db: None, prices: dict[str, int], dollars: str) -> None:
    """Without prices of their own, writing costs 1.25 times as much as input, and for an hour twice as much."""
    ModelPrice.objects.create(model="openai:house", since=date(2020, 1, 1), **prices)
    assert calculate_cost("openai:house", CALL) == Decimal(dollars)


def test_a_call_is_priced_by_the_setting(db: None, settings: Settings) -> None:
    settings.CHAT_PRICES = {"openai:house": Price(Decimal(4), Decimal(8), Decimal(1))}
    assert calculate_cost("openai:house", CALL) == Decimal("0.055")


@pytest.mark.parametrize(
    "usage",
    [
        Usage(10, 0, cached_tokens=20),
        Usage(10, 0, cached_tokens=6, written_tokens=6, written_hour_tokens=6),
        Usage(10, 0, written_hour_tokens=1_000),
        Usage(0, 0, written_tokens=5),
    ],
    ids=str,
)
@pytest.mark.parametrize("model", [SONNET, "openai:house"])
def test_parts_that_are_more_than_the_whole_cost_no_more_than_the_whole(
    db: None, settings: Settings, model: str, usage: Usage
) -> None:
    settings.CHAT_PRICES = {"openai:house": Price(Decimal(3), Decimal(15), Decimal("0.3"))}
    assert sum(split_input(usage)) == usage.input_tokens
    assert min(split_input(usage)) >= 0
    dollars = calculate_cost(model, usage)
    assert dollars is not None
    assert 0 <= dollars <= Decimal("0.00006")


def test_every_figure_of_a_call_is_on_its_row(db: None) -> None:
    call = ProviderCall.objects.create(model=SONNET)
    for name in ("input_tokens", "output_tokens", "cached_tokens", "written_tokens", "written_hour_tokens", "searches"):
        setattr(call, name, getattr(CALL, name))
    call.estimated = False
    call.outcome = "complete"
    assert ledger.settle(call)
    assert ProviderCall.objects.get().usage == CALL


OLDER: dict[str, dict[str, Any]] = {
    "chat_usageday": {"day": "2026-06-01", "calls": 1, "unpriced": 0, "cost_units": 5},
    "chat_providercall": {
        "purpose": "answer",
        "billed_to": "user",
        "started_at": "2026-06-01 00:00:00+00:00",
        "counted": True,
    },
}


@pytest.mark.parametrize(("table", "kind"), [("chat_usageday", UsageDay), ("chat_providercall", ProviderCall)])
def test_a_process_of_an_older_version_writes_rows_without_these_figures(
    db: None, table: str, kind: type[UsageDay | ProviderCall]
) -> None:
    """During an upgrade both versions write to the same database."""
    row: dict[str, Any] = {
        **OLDER[table],
        **dict.fromkeys(("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"), 7),
        "model": SONNET,
        "outcome": "complete",
        "error_code": "",
        "estimated": kind is ProviderCall,
    }
    if kind is UsageDay:
        row["estimated"] = 0
    with connection.cursor() as cursor:
        places = ", ".join(["%s"] * len(row))
        cursor.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})", list(row.values()))
    written = kind._default_manager.get()
    assert (written.input_tokens, written.written_tokens, written.written_hour_tokens, written.searches) == (7, 0, 0, 0)
