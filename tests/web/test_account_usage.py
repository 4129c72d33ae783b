"""A user's own page shows what is enforced, and what their ledger has for the last 30 days."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from django.utils.html import strip_tags
from pytest_django import Settings

from chat.accounting.periods import find_window
from chat.accounting.quotas import admit
from chat.core.prices import Price
from chat.models import Budget, Limit, Meter, ProviderCall, User
from chat.web.account import DAYS, Day, draw_tokens, load_days

pytestmark = pytest.mark.database

NOW = datetime(2026, 3, 15, 12, tzinfo=UTC)


def load_page(user: User) -> str:
    client = Client()
    client.force_login(user)
    response = client.get("/account/usage/")
    assert response.status_code == 200
    return response.content.decode()


def read_words(html: str) -> str:
    """Return the text that HTML shows, with single blanks."""
    return " ".join(strip_tags(html).split())


def read_gauge(user: User, title: str) -> str:
    """Return the words of one limit on the user's page, or nothing when the page does not have it."""
    gauges = re.findall(r'<li class="gauge">(.*?)</li>', load_page(user), re.DOTALL)
    return next(
        (words.removeprefix(title).strip() for html in gauges if (words := read_words(html)).startswith(title)), ""
    )


def add_call(user: User, ago: timedelta = timedelta(), **fields: Any) -> ProviderCall:
    """Add a call that began so long before `NOW` and is settled."""
    figures: dict[str, Any] = {"input_tokens": 60, "output_tokens": 30, "outcome": "complete", **fields}
    call = ProviderCall.objects.create(user=user, model="openai:gpt-test", **figures)
    ProviderCall.objects.filter(pk=call.pk).update(started_at=NOW - ago)
    return call


def set_used(user: User, measure: str, amount: int, at: datetime | None = None) -> None:
    """Set what is used in the window of the moment `at`, by default in the one under way."""
    now = at or datetime.now(UTC)
    window = find_window("month" if measure == "cost" else "day", now)
    name, until = ("now", now + timedelta(minutes=1)) if measure == "requests" else (window.name, window.until)
    key = f"user/{user.pk}/{measure}/{name}"
    Meter.objects.create(key=key, begins=window.begins, until=until, used=amount, is_seeded=True)


def test_the_usage_page_sends_strangers_to_the_login(user: User) -> None:
    response = Client().get("/account/usage/")
    assert (response.status_code, response.headers["Location"].split("?")[0]) == (302, "/accounts/login/")


def test_the_sidebar_links_the_usage_page(user: User) -> None:
    client = Client()
    client.force_login(user)
    assert 'href="/account/usage/"' in client.get("/").content.decode()


def test_limits_and_what_is_used_of_them_are_shown(user: User, settings: Settings) -> None:
    settings.CHAT_USER_REQUESTS_PER_MINUTE, settings.CHAT_USER_STREAMS = 60, 4
    Limit.objects.create(user=user, tokens_per_day=10_000, cost_per_month=5)
    set_used(user, "requests", 3)
    set_used(user, "tokens", 2_500)
    set_used(user, "cost", 125_000_000)
    assert re.fullmatch(r"3 of 60 Resets in \d+ seconds?\.", read_gauge(user, "Requests this minute"))
    assert read_gauge(user, "Answers being written") == "0 of 4"
    assert read_gauge(user, "Tokens today") == "2,500 of 10,000 Resets at 00:00 UTC."
    assert read_gauge(user, "Cost this month").startswith("$1.25 of $5.00 Resets ")
    assert '<rect class="used" width="25.00" height="1" />' in load_page(user)


def test_a_limit_that_is_reached_is_said_to_be(user: User) -> None:
    Limit.objects.create(user=user, tokens_per_day=100)
    set_used(user, "tokens", 90)
    assert "at the limit" not in read_gauge(user, "Tokens today")
    Meter.objects.update(used=130)
    assert read_gauge(user, "Tokens today").startswith("130 of 100 · at the limit")
    assert '<rect class="used" width="100.00" height="1" />' in load_page(user)


def test_reservations_are_shown_apart(user: User) -> None:
    Limit.objects.create(user=user, tokens_per_day=11_000)
    admit(ProviderCall(user=user, model="openai:gpt-test", input_tokens=100))
    assert read_gauge(user, "Tokens today").startswith("0 of 11,000 1,100 reserved for answers being written.")
    assert '<rect class="reserved" x="0.00" width="10.00" height="1" />' in re.sub(r"\s+", " ", load_page(user))


def test_without_a_limit_there_is_no_meter(user: User) -> None:
    assert read_gauge(user, "Tokens today").startswith("0 · no limit")
    assert 'class="meter"' not in load_page(user)


def test_a_window_that_has_ended_is_shown_empty(user: User) -> None:
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    Limit.objects.create(user=user, requests_per_minute=5, tokens_per_day=10, cost_per_month=1)
    for measure, amount in (("requests", 5), ("tokens", 10), ("cost", 100_000_000)):
        set_used(user, measure, amount, long_ago)
    assert read_gauge(user, "Requests this minute") == "0 of 5"
    assert read_gauge(user, "Tokens today").startswith("0 of 10 Resets")
    assert read_gauge(user, "Cost this month").startswith("$0.00 of $1.00")


