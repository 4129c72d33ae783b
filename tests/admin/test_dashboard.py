"""The admin's first page shows how the site does, to each reader what they may see, and lists the pages by task."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from html import unescape
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from chat.accounting.figures import Figures
from chat.accounting.overview import Overview, forecast_month, make_overview
from chat.accounting.periods import find_window
from chat.accounting.rollups import catch_up
from chat.models import Budget, Conversation, Dismissal, Limit, Message, Meter, ProviderCall, Rating, User
from chatsite.admin_site import OTHER, TASKS, Link
from tests.support import ledger_rows
from tests.support.lost_answers import keep_lost_answer

UNIT = 100_000_000  # cost units of a dollar


@pytest.fixture
def root(db: None) -> User:
    return User.objects.create_superuser("root")


@pytest.fixture
def desk(root: User, client: Client) -> Client:
    client.force_login(root)
    return client


def read_index(client: Client) -> str:
    response = client.get("/admin/")
    assert response.status_code == 200
    return " ".join(unescape(response.content.decode()).split())


def call(days_ago: int, cost: str | None, outcome: str = "complete") -> ProviderCall:
    return ProviderCall(
        model="openai:gpt-4o",
        outcome=outcome,
        input_tokens=10,
        output_tokens=20,
        cost=None if cost is None else Decimal(cost),
        started_at=timezone.now() - timedelta(days=days_ago),
    )


def make_overview_of(*calls: ProviderCall) -> Overview:
    ledger_rows.write(iter(calls))
    catch_up()
    return make_overview(timezone.now().date())


# The overview


def test_today_stands_beside_the_mean_of_the_week_before(db: None) -> None:
    overview = make_overview_of(*(call(ago, "0.70") for ago in range(1, 8)), call(8, "500"), call(0, "0.10"))
    assert overview.today.figures.cost == Decimal("0.10")
    assert overview.usual is not None
    assert (overview.usual.cost, overview.usual.calls) == (Decimal("0.70"), 1)


def test_the_errors_of_a_usual_day_are_those_of_the_weeks_calls(db: None) -> None:
    interrupted = [call(ago, "0.70", "interrupted") for ago in range(1, 8)]
    overview = make_overview_of(*interrupted, *(call(ago, "0.70") for ago in range(1, 7)))
    assert overview.usual is not None
    assert overview.usual.error_share == 7 / 13
    assert overview.usual.calls == 2  # 1.86


def test_a_usual_day_has_a_price_where_any_of_the_weeks_calls_has_one(db: None) -> None:
    overview = make_overview_of(*(call(ago, None) for ago in range(1, 8)), call(3, "7"))
    assert overview.usual is not None
    assert (overview.usual.cost, overview.usual.unpriced) == (Decimal(1), 1)


def test_a_usual_day_without_a_price_is_not_one_that_cost_nothing(db: None) -> None:
    overview = make_overview_of(call(1, None), call(7, None))
    assert overview.usual is not None
    assert overview.usual.cost is None


def test_the_first_day_of_a_ledger_has_nothing_to_compare_with(db: None) -> None:
    overview = make_overview_of(call(0, "0.10"))
    assert (overview.usual, overview.forecast) == (None, None)
    assert overview.today.figures.calls == 1


def test_an_empty_ledger_has_an_overview(db: None) -> None:
    assert make_overview_of().today.figures.calls == 0


@pytest.mark.parametrize(
    ("today", "spent", "spent_today", "usual", "expected"),
    [
        (date(2026, 11, 28), 100, 4, 10, 126),  # 6 that today lacks, and two days
        (date(2026, 11, 30), 100, 4, 10, 106),
        (date(2026, 11, 28), 100, 30, 10, 120),  # today is dearer than usual: nothing is taken off
        (date(2028, 2, 1), 1, 1, 1, 29),
        (date(2026, 11, 28), 0, 0, 0, 0),
    ],
)
def test_a_month_is_forecast_at_the_pace_of_a_usual_day(
    today: date, spent: int, spent_today: int, usual: int, expected: int
) -> None:
    month, current, mean = (Figures(calls=1, cost_units=each * UNIT) for each in (spent, spent_today, usual))
    assert forecast_month(today, month, current, mean) == expected


def test_a_month_without_a_price_has_no_forecast() -> None:
    unpriced = Figures(calls=1, unpriced=1)
    assert forecast_month(date(2026, 11, 28), unpriced, unpriced, unpriced) is None


# The page


def test_each_figure_is_a_link_to_what_it_counts(desk: Client) -> None:
    make_overview_of(call(0, "0.10"), call(1, "0.20"))
    html, today = read_index(desk), timezone.now().date()
    for link in (
        "/admin/usage/?period=today",
        "/admin/usage/?period=month",
        "/admin/usage/calls/?period=today&outcome=interrupted",
        f"/admin/usage/calls/?start={today}&end={today}",
    ):
        assert f'href="{link}"' in html, link


@pytest.fixture
def nearly_used(desk: Client, root: User, settings: Settings) -> Budget:
    """A budget that is used up, and users of whom one has used 80 % of the day's tokens; with what is no such limit."""
    settings.CHAT_USER_TOKENS_PER_DAY = 1000
    now = timezone.now()
    day, month = (find_window(period, now) for period in ("day", "month"))
    last = find_window("month", month.begins - timedelta(days=1))
    other = User.objects.create_user("bob")
    budget = Budget.objects.create(name="Research pot", scope="site", cost=50)
    for key, used, held, most, window in (
        (f"budget/{budget.pk}/cost/{month.name}", 51 * UNIT, 0, 50 * UNIT, month),
        (f"user/{root.pk}/tokens/{day.name}", 700, 100, 1000, day),
        (f"user/{other.pk}/tokens/{day.name}", 799, 0, 1000, day),
        (f"user/{other.pk}/requests/always", 60, 0, 60, day),
        (f"user/{other.pk}/cost/{last.name}", 9, 0, 9, last),
    ):
        Meter.objects.create(key=key, used=used, held=held, most=most, begins=window.begins, until=window.until)
    return budget


