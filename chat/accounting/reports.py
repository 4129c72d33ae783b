"""Reports on the ledger: use, cost, speed and failures by day, user, group, model and provider.

Figures come from the sums of `chat.accounting.rollups`, so they are the ledger's to the last token. Days are UTC.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal

from django.contrib.auth.models import Group

from chat.accounting.figures import Line, find_line, merge_line, sort_by_size
from chat.accounting.providers import split_provider
from chat.accounting.report_steps import Cells, Step, group_in_memory, read_months, write_step_name
from chat.accounting.report_times import read_times
from chat.accounting.selections import Selection, clip_period
from chat.models import SUMS, Outcome, User

By = Literal["day", "user", "group", "model", "provider", "error"]

DELETED = "deleted users"
NO_GROUP = "no group"


@dataclass(frozen=True, slots=True)
class Trend:
    """A selection over its hours, days or months, and by model, provider and error; each adds up to `total`."""

    selection: Selection
    total: Line
    step: Step
    series: list[Line]  # one an hour, day or month, those without a call too
    models: list[Line]
    providers: list[Line]
    errors: list[Line]
    cost_units: Mapping[tuple[str, str], int]  # by name of the step and model
    timed: bool  # whether the times are known


@dataclass(frozen=True, slots=True)
class Report:
    """The tables of the review. Every one but the groups adds up to the total; a user may be in several groups."""

    trend: Trend
    users: list[Line]
    groups: list[Line]

    @property
    def selection(self) -> Selection:
        return self.trend.selection

    @property
    def total(self) -> Line:
        return self.trend.total


def make_report(selection: Selection) -> Report:
    """Make the whole report on a selection, in about a dozen queries."""
    with group_in_memory():
        trend = make_trend(selection)
        users = list(sum_by_user(clip_period(selection)))
    return Report(trend, users, sum_by_group(users, selection))


def make_trend(selection: Selection, step: Step | None = None) -> Trend:
    """Return how a selection went from step to step; without one given, in the steps that suit its length."""
    cells = Cells(clip_period(selection), step)
    times = read_times(cells.selection, cells.count_calls(), cells.step)
    series = {name: Line(name, key=name) for name in cells.list_steps()}
    parts: tuple[dict[str, Line], dict[str, Line], dict[str, Line]] = ({}, {}, {})
    total = Line("total")
    cost_units: dict[tuple[str, str], int] = defaultdict(int)
    for begins, model, outcome, code, *sums in cells.rows:
        name_of_step = write_step_name(begins)
        total.figures.add(sums, outcome)
        cost_units[name_of_step, model] += sums[SUMS.index("cost_units")]
        names = (name_of_step, model, split_provider(model), code if outcome == Outcome.INTERRUPTED else "")
        for lines, name in zip((series, *parts), names, strict=True):
            if name:
                find_line(lines, name).figures.add(sums, outcome)
    total.timing = times("total", "")
    models, providers, errors = parts
    for kind, named in (("step", series), ("model", models), ("provider", providers)):
        for line in named.values():
            line.timing = times(kind, line.name)
    return Trend(
        selection,
        total,
        cells.step,
        list(series.values()),
        models=sort_by_size(models.values()),
        providers=sort_by_size(providers.values()),
        errors=sort_by_size(errors.values()),
        cost_units=cost_units,
        timed=times.is_known,
    )


def make_table(selection: Selection, by: By) -> list[Line]:
    """Return the lines of one table; the days in their order, anything else with the largest first."""
    chosen = clip_period(selection)
    if by == "user":
        return sum_by_user(chosen)
    if by == "group":
        return sum_by_group(sum_by_user(chosen), selection)
    names: dict[By, Callable[[date, str, str], str]] = {
        "day": lambda day, model, code: day.isoformat(),
        "model": lambda day, model, code: model,
        "provider": lambda day, model, code: split_provider(model),
        "error": lambda day, model, code: code,
    }
    lines: dict[str, Line] = {}
    for day, model, outcome, code, *sums in Cells(chosen, "day").rows:
        if name := names[by](day, model, code):
            find_line(lines, name).figures.add(sums, outcome)
    return sorted(lines.values(), key=lambda line: line.name) if by == "day" else sort_by_size(lines.values())


def sum_selection(selection: Selection) -> Line:
    """Return the total of a selection, with its times."""
    chosen = clip_period(selection)
    total = Line("total")
    for outcome, *sums in read_months(chosen, ("outcome",), by_user=chosen.is_personal):
        total.figures.add(sums, outcome)
    total.timing = read_times(chosen, total.figures.calls)("total", "")
    return total


def sum_by_user(selection: Selection) -> list[Line]:
    """Return one line a user, with one for all deleted users."""
    lines: dict[int, Line] = {}
    for user, outcome, *sums in read_months(selection, ("user_id", "outcome"), by_user=True):
        line = lines.get(user)
        if line is None:
            line = lines[user] = Line("", key=user)
        line.figures.add(sums, outcome)
    # An IN list of every user would cost more than the names that are not wanted.
    users = User.objects.filter(pk__in=lines) if len(lines) < 500 else User.objects.all()
    names = dict(users.values_list("pk", "username"))
    known: list[Line] = []
    gone = Line(DELETED)
    for key, line in lines.items():
        if key in names:
            line.name = names[key]
            known.append(line)
        else:
            merge_line(gone, line)
    return sort_by_size([*known, gone] if gone.figures.calls else known)


def sum_by_group(users: Iterable[Line], selection: Selection) -> list[Line]:
    """Return one line a group. A user of two groups counts in both, so groups may add up to more than there is."""
    memberships: dict[int, list[int]] = defaultdict(list)
    for user, group in User.groups.through._default_manager.values_list("user_id", "group_id"):
        memberships[user].append(group)
    names = {0: NO_GROUP, **dict(Group.objects.values_list("pk", "name"))}
    lines: dict[int, Line] = {}
    for line in users:
        for group in memberships.get(line.key) or [0]:
            if group not in lines:
                lines[group] = Line(names[group], key=group)
            merge_line(lines[group], line)
    return sort_by_size(lines.values())
