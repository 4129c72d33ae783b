"""`usage_report` prints what the review shows, for a terminal or a spreadsheet."""

from __future__ import annotations

import csv
import re
from datetime import date, timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command, load_command_class
from django.utils import timezone

from chat.accounting import rollups
from chat.models import ProviderCall, Pruning, UsageDay
from tests.support import ledger_rows
from tests.support.usage_ledger import add_up_in_sql


@pytest.fixture
def rows(db: None) -> None:
    """Rows that nobody counted yet: a report counts them first."""
    ledger_rows.write(ledger_rows.make_ledger_rows(1500, ledger_rows.make_users(6), 90))


def run(*arguments: str) -> tuple[str, str]:
    """Run the command; return what it prints, and what it writes to standard error."""
    out, beside = StringIO(), StringIO()
    call_command("usage_report", *arguments, stdout=out, stderr=beside)
    return out.getvalue(), beside.getvalue()


def format_old_day() -> str:
    return (timezone.now().date() - timedelta(200)).isoformat()


@pytest.mark.parametrize("by", ["day", "user", "model", "provider"])
def test_the_csv_adds_up_to_the_plain_sql_sum(rows: None, by: str) -> None:
    lines = list(csv.DictReader(StringIO(run("--from", format_old_day(), "--by", by, "--format", "csv")[0])))
    wanted = add_up_in_sql()
    for name in ("calls", "interrupted", "estimated", "unpriced", "input_tokens", "output_tokens"):
        assert sum(int(line[name]) for line in lines) == getattr(wanted, name)
    assert sum(Decimal(line["cost"]) for line in lines if line["cost"] != "no price") == wanted.cost


@pytest.mark.parametrize("by", ["day", "user", "group", "model", "provider", "error"])
def test_the_total_of_the_table_is_the_plain_sql_sum(rows: None, by: str) -> None:
    printed, _ = run("--from", format_old_day(), "--by", by)
    total = next(line for line in printed.splitlines() if line.startswith("total"))
    wanted = add_up_in_sql()
    figures = total.replace(" %", "%").split()
    assert [figures[place] for place in (1, 4, 7)] == [
        f"{number:,}" for number in (wanted.calls, wanted.input_tokens, wanted.output_tokens)
    ]
    assert f"{wanted.cost:,.8f} + ?" in total


def test_without_a_period_it_is_this_month(rows: None) -> None:
    today = timezone.now().date()
    printed, _ = run()
    assert printed.startswith(f"{today.replace(day=1)} to {today}, by day")
    days = re.findall(r"^(\d{4}-\d\d-\d\d)  ", printed, re.MULTILINE)
    assert days
    assert {day[:7] for day in days} == {today.isoformat()[:7]}


def test_the_first_and_last_day_of_a_period_are_included(db: None) -> None:
    moments = [rollups.find_midnight(date(2026, 1, day)) for day in (1, 2, 3, 4)]
    ledger_rows.write(iter([ProviderCall(model="x:y", started_at=at, outcome="complete") for at in moments]))
    printed, _ = run("--from", "2026-01-02", "--to", "2026-01-03", "--format", "csv")
    assert [line.split(",")[0] for line in printed.splitlines()] == ["day", "2026-01-02", "2026-01-03"]


def test_a_model_without_a_price_is_reported_without_a_cost(db: None) -> None:
    ledger_rows.write(iter([ProviderCall(model="x:y", started_at=timezone.now(), outcome="complete")]))
    printed, _ = run("--by", "model")
    assert re.search(r"^x:y .*no price$", printed, re.MULTILINE)
    assert run("--by", "model", "--format", "csv")[0].splitlines()[1].endswith("no price")


def test_a_rebuild_repairs_the_sums_and_says_how_many_it_counted(rows: None) -> None:
    right, beside = run("--from", format_old_day())
    assert re.search(r"1,[45]\d\d calls counted", beside)
    UsageDay.objects.update(calls=7)
    assert run("--from", format_old_day())[0] != right
    repaired, beside = run("--from", format_old_day(), "--rebuild")
    assert repaired == right
    assert "calls counted" in beside
    assert run("--from", format_old_day()) == (right, "")


def test_the_report_says_up_to_when_rows_were_pruned(rows: None) -> None:
    Pruning.objects.create(before=timezone.now().date() - timedelta(30))
    assert "were pruned; their sums are complete" in run("--from", format_old_day())[0]
    assert "pruned" not in run("--from", timezone.now().date().isoformat())[0]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--from", "soon"), "'soon' is not a day such as 2026-01-31"),
        (("--from", "2026-02-02", "--to", "2026-02-01"), "2026-02-02, is after the last one, 2026-02-01"),
        (("--by", "weather"), "invalid choice: 'weather'"),
    ],
)
def test_a_bad_option_is_named(db: None, arguments: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(CommandError, match=re.escape(sentence)):
        run(*arguments)


@pytest.mark.parametrize("name", ["usage_report", "prune"])
def test_the_help_explains_every_option_and_gives_examples(name: str) -> None:
    command: Any = load_command_class("chat", name)
    parser = command.create_parser("manage.py", name)
    text = parser.format_help()
    assert text.count(f"manage.py {name} ") >= 3
    ours = [action for action in parser._actions if action.dest in {"start", "end", "by", "format", "rebuild", "yes"}]
    assert all(action.help for action in ours)
