"""A meter that is new counts the ledger once more a moment later: calls that ended as it was made may be missing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import DataError
from django.utils import timezone
from pytest_django import Settings

from chat.accounting.meters import COUNTED_AGAIN_AT_ONCE, claim_count, list_new_meters, note_count
from chat.accounting.quotas import admit, find_standing, open_meters, recount_new_meters
from chat.core.events import Usage
from chat.core.prices import Price
from chat.generation.store import CallResult, settle_call
from chat.generation.verdict import make_interruption
from chat.models import Budget, Meter, ProviderCall, User
from tests.support.statements import hear_statements


@pytest.fixture
def wide_limit(settings: Settings) -> None:
    settings.CHAT_USER_TOKENS_PER_DAY = 10_000


@pytest.fixture
def counted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """New meters are counted once more without a delay."""
    monkeypatch.setattr("chat.accounting.meters.COUNT_AGAIN_AFTER", timedelta())


def begin_call(user: User) -> ProviderCall:
    return admit(ProviderCall(user=user, model="openai:gpt-test", input_tokens=100))


def settle_with(call: ProviderCall, tokens: int) -> None:
    settle_call(CallResult(call, Usage(tokens, 0), None, 1), make_interruption("timeout"))


def settle_unaware(call: ProviderCall, tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settle a call in a process that does not know yet that there is any limit."""
    with monkeypatch.context() as unaware:
        unaware.setattr("chat.accounting.meters.is_any_open", lambda: False)
        settle_with(call, tokens)


def add_missing_usage(user: User, *figures: Mapping[str, Any]) -> None:
    """Add calls to the ledger that the user's meters do not know of."""
    for each in figures:
        ProviderCall.objects.create(user=user, model="openai:gpt-test", outcome="complete", **each)


def let_time_pass() -> None:
    """Have every new meter due, as it is half a minute after it was made."""
    Meter.objects.filter(count_again_at__isnull=False).update(count_again_at=timezone.now())


MEASURES: dict[str, Mapping[str, Any]] = {
    "tokens": {"input_tokens": 40, "output_tokens": 3},
    "cost": {"cost": Decimal("0.12345678")},
}


