"""The sums of the ledger: every settled call is counted once, by day and by month, so that a page about a million
calls reads a few thousand rows.

Each sum is an INSERT … SELECT from the ledger with an increment on conflict, the same for one row and for many, and the
same on both databases. `ProviderCall.counted` says that a row is in: it is set in the same transaction. Every writer
goes through the tables in one order, and through the rows of a table in the order of their key, so that two of them
cannot wait for each other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal

from django.conf import settings
from django.db import connection, models, transaction

from chat.events import Usage
from chat.known import Known
from chat.models import (
    SUMS,
    TOKEN_FIELDS,
    Measure,
    ModelPrice,
    Outcome,
    ProviderCall,
    Pruning,
    TimesDay,
    TimesMonth,
    UsageDay,
    UsageMonth,
    UserDay,
    UserMonth,
    UserTotal,
)
from chat.models.prepared import Update
from chat.usage import Price, bucket_sql, cost, price_of

log = logging.getLogger(__name__)

# Rows that one transaction of `catch_up` counts: about 0.1 s, for which SQLite has no other writer.
BATCH = 10_000


def cost_of(call: ProviderCall, usage: Usage) -> Decimal | None:
    """Dollars for a call: by the admin's table, CHAT_PRICES, or the published lists, in this order."""
    provider = call.model.partition(":")[0]
    base_url = settings.CHAT_PROVIDERS.get(provider, {}).get("base_url")
    prices = {**settings.CHAT_PRICES, **_own_price(call)}
    return cost(usage, price_of(call.model, prices, base_url=base_url, at=call.started_at))


@Known
def _own_prices() -> list[ModelPrice]:
    """The newest first."""
    return list(ModelPrice.objects.order_by("-since"))


def _own_price(call: ProviderCall) -> dict[str, Price]:
    day = call.started_at.date()
    known = next((price for price in _own_prices() if price.model == call.model and price.since <= day), None)
    if known is None:
        return {}
    return {call.model: Price(known.input, known.output, known.input if known.cached is None else known.cached)}


SETTLED = (*TOKEN_FIELDS, "estimated", "cost", "first_token_ms", "total_ms", "outcome", "error_code")
_settle = Update(
    ProviderCall,
    SETTLED,
    lambda pk: ProviderCall.objects.filter(pk=pk, outcome=Outcome.RUNNING),
    models.BigIntegerField(),
)


def settle(call: ProviderCall) -> bool:
    """Write a call's figures and its outcome; whether this was the first time. A row is settled once: a second attempt,
    or one whose row is gone, writes nothing. It is counted soon, see `count`."""
    if not _settle(*(getattr(call, name) for name in SETTLED), call.pk):
        log.warning("call %s was settled before, its row stays as it is", call.pk)
        return False
    return True


def count(most: int) -> int:
    """Count the oldest settled rows that the sums do not have yet, in one transaction; how many there were.

    Not when each is settled: seven tables for every answer would be most of what an answer costs the database.
    """
    waiting = ProviderCall.objects.filter(counted=False).exclude(outcome=Outcome.RUNNING).order_by("pk")
    if not waiting.exists():
        return 0
    with transaction.atomic():
        batch = list(waiting.select_for_update().values_list("pk", flat=True)[:most])
        if batch:
            _count(batch)
            ProviderCall.objects.filter(pk__range=(batch[0], batch[-1]), pk__in=batch).update(counted=True)
    return len(batch)


def catch_up(progress: Callable[[int], None] = lambda counted: None) -> int:
    """Count all settled rows that the sums do not have yet: whoever reads sums begins with this.

    `progress` is told after each batch how many it was. Nothing is done, by one query of an index, when there are none.
    """
    total = 0
    while counted := count(BATCH):
        total += counted
        progress(counted)
    if total > BATCH:
        _tell_planner()
    return total


def rebuild(progress: Callable[[int], None] = lambda counted: None) -> int:
    """Count the whole ledger anew, but for the days whose rows were pruned; how many rows.

    Settling waits while the old sums are taken away. Until the last batch is counted, a reader who wants sums counts
    along.
    """
    kept = kept_from() or date.min
    with transaction.atomic():
        _lock_ledger()
        for days in (UsageDay, UserDay, TimesDay):
            days._default_manager.filter(day__gte=kept).delete()
        for months in (UsageMonth, UserMonth, UserTotal, TimesMonth):
            months._default_manager.filter(month__gte=kept.replace(day=1)).delete()
        if kept > date.min:
            _months_from_days(kept.replace(day=1))
        ProviderCall.objects.filter(started_at__gte=midnight(kept), counted=True).update(counted=False)
    return catch_up(progress)


def kept_from() -> date | None:
    """The first day whose ledger rows are all there, or None when none were ever pruned."""
    pruned: date | None = Pruning.objects.aggregate(before=models.Max("before"))["before"]
    return pruned


