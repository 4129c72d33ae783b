"""Tables that the sums by day cannot give: calls by purpose, by hour of the day, and by conversation.

The sums by hour know purposes and hours. What they do not know, users and conversations, is added up from the ledger's
rows themselves, where these are few enough.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import (
    BigIntegerField,
    CharField,
    Count,
    DecimalField,
    ExpressionWrapper,
    F,
    Q,
    QuerySet,
    Sum,
    TextField,
)
from django.db.models.functions import Cast, Coalesce, Round, Substr

from chat.accounting.figures import Line, sort_by_size
from chat.accounting.report_steps import select_hours
from chat.accounting.report_times import MOST_CALLS_TIMED
from chat.accounting.selections import Selection
from chat.models import SUMS, USAGE_FIELDS

NO_CONVERSATION = "no conversation"

# The largest ones that the review shows; the CSV has all.
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


def sum_by_purpose(selection: Selection, calls: int) -> list[Line] | None:
    """Return one line for each purpose; None where too many rows would have to be read, of `calls` in all."""
    lines = _sum_by(selection, calls, F("purpose"))
    return None if lines is None else sort_by_size(lines)


def sum_by_hour_of_day(selection: Selection, calls: int) -> list[Line] | None:
    """Return one line for each hour of the day, UTC, in which there were calls; None where there are too many rows."""
    moment = "started_at" if selection.is_personal else "hour"
    # As text on both databases: Django's ExtractHour is a Python function on SQLite.
    lines = _sum_by(selection, calls, Substr(Cast(moment, TextField()), 12, 2))
    if lines is None:
        return None
    for line in lines:
        line.name += ":00"
    return sorted(lines, key=lambda line: line.name)


def sum_by_conversation(selection: Selection, calls: int) -> list[Line] | None:
    """Return one line for each conversation, the largest first; None where there are too many rows.

    Its name is that of its user, because a title is what somebody said; its key is its id.
    """
    if calls > MOST_CALLS_TIMED:
        return None
    whose = ("answer__conversation_id", "answer__conversation__user__username")
    rows = selection.select_calls().order_by().values_list(*whose, "outcome").annotate(**_SUMS_OF_CALLS)
    lines: dict[Any, Line] = {}
    for key, name, outcome, *sums in rows.values_list(*whose, "outcome", *_SUMS_OF_CALLS):
        line = lines.setdefault(key, Line(name or NO_CONVERSATION, key=key and str(key)))
        line.figures.add([*map(int, sums)], outcome)
    return sort_by_size(lines.values())


def _sum_by(selection: Selection, calls: int, name: Any) -> Iterable[Line] | None:
    """Add up a selection by an expression of the hourly sums, or of the ledger's rows where users are selected."""
    if not selection.is_personal:
        return _add_up(select_hours(selection).order_by(), _SUMS_OF_HOURS, name)
    if calls > MOST_CALLS_TIMED:
        return None
    return _add_up(selection.select_calls().order_by(), _SUMS_OF_CALLS, name)


def _add_up(rows: QuerySet[Any], sums_of: dict[str, Any], name: Any) -> list[Line]:
    named = rows.annotate(line=Cast(name, CharField())).values_list("line", "outcome").annotate(**sums_of)
    lines: dict[str, Line] = {}
    for key, outcome, *sums in named.values_list("line", "outcome", *sums_of):
        line = lines.setdefault(key, Line(key, key=key))
        line.figures.add([*map(int, sums)], outcome)
    return list(lines.values())
