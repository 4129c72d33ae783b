"""A provider is named as it is written: "openai" and "OpenAI" are two of them, wherever calls are chosen by it."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from chat.accounting import rollups
from chat.accounting.budgets import find_standings
from chat.accounting.quotas import open_meters
from chat.accounting.reports import make_report
from chat.accounting.selections import Selection
from chat.models import Budget, ProviderCall, User

MODELS = {"openai:gpt": 1, "openai:": 2, "OpenAI:gpt": 10, "OPENAI:other": 20, "openai2:gpt": 100, "openai": 200}


@pytest.fixture
def ledger(user: User) -> User:
    """A user with a call to each model, each with its own number of tokens."""
    for model, tokens in MODELS.items():
        ProviderCall.objects.create(user=user, model=model, outcome="complete", input_tokens=tokens)
    rollups.catch_up()
    return user


@pytest.mark.parametrize(("provider", "tokens"), [("openai", 203), ("OpenAI", 10), ("OPENAI", 20), ("openai2", 100)])
@pytest.mark.parametrize("of_one_user", [True, False])
def test_a_report_about_a_provider_adds_up_the_calls_that_it_lists(
    ledger: User, provider: str, tokens: int, *, of_one_user: bool
) -> None:
    today = timezone.now().date()
    whose: dict[str, Any] = {"user": ledger.pk} if of_one_user else {}
    selection = Selection(today - timedelta(days=1), today, provider=provider, **whose)
    assert make_report(selection).total.figures.input_tokens == tokens
    listed = selection.select_calls().values_list("input_tokens", flat=True)
    assert sum(listed) == tokens


@pytest.mark.parametrize(
    ("model", "tokens"), [("openai", 203), ("OpenAI", 10), ("openai:gpt", 1), ("OpenAI:gpt", 10), ("", 333)]
)
def test_a_budget_for_a_provider_begins_with_the_calls_to_it(ledger: User, model: str, tokens: int) -> None:
    open_meters(Budget.objects.create(name="Own", scope="user", user=ledger, tokens=1000, model=model))
    [standing] = find_standings(ledger.pk)
    assert standing.used == tokens


def test_a_limit_is_tried_on_the_calls_to_a_provider(ledger: User) -> None:
    assert simulate("OpenAI") != simulate("nobody")
    assert simulate("oPENAI") == simulate("nobody")


def simulate(model: str) -> str:
    """Return what the command says of a day's limit of 5 tokens for a model or provider."""
    out = StringIO()
    call_command("simulate_limits", "--tokens-per-day", "5", "--model", model, stdout=out)
    return out.getvalue()
