"""Questions about the ledger: what was used, by whom, at what cost, how fast, and how often it failed.

Figures come from the sums of `chat.ledger`, so they are the ledger's to the last token. Days are UTC.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, NamedTuple

from django.contrib.auth.models import Group
from django.db.models import Max, Min, Model, Q, QuerySet, Sum
from django.utils import timezone

from chat.ledger import midnight
from chat.models import (
    COST_UNIT,
    SUMS,
    Measure,
    Outcome,
    ProviderCall,
    TimesDay,
    TimesMonth,
    UsageDay,
    UsageMonth,
    User,
    UserDay,
    UserMonth,
    UserTotal,
)
from chat.usage import histogram, percentile

By = Literal["day", "user", "group", "model", "provider", "error"]
Step = Literal["day", "month"]

# Days of a longer period are shown as months where they would have to be added up from the rows of many users, or
# from their histograms.
MOST_DAYS = 62

# The sums know no times of single users. Of so many calls they are read from the ledger itself, in 0.1 s.
MOST_CALLS_TIMED = 20_000

DELETED = "deleted users"
NO_GROUP = "no group"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which calls: those begun from `start` to `end`, both included, and matching whatever else is set."""

    start: date
    end: date
    user: int | None = None
    group: int | None = None
    model: str = ""
    provider: str = ""
    outcome: str = ""

    @property
    def is_personal(self) -> bool:
        return self.user is not None or self.group is not None

    @property
    def what(self) -> Q:
        """The conditions that every table of sums can answer."""
        chosen = Q()
        if self.model:
            chosen &= Q(model=self.model)
        if self.provider:
            chosen &= Q(model__startswith=f"{self.provider}:")
        if self.outcome:
            chosen &= Q(outcome=self.outcome)
        return chosen

    @property
    def who(self) -> Q:
        chosen = Q()
        if self.user is not None:
            chosen &= Q(user_id=self.user)
        if self.group is not None:
            chosen &= Q(user_id__in=User.objects.filter(groups=self.group).values("pk"))
        return chosen

    def calls(self, upto: datetime | None = None) -> QuerySet[ProviderCall]:
        """The settled rows themselves, newest first; with `upto`, none that began later."""
        until = midnight(min(self.end, date.max - timedelta(days=1)) + timedelta(days=1))
        # One upper bound: of two SQLite takes the wrong one, and steps over all the rows between them.
        ends = Q(started_at__lte=upto) if upto and upto < until else Q(started_at__lt=until)
        rows = ProviderCall.objects.filter(self.who, ends, started_at__gte=midnight(self.start))
        if self.model:
            rows = rows.filter(model=self.model)
        elif self.provider:
            # Named one by one, they are found by their index.
            rows = rows.filter(model__in=[name for name in models_used() if provider_of(name) == self.provider])
        rows = rows.filter(outcome=self.outcome) if self.outcome else rows.exclude(outcome=Outcome.RUNNING)
        return rows.order_by("-started_at", "-pk")


@dataclass(slots=True)
class Figures:
    """Calls added up."""

    calls: int = 0
    estimated: int = 0
    unpriced: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cost_units: int = 0
    interrupted: int = 0

    def add(self, sums: Sequence[int], outcome: str) -> None:
        """Add a row of sums, in the order of `SUMS`."""
        self.calls += sums[0]
        self.estimated += sums[1]
        self.unpriced += sums[2]
        self.input_tokens += sums[3]
        self.output_tokens += sums[4]
        self.cached_tokens += sums[5]
        self.reasoning_tokens += sums[6]
        self.cost_units += sums[7]
        if outcome == Outcome.INTERRUPTED:
            self.interrupted += sums[0]

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    @property
    def cost(self) -> Decimal | None:
        """US dollars, exactly; None when none of the calls has a price."""
        return None if self.unpriced == self.calls and self.calls else self.cost_units * COST_UNIT

    @property
    def error_share(self) -> float:
        return self.interrupted / self.calls if self.calls else 0.0

    @property
    def estimated_share(self) -> float:
        return self.estimated / self.calls if self.calls else 0.0


class Timing(NamedTuple):
    """Milliseconds, at most 5 % off when they come from the sums; None where there is nothing to tell."""

    first_p50: float | None = None
    first_p95: float | None = None
    total_p50: float | None = None
    total_p95: float | None = None


