"""Every total of the review is the plain SQL sum of the ledger's rows, whatever is filtered."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.test import Client
from django.utils import timezone

from chat.accounting import call_tables, report_times, reports, rollups
from chat.accounting.figures import Line, sum_lines
from chat.accounting.report_times import MAX_CALLS_TIMED
from chat.accounting.selections import Selection
from chat.admin import usage_csv, usage_review
from chat.models import Outcome, ProviderCall, User
from tests.support.usage_ledger import Totals, add_up_in_sql, big_ledger, choose_everything, load_page, read_cards

__all__ = ("big_ledger",)


@pytest.fixture
def admin(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


def list_filters() -> list[tuple[dict[str, str], Callable[[], tuple[str, list[Any]]]]]:
    """Return queries of the page, each with a function that returns the same condition in SQL over the rows."""
    in_group = "user_id IN (SELECT user_id FROM chat_user_groups WHERE group_id = %s)"
    today = timezone.now().date()
    return [
        ({}, lambda: ("TRUE", [])),
        ({"model": "openai:gpt-4o"}, lambda: ("model = %s", ["openai:gpt-4o"])),
        ({"provider": "openai"}, lambda: ("model LIKE %s", ["openai:%"])),
        ({"outcome": "interrupted"}, lambda: ("outcome = %s", ["interrupted"])),
        ({"user": "user-0007"}, lambda: ("user_id = %s", [User.objects.get(username="user-0007").pk])),
        ({"group": "Research"}, lambda: (in_group, [Group.objects.get(name="Research").pk])),
        (
            {"group": "Sales", "provider": "anthropic", "outcome": "complete"},
            lambda: (
                f"{in_group} AND model LIKE %s AND outcome = %s",
                [Group.objects.get(name="Sales").pk, "anthropic:%", "complete"],
            ),
        ),
        (
            {"start": str(today - timedelta(40)), "end": str(today - timedelta(9))},
            lambda: make_condition(today - timedelta(40), today - timedelta(9)),
        ),
        (
            {"start": str(today - timedelta(110)), "end": str(today - timedelta(3)), "user": "user-0011"},
            lambda: make_condition(
                today - timedelta(110),
                today - timedelta(3),
                "user_id = %s",
                User.objects.get(username="user-0011").pk,
            ),
        ),
    ]


def make_condition(start: date, end: date, more: str = "TRUE", *params: object) -> tuple[str, list[Any]]:
    moments = [rollups.find_midnight(start), rollups.find_midnight(end + timedelta(1))]
    return f"started_at >= %s AND started_at < %s AND {more}", [*moments, *params]


CASES = [pytest.param(number, id="-".join(query) or "everything") for number, (query, _) in enumerate(list_filters())]


def make_case(number: int) -> tuple[dict[str, str], Totals]:
    query, condition = list_filters()[number]
    if "group" in query:
        query["group"] = str(Group.objects.get(name=query["group"]).pk)
    where, params = condition()
    totals = add_up_in_sql(where, *params)
    assert totals.calls > 20
    return {"period": "all", **query}, totals


@pytest.mark.parametrize("number", CASES)
def test_the_totals_are_the_plain_sql_sums_of_the_rows(big_ledger: None, admin: Client, number: int) -> None:
    query, wanted = make_case(number)
    cards = read_cards(load_page(admin, **query))
    assert int(cards["Calls"]) == wanted.calls
    assert int(cards["Input tokens"]) == wanted.input_tokens
    assert int(cards["Output tokens"]) == wanted.output_tokens
    assert cards["Input tokens more"] == (
        f"{wanted.cached_tokens:,} of them cached and {wanted.written_tokens:,} written to the cache"
    )
    assert cards["Output tokens more"] == (
        f"{wanted.reasoning_tokens:,} of them reasoning <br> {wanted.searches:,} web searches"
    )
    assert Decimal(cards["Cost"]) == wanted.cost
    assert cards["Interrupted more"].startswith(f"{wanted.interrupted:,} call")
    assert cards["Estimated more"].startswith(f"{wanted.estimated:,} call")
    if wanted.unpriced:
        assert cards["Cost more"].startswith(f"{wanted.unpriced:,} call")


@pytest.mark.parametrize("number", CASES)
@pytest.mark.parametrize("by", ["day", "user", "model", "provider"])
def test_the_lines_of_every_table_add_up_to_the_same(big_ledger: None, db: None, number: int, by: reports.By) -> None:
    query, wanted = make_case(number)
    form = usage_review.SelectionForm(query)
    assert form.is_valid()
    lines = reports.make_table(form.to_selection(), by)
    total = sum_lines(lines)
    assert (total.calls, total.input_tokens, total.output_tokens) == wanted[:3]
    assert (total.estimated, total.unpriced, total.interrupted) == (
        wanted.estimated,
        wanted.unpriced,
        wanted.interrupted,
    )
    assert total.cost == wanted.cost
    file = list(csv.DictReader(StringIO("".join(usage_csv.write_table(by, lines)))))
    assert sum(int(row["calls"]) for row in file) == wanted.calls
    assert sum(Decimal(row["cost"]) for row in file if row["cost"] != "no price") == wanted.cost


def test_each_line_is_its_own_sql_sum(big_ledger: None, db: None) -> None:
    chosen = choose_everything()
    for line in reports.make_table(chosen, "model"):
        assert line.figures.calls == add_up_in_sql("model = %s", line.name).calls
    for line in reports.make_table(chosen, "error"):
        assert line.figures.calls == add_up_in_sql("error_code = %s", line.name).calls
    for line in reports.make_table(chosen, "user")[:5]:
        assert line.figures.output_tokens == add_up_in_sql("user_id = %s", line.key).output_tokens
    members = "user_id IN (SELECT user_id FROM chat_user_groups WHERE group_id = %s)"
    groups = reports.make_table(chosen, "group")
    assert {line.name for line in groups} == {"Research", "Support", "Sales", "no group"}
    for line in groups[:-1]:
        if line.key:
            assert line.figures.calls == add_up_in_sql(members, line.key).calls
    outside = "user_id IS NULL OR user_id NOT IN (SELECT user_id FROM chat_user_groups)"
    alone = next(line for line in groups if not line.key)
    assert alone.figures.calls == add_up_in_sql(f"({outside})").calls


@pytest.mark.parametrize("username", ["", "user-0003"])
def test_the_percentiles_are_those_of_the_rows_but_for_five_percent(big_ledger: None, db: None, username: str) -> None:
    """For all users they come from the sums, for one user from the rows."""
    end = choose_everything().end
    start = end - timedelta(30)
    rows = ProviderCall.objects.exclude(outcome=Outcome.RUNNING).filter(started_at__gte=rollups.find_midnight(start))
    user = User.objects.filter(username=username).first()
    if user is not None:
        rows = rows.filter(user=user)
    timing = reports.make_report(Selection(start, end, user=user.pk if user else None)).total.timing
    for found, name, share in (
        (timing.first_p50, "first_token_ms", 50),
        (timing.first_p95, "first_token_ms", 95),
        (timing.total_p50, "total_ms", 50),
        (timing.total_p95, "total_ms", 95),
    ):
        times = sorted(rows.exclude(**{name: None}).values_list(name, flat=True))
        exact = times[-(-len(times) * share // 100) - 1]
        assert found is not None
        assert abs(found - exact) <= 0.05 * exact + 0.5


def test_days_and_models_have_their_own_times(big_ledger: None, db: None) -> None:
    end = choose_everything().end
    month = reports.make_trend(Selection(end - timedelta(29), end))
    assert len(month.series) == 30
    assert all(line.timing.total_p95 for line in [*month.series, *month.models, *month.providers])
    longer = reports.make_trend(choose_everything())
    assert (longer.step, len(longer.series)) == ("month", len({line.name[:7] for line in longer.series}))
    assert all(line.timing.total_p95 for line in longer.series)


def test_the_times_of_too_many_calls_of_a_group_are_not_guessed(
    big_ledger: None, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_times, "MAX_CALLS_TIMED", 100)
    html = load_page(admin, period="all", group=str(Group.objects.get(name="Sales").pk))
    assert "choose fewer days" in html
    assert read_cards(html)["First token"] == "–"  # noqa: RUF001 - the dash that stands for no figure


@pytest.mark.parametrize("username", [None, "user-0007"])
def test_purposes_hours_and_conversations_add_up_to_the_ledgers_rows(
    big_ledger: None, db: None, username: str | None
) -> None:
    user = User.objects.filter(username=username).first()
    end = choose_everything().end
    chosen = Selection(end - timedelta(20), end, user=user.pk if user else None)
    calls = reports.sum_selection(chosen).figures.calls
    where = "started_at >= %s AND left_out IS NOT TRUE" + (f" AND user_id = {user.pk}" if user else "")
    since = rollups.find_midnight(chosen.start)
    purposes = call_tables.sum_by_purpose(chosen, calls)
    assert purposes is not None
    assert {line.name for line in purposes} == {"answer", "title"}
    for line in purposes:
        assert read_figures(line) == add_up_in_sql(f"{where} AND purpose = %s", since, line.name)
    hours = call_tables.sum_by_hour_of_day(chosen, calls)
    assert hours is not None
    assert [line.name for line in hours] == sorted(line.name for line in hours)
    assert sum_figures(hours) == add_up_in_sql(where, since)
    conversations = call_tables.sum_by_conversation(chosen, calls)
    assert conversations is not None
    assert sum_figures(conversations) == add_up_in_sql(where, since)


@pytest.mark.parametrize(
    "conditions", [{}, {"model": "openai:gpt-4o"}, {"provider": "demo"}, {"outcome": "interrupted"}]
)
@pytest.mark.parametrize("days", [(0, 0), (0, 40), (45, 3), (33, 33)], ids=str)
def test_purposes_and_hours_of_whole_months_and_the_days_beside_them(
    big_ledger: None, db: None, days: tuple[int, int], conditions: dict[str, Any]
) -> None:
    every = choose_everything()
    chosen = Selection(every.start + timedelta(days[0]), every.end - timedelta(days[1]), **conditions)
    where = "started_at >= %s AND started_at < %s AND left_out IS NOT TRUE"
    moments: list[Any] = [rollups.find_midnight(chosen.start), rollups.find_midnight(chosen.end + timedelta(1))]
    for name, value in conditions.items():
        where += " AND model LIKE %s" if name == "provider" else f" AND {name} = %s"
        moments.append(f"{value}:%" if name == "provider" else value)
    purposes = call_tables.sum_by_purpose(chosen, 0)
    hours = call_tables.sum_by_hour_of_day(chosen, 0)
    assert purposes is not None
    assert hours is not None
    assert sum_figures(hours) == add_up_in_sql(where, *moments)
    for line in purposes:
        assert read_figures(line) == add_up_in_sql(f"{where} AND purpose = %s", *moments, line.name)
    at_nine = "SUBSTR(started_at, 12, 2) = '09'"
    if connection.vendor == "postgresql":
        at_nine = "EXTRACT(HOUR FROM started_at AT TIME ZONE 'UTC') = 9"
    assert sum_figures([line for line in hours if line.name == "09:00"]) == add_up_in_sql(
        f"{where} AND {at_nine}", *moments
    )


@pytest.mark.parametrize("provider", ["", "openai", "anthropic"])
@pytest.mark.parametrize("username", [None, "user-0007"])
def test_a_model_and_a_provider_select_the_same_calls_in_every_table(
    big_ledger: None, db: None, username: str | None, provider: str
) -> None:
    """A page offers both filters; a model of another provider leaves nothing to count, and no rows to list."""
    user = User.objects.filter(username=username).first()
    every = choose_everything()
    chosen = Selection(every.start, every.end, user=user.pk if user else None, model="openai:gpt-4o")
    wanted = 0 if provider == "anthropic" else reports.sum_selection(chosen).figures.calls
    chosen = replace(chosen, provider=provider)
    tables = [reports.make_table(chosen, by) for by in ("day", "user", "model", "provider")]
    tables += [table(chosen, wanted) or [] for table in usage_review.CALL_TABLES.values()]
    assert [sum_lines(lines).calls for lines in tables] == [wanted] * len(tables)
    assert chosen.select_calls().count() == wanted


def test_tables_that_need_too_many_rows_are_not_read(big_ledger: None, db: None) -> None:
    user = User.objects.get(username="user-0007")
    personal = Selection(*(choose_everything().start, choose_everything().end), user=user.pk)
    many = MAX_CALLS_TIMED + 1
    assert call_tables.sum_by_conversation(choose_everything(), many) is None
    assert call_tables.sum_by_purpose(personal, many) is None
    assert call_tables.sum_by_hour_of_day(personal, many) is None
    assert call_tables.sum_by_purpose(choose_everything(), many)


def read_figures(line: Line) -> Totals:
    return sum_figures([line])


def sum_figures(lines: list[Line]) -> Totals:
    total = sum_lines(lines)
    return Totals(
        total.calls,
        total.input_tokens,
        total.output_tokens,
        total.cached_tokens,
        total.all_written_tokens,
        total.reasoning_tokens,
        total.searches,
        total.estimated,
        total.unpriced,
        total.interrupted,
        total.cost or Decimal(0),
    )
