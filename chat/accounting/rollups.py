"""The sums of the ledger, in which every settled call is counted once, by day and by month, and by hour how it ended.

So a page about a million calls reads a few thousand rows. Each sum is an INSERT … SELECT from the ledger with an
increment on conflict, the same for one row and for many, and the same on both databases. `ProviderCall.counted` says
that a row is in: it is set in the same transaction. Every writer goes through the tables in one order, and through the
rows of a table in the order of their key, so that two of them cannot wait for each other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from django.conf import settings
from django.db import connection, models, transaction
from django.db.models.functions import Cast

from chat.accounting.histogram import write_bucket_sql
from chat.core.errors import CODES
from chat.core.events import Usage
from chat.core.failures import find_cause
from chat.leases import read_clock
from chat.models import (
    SOUND,
    SUM_TABLES,
    SUMS,
    USAGE_FIELDS,
    Measure,
    Outcome,
    OutcomeHour,
    ProviderCall,
    Pruning,
    TimesDay,
    TimesMonth,
    UsageDay,
    UsageHour,
    UsageMonth,
    UsageMonthHour,
    UserDay,
    UserMonth,
    UserTotal,
)
from chat.models.compiled import Update

log = logging.getLogger(__name__)

# Rows that one transaction of `catch_up` counts: about 0.1 s, for which SQLite has no other writer.
BATCH = 10_000


class Progress(NamedTuple):
    """The figures of a running call, as if it ended now."""

    call: int
    usage: Usage
    first_token_ms: int | None


_progress = Update(
    ProviderCall,
    (*USAGE_FIELDS, "first_token_ms", "lease_until"),
    lambda pk: ProviderCall.objects.filter(pk=pk, outcome=Outcome.RUNNING),
    models.BigIntegerField(),
)


def write_progress(running: Sequence[Progress]) -> None:
    """Write the figures of running calls, and renew the leases of their rows.

    A row that was settled meanwhile stays as it is.
    """
    until = read_clock() + timedelta(seconds=settings.CHAT_LEASE)
    _progress.execute_many(
        (*(getattr(call.usage, name) for name in USAGE_FIELDS), call.first_token_ms, until, call.call)
        for call in running
    )


def count(most: int) -> int:
    """Count the oldest settled rows that the sums do not have yet, in one transaction; return how many there were.

    A call is not counted when it is settled: writing eight tables for every answer would be most of what an answer
    costs the database.
    """
    waiting = ProviderCall.objects.filter(counted=False).exclude(outcome=Outcome.RUNNING).order_by("pk")
    if not waiting.exists():
        return 0
    with transaction.atomic():
        rows = waiting.select_for_update().annotate(is_sound=_IS_SOUND).values_list("pk", "is_sound")
        batch = dict(rows[:most])
        if batch:
            if sound := [pk for pk, is_sound in batch.items() if is_sound]:
                _count(sound)
            ProviderCall.objects.filter(pk__range=(min(batch), max(batch)), pk__in=list(batch)).update(counted=True)
            _leave_out([pk for pk, is_sound in batch.items() if not is_sound])
    return len(batch)


_IS_SOUND = models.Case(
    models.When(SOUND, then=models.Value(True)), default=models.Value(False), output_field=models.BooleanField()
)


def _leave_out(ids: Sequence[int]) -> None:
    """Mark rows whose figures cannot be true, and name them in the log: they are in no sum and no report."""
    if not ids:
        return
    ProviderCall.objects.filter(pk__in=ids).update(left_out=True)
    for bad in find_rows_left_out():
        if bad.call in ids:
            log.error("%s", bad)


class LeftOut(NamedTuple):
    """A row of the ledger whose figures cannot be true, as the database has them."""

    call: int
    model: str
    started_at: datetime
    figures: str

    def __str__(self) -> str:
        """Return a line that names it."""
        return f"call {self.call} ({self.model}, {self.started_at:%Y-%m-%d %H:%M} UTC) is left out: {self.figures}"


def find_rows_left_out(most: int = 100) -> list[LeftOut]:
    """Return the last rows that are in no sum, at most `most`. None of their figures is read as a number."""
    columns = ("cost", *USAGE_FIELDS, "first_token_ms", "total_ms")
    texts = {f"{name}_text": Cast(name, models.TextField()) for name in columns}
    rows = ProviderCall.objects.filter(left_out=True).order_by("-pk").annotate(**texts)
    found = []
    for call, model, started_at, *figures in rows.values_list("pk", "model", "started_at", *texts)[:most]:
        named = (f"{name} {figure}" for name, figure in zip(columns, figures, strict=True) if figure is not None)
        found.append(LeftOut(call, model, started_at, ", ".join(named)))
    return found


def catch_up(progress: Callable[[int], None] = lambda counted: None) -> int:
    """Count all settled rows that the sums do not have yet; return how many. Every reader of sums begins with this.

    `progress` is called with the size of each batch. Without such rows it is one query of an index.
    """
    total = 0
    while counted := count(BATCH):
        total += counted
        progress(counted)
    if total > BATCH:
        _tell_planner()
    return total


def rebuild(progress: Callable[[int], None] = lambda counted: None) -> int:
    """Count the whole ledger again, but for the days whose rows were pruned; return how many rows.

    Settling waits while the old sums are deleted. Until the last batch is counted, each reader of sums counts along.
    """
    kept = find_first_kept_day() or date.min
    with transaction.atomic():
        _lock_ledger()
        for days in (UsageDay, UserDay, TimesDay):
            days._default_manager.filter(day__gte=kept).delete()
        OutcomeHour.objects.filter(hour__gte=find_midnight(kept)).delete()
        for months in (UsageMonth, UsageMonthHour, UserMonth, UserTotal, TimesMonth):
            months._default_manager.filter(month__gte=kept.replace(day=1)).delete()
        UsageHour.objects.filter(hour__gte=find_midnight(kept)).delete()
        if kept > date.min:
            _add_up_months(kept.replace(day=1))
        ProviderCall.objects.filter(started_at__gte=find_midnight(kept), counted=True).update(
            counted=False, left_out=None
        )
    return catch_up(progress)


def find_first_kept_day() -> date | None:
    """Return the first day whose ledger rows are all there, or None when none were ever pruned."""
    pruned: date | None = Pruning.objects.aggregate(before=models.Max("before"))["before"]
    return pruned


def find_midnight(day: date) -> datetime:
    """Return the moment at which a day of the ledger begins."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