UNKNOWN = Timing()


@dataclass(slots=True)
class Line:
    """One line of a table."""

    name: str
    figures: Figures = field(default_factory=Figures)
    timing: Timing = UNKNOWN
    key: Any = None  # what a filter for this line takes


@dataclass(frozen=True, slots=True)
class Report:
    """What the review shows. Every part but the groups adds up to `total`; a user may be in several groups."""

    selection: Selection
    total: Line
    step: Step
    series: list[Line]  # one a day or month, those without a call too
    models: list[Line]
    providers: list[Line]
    errors: list[Line]
    users: list[Line]
    groups: list[Line]
    timed: bool  # whether the times are known


def models_used() -> list[str]:
    """Every model that the ledger has ever counted."""
    return list(UsageDay.objects.order_by("model").values_list("model", flat=True).distinct())


def provider_of(model: str) -> str:
    return model.partition(":")[0]


def days_counted() -> tuple[date, date] | None:
    """The first and the last day with a call."""
    days = UsageDay.objects.aggregate(first=Min("day"), last=Max("day"))
    return (days["first"], days["last"]) if days["first"] else None


def report(selection: Selection) -> Report:
    """Everything about a selection, in about a dozen queries."""
    cells = Cells(clipped(selection))
    times = _times(cells)
    series = {name: Line(name, key=name) for name in cells.steps()}
    parts: tuple[dict[str, Line], dict[str, Line], dict[str, Line]] = ({}, {}, {})
    total = Line("total")
    for step, model, outcome, code, *sums in cells.rows:
        total.figures.add(sums, outcome)
        names = (model, provider_of(model), code if outcome == Outcome.INTERRUPTED else "")
        for lines, name in zip((series, *parts), (step.isoformat(), *names), strict=True):
            if name:
                _line(lines, name).figures.add(sums, outcome)
    total.timing = times("total", "")
    for line in series.values():
        line.timing = times("step", line.name)
    models, providers, errors = parts
    for line in models.values():
        line.timing = times("model", line.name)
    for line in providers.values():
        line.timing = times("provider", line.name)
    users = list(by_user(cells.selection))
    return Report(
        selection,
        total,
        cells.step,
        list(series.values()),
        _largest_first(models.values()),
        _largest_first(providers.values()),
        _largest_first(errors.values()),
        users,
        by_group(users, selection),
        times.known,
    )


def table(selection: Selection, by: By) -> list[Line]:
    """The lines of one table; the days in their order, anything else with the largest first."""
    chosen = clipped(selection)
    if by == "user":
        return by_user(chosen)
    if by == "group":
        return by_group(by_user(chosen), selection)
    names: dict[By, Callable[[date, str, str], str]] = {
        "day": lambda day, model, code: day.isoformat(),
        "model": lambda day, model, code: model,
        "provider": lambda day, model, code: provider_of(model),
        "error": lambda day, model, code: code,
    }
    lines: dict[str, Line] = {}
    for day, model, outcome, code, *sums in Cells(chosen, "day").rows:
        if name := names[by](day, model, code):
            _line(lines, name).figures.add(sums, outcome)
    return sorted(lines.values(), key=lambda line: line.name) if by == "day" else _largest_first(lines.values())


def report_total(selection: Selection) -> Figures:
    """Every call of a selection, once."""
    return total_of(table(selection, "model"))


def total_of(lines: Iterable[Line]) -> Figures:
    total = Figures()
    for line in lines:
        figures = line.figures
        total.add([getattr(figures, name) for name in SUMS], "")
        total.interrupted += figures.interrupted
    return total


def clipped(selection: Selection) -> Selection:
    """The same calls in a period without empty ends, so that a month that has just begun counts as a whole one."""
    counted = days_counted()
    first, last = counted or (selection.start, selection.start)
    today = timezone.now().date()
    start, end = max(selection.start, first), min(selection.end, max(last, today))
    return Selection(
        start,
        end,
        selection.user,
        selection.group,
        selection.model,
        selection.provider,
        selection.outcome,
    )


class Period(NamedTuple):
    """Days, as whole months where possible: `months` by their first days, `days` as the pairs that are left."""

    months: list[date]
    days: list[tuple[date, date]]