def test_limits_that_are_nearly_used_are_named_and_others_are_not(desk: Client, nearly_used: Budget) -> None:
    html = read_index(desk)
    assert html.index("Budget Research pot") < html.index("800 tokens")
    assert "102.0 %" in html
    assert "80.0 %" in html
    assert "bob" not in html


def test_a_limit_that_was_raised_is_not_nearly_used(desk: Client, nearly_used: Budget, settings: Settings) -> None:
    settings.CHAT_USER_TOKENS_PER_DAY = 5000
    Budget.objects.update(cost=60)
    html = read_index(desk)
    assert "800 tokens" not in html
    assert "85.0 %" in html
    assert "$60.00" in html


@pytest.mark.parametrize("whose", ["site", "group", "user"])
def test_a_limit_that_was_lowered_is_nearly_used_before_its_users_next_question(
    desk: Client, nearly_used: Budget, settings: Settings, whose: str
) -> None:
    bob = User.objects.get(username="bob")
    if whose == "site":
        settings.CHAT_USER_TOKENS_PER_DAY = 900
    elif whose == "group":
        bob.groups.add(Group.objects.create(name="Guests"))
        Limit.objects.create(group=Group.objects.get(), tokens_per_day=900)
    else:
        Limit.objects.create(user=bob, tokens_per_day=900)
    html = read_index(desk)
    assert "bob" in html
    assert "799 tokens" in html
    assert "88.8 %" in html


@pytest.mark.parametrize("change", [{"is_active": False}, {"cost": None, "tokens": 5}, {"period": "day"}])
def test_a_limit_that_was_taken_away_is_not_nearly_used(
    desk: Client, nearly_used: Budget, settings: Settings, change: dict[str, Any]
) -> None:
    settings.CHAT_USER_TOKENS_PER_DAY = 0
    Budget.objects.update(**change)
    html = read_index(desk)
    assert "Research pot" not in html
    assert "800 tokens" not in html


def test_open_failures_are_counted_by_code_and_dismissed_ones_are_not(desk: Client, root: User) -> None:
    for code in ("timeout", "timeout", "rate_limited"):
        answer = keep_lost_answer(root)
        Message.objects.filter(pk=answer.pk).update(status="interrupted", error_code=code)
    Dismissal.objects.create(answer=answer, by=root)
    html = read_index(desk)
    assert 'href="/staff/?code=timeout&age=month"' in html
    assert "/staff/?code=rate_limited" not in html


def test_the_ratings_of_a_month_are_summed_by_model(desk: Client, root: User) -> None:
    for value in ("up", "up", "down"):
        Rating.objects.create(answer=keep_lost_answer(root), user=root, value=value, model="openai:gpt-test")
    old = Rating.objects.create(answer=keep_lost_answer(root), user=root, value="up", model="openai:old")
    Rating.objects.filter(pk=old.pk).update(created_at=timezone.now() - timedelta(days=32))
    html = read_index(desk)
    assert 'href="/staff/ratings/?model=openai%3Agpt-test"' in html
    assert "<td>2</td> <td>1</td> <td>67 %</td>" in html
    assert "openai:old" not in html


def test_a_reader_sees_what_they_may_see(db: None, client: Client) -> None:
    make_overview_of(call(0, "0.10"))
    clerk = User.objects.create_user("clerk", is_staff=True)
    clerk.user_permissions.add(Permission.objects.get(codename="view_conversation"))
    client.force_login(clerk)
    html = read_index(client)
    for hidden in ("Cost today", "Nearly used up", "Open failures", "Ratings", "/admin/usage/", "/staff/"):
        assert hidden not in html, hidden
    assert "/admin/chat/conversation/" in html
    clerk.user_permissions.add(Permission.objects.get(codename="view_providercall"))
    assert "Cost today" in read_index(client)


def test_the_first_page_shows_no_title_of_a_conversation(desk: Client, root: User) -> None:
    Conversation.objects.create(user=root, title="What nobody else may read")
    assert "What nobody else" not in read_index(desk)


# The navigation


def test_every_page_of_the_admin_stands_under_a_task() -> None:
    named = {page for pages in TASKS.values() for page in pages if not isinstance(page, Link)}
    assert {model.__name__ for model in apps.get_models() if admin.site.is_registered(model)} == named


def test_a_page_that_no_task_names_is_still_listed(desk: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatsite.admin_site.TASKS", {"People": ("User",)})
    html = read_index(desk)
    assert f"<caption> {OTHER} </caption>" in html
    assert "/admin/chat/conversation/" in html


def test_the_page_of_one_app_lists_that_app_alone(desk: Client) -> None:
    html = unescape(desk.get("/admin/auth/").content.decode())
    content = html[html.index('id="content-main"') :]
    assert "/admin/auth/group/" in content
    assert "/admin/chat/conversation/" not in content