def test_without_prices_no_cost_is_shown(user: User) -> None:
    ProviderCall.objects.create(user=user, model="openai:gpt-test", outcome="complete", input_tokens=5)
    assert read_gauge(user, "Cost this month") == ""
    assert "no price" in read_words(load_page(user))


def test_calls_without_a_price_are_said_to_be_left_out(user: User) -> None:
    for cost in (None, Decimal("0.5")):
        ProviderCall.objects.create(user=user, model="openai:gpt-test", outcome="complete", input_tokens=5, cost=cost)
    assert read_gauge(user, "Cost this month").startswith("$0.50 · no limit")
    assert read_gauge(user, "Cost this month").endswith("1 call to models without a price not counted.")
    assert "$0.50 + 1 without a price" in read_words(load_page(user))


@pytest.mark.parametrize(
    ("zone", "first"),
    [("UTC", datetime(2026, 3, 1, tzinfo=UTC)), ("Pacific/Apia", datetime(2026, 2, 28, 11, tzinfo=UTC))],
)
def test_calls_of_the_whole_month_are_said_to_be_left_out(
    user: User, settings: Settings, monkeypatch: pytest.MonkeyPatch, zone: str, first: datetime
) -> None:
    """Also on its 31st day, and as the limit has it: in the site's time zone."""
    settings.CHAT_TIME_ZONE = zone
    end = datetime(2026, 3, 31, 9, tzinfo=UTC)  # 22:00 in Apia
    add_call(user, NOW - end, cost=Decimal("0.5"))
    add_call(user, NOW - first)
    add_call(user, NOW - first + timedelta(seconds=1))
    monkeypatch.setattr(timezone, "now", lambda: end)
    assert read_gauge(user, "Cost this month").endswith("1 call to models without a price not counted.")


def test_days_add_up_to_the_ledger(user: User) -> None:
    add_call(user, cost=Decimal("0.10"))
    add_call(user, timedelta(hours=12), cost=Decimal("0.20"))
    add_call(user, timedelta(hours=12, seconds=1))
    add_call(user, timedelta(days=29, hours=12), input_tokens=1, output_tokens=0)
    add_call(user, timedelta(days=29, hours=12, seconds=1))
    add_call(user, outcome="running")
    add_call(User.objects.create_user("grace"))
    days = load_days(user, NOW)
    assert len(days) == DAYS
    assert days[-1] == Day(NOW.date(), 2, 180, Decimal("0.30"), 0)
    assert days[-2] == Day(NOW.date() - timedelta(days=1), 1, 90, None, 1)
    assert days[0] == Day(NOW.date() - timedelta(days=29), 1, 1, None, 1)
    assert days[1:-2] == [Day(NOW.date() - timedelta(days=ago)) for ago in range(28, 1, -1)]


def find_heights(chart: str) -> list[float]:
    """Return the heights of the bars, where there are any, as shares of the plot."""
    whole = float(re.findall(r'class="target"[^>]* height="([\d.]+)"', chart)[0])
    return [round(float(height) / whole, 2) for height in re.findall(r'class="first"[^>]* height="([\d.]+)"', chart)]


def test_a_days_bar_is_as_high_as_its_tokens_and_the_smallest_is_seen() -> None:
    today = NOW.date()
    chart = draw_tokens([Day(today, 1, 1), Day(today), Day(today, 1, 50_000), Day(today, 1, 100_000)])
    assert find_heights(chart) == [0.01, 0.5, 1]


def test_every_day_has_its_bar_and_its_words(user: User) -> None:
    ProviderCall.objects.create(user=user, model="demo:tour", outcome="complete", input_tokens=1234, cost=0)
    page = load_page(user)
    assert page.count('class="target"') == DAYS
    assert f"<title>{datetime.now(UTC).day} {datetime.now(UTC):%b}\ntokens: 1.23k</title>" in page
    assert "1,234" in page


def test_a_new_user_is_told_that_nothing_was_used(user: User) -> None:
    page = load_page(user)
    assert "Nothing has been used yet." in page
    assert 'class="chart"' not in page


def test_nothing_on_the_page_is_refused_by_its_own_policy(user: User, settings: Settings) -> None:
    settings.CHAT_PRICES = {"openai:gpt-test": Price(Decimal(1), Decimal(1), Decimal(1))}
    ProviderCall.objects.create(user=user, model="openai:gpt-test", outcome="complete", input_tokens=5)
    page = load_page(user)
    assert "style=" not in page
    assert "<style" not in page
    assert "<script>" not in page, "scripts are files of this site"


def test_the_usage_page_can_only_be_read(user: User) -> None:
    client = Client()
    client.force_login(user)
    assert client.post("/account/usage/").status_code == 405


def test_another_users_figures_are_not_shown(user: User) -> None:
    set_used(User.objects.create_user("grace"), "tokens", 987_654)
    assert "987,654" not in load_page(user)


def test_a_budget_of_nothing_is_shown_as_used_up(user: User) -> None:
    """It leaves a user the models without a price."""
    Budget.objects.create(name="No money", scope="user", user=user, period="month", cost=0)
    assert read_gauge(user, "No money: dollars this month").startswith("$0.00 of $0.00")