def period(start: date, end: date, counted: tuple[date, date]) -> Period:
    """Nothing was counted before and after the days `counted`, so a month that one of them lies in is whole from there
    on."""
    months, days = [], []
    month = start.replace(day=1)
    while month <= end:
        following = (month + timedelta(days=31)).replace(day=1)
        first, final = max(start, month), min(end, following - timedelta(days=1))
        if first <= max(month, counted[0]) and final >= min(following - timedelta(days=1), counted[1]):
            months.append(month)
        else:
            days.append((first, final))
        month = following
    return Period(months, days)


class Cells:
    """The sums of a selection by step, model, outcome and code: the smallest pieces that the tables are made of."""

    def __init__(self, selection: Selection, step: Step | None = None) -> None:
        self.selection = selection
        is_long = (selection.end - selection.start).days >= MOST_DAYS
        self.step: Step = step or ("month" if is_long else "day")
        self.counted = days_counted() or (selection.start, selection.end)
        self.rows = list(self._read())

    def _read(self) -> Iterator[tuple[Any, ...]]:
        """Rows of (day or month, model, outcome, code, *SUMS)."""
        chosen = self.selection
        names = ("model", "outcome", "error_code")
        if self.step == "month":
            rows = _by_months(chosen, self.counted, names, ("day", "month"))
            return ((day.replace(day=1), *rest) for day, *rest in rows)
        between = Q(day__range=(chosen.start, chosen.end))
        if chosen.is_personal:
            return _added(UserDay.objects.filter(between, chosen.what, chosen.who), ("day", *names))
        return iter(UsageDay.objects.filter(between, chosen.what).values_list("day", *names, *SUMS))

    def steps(self) -> list[str]:
        """Every day or month of the period."""
        start, end = self.selection.start, self.selection.end
        days = [start + timedelta(days=number) for number in range((end - start).days + 1)]
        if self.step == "month":
            days = sorted({day.replace(day=1) for day in days})
        return [day.isoformat() for day in days]