# The statements


@dataclass(frozen=True, slots=True)
class _Sum:
    """A table of sums, with SQL for its columns by the columns of its source."""

    table: type[models.Model]
    keys: dict[str, str]
    figures: dict[str, str]
    source: str = ""

    def write_sql(self, where: str, source: str) -> str:
        name = connection.ops.quote_name(self.table._meta.db_table)
        keys = ", ".join(self.keys)
        added = ", ".join(f"{column} = {name}.{column} + excluded.{column}" for column in self.figures)
        by = ", ".join(str(number) for number in range(1, len(self.keys) + 1))
        return (
            f"INSERT INTO {name} ({keys}, {', '.join(self.figures)}) "  # noqa: S608 - our own names
            f"SELECT {', '.join([*self.keys.values(), *self.figures.values()])} FROM {source} WHERE {where} "
            f"GROUP BY {by} ORDER BY {by} ON CONFLICT ({keys}) DO UPDATE SET {added}"
        )


_OUTCOME = {"model": "model", "outcome": "outcome", "error_code": "error_code"}
_PURPOSE = {name: name for name in ("purpose", "model", "outcome")}
_USER = {"user_id": "COALESCE(user_id, 0)"}
_FIGURES = {
    "calls": "COUNT(*)",
    "estimated": "SUM(CASE WHEN estimated THEN 1 ELSE 0 END)",
    "unpriced": "SUM(CASE WHEN cost IS NULL THEN 1 ELSE 0 END)",
    **{name: f"SUM({name})" for name in USAGE_FIELDS},
    "cost_units": "COALESCE(SUM(CAST(ROUND(cost * 100000000) AS BIGINT)), 0)",
}
_BUCKET = {"model": "model", "outcome": "outcome", "measure": "measure", "bucket": write_bucket_sql("ms")}


def _write_day_sql(moment: str = "started_at") -> str:
    """Return SQL for the UTC day of a moment. Django's TruncDate is a Python function on SQLite, 20 times slower."""
    return f"SUBSTR({moment}, 1, 10)" if connection.vendor == "sqlite" else f"({moment} AT TIME ZONE 'UTC')::date"


def _write_month_sql(day: str) -> str:
    if connection.vendor == "sqlite":
        return f"SUBSTR({day}, 1, 7) || '-01'"
    return f"DATE_TRUNC('month', {day})::date"


def _write_hour_sql() -> str:
    """Return SQL for the hour in which a call began, UTC."""
    if connection.vendor == "sqlite":
        return "SUBSTR(started_at, 1, 13) || ':00:00'"
    return "DATE_TRUNC('hour', started_at, 'UTC')"


def _write_hour_of_day_sql(moment: str) -> str:
    """Return SQL for the hour of the day of a moment, UTC: 0 to 23."""
    if connection.vendor == "sqlite":
        return f"CAST(SUBSTR({moment}, 12, 2) AS INTEGER)"
    return f"EXTRACT(HOUR FROM {moment} AT TIME ZONE 'UTC')::smallint"


def _write_cause_sql() -> str:
    """Return SQL for what a call failed of, empty if it did not; a process of an older version writes only its code."""
    known = " ".join(f"WHEN '{code}' THEN '{find_cause(code)}'" for code in CODES)
    by_code = f"CASE error_code {known} ELSE '{find_cause('')}' END"
    of_failed = f"CASE WHEN error_cause <> '' THEN error_cause ELSE {by_code} END"
    return f"CASE WHEN outcome = '{Outcome.INTERRUPTED}' THEN {of_failed} ELSE '' END"


