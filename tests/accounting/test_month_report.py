"""The report of a month goes out once, when it is over, and its figures are the ledger's."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core import mail
from django.utils import timezone
from pytest_django import Settings

from chat.accounting import rollups
from chat.accounting.month_report import plan_report, write_report
from chat.accounting.outbox import deliver
from chat.models import Alert, Budget, Conversation, Delivery, Message, ProviderCall, Rating, User
from tests.support import ledger_rows

OCTOBER = datetime(2026, 10, 15, 12, tzinfo=UTC)
FIRST_OF_NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[datetime], None]:
    """Set the clock of the report and of the outbox."""
    return lambda now: monkeypatch.setattr(timezone, "now", lambda: now)


@pytest.fixture
def wanted(db: None, settings: Settings) -> None:
    settings.CHAT_REPORT_MAIL, settings.CHAT_MAIL_FROM = ["boss@example.org"], "chat@example.org"


def call(at: datetime, cost: str | None = "0.25", **fields: Any) -> None:
    fields = {"model": "openai:gpt-4o", "outcome": "complete", "input_tokens": 60, "output_tokens": 40, **fields}
    row = ProviderCall(started_at=at, cost=None if cost is None else Decimal(cost), **fields)
    ledger_rows.write(iter([row]))
    rollups.catch_up()


@pytest.mark.parametrize(
    ("now", "planned"),
    [
        (datetime(2026, 10, 31, 23, 59, tzinfo=UTC), 0),
        (FIRST_OF_NOVEMBER + timedelta(hours=5), 0),
        (FIRST_OF_NOVEMBER + timedelta(hours=6), 1),
        (datetime(2026, 11, 30, tzinfo=UTC), 1),
        (datetime(2026, 12, 2, tzinfo=UTC), 0),  # nothing was used in November
    ],
)
def test_the_report_is_sent_when_the_month_is_over(
    wanted: None, clock: Callable[[datetime], None], now: datetime, planned: int
) -> None:
    call(OCTOBER)
    clock(now)
    plan_report()
    assert Delivery.objects.count() == planned


def test_the_report_is_sent_once(wanted: None, clock: Callable[[datetime], None]) -> None:
    call(OCTOBER)
    clock(FIRST_OF_NOVEMBER + timedelta(days=1))
    for _ in range(3):
        plan_report()
        deliver()
    [sent] = mail.outbox
    assert (sent.to, sent.subject) == (["boss@example.org"], "[Chatsite] October 2026: $0.25, 1 call")
    assert sent.extra_headers["Message-ID"] == f"<{Delivery.objects.get().pk}@example.org>"


def test_no_report_is_sent_without_recipients(
    wanted: None, clock: Callable[[datetime], None], settings: Settings
) -> None:
    settings.CHAT_REPORT_MAIL = []
    call(OCTOBER)
    clock(FIRST_OF_NOVEMBER + timedelta(days=1))
    plan_report()
    assert not Delivery.objects.exists()


def test_the_report_has_the_figures_of_its_month(wanted: None) -> None:
    users = ledger_rows.make_users(14, ["Research"])
    for number, user in enumerate(users):
        call(OCTOBER, user=user, cost=str(Decimal(number) / 100))
    call(OCTOBER, cost=None, model="openai:house-model", outcome="interrupted", error_code="timeout")
    call(OCTOBER - timedelta(days=20), cost="1.82")
    call(OCTOBER + timedelta(days=20), cost="5")
    text = write_report(OCTOBER.date().replace(day=1)).text
    assert "October 2026: 15 calls, 1,500 tokens, $0.91 + ?, -50% in US dollars against the $1.82" in text
    assert "1 call failed (6.7%)." in text
    lines = {line.split("  ")[0].strip(): line.split() for line in text.splitlines()}
    assert lines["openai:gpt-4o"][-3:] == ["14", "1,400", "$0.91"]
    assert lines["user-0013"][-1] == "$0.13"
    assert lines["5 others"][2] == "5"
    assert "Research" in lines


def test_a_month_without_any_price_is_not_called_cheaper_than_the_one_before(wanted: None) -> None:
    call(OCTOBER - timedelta(days=20), cost="1.82")
    call(OCTOBER, cost=None)
    text = write_report(OCTOBER.date().replace(day=1)).text
    assert "October 2026: 1 call, 100 tokens, no price, after 1 call, 100 tokens, $1.82 in the month before." in text


def test_the_report_names_used_up_budgets_and_sums_up_ratings(wanted: None, user: User) -> None:
    call(OCTOBER)
    budget = Budget.objects.create(name="Ada", scope="user", user=user, tokens=10_000)
    for threshold in (80, 100):
        sentence = f"{threshold} % of the budget"
        alert = Alert.objects.create(budget=budget, meter="m", threshold=threshold, sentence=sentence, until=OCTOBER)
        Alert.objects.filter(pk=alert.pk).update(created_at=OCTOBER)
    conversation = Conversation.objects.create(user=user)
    for value in ("up", "up", "down"):
        answer = Message.objects.create(conversation=conversation, role="assistant", status="complete")
        rating = Rating.objects.create(answer=answer, user=user, value=value, model="openai:gpt-4o")
        Rating.objects.filter(pk=rating.pk).update(created_at=OCTOBER)
    text = write_report(OCTOBER.date().replace(day=1)).text
    assert "2026-10-15: 100 % of the budget" in text
    assert "80 % of the budget" not in text
    assert "rated 2 answers good and 1 bad" in text