def _added(rows: QuerySet[Any], names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    sums = {f"{name}__sum": Sum(name) for name in SUMS}
    for row in rows.order_by().values_list(*names).annotate(**sums).values_list(*names, *sums):
        yield (*row[: len(names)], *map(int, row[len(names) :]))


def _by_months(
    chosen: Selection,
    counted: tuple[date, date],
    names: Sequence[str],
    dates: tuple[str, str] | tuple[()] = (),
    *,
    by_user: bool = False,
) -> Iterator[tuple[Any, ...]]:
    """Sums by names, and by date when asked for: whole months from one table, the days at both ends from another."""
    personal = by_user or chosen.is_personal
    of_days: QuerySet[Any] = UserDay.objects.all() if personal else UsageDay.objects.all()
    of_months: QuerySet[Any] = UserMonth.objects.all() if personal else UsageMonth.objects.all()
    if by_user and not chosen.model and not chosen.provider:
        of_months = UserTotal.objects.all()
    months, days = period(chosen.start, chosen.end, counted)
    if months:
        rows = of_months.filter(chosen.what, chosen.who, month__range=(months[0], months[-1]))
        yield from _added(rows, (*dates[1:], *names))
    for pair in days:
        yield from _added(of_days.filter(chosen.what, chosen.who, day__range=pair), (*dates[:1], *names))


def by_user(selection: Selection) -> list[Line]:
    """One line a user, those who were deleted in one."""
    counted = days_counted() or (selection.start, selection.end)
    lines: dict[int, Line] = {}
    for user, outcome, *sums in _by_months(selection, counted, ("user_id", "outcome"), by_user=True):
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
            _merge(gone, line)
    return _largest_first([*known, gone] if gone.figures.calls else known)


def by_group(users: Iterable[Line], selection: Selection) -> list[Line]:
    """One line a group. A user of two groups counts in both, so groups may add up to more than there is."""
    memberships: dict[int, list[int]] = defaultdict(list)
    for user, group in User.groups.through._default_manager.values_list("user_id", "group_id"):
        memberships[user].append(group)
    names = {0: NO_GROUP, **dict(Group.objects.values_list("pk", "name"))}
    lines: dict[int, Line] = {}
    for line in users:
        for group in memberships.get(line.key) or [0]:
            if group not in lines:
                lines[group] = Line(names[group], key=group)
            _merge(lines[group], line)
    return _largest_first(lines.values())


def _merge(line: Line, other: Line) -> None:
    line.figures.add([getattr(other.figures, name) for name in SUMS], "")
    line.figures.interrupted += other.figures.interrupted


def _line(lines: dict[str, Line], name: str) -> Line:
    if name not in lines:
        lines[name] = Line(name, key=name)
    return lines[name]


def _largest_first(lines: Iterable[Line]) -> list[Line]:
    def size(line: Line) -> tuple[int, int, int, str]:
        return -line.figures.cost_units, -line.figures.tokens, -line.figures.calls, line.name

    return sorted(lines, key=size)


# Times


class Clock:
    """Histograms by what they belong to; asked for ("model", "openai:gpt-4o"), it tells that model's times."""

    def __init__(self, *, known: bool) -> None:
        self.known = known
        self._counts: dict[tuple[str, str, int], dict[int, int]] = defaultdict(lambda: defaultdict(int))

    def count(self, step: date | None, model: str, measure: int, bucket: int, calls: int) -> None:
        kinds = [("total", ""), ("model", model), ("provider", provider_of(model))] if model else []
        if step is not None:
            kinds.append(("step", step.isoformat()))
        for kind, name in kinds:
            self._counts[kind, name, measure][bucket] += calls

    def __call__(self, kind: str, name: str) -> Timing:
        if not self.known:
            return UNKNOWN
        return Timing(
            *(
                percentile(self._counts.get((kind, name, measure), {}), share)
                for measure in (Measure.FIRST_TOKEN, Measure.TOTAL)
                for share in (0.5, 0.95)
            )
        )


def _times(cells: Cells) -> Clock:
    if cells.selection.is_personal:
        return _times_of_rows(cells)
    return _times_of_sums(cells)


def _times_of_sums(cells: Cells) -> Clock:
    clock = Clock(known=True)
    chosen = cells.selection
    months, days = period(chosen.start, chosen.end, cells.counted)
    if cells.step == "day":
        between = TimesDay.objects.filter(chosen.what, day__range=(chosen.start, chosen.end))
        for step, measure, bucket, calls in _histogram(between, ("day", "measure", "bucket")):
            clock.count(step, "", measure, bucket, calls)
    parts: list[tuple[type[Model], str, tuple[date, date]]] = [(TimesDay, "day", pair) for pair in days]
    if months:
        parts.append((TimesMonth, "month", (months[0], months[-1])))
    for table_of, name, pair in parts:
        rows = table_of._default_manager.filter(chosen.what, **{f"{name}__range": pair})
        if cells.step == "day":
            for model, measure, bucket, calls in _histogram(rows, ("model", "measure", "bucket")):
                clock.count(None, model, measure, bucket, calls)
        else:
            month = pair[0].replace(day=1) if name == "day" else None
            names = ("model", "measure", "bucket") if month else ("month", "model", "measure", "bucket")
            for row in _histogram(rows, names):
                clock.count(month or row[0], *row[-4:])
    return clock


def _histogram(rows: QuerySet[Any], names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    for row in rows.order_by().values_list(*names).annotate(count=Sum("calls")).values_list(*names, "count"):
        yield (*row[:-1], int(row[-1]))


def _times_of_rows(cells: Cells) -> Clock:
    """The times of some users, from the ledger's rows when these are few enough."""
    if sum(row[4] for row in cells.rows) > MOST_CALLS_TIMED:
        return Clock(known=False)
    clock = Clock(known=True)
    values: Mapping[tuple[date, str, int], list[int]] = defaultdict(list)
    for started, model, *times in (
        cells.selection.calls().order_by().values_list("started_at", "model", "first_token_ms", "total_ms")
    ):
        step = started.date() if cells.step == "day" else started.date().replace(day=1)
        for measure, ms in zip(Measure, times, strict=True):
            if ms is not None:
                values[step, model, measure].append(ms)
    for (step, model, kind), some in values.items():
        for bucket, calls in histogram(some).items():
            clock.count(step, model, kind, bucket, calls)
    return clock
