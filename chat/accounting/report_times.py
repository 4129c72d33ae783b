"""The times of a report's calls: from histograms, or for single users from the ledger's rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from django.db.models import QuerySet, Sum

from chat.accounting.histogram import count_buckets
from chat.accounting.latency import LatencyHistogram
from chat.accounting.report_steps import Step, split_period
from chat.accounting.selections import Selection, find_counted_days
from chat.models import Measure, TimesDay, TimesMonth

# The sums know no times of single users. For up to as many calls they are read from the ledger itself, in 0.1 s.
MAX_CALLS_TIMED = 20_000


def read_times(chosen: Selection, calls: int, step: Step | None = None) -> LatencyHistogram:
    """Return the times of a selection of `calls`; not `is_known` where they are of single users and too many.

    Without a step those of the steps are left out, which may be most of what is read.
    """
    if chosen.is_personal:
        return _read_times_of_rows(chosen, calls, step)
    return _read_times_of_sums(chosen, step)


def _read_times_of_sums(chosen: Selection, step: Step | None) -> LatencyHistogram:
    """Read the times of all calls of these days from the tables of histograms: whole months, and the days around."""
    times = LatencyHistogram(is_known=True)
    months, days = split_period(chosen.start, chosen.end, find_counted_days() or (chosen.start, chosen.end))
    if step == "day":
        rows = TimesDay.objects.filter(chosen.sum_conditions, day__range=(chosen.start, chosen.end))
        for day, measure, bucket, calls in _read_histogram(rows, ("day", "measure", "bucket")):
            times.count(day, "", measure, bucket, calls)
    for start, end in days:
        rows = TimesDay.objects.filter(chosen.sum_conditions, day__range=(start, end))
        month = start.replace(day=1) if step == "month" else None
        for model, measure, bucket, calls in _read_histogram(rows, ("model", "measure", "bucket")):
            times.count(month, model, measure, bucket, calls)
    if months:
        whole = TimesMonth.objects.filter(chosen.sum_conditions, month__range=(months[0], months[-1]))
        if step == "month":
            for month, model, measure, bucket, calls in _read_histogram(whole, ("month", "model", "measure", "bucket")):
                times.count(month, model, measure, bucket, calls)
        else:
            for model, measure, bucket, calls in _read_histogram(whole, ("model", "measure", "bucket")):
                times.count(None, model, measure, bucket, calls)
    return times


def _read_histogram(rows: QuerySet[Any], names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    for row in rows.order_by().values_list(*names).annotate(count=Sum("calls")).values_list(*names, "count"):
        yield (*row[:-1], int(row[-1]))


def _read_times_of_rows(chosen: Selection, calls: int, step: Step | None) -> LatencyHistogram:
    """Read the times of some users from the ledger's rows, when these are few enough."""
    if calls > MAX_CALLS_TIMED:
        return LatencyHistogram(is_known=False)
    times = LatencyHistogram(is_known=True)
    values: Mapping[tuple[date, str, int], list[int]] = defaultdict(list)
    for started, model, *both in (
        chosen.select_calls().order_by().values_list("started_at", "model", "first_token_ms", "total_ms")
    ):
        begins = started.date() if step == "day" else started.date().replace(day=1)
        for measure, ms in zip(Measure, both, strict=True):
            if ms is not None:
                values[begins, model, measure].append(ms)
    for (begins, model, kind), some in values.items():
        for bucket, count in count_buckets(some).items():
            times.count(begins, model, kind, bucket, count)
    return times
