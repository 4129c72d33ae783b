"""Every settled call is in the sums once, whoever wrote it, however many processes settle at once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from math import ceil
from random import Random
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.db.models import Sum
from django.utils import timezone
from pytest_django import Settings

from chat.accounting import ledger, rollups
from chat.accounting.histogram import compute_percentile, count_buckets, find_bucket, find_middle, write_bucket_sql
from chat.models import (
    SUM_TABLES,
    SUMS,
    USAGE_FIELDS,
    Measure,
    Outcome,
    ProviderCall,
    Pruning,
    TimesDay,
    UsageDay,
    UsageHour,
    UsageMonth,
    UsageMonthHour,
    User,
    UserDay,
    UserMonth,
    UserTotal,
)
from tests.support import ledger_rows


def count_sums(*tables: Any) -> list[Counter[tuple[Any, ...]]]:
    """Return the rows of each table of sums, counted, without their ids."""
    return [
        Counter(each._default_manager.values_list(*(field.name for field in each._meta.fields if field.name != "id")))
        for each in tables or SUM_TABLES
    ]


def count_expected_days() -> Counter[tuple[Any, ...]]:
    """Return what UsageDay must hold, added up by Python from the rows."""
    sums: dict[tuple[Any, ...], list[int]] = {}
    for call in ProviderCall.objects.exclude(outcome=Outcome.RUNNING):
        key = (call.started_at.astimezone(UTC).date(), call.model, call.outcome, call.error_code)
        row = sums.setdefault(key, [0] * len(SUMS))
        units = 0 if call.cost is None else int(call.cost * 100_000_000)
        usage = [getattr(call, name) for name in USAGE_FIELDS]
        for place, value in enumerate((1, call.estimated, call.cost is None, *usage, units)):
            row[place] += value
    return Counter((*key, *row) for key, row in sums.items())


def count_days() -> Counter[tuple[Any, ...]]:
    return Counter(UsageDay.objects.values_list("day", "model", "outcome", "error_code", *SUMS))


@pytest.fixture
def rows(db: None) -> None:
    """Rows that nobody counted, over five months."""
    users = ledger_rows.make_users(20)
    ledger_rows.write(ledger_rows.make_ledger_rows(2000, users, 150))


def begin_call(user: User | None = None) -> ProviderCall:
    return ProviderCall.objects.create(user=user, model="openai:gpt-4o")


def settle(call: ProviderCall, first: int = 200) -> bool:
    call.outcome, call.output_tokens, call.cost = Outcome.COMPLETE, 7, Decimal("0.00000011")
    call.first_token_ms, call.total_ms = first, 1000
    settled = ledger.settle(call)
    rollups.catch_up()
    return settled


def test_a_running_call_is_counted_when_it_is_settled(db: None) -> None:
    call = begin_call()
    rollups.catch_up()
    assert not UsageDay.objects.exists()
    assert settle(call)
    assert count_days() == count_expected_days()
    row = UsageDay.objects.get()
    assert (row.calls, row.output_tokens, row.cost_units, row.unpriced) == (1, 7, 11, 0)
    assert set(TimesDay.objects.values_list("measure", "bucket", "calls")) == {
        (Measure.FIRST_TOKEN, find_bucket(200), 1),
        (Measure.TOTAL, find_bucket(1000), 1),
    }


def test_a_call_is_settled_once(db: None) -> None:
    call = begin_call()
    assert settle(call)
    again = ProviderCall.objects.get(pk=call.pk)
    again.output_tokens = 99
    assert not ledger.settle(again)
    assert UsageDay.objects.get().calls == 1
    assert ProviderCall.objects.get().output_tokens == 7


def test_a_settlement_that_is_rolled_back_is_not_counted(db: None) -> None:
    call = begin_call()
    with transaction.atomic():
        settle(call)
        transaction.set_rollback(True)
    assert not UsageDay.objects.exists()
    assert ProviderCall.objects.get().outcome == Outcome.RUNNING


def test_rows_that_were_not_counted_are_caught_up_with_once(rows: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollups, "BATCH", 300)
    told: list[int] = []
    assert rollups.catch_up(told.append) == sum(told) == ProviderCall.objects.exclude(outcome="running").count()
    assert len(told) == 7
    assert count_days() == count_expected_days()
    assert rollups.catch_up() == 0
    assert count_days() == count_expected_days()


@pytest.mark.parametrize(
    ("table", "name"),
    [
        *((UserDay, "day"), (UserMonth, "month"), (UserTotal, "month"), (UsageDay, "day"), (UsageMonth, "month")),
        *((UsageHour, "hour"), (UsageMonthHour, "month")),
    ],
)
def test_every_table_of_sums_has_the_same_total(rows: None, table: Any, name: str) -> None:
    rollups.catch_up()
    wanted = ProviderCall.objects.exclude(outcome="running").aggregate(tokens=Sum("output_tokens"))["tokens"]
    assert table.objects.aggregate(tokens=Sum("output_tokens"))["tokens"] == wanted
    assert table.objects.values(name).distinct().count() > 4


def test_counting_one_by_one_gives_what_counting_at_once_gives(rows: None) -> None:
    ProviderCall.objects.filter(pk__gt=ProviderCall.objects.order_by("pk")[200].pk).delete()
    while rollups.count(1):
        pass
    one_by_one = count_sums()
    for table in SUM_TABLES:
        table._default_manager.all().delete()
    ProviderCall.objects.update(counted=False)
    rollups.catch_up()
    assert count_sums() == one_by_one


def test_a_rebuild_repairs_whatever_was_done_to_the_sums(rows: None) -> None:
    rollups.catch_up()
    before = count_sums()
    UsageDay.objects.update(calls=1)
    UserMonth.objects.all().delete()
    TimesDay.objects.update(calls=1000)
    UsageMonthHour.objects.filter(hour__lt=12).update(calls=0)
    rollups.rebuild()
    assert count_sums() == before


def test_a_rebuild_keeps_the_sums_of_pruned_days(rows: None) -> None:
    rollups.catch_up()
    before = count_sums()
    cut = sorted(UsageDay.objects.values_list("day", flat=True).distinct())[75]
    Pruning.objects.create(before=cut)
    ProviderCall.objects.filter(started_at__lt=rollups.find_midnight(cut), counted=True).delete()
    UserMonth.objects.filter(month__gte=cut.replace(day=1)).update(calls=0)
    UsageMonthHour.objects.filter(month__gte=cut.replace(day=1)).delete()
    rollups.rebuild()
    assert count_sums() == before


def test_the_sums_of_a_user_stay_when_the_user_is_deleted(db: None) -> None:
    user = User.objects.create_user("ada")
    deleted = user.pk
    settle(begin_call(user))
    user.delete()
    settle(begin_call(None))
    settle(begin_call(None))
    assert sorted(UserDay.objects.values_list("user_id", "calls")) == [(0, 2), (deleted, 1)]


def test_calls_around_midnight_count_for_their_utc_day(db: None) -> None:
    moments = [datetime(2026, 2, 28, 23, 59, 59, 999999, UTC), datetime(2026, 3, 1, tzinfo=UTC)]
    calls = (ProviderCall(model="openai:x", started_at=moment, outcome="complete") for moment in moments)
    ledger_rows.write(calls)
    rollups.catch_up()
    assert [str(day) for day in UsageDay.objects.order_by("day").values_list("day", flat=True)] == [
        "2026-02-28",
        "2026-03-01",
    ]
    assert UserMonth.objects.count() == 2
    hours = UsageMonthHour.objects.order_by("month").values_list("month", "hour", "calls")
    assert [(str(month), hour, calls) for month, hour, calls in hours] == [("2026-02-01", 23, 1), ("2026-03-01", 0, 1)]


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Auckland"])
def test_hours_of_months_are_the_ledgers_in_any_time_zone(rows: None, settings: Settings, zone: str) -> None:
    """Hours are UTC, whatever zone the site's limits and pages are in, and rows that are deleted stay in the sums."""
    settings.CHAT_TIME_ZONE = settings.TIME_ZONE = zone
    with timezone.override(zone):
        rollups.catch_up()
    expected: Counter[tuple[Any, ...]] = Counter()
    for call in ProviderCall.objects.exclude(outcome=Outcome.RUNNING):
        at = call.started_at.astimezone(UTC)
        expected[at.date().replace(day=1), at.hour, call.purpose, call.model, call.outcome] += call.output_tokens
    ProviderCall.objects.filter(outcome=Outcome.INTERRUPTED).delete()
    names = ("month", "hour", "purpose", "model", "outcome")
    kept = UsageMonthHour.objects.values_list(*names, "output_tokens")
    assert {tuple(key): tokens for *key, tokens in kept} == expected