def test_calls_that_end_before_their_process_knows_of_a_limit_are_counted_later(
    user: User, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    early, late = begin_call(user), begin_call(user)
    settings.CHAT_USER_TOKENS_PER_DAY = 10_000
    settle_with(begin_call(user), 3)
    settle_unaware(early, 40, monkeypatch)
    assert find_standing(user).tokens.used == 3
    assert recount_new_meters() == 0  # another process may not know yet
    let_time_pass()
    assert recount_new_meters() == 1
    assert find_standing(user).tokens.used == 43
    settle_with(late, 500)
    assert find_standing(user).tokens.used == 543
    assert recount_new_meters() == 0


def test_a_users_second_call_that_another_process_made_without_a_limit_is_counted_later(
    user: User, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one made the meter, and found nothing else of the user's on the ledger."""
    settings.CHAT_USER_TOKENS_PER_DAY = 10_000
    first = begin_call(user)
    settings.CHAT_USER_TOKENS_PER_DAY = 0  # as the other process still has it
    second = begin_call(user)
    settings.CHAT_USER_TOKENS_PER_DAY = 10_000
    settle_unaware(second, 40, monkeypatch)
    settle_with(first, 3)
    assert find_standing(user).tokens.used == 3
    let_time_pass()
    assert recount_new_meters() == 1
    assert find_standing(user).tokens.used == 43


@pytest.mark.usefixtures("wide_limit", "counted_at_once")
def test_a_user_without_other_calls_is_counted_once_more_and_once_only(user: User) -> None:
    begin_call(user)
    assert len(list_new_meters()) == 1
    assert recount_new_meters() == 0
    assert list_new_meters() == []
    begin_call(user)
    assert list_new_meters() == []


def test_what_is_to_be_counted_once_more_outlives_the_process(user: User, settings: Settings) -> None:
    """It stands in the database, so the sweep of any process finds it."""
    settings.CHAT_USER_TOKENS_PER_DAY = 10_000
    open_meters(Budget.objects.create(name="Site", scope="site", tokens=1000))
    begin_call(user)
    assert Meter.objects.filter(count_again_at__gt=timezone.now() + timedelta(seconds=20)).count() == 2
    assert list_new_meters() == []
    let_time_pass()
    assert len(list_new_meters()) == 2


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.usefixtures("counted_at_once")
def test_each_measure_is_counted_once_more(measure: str, user: User, settings: Settings) -> None:
    price = Price(Decimal(10), Decimal(100), Decimal(10))
    settings.CHAT_PRICES, settings.CHAT_USER_COST_PER_MONTH = {"openai:gpt-test": price}, Decimal(50)
    settings.CHAT_USER_TOKENS_PER_DAY = 100_000
    settings.CHAT_USER_REQUESTS_PER_MINUTE = 10
    add_missing_usage(user, MEASURES[measure])
    begin_call(user)
    before = find_standing(user)
    assert len(list_new_meters()) == 2
    add_missing_usage(user, MEASURES[measure], MEASURES[measure])
    assert recount_new_meters() == 1
    after = find_standing(user)
    assert getattr(after, measure).used == 3 * getattr(before, measure).used > 0
    assert getattr(after, measure).reserved == getattr(before, measure).reserved
    assert list_new_meters() == []


@pytest.mark.usefixtures("wide_limit", "counted_at_once")
def test_a_meter_that_is_right_is_counted_once_more_without_a_lock(user: User) -> None:
    add_missing_usage(user, MEASURES["tokens"])
    begin_call(user)
    told: list[str] = []
    with hear_statements(told.append):
        assert recount_new_meters() == 0
    assert [sql for sql in told if "SUM(" in sql]
    assert not [sql for sql in told if "FOR UPDATE" in sql or "BEGIN" in sql or "SAVEPOINT" in sql]
    assert [sql.split()[0] for sql in told if "UPDATE" in sql] == ["UPDATE"] * 2  # that it is counted, and was


@pytest.mark.usefixtures("wide_limit", "counted_at_once")
def test_a_meter_that_another_process_counts_is_left_to_it(user: User) -> None:
    begin_call(user)
    add_missing_usage(user, MEASURES["tokens"])
    [of_both] = list_new_meters()
    [of_one] = list_new_meters()
    assert claim_count(of_one)
    assert not claim_count(of_both)
    assert recount_new_meters() == 0
    note_count(of_both)  # it has claimed nothing, and says nothing of the other's count
    let_time_pass()
    assert recount_new_meters() == 1


def test_many_new_meters_are_counted_once_more_by_several_sweeps(user: User) -> None:
    for number in range(COUNTED_AGAIN_AT_ONCE + 5):
        add_new_meter(f"user/{user.pk + number}/tokens/2026-11-30")
    left = []
    for _ in range(3):
        left.append(len(list_new_meters()))
        recount_new_meters()
    assert left == [COUNTED_AGAIN_AT_ONCE, 5, 0]


def add_new_meter(key: str, **fields: Any) -> Meter:
    """Add a meter that is to be counted once more now."""
    now = timezone.now()
    window = {"begins": now - timedelta(hours=1), "until": now + timedelta(days=1), **fields}
    return Meter.objects.create(key=key, count_again_at=now, **window)


@pytest.mark.usefixtures("wide_limit", "counted_at_once")
def test_a_meter_that_cannot_be_counted_holds_up_no_other_and_is_tried_again_later(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_missing_usage(user, MEASURES["tokens"])
    bad = add_new_meter("budget/7/tokens/2026-11-30")
    begin_call(user)
    add_missing_usage(user, MEASURES["tokens"])
    monkeypatch.setattr("chat.accounting.quotas.Budget.objects.filter", raise_fault)
    assert [recount_new_meters() for _ in range(4)] == [1, 0, 0, 0]
    assert find_standing(user).tokens.used == 86
    assert list_new_meters() == []
    bad.refresh_from_db()
    assert bad.count_again_at is not None
    assert timezone.now() + timedelta(minutes=9) < bad.count_again_at < timezone.now() + timedelta(minutes=11)


def raise_fault(**_filter: object) -> None:
    raise DataError("integer out of range")


def test_a_meter_whose_window_has_ended_is_not_counted_any_more(user: User) -> None:
    add_new_meter(f"user/{user.pk}/tokens/2026-11-30", until=timezone.now() - timedelta(seconds=1))
    assert list_new_meters() == []


def test_a_meter_that_is_made_anew_while_it_is_counted_is_counted_again(user: User) -> None:
    budget = Budget.objects.create(name="Site", scope="site", tokens=1000)
    open_meters(budget)
    let_time_pass()
    [listed] = list_new_meters()
    open_meters(budget, anew={"tokens"})
    note_count(listed)
    let_time_pass()
    assert [each.key for each in list_new_meters()] == [listed.key]
