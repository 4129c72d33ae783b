"""The times of a report's calls: from histograms, or for single users from the ledger's rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from django.db.models import Model, QuerySet, Sum

from chat.accounting.histogram import count_buckets
from chat.accounting.latency import LatencyHistogram
from chat.accounting.report_steps import Step, split_period
from chat.accounting.selections import Selection, find_counted_days
from chat.models import Measure, TimesDay, TimesMonth

# The sums know no times of single users. For up to as many calls they are read from the ledger itself, in 0.1 s.
MAX_CALLS_TIMED = 20_000


def read_times(chosen: Selection, calls: int, step: Step | None = None) -> LatencyHistogram:
    """Return the times of a selection of `calls`; not `known` where they are of single users and too many.

    Without a step those of the steps are left out, which may be most of what is read.
    """
    if chosen.is_personal:
        return _read_times_of_rows(chosen, calls, step)
    return _read_times_of_sums(chosen, step)


def _read_times_of_sums(chosen: Selection, step: Step | None) -> LatencyHistogram:
    clock = LatencyHistogram(known=True)
    in_months = step == "month"
    months, days = split_period(chosen.start, chosen.end, find_counted_days() or (chosen.start, chosen.end))
    if step == "day":
        between = TimesDay.objects.filter(chosen.sum_conditions, day__range=(chosen.start, chosen.end))
        for day, measure, bucket, calls in _read_histogram(between, ("day", "measure", "bucket")):
            clock.count(day, "", measure, bucket, calls)
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


def _read_times_of_rows(chosen: Selection, calls: int, step: Step | None) -> LatencyHistogram:
    """Read the times of some users from the ledger's rows, when these are few enough."""
    if calls > MAX_CALLS_TIMED:
        return LatencyHistogram(known=False)
    clock = LatencyHistogram(known=True)
    values: Mapping[tuple[date, str, int], list[int]] = defaultdict(list)
    for started, model, *times in (
        chosen.select_calls().order_by().values_list("started_at", "model", "first_token_ms", "total_ms")
    ):
        begins = started.date() if step == "day" else started.date().replace(day=1)
        for measure, ms in zip(Measure, times, strict=True):
            if ms is not None:
                values[begins, model, measure].append(ms)
    for (begins, model, kind), some in values.items():
        for bucket, count in count_buckets(some).items():
            clock.count(begins, model, kind, bucket, count)
    return clock