def test_many_writers_at_once_lose_no_call(transactional_db: None) -> None:
    """Settling, settling the same again, and readers that catch up: in threads, each with a connection of its own."""
    users = ledger_rows.make_users(3)
    ledger_rows.write(ledger_rows.make_ledger_rows(400, users, 40))
    calls = [begin_call(users[number % 3]) for number in range(60)]
    barrier = threading.Barrier(5)
    faults: list[BaseException] = []
    settled: list[bool] = []

    def work(job: Callable[[], object]) -> None:
        try:
            barrier.wait(20)
            job()
        except BaseException as fault:
            faults.append(fault)
        finally:
            connections.close_all()

    def settle_all(some: list[ProviderCall]) -> None:
        fresh = (ProviderCall.objects.get(pk=call.pk) for call in some)
        settled.extend(settle(call, first=call.pk % 50 * 37) for call in fresh)

    jobs: list[Callable[[], object]] = [
        lambda: settle_all(calls[:40]),
        lambda: settle_all(calls[20:]),
        lambda: settle_all(calls[::-1]),
        rollups.catch_up,
        rollups.catch_up,
    ]
    threads = [threading.Thread(target=work, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert faults == []
    assert settled.count(True) == 60
    assert count_days() == count_expected_days()


def test_a_rebuild_beside_settling_calls_loses_none(transactional_db: None) -> None:
    calls = [begin_call() for _ in range(40)]
    faults: list[BaseException] = []

    def settle_all() -> None:
        try:
            for call in calls:
                settle(call)
        except BaseException as fault:
            faults.append(fault)
        finally:
            connections.close_all()

    thread = threading.Thread(target=settle_all)
    thread.start()
    try:
        for _ in range(5):
            rollups.rebuild()
    finally:
        thread.join(120)
    assert faults == []
    assert count_days() == count_expected_days()
    assert UsageDay.objects.get().calls == 40


# Buckets

EDGES = [0, 1, 15, 16, 17, 18, 31, 32, 35, 36, 999, 1000, 1023, 1024, 1126, 1127, 600_000, 2**30, 2**31 - 1]


def test_buckets_follow_one_another_and_are_at_most_a_tenth_wide() -> None:
    numbers = [find_bucket(ms) for ms in range(100_000)]
    assert all(later - earlier in {0, 1} for earlier, later in pairwise(numbers))
    for bucket, width in Counter(numbers[:99_000]).items():
        first = numbers.index(bucket)
        assert width == 1 or (width - 1) / first <= 0.1


@pytest.mark.parametrize("ms", [*EDGES, *(Random(1).randrange(2**31) for _ in range(50))])
def test_the_middle_of_a_bucket_is_at_most_five_percent_off(ms: int) -> None:
    assert abs(find_middle(find_bucket(ms)) - ms) <= 0.05 * ms + 0.5


def test_the_database_puts_a_time_into_the_same_bucket(db: None) -> None:
    values = [*EDGES, *range(16, 3000), *(Random(2).randrange(2**31) for _ in range(500))]
    source = " UNION ALL ".join(f"SELECT CAST({ms} AS BIGINT) AS ms" for ms in values[:400])
    with connection.cursor() as cursor:
        for start in range(0, len(values), 400):
            some = values[start : start + 400]
            source = " UNION ALL ".join(f"SELECT CAST({ms} AS BIGINT) AS ms" for ms in some)
            cursor.execute(f"SELECT ms, {write_bucket_sql('ms')} FROM ({source}) AS times")
            assert dict(cursor.fetchall()) == {ms: find_bucket(ms) for ms in some}


@pytest.mark.parametrize("share", [0.5, 0.95, 1.0])
def test_a_percentile_is_that_of_the_sorted_times_but_for_the_bucket(share: float) -> None:
    chance = Random(3)
    times = sorted(round(chance.lognormvariate(7, 0.8)) for _ in range(1001))
    exact = times[ceil(share * len(times)) - 1]
    found = compute_percentile(count_buckets(times), share)
    assert found is not None
    assert abs(found - exact) <= 0.05 * exact + 0.5


def test_without_calls_there_is_no_percentile() -> None:
    assert compute_percentile({}, 0.5) is None