def midnight(day: date) -> datetime:
    """The moment at which a day of the ledger begins."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


# The statements


@dataclass(frozen=True, slots=True)
class _Sum:
    """A table of sums and how its columns come out of the source."""

    table: type[models.Model]
    keys: dict[str, str]
    figures: dict[str, str]
    source: str = ""

    def sql(self, where: str, source: str) -> str:
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
_USER = {"user_id": "COALESCE(user_id, 0)"}
_FIGURES = {
    "calls": "COUNT(*)",
    "estimated": "SUM(CASE WHEN estimated THEN 1 ELSE 0 END)",
    "unpriced": "SUM(CASE WHEN cost IS NULL THEN 1 ELSE 0 END)",
    **{name: f"SUM({name})" for name in TOKEN_FIELDS},
    "cost_units": "COALESCE(SUM(CAST(ROUND(cost * 100000000) AS BIGINT)), 0)",
}
_BUCKET = {"model": "model", "outcome": "outcome", "measure": "measure", "bucket": bucket_sql("ms")}


def _day() -> str:
    """The UTC day of a call. Django's own TruncDate is a Python function on SQLite, twenty times slower."""
    return "SUBSTR(started_at, 1, 10)" if connection.vendor == "sqlite" else "(started_at AT TIME ZONE 'UTC')::date"


def _month(day: str) -> str:
    if connection.vendor == "sqlite":
        return f"SUBSTR({day}, 1, 7) || '-01'"
    return f"DATE_TRUNC('month', {day})::date"


def _count(ids: Sequence[int]) -> None:
    """Add these calls to every sum."""
    calls = connection.ops.quote_name(ProviderCall._meta.db_table)
    # Written out: twice a batch is more than SQLite takes as parameters. The range says the same again, for PostgreSQL,
    # which would otherwise read the whole ledger to find ten thousand of its rows.
    numbers = sorted(map(int, ids))
    where = f"id BETWEEN {numbers[0]} AND {numbers[-1]} AND id IN ({', '.join(map(str, numbers))})"
    day, month = _day(), _month(_day())
    times = " UNION ALL ".join(
        f"SELECT started_at, model, outcome, {measure.value} AS measure, CAST({column} AS BIGINT) AS ms "  # noqa: S608
        f"FROM {calls} WHERE {where} AND {column} IS NOT NULL"
        for measure, column in ((Measure.FIRST_TOKEN, "first_token_ms"), (Measure.TOTAL, "total_ms"))
    )
    sums = (
        _Sum(UsageDay, {"day": day, **_OUTCOME}, _FIGURES),
        _Sum(UsageMonth, {"month": month, **_OUTCOME}, _FIGURES),
        _Sum(UserDay, {**_USER, "day": day, **_OUTCOME}, _FIGURES),
        _Sum(UserMonth, {"month": month, **_USER, **_OUTCOME}, _FIGURES),
        _Sum(UserTotal, {"month": month, **_USER, "outcome": "outcome"}, _FIGURES),
    )
    buckets = (
        _Sum(TimesDay, {"day": day, **_BUCKET}, {"calls": "COUNT(*)"}),
        _Sum(TimesMonth, {"month": month, **_BUCKET}, {"calls": "COUNT(*)"}),
    )
    with connection.cursor() as cursor:
        for each in sums:
            cursor.execute(each.sql(where, calls))
        for each in buckets:
            # "WHERE true": without it SQLite takes ON CONFLICT for the join's ON.
            cursor.execute(each.sql("true", f"({times}) AS times"))


def _months_from_days(month: date) -> None:
    """The sums of a month whose first days were pruned, from the sums of those days."""
    figures = {name: f"SUM({name})" for name in SUMS}
    month_of_day = _month("day")
    names = {name: name for name in ("model", "outcome", "measure", "bucket")}
    parts = (
        (_Sum(UsageMonth, {"month": month_of_day, **_OUTCOME}, figures), UsageDay),
        (_Sum(UserMonth, {"month": month_of_day, "user_id": "user_id", **_OUTCOME}, figures), UserDay),
        (_Sum(UserTotal, {"month": month_of_day, "user_id": "user_id", "outcome": "outcome"}, figures), UserDay),
        (_Sum(TimesMonth, {"month": month_of_day, **names}, {"calls": "SUM(calls)"}), TimesDay),
    )
    with connection.cursor() as cursor:
        for part, days in parts:
            source = connection.ops.quote_name(days._meta.db_table)
            cursor.execute(part.sql("day >= %s", source), (month,))


def _tell_planner() -> None:
    """After many rows at once PostgreSQL plans by what it knew before them, and takes seconds over a page, until its
    autovacuum has come by."""
    if connection.vendor == "postgresql":
        tables = (ProviderCall, UsageDay, UsageMonth, UserDay, UserMonth, UserTotal, TimesDay, TimesMonth)
        with connection.cursor() as cursor:
            cursor.execute(f"ANALYZE {', '.join(connection.ops.quote_name(each._meta.db_table) for each in tables)}")


def _lock_ledger() -> None:
    """Keep settling and counting out for the rest of the transaction; on SQLite its beginning has done so.

    No weaker mode: `count` begins with SELECT … FOR UPDATE, which only this one keeps out, and with it inside, the one
    would wait for the other's sums and the other for the one's table.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            table = connection.ops.quote_name(ProviderCall._meta.db_table)
            cursor.execute(f"LOCK TABLE {table} IN EXCLUSIVE MODE")
