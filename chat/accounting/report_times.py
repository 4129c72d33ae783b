"""The times of a report's calls: from histograms, or for single users from the ledger's rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from django.db.models import Model, QuerySet, Sum

from chat.accounting.histogram import count_buckets
from chat.accounting.latency import LatencyHistogram
from chat.accounting.report_steps import Cells, split_period
from chat.models import Measure, TimesDay, TimesMonth

# The sums know no times of single users. For up to as many calls they are read from the ledger itself, in 0.1 s.
MAX_CALLS_TIMED = 20_000


def read_times(cells: Cells, *, by_step: bool = True) -> LatencyHistogram:
    """Return the times of the calls in these cells; not `known` where they are of single users and too many.

    Without `by_step` those of the steps are left out, which may be most of what is read.
    """
    if cells.selection.is_personal:
        return _read_times_of_rows(cells)
    return _read_times_of_sums(cells, by_step)


def _read_times_of_sums(cells: Cells, by_step: bool) -> LatencyHistogram:
    clock = LatencyHistogram(known=True)
    chosen = cells.selection
    in_months = by_step and cells.step == "month"
    months, days = split_period(chosen.start, chosen.end, cells.counted)
    if by_step and cells.step == "day":
        between = TimesDay.objects.filter(chosen.sum_conditions, day__range=(chosen.start, chosen.end))
        for step, measure, bucket, calls in _read_histogram(between, ("day", "measure", "bucket")):
            clock.count(step, "", measure, bucket, calls)
    parts: list[tuple[type[Model], str, tuple[date, date]]] = [(TimesDay, "day", pair) for pair in days]
    if months:
        parts.append((TimesMonth, "month", (months[0], months[-1])))
    for table_of, name, pair in parts:
        rows = table_of._default_manager.filter(chosen.sum_conditions, **{f"{name}__range": pair})
        if not in_months:
            for model, measure, bucket, calls in _read_histogram(rows, ("model", "measure", "bucket")):
                clock.count(None, model, measure, bucket, calls)
        else:
            month = pair[0].replace(day=1) if name == "day" else None
            names = ("model", "measure", "bucket") if month else ("month", "model", "measure", "bucket")
            for row in _read_histogram(rows, names):
                clock.count(month or row[0], *row[-4:])
    return clock


def _read_histogram(rows: QuerySet[Any], names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    for row in rows.order_by().values_list(*names).annotate(count=Sum("calls")).values_list(*names, "count"):
        yield (*row[:-1], int(row[-1]))


def _read_times_of_rows(cells: Cells) -> LatencyHistogram:
    """Read the times of some users from the ledger's rows, when these are few enough."""
    if sum(row[4] for row in cells.rows) > MAX_CALLS_TIMED:
        return LatencyHistogram(known=False)
    clock = LatencyHistogram(known=True)
    values: Mapping[tuple[date, str, int], list[int]] = defaultdict(list)
    for started, model, *times in (
        cells.selection.select_calls().order_by().values_list("started_at", "model", "first_token_ms", "total_ms")
    ):
        step = started.date() if cells.step == "day" else started.date().replace(day=1)
        for measure, ms in zip(Measure, times, strict=True):
            if ms is not None:
                values[step, model, measure].append(ms)
    for (step, model, kind), some in values.items():
        for bucket, calls in count_buckets(some).items():
            clock.count(step, model, kind, bucket, calls)
    return clock
