"""Tables of the usage review: calls by purpose, by hour of the day, and by conversation.

The sums by hour have purposes and hours, and those of months by hour of the day. Users and conversations, which they do
not have, are added up from the rows of the ledger, where these are few enough.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date
from itertools import chain
from typing import Any, NamedTuple

from django.db import connection
from django.db.models import (
    BigIntegerField,
    Count,
    DecimalField,
    ExpressionWrapper,
    F,
    Q,
    Sum,
    TextField,
)
from django.db.models.functions import Cast, Coalesce, Round, Substr

from chat.accounting.figures import Line, find_line, sort_by_size
from chat.accounting.report_steps import select_hours, split_period
from chat.accounting.report_times import MAX_CALLS_TIMED
from chat.accounting.selections import Selection, clip_period, find_counted_days
from chat.models import SUMS, USAGE_FIELDS, Outcome, UsageMonthHour

NO_CONVERSATION = "no conversation"

# The conversations that the review shows, the largest ones; the CSV has all.
CONVERSATIONS_SHOWN = 25

_SUMS_OF_HOURS = {f"{name}__sum": Sum(name) for name in SUMS}
_UNITS = Round(ExpressionWrapper(F("cost") * 100_000_000, DecimalField(max_digits=32, decimal_places=0)))
_SUMS_OF_CALLS: dict[str, Any] = {
    "calls__sum": Count("pk"),
    "estimated__sum": Count("pk", filter=Q(estimated=True)),
    "unpriced__sum": Count("pk", filter=Q(cost=None)),
    **{f"{name}__sum": Sum(name) for name in USAGE_FIELDS},
    "cost_units__sum": Coalesce(Sum(Cast(_UNITS, BigIntegerField())), 0),
}


class HourTables(NamedTuple):
    """One line for each purpose, the largest first, and one for each hour of the day, UTC, that has calls."""

    purposes: list[Line]
    hours: list[Line]


def sum_by_purpose_and_hour(selection: Selection, calls: int) -> HourTables | None:
    """Return both tables of a selection of `calls`; None where too many rows would have to be read."""
    if selection.is_personal:
        if calls > MAX_CALLS_TIMED:
            return None
        rows = _read_calls(selection)
    else:
        rows = _read_months_and_hours(clip_period(selection))
    purposes: dict[str, Line] = {}
    hours: dict[str, Line] = {}
    for purpose, hour, interrupted, *sums in rows:
        for line in (find_line(purposes, purpose), find_line(hours, f"{int(hour):02}")):
            line.figures.add([*map(int, sums)], "")
            line.figures.interrupted += int(interrupted)
    for line in hours.values():
        line.name += ":00"
    return HourTables(sort_by_size(purposes.values()), sorted(hours.values(), key=lambda line: line.name))


def sum_by_purpose(selection: Selection, calls: int) -> list[Line] | None:
    """Return one line for each purpose; None where too many rows of `calls` in all would have to be read."""
    tables = sum_by_purpose_and_hour(selection, calls)
    return tables and tables.purposes


def sum_by_hour_of_day(selection: Selection, calls: int) -> list[Line] | None:
    """Return one line for each hour of the day, UTC, in which there were calls; None where there are too many rows."""
    tables = sum_by_purpose_and_hour(selection, calls)
    return tables and tables.hours


def sum_by_conversation(selection: Selection, calls: int) -> list[Line] | None:
    """Return one line for each conversation, the largest first; None where there are too many rows.

    A line has the name of the conversation's user, because a title is private; its key is the conversation's id.
    """
    if calls > MAX_CALLS_TIMED:
        return None
    columns = ("answer__conversation_id", "answer__conversation__user__username")
    rows = selection.select_calls().order_by().values_list(*columns, "outcome").annotate(**_SUMS_OF_CALLS)
    lines: dict[Any, Line] = {}
    for key, name, outcome, *sums in rows.values_list(*columns, "outcome", *_SUMS_OF_CALLS):
        line = lines.setdefault(key, Line(name or NO_CONVERSATION, key=key and str(key)))
        line.figures.add([*map(int, sums)], outcome)
    return sort_by_size(lines.values())


def _read_calls(selection: Selection) -> Iterable[tuple[Any, ...]]:
    """Return rows of (purpose, hour of the day, interrupted calls, *SUMS) of single calls."""
    # As text on both databases: Django's ExtractHour is a Python function on SQLite.
    named = selection.select_calls().order_by().annotate(clock=Substr(Cast("started_at", TextField()), 12, 2))
    interrupted = Count("pk", filter=Q(outcome=Outcome.INTERRUPTED))
    return named.values_list("purpose", "clock").annotate(interrupted=interrupted, **_SUMS_OF_CALLS)


def _read_months_and_hours(selection: Selection) -> Iterable[tuple[Any, ...]]:
    """Return the rows of `_read_calls`: whole months from their sums, days at both ends from those of their hours."""
    counted = find_counted_days() or (selection.start, selection.end)
    months, days = split_period(selection.start, selection.end, counted)
    of_days = (_read_hours(replace(selection, start=start, end=end)) for start, end in days)
    return chain(_read_months(selection, months) if months else (), *of_days)


def _read_months(selection: Selection, months: Sequence[date]) -> Iterable[tuple[Any, ...]]:
    """Return the rows of `_read_calls` from the sums of whole months: 14 ms for a year, whose hours take 220."""
    interrupted = Sum("calls", filter=Q(outcome=Outcome.INTERRUPTED), default=0)
    found = UsageMonthHour.objects.filter(selection.sum_conditions, month__range=(months[0], months[-1]))
    rows = found.order_by().values("purpose", "hour").annotate(interrupted=interrupted, **_SUMS_OF_HOURS)
    return rows.values_list("purpose", "hour", "interrupted", *_SUMS_OF_HOURS)


def _read_hours(selection: Selection) -> Iterable[tuple[Any, ...]]:
    """Return the rows of `_read_calls` from the sums by hour, in two steps.

    The first sums by hour and purpose, along their index, the second by hour of the day. In one step SQLite sorts every
    row: for a year with five million calls 0.5 s instead of 0.2.
    """
    interrupted = Sum("calls", filter=Q(outcome=Outcome.INTERRUPTED), default=0)
    found = select_hours(selection).order_by().values("hour", "purpose")
    sql, values = found.annotate(interrupted=interrupted, **_SUMS_OF_HOURS).query.sql_with_params()
    sums = ", ".join(f"SUM({connection.ops.quote_name(name)})" for name in ("interrupted", *_SUMS_OF_HOURS))
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT purpose, SUBSTR(CAST(hour AS text), 12, 2), {sums} FROM ({sql}) AS hours GROUP BY 1, 2",  # noqa: S608
            values,
        )
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows
