"""A user's own page shows what is enforced, and what their ledger has for the last 30 days."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.test import Client
from django.utils.html import strip_tags
from pytest_django import Settings

from chat.account import DAYS, Day, bars_of, days_of
from chat.models import Allowance, Limit, ProviderCall, User
from chat.quotas import admit
from chat.usage import Price

NOW = datetime(2026, 3, 15, 12, tzinfo=UTC)


def page_of(user: User) -> str:
    client = Client()
    client.force_login(user)
    response = client.get("/account/usage/")
    assert response.status_code == 200
    return response.content.decode()


def words_of(html: str) -> str:
    """What is read, with single blanks."""
    return " ".join(strip_tags(html).split())


def gauge(user: User, title: str) -> str:
    """The words of one limit."""
    gauges = re.findall(r'<li class="gauge">(.*?)</li>', page_of(user), re.DOTALL)
    return next(
        (words.removeprefix(title).strip() for html in gauges if (words := words_of(html)).startswith(title)), ""
    )


def called(user: User, ago: timedelta = timedelta(), **fields: Any) -> ProviderCall:
    """A call that ended, so long before `NOW`."""
    figures: dict[str, Any] = {"input_tokens": 60, "output_tokens": 30, "outcome": "complete", **fields}
    call = ProviderCall.objects.create(user=user, model="openai:gpt-test", **figures)
    ProviderCall.objects.filter(pk=call.pk).update(started_at=NOW - ago)
    return call


def used(user: User, **figures: Any) -> None:
    now = datetime.now(UTC)
    Allowance.objects.create(user=user, **{"minute": now, "day": now.date(), **figures})


def test_strangers_log_in_first(user: User) -> None:
    response = Client().get("/account/usage/")
    assert (response.status_code, response.headers["Location"].split("?")[0]) == (302, "/accounts/login/")


def test_the_sidebar_leads_there(user: User) -> None:
    client = Client()
    client.force_login(user)
    assert 'href="/account/usage/"' in client.get("/").content.decode()


def test_limits_and_what_is_used_of_them_are_shown(user: User, settings: Settings) -> None:
    settings.CHAT_USER_REQUESTS_PER_MINUTE, settings.CHAT_USER_STREAMS = 60, 4
    Limit.objects.create(user=user, tokens_per_day=10_000, cost_per_month=5)
    used(user, requests=3, tokens=2_500, cost=Decimal("1.25"))
    assert re.fullmatch(r"3 of 60 Begins anew in \d+ seconds?\.", gauge(user, "Requests this minute"))
    assert gauge(user, "Answers being written") == "0 of 4"
    assert gauge(user, "Tokens today") == "2,500 of 10,000 Begins anew at 00:00 UTC."
    assert gauge(user, "Cost this month").startswith("$1.25 of $5.00 Begins anew ")
    assert '<rect class="used" width="25.00" height="1" />' in page_of(user)


def test_a_limit_that_is_reached_is_said_to_be(user: User) -> None:
    Limit.objects.create(user=user, tokens_per_day=100)
    used(user, tokens=90)
    assert "at the limit" not in gauge(user, "Tokens today")
    Allowance.objects.update(tokens=130)
    assert gauge(user, "Tokens today").startswith("130 of 100 · at the limit")
    assert '<rect class="used" width="100.00" height="1" />' in page_of(user)


def test_what_is_reserved_is_shown_apart(user: User) -> None:
    Limit.objects.create(user=user, tokens_per_day=11_000)
    admit(ProviderCall(user=user, model="openai:gpt-test", input_tokens=100))
    assert gauge(user, "Tokens today").startswith("0 of 11,000 1,100 reserved for answers being written.")
    assert '<rect class="reserved" x="0.00" width="10.00" height="1" />' in re.sub(r"\s+", " ", page_of(user))


def test_without_a_limit_there_is_no_meter(user: User) -> None:
    assert gauge(user, "Tokens today").startswith("0 · no limit")
    assert 'class="meter"' not in page_of(user)


def test_a_window_that_has_ended_is_shown_empty(user: User) -> None:
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    Limit.objects.create(user=user, requests_per_minute=5, tokens_per_day=10, cost_per_month=1)
    used(user, minute=long_ago, day=long_ago.date(), requests=5, tokens=10, cost=1)
    assert gauge(user, "Requests this minute") == "0 of 5"
    assert gauge(user, "Tokens today").startswith("0 of 10 Begins")
    assert gauge(user, "Cost this month").startswith("$0.00 of $1.00")


def test_where_nothing_has_a_price_no_cost_is_shown(user: User) -> None:
    ProviderCall.objects.create(user=user, model="openai:gpt-test", outcome="complete", input_tokens=5)
    assert gauge(user, "Cost this month") == ""
    assert "no price" in words_of(page_of(user))


def test_calls_without_a_price_are_said_to_be_left_out(user: User) -> None:
    for cost in (None, Decimal("0.5")):
        ProviderCall.objects.create(user=user, model="openai:gpt-test", outcome="complete", input_tokens=5, cost=cost)
    assert gauge(user, "Cost this month").startswith("$0.50 · no limit")
    assert gauge(user, "Cost this month").endswith("1 call to models without a price not counted.")
    assert "$0.50 + 1 without a price" in words_of(page_of(user))


def test_days_add_up_to_the_ledger(user: User) -> None:
    called(user, cost=Decimal("0.10"))
    called(user, timedelta(hours=12), cost=Decimal("0.20"))
    called(user, timedelta(hours=12, seconds=1))
    called(user, timedelta(days=29, hours=12), input_tokens=1, output_tokens=0)
    called(user, timedelta(days=29, hours=12, seconds=1))
    called(user, outcome="running")
    called(User.objects.create_user("grace"))
    days = days_of(user, NOW)
    assert len(days) == DAYS
    assert days[-1] == Day(NOW.date(), 2, 180, Decimal("0.30"), 0)
    assert days[-2] == Day(NOW.date() - timedelta(days=1), 1, 90, None, 1)
    assert days[0] == Day(NOW.date() - timedelta(days=29), 1, 1, None, 1)
    assert days[1:-2] == [Day(NOW.date() - timedelta(days=ago)) for ago in range(28, 1, -1)]


def test_the_highest_bar_fills_the_chart_and_the_smallest_is_seen() -> None:
    today = NOW.date()
    bars = bars_of([Day(today, 1, 1), Day(today), Day(today, 1, 50_000), Day(today, 1, 100_000)])
    assert [bar.height for bar in bars] == [1, 0, 50, 100]
    assert all(bar.y + bar.height == 100 for bar in bars)


def test_every_day_has_its_bar_and_its_words(user: User) -> None:
    ProviderCall.objects.create(user=user, model="demo:tour", outcome="complete", input_tokens=1234, cost=0)
    page = page_of(user)
    assert page.count('class="bar" x=') == DAYS
    assert f"{datetime.now(UTC):%a} {datetime.now(UTC).day} {datetime.now(UTC):%b}: 1,234 tokens" in page


def test_a_new_user_is_told_that_nothing_was_used(user: User) -> None:
    page = page_of(user)
    assert "Nothing has been used yet." in page
    assert 'class="chart"' not in page


def test_nothing_on_the_page_is_refused_by_its_own_policy(user: User, settings: Settings) -> None:
    settings.CHAT_PRICES = {"openai:gpt-test": Price(Decimal(1), Decimal(1), Decimal(1))}
    ProviderCall.objects.create(user=user, model="openai:gpt-test", outcome="complete", input_tokens=5)
    page = page_of(user)
    assert "style=" not in page
    assert "<style" not in page
    assert "<script" not in page


def test_it_can_only_be_read(user: User) -> None:
    client = Client()
    client.force_login(user)
    assert client.post("/account/usage/").status_code == 405


def test_another_users_figures_are_not_shown(user: User) -> None:
    used(User.objects.create_user("grace"), tokens=987_654)
    assert "987,654" not in page_of(user)