def _count(ids: Sequence[int]) -> None:
    """Add these calls to every sum."""
    calls = connection.ops.quote_name(ProviderCall._meta.db_table)
    # Written out: twice a batch is more than SQLite takes as parameters. The range says the same again, for PostgreSQL,
    # which would otherwise read the whole ledger to find ten thousand of its rows.
    numbers = sorted(map(int, ids))
    where = f"id BETWEEN {numbers[0]} AND {numbers[-1]} AND id IN ({', '.join(map(str, numbers))})"
    day, month = _write_day_sql(), _write_month_sql(_write_day_sql())
    times = " UNION ALL ".join(
        f"SELECT started_at, model, outcome, {measure.value} AS measure, CAST({column} AS BIGINT) AS ms "  # noqa: S608
        f"FROM {calls} WHERE {where} AND {column} IS NOT NULL"
        for measure, column in ((Measure.FIRST_TOKEN, "first_token_ms"), (Measure.TOTAL, "total_ms"))
    )
    sums = (
        _Sum(UsageDay, {"day": day, **_OUTCOME}, _FIGURES),
        _Sum(UsageMonth, {"month": month, **_OUTCOME}, _FIGURES),
        _Sum(UsageHour, {"hour": _write_hour_sql(), "purpose": "purpose", **_OUTCOME}, _FIGURES),
        _Sum(UsageMonthHour, {"month": month, "hour": _write_hour_of_day_sql("started_at"), **_PURPOSE}, _FIGURES),
        _Sum(UserDay, {**_USER, "day": day, **_OUTCOME}, _FIGURES),
        _Sum(UserMonth, {"month": month, **_USER, **_OUTCOME}, _FIGURES),
        _Sum(UserTotal, {"month": month, **_USER, "outcome": "outcome"}, _FIGURES),
        _Sum(
            OutcomeHour,
            {"hour": _write_hour_sql(), "model": "model", "cause": _write_cause_sql()},
            {"calls": "COUNT(*)"},
        ),
    )
    buckets = (
        _Sum(TimesDay, {"day": day, **_BUCKET}, {"calls": "COUNT(*)"}),
        _Sum(TimesMonth, {"month": month, **_BUCKET}, {"calls": "COUNT(*)"}),
    )
    with connection.cursor() as cursor:
        for each in sums:
            cursor.execute(each.write_sql(where, calls))
        for each in buckets:
            # "WHERE true": without it SQLite takes ON CONFLICT for the join's ON.
            cursor.execute(each.write_sql("true", f"({times}) AS times"))


def _add_up_months(month: date) -> None:
    """Add up a month whose first days were pruned from the sums of those days and their hours."""
    figures = {name: f"SUM({name})" for name in SUMS}
    month_of_day = _write_month_sql("day")
    names = {name: name for name in ("model", "outcome", "measure", "bucket")}
    parts = (
        (_Sum(UsageMonth, {"month": month_of_day, **_OUTCOME}, figures), UsageDay),
        (_Sum(UserMonth, {"month": month_of_day, "user_id": "user_id", **_OUTCOME}, figures), UserDay),
        (_Sum(UserTotal, {"month": month_of_day, "user_id": "user_id", "outcome": "outcome"}, figures), UserDay),
        (_Sum(TimesMonth, {"month": month_of_day, **names}, {"calls": "SUM(calls)"}), TimesDay),
    )
    hour_keys = {"month": _write_month_sql(_write_day_sql("hour")), "hour": _write_hour_of_day_sql("hour"), **_PURPOSE}
    hours = connection.ops.quote_name(UsageHour._meta.db_table)
    with connection.cursor() as cursor:
        for part, days in parts:
            source = connection.ops.quote_name(days._meta.db_table)
            cursor.execute(part.write_sql("day >= %s", source), (month,))
        begins = UsageHour._meta.get_field("hour").get_db_prep_value(find_midnight(month), connection)
        cursor.execute(_Sum(UsageMonthHour, hour_keys, figures).write_sql("hour >= %s", hours), (begins,))


def _tell_planner() -> None:
    """Have PostgreSQL update its statistics of the tables after many new rows.

    Until its autovacuum runs it would plan queries by the statistics from before them, and take seconds for a page.
    """
    if connection.vendor == "postgresql":
        tables: list[type[models.Model]] = [ProviderCall, *SUM_TABLES]
        with connection.cursor() as cursor:
            cursor.execute(f"ANALYZE {', '.join(connection.ops.quote_name(each._meta.db_table) for each in tables)}")


def _lock_ledger() -> None:
    """Lock the ledger against settling and counting until the transaction ends; SQLite's BEGIN IMMEDIATE has done so.

    A weaker mode would let in the SELECT … FOR UPDATE with which `count` begins: then the caller would wait for the
    sums that `count` has written, and `count` for the table that is locked here.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            table = connection.ops.quote_name(ProviderCall._meta.db_table)
            cursor.execute(f"LOCK TABLE {table} IN EXCLUSIVE MODE")
