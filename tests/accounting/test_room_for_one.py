"""Fifty calls at once in three processes with room for one: one is admitted, whatever the limit, on both databases."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import Group
from django.db import connection, connections
from django.utils import timezone
from pytest_django import Settings

from chat.accounting.quotas import QuotaError, admit
from chat.core.prices import Price
from chat.models import Budget, Conversation, Message, Meter, ProviderCall, User

PROCESSES, THREADS = 3, 17

FORK = multiprocessing.get_context("fork")


def make_live_answer(user: User) -> Message:
    conversation = Conversation.objects.create(user=user)
    owned = {"owner": "me", "fence": 1, "lease_until": timezone.now() + timedelta(minutes=5)}
    return Message.objects.create(conversation=conversation, role="assistant", status="queued", **owned)


def ask(user: User, answer: UUID, gate: Any) -> bool:
    """Ask for one call at the moment when all others do; return whether it is admitted."""
    gate.wait(60)
    try:
        admit(ProviderCall(user=user, answer_id=answer, model="openai:gpt-test", input_tokens=100))
        return True
    except QuotaError:
        return False
    finally:
        connections.close_all()


def ask_many(user: User, answers: list[Any], gate: Any, verdicts: Any) -> None:
    with ThreadPoolExecutor(len(answers)) as threads:
        for verdict in threads.map(lambda answer: ask(user, answer, gate), answers):
            verdicts.put(verdict)


def leave_connections() -> None:
    """Close all connections, which the processes that are forked next must not share."""
    connections.close_all()
    if connection.vendor == "postgresql":
        connection.close_pool()  # type: ignore[attr-defined]


def count_admitted(user: User) -> tuple[int, int]:
    """Return how many of all the calls are admitted, and how many there were."""
    answers = [make_live_answer(user).pk for _ in range(PROCESSES * THREADS)]
    leave_connections()
    gate, verdicts = FORK.Barrier(PROCESSES * THREADS), FORK.Queue()
    processes = [
        FORK.Process(target=ask_many, args=(user, answers[number::PROCESSES], gate, verdicts))
        for number in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    found = [verdicts.get(timeout=60) for _ in answers]
    for process in processes:
        process.join(30)
    return sum(found), len(found)


def limit_requests(settings: Settings, user: User) -> None:
    settings.CHAT_USER_REQUESTS_PER_MINUTE = 1


def limit_live_answers(settings: Settings, user: User) -> None:
    settings.CHAT_USER_STREAMS = 1


def limit_tokens(settings: Settings, user: User) -> None:
    settings.CHAT_USER_TOKENS_PER_DAY = 2_000


def limit_cost(settings: Settings, user: User) -> None:
    settings.CHAT_USER_COST_PER_MONTH = Decimal("0.2")


def limit_everything(settings: Settings, user: User) -> None:
    for limit in (limit_requests, limit_live_answers, limit_tokens, limit_cost):
        limit(settings, user)


def limit_by_budget(scope: str, **amount: Any) -> Callable[[Settings, User], None]:
    """Return a function that makes a budget of the site, of the user's group, or of the user."""

    def limit(settings: Settings, user: User) -> None:
        group = Group.objects.create(name="Team")
        user.groups.add(group)
        whose: dict[str, dict[str, Any]] = {"site": {}, "group": {"group": group}, "user": {"user": user}}
        Budget.objects.create(name=scope, scope=scope, **whose[scope], **amount)

    limit.__name__ = f"budget of {scope}: {'/'.join(amount)}"
    return limit


BUDGETS = [
    *(
        limit_by_budget(scope, **{measure: amount})
        for scope in ("site", "group", "user")
        for measure, amount in (("tokens", 2_000), ("cost", Decimal("0.2")))
    ),
    limit_by_budget("site", tokens=2_000, model="openai:gpt-test"),
    limit_by_budget("group", cost=Decimal("0.2"), model="openai"),
    limit_by_budget("user", tokens=2_000, period="day"),
]
LIMITS = [*BUDGETS, limit_requests, limit_live_answers, limit_tokens, limit_cost, limit_everything]


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: limit.__name__)
def test_with_room_for_one_call_one_of_fifty_is_admitted(
    user: User, settings: Settings, limit: Callable[[Settings, User], None]
) -> None:
    settings.CHAT_PRICES = {"openai:gpt-test": Price(Decimal(10), Decimal(100), Decimal(10))}
    limit(settings, user)
    assert count_admitted(user) == (1, 51)
    assert ProviderCall.objects.count() == 1
    [call] = ProviderCall.objects.all()
    held = {meter.key: meter.held for meter in Meter.objects.exclude(held=0)}
    assert {key: amount for key, amount in held.items() if "live" not in key} == dict(call.holds or [])
