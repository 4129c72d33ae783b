"""The report of a month, which administrators get by mail when it is over: what was used, by whom, and what failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from django.conf import settings
from django.db.models import Count
from django.template.defaultfilters import pluralize
from django.utils import timezone

from chat.accounting import reports, rollups
from chat.accounting.alerts import THRESHOLDS
from chat.accounting.figures import Figures, Line, sum_lines
from chat.accounting.formatting import write_dollars
from chat.accounting.periods import find_next_month
from chat.accounting.rollups import find_midnight
from chat.accounting.selections import Selection
from chat.models import Alert, Delivery, Rating, UsageMonth

# How long after the end of a month: by then its longest answers are counted, and the night's maintenance is over.
SENT_AFTER = timedelta(hours=6)

# Lines of each table; the usage review has all of them.
SHOWN = 10


class ReportMail(NamedTuple):
    """A mail: its subject and its text."""

    subject: str
    text: str


def plan_report() -> None:
    """Put the report of the last month into the outbox, once, where anybody is to get it and a call was counted."""
    now = timezone.now()
    this_month = find_midnight(now.date().replace(day=1))
    month = (this_month - timedelta(days=1)).date().replace(day=1)
    if not settings.CHAT_REPORT_MAIL or now < this_month + SENT_AFTER or Delivery.objects.filter(month=month).exists():
        return
    if UsageMonth.objects.filter(month=month).exists():
        row = Delivery(month=month, channel=Delivery.Channel.MAIL, due_at=now)
        Delivery.objects.bulk_create([row], ignore_conflicts=True)  # of two processes one writes it


def write_report(month: date) -> ReportMail:
    """Write the report of a month, given by its first day. Days are UTC, as they are in the review."""
    rollups.catch_up()
    following = find_next_month(month)
    begins, ends = find_midnight(month), find_midnight(following)
    selection = Selection(month, following - timedelta(days=1))
    report = reports.make_report(selection)
    total = report.total.figures
    ended_before = month - timedelta(days=1)
    before = reports.sum_selection(replace(selection, start=ended_before.replace(day=1), end=ended_before)).figures
    parts = [
        f"{month:%B %Y}: {_write_figures(total)}, {_write_change(total, before)}.",
        f"{_count(total.interrupted, 'call')} failed ({total.error_share:.1%}). {_write_ratings(begins, ends)}",
        _write_table("Models", report.trend.models),
        _write_table("Groups (a user may be in several)", report.groups),
        _write_table("Users", report.users),
        _write_budgets(begins, ends),
        "Days are UTC. The admin's page Usage has more, and all of it as CSV.",
    ]
    subject = f"[Chatsite] {month:%B %Y}: {_write_cost(total)}, {_count(total.calls, 'call')}"
    return ReportMail(subject, "\n\n".join(filter(None, parts)) + "\n")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{pluralize(number)}"


def _write_cost(figures: Figures) -> str:
    if figures.cost is None:
        return "no price"
    return write_dollars(figures.cost) + (" + ?" if figures.unpriced else "")


def _write_figures(figures: Figures) -> str:
    return f"{_count(figures.calls, 'call')}, {figures.tokens:,} tokens, {_write_cost(figures)}"


def _write_change(now: Figures, before: Figures) -> str:
    if not before.calls:
        return "and none in the month before"
    if not before.cost_units or now.cost is None:
        return f"after {_write_figures(before)} in the month before"
    change = now.cost_units / before.cost_units - 1
    return f"{change:+.0%} in US dollars against the {_write_cost(before)} of the month before"


def _write_ratings(begins: datetime, ends: datetime) -> str:
    """Return how readers rated the answers of the month."""
    rated = Rating.objects.filter(created_at__gte=begins, created_at__lt=ends).order_by()
    counts = dict(rated.values_list("value").annotate(count=Count("pk")))
    up, down = counts.get(Rating.Value.UP, 0), counts.get(Rating.Value.DOWN, 0)
    return f"Readers rated {_count(up, 'answer')} good and {down:,} bad."


def _write_table(head: str, lines: Sequence[Line]) -> str:
    """Return the largest lines of a table in columns; the others as one more, so that it adds up."""
    rest = sum_lines(lines[SHOWN:])
    rows = [(line.name, line.figures) for line in lines[:SHOWN]]
    if rest.calls:
        rows.append((f"{len(lines) - SHOWN:,} others", rest))
    cells = [(name, f"{figures.calls:,}", f"{figures.tokens:,}", _write_cost(figures)) for name, figures in rows]
    return _align_columns([(head, "calls", "tokens", "US dollars"), *cells]) if cells else ""


def _align_columns(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

    def write_row(name: str, *figures: str) -> str:
        return "  ".join([name.ljust(widths[0]), *map(str.rjust, figures, widths[1:])]).rstrip()

    return "\n".join(write_row(*row) for row in rows)


def _write_budgets(begins: datetime, ends: datetime) -> str:
    """Return which budgets were used up in the month."""
    used_up = Alert.objects.filter(threshold=THRESHOLDS[-1], created_at__gte=begins, created_at__lt=ends)
    sentences = [
        f"{alert.created_at.astimezone(UTC):%Y-%m-%d}: {alert.sentence}" for alert in used_up.order_by("created_at")
    ]
    return "\n".join(["Budgets that were used up", *sentences]) if sentences else ""
