"""What a change of limits would have refused is found by going through the ledger, and changes nothing."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from chat.models import Budget, Meter, ProviderCall, User

NOON = timezone.now().replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=3)
if (NOON + timedelta(days=1)).month != NOON.month:  # all of the calls are of one month
    NOON -= timedelta(days=2)


def add_call(user: User | None, tokens: int, hours: int = 0, cost: str | None = None, **fields: Any) -> None:
    call = ProviderCall.objects.create(
        user=user,
        model="openai:gpt-test",
        input_tokens=tokens,
        outcome="complete",
        cost=cost and Decimal(cost),
        **fields,
    )
    ProviderCall.objects.filter(pk=call.pk).update(started_at=NOON + timedelta(hours=hours))


@pytest.fixture
def ledger(user: User, settings: Any) -> User:
    settings.CHAT_RESERVE_OUTPUT = 0
    grace = User.objects.create_user("grace")
    for hours, tokens in ((0, 600), (1, 600), (2, 300), (3, 600), (24, 600)):
        add_call(user, tokens, hours, cost="0.50")
    add_call(grace, 400, cost="3")
    add_call(None, 9_000, billed_to="site")
    return grace


def say(*arguments: str) -> str:
    out = StringIO()
    call_command("simulate_limits", *arguments, stdout=out)
    return out.getvalue().strip()


def test_a_call_that_would_have_been_refused_uses_nothing_of_the_limit(ledger: User) -> None:
    """Of 600, 600, 300 and 600 on one day with 1,000 the first and the third fit; the day after is another one."""
    assert say("--tokens-per-day", "1000") == (
        "1,000 tokens a day: 2 of 6 calls would have been refused, with 1,200 tokens and $1.00. Most often: ada 2."
    )


def test_limits_in_dollars_and_for_a_month_are_simulated(ledger: User) -> None:
    assert "3 of 6 calls" in say("--cost-per-month", "1.50")  # the last two of ada's, and grace's
    assert "None of 6 calls" in say("--cost-per-month", "100", "--tokens-per-month", "100000")
    assert "None of 0 calls" in say("--tokens-per-day", "1", "--model", "anthropic")


def test_limits_of_a_group_and_of_the_site_are_simulated(ledger: User, user: User) -> None:
    group = Group.objects.create(name="Team")
    user.groups.add(group)
    ledger.groups.add(group)
    assert "3 of 6 calls" in say("--group", "Team", "--tokens-per-day", "1000")
    assert "of 7 calls" in say("--site", "--tokens-per-day", "1000")


def test_the_admin_simulates_a_budget_that_is_switched_off(ledger: User, user: User) -> None:
    Budget.objects.create(name="Ada", scope="user", user=user, tokens=1_000, period="day", is_active=False)
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    fields = {"action": "simulate", "_selected_action": [Budget.objects.get().pk]}
    page = client.post("/admin/chat/budget/", fields, follow=True).content.decode()
    assert "Ada: 2 of 5 calls would have been refused" in page
    assert not Meter.objects.exists()


@pytest.mark.parametrize("arguments", [(), ("--tokens-per-day", "5", "--group", "None"), ("--days", "0")])
def test_invalid_limits_are_refused(db: None, arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandError):
        say(*arguments)
