"""A ledger as a site would have written it, made up: many users, models, outcomes, estimates, unpriced calls."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import Group

from chat.core.failures import find_cause
from chat.models import ProviderCall, User

MODELS = (
    "openai:gpt-4o",
    "openai:gpt-4o-mini",
    "openai:house-model",  # nobody knows its price
    "anthropic:claude-sonnet-4-5",
    "anthropic:claude-haiku-4-5",
    "demo:tour",
)
UNPRICED = "openai:house-model"
CODES = ("rate_limited", "timeout", "upstream_error", "server_lost", "content_filter")


def make_users(count: int, groups: Sequence[str] = ("Research", "Support", "Sales")) -> list[User]:
    """Make users in one of the groups, some in two, some in none."""
    made = [Group.objects.get_or_create(name=name)[0] for name in groups]
    users = User.objects.bulk_create([User(username=f"user-{number:04}") for number in range(count)])
    memberships = User.groups.through._default_manager
    for number, user in enumerate(users):
        for group in {made[number % len(made)], made[number % 7 % len(made)]} if number % 5 else ():
            memberships.create(user_id=user.pk, group_id=group.pk)
    return users


def make_ledger_rows(
    count: int, users: Sequence[User], days: float, seed: int = 1, ended_days_ago: float = 0
) -> Iterator[ProviderCall]:
    """Yield settled calls and a few running ones over `days`; the last began now, or `ended_days_ago` days ago."""
    chance = random.Random(seed)
    last = datetime.now(UTC) - timedelta(days=ended_days_ago)
    for number in range(count):
        yield _make_row(chance, users, last - timedelta(days=days * (count - 1 - number) / count))


def _make_row(chance: random.Random, users: Sequence[User], started_at: datetime) -> ProviderCall:
    model = chance.choices(MODELS, (40, 25, 5, 20, 8, 2))[0]
    outcome = chance.choices(("complete", "stopped", "interrupted", "running"), (93, 4, 3, 0.02))[0]
    first = round(chance.lognormvariate(6.4, 0.5))
    output = round(chance.lognormvariate(5.5, 0.9))
    tokens = round(chance.lognormvariate(6.5, 1.1))
    code = chance.choice(CODES) if outcome == "interrupted" else ""
    estimated = outcome != "complete" or chance.random() < 0.05
    return ProviderCall(
        user=chance.choice(users) if chance.random() < 0.99 else None,
        model=model,
        purpose="title" if started_at.minute % 7 == 0 else "answer",
        started_at=started_at,
        input_tokens=tokens,
        cached_tokens=tokens // 3 if chance.random() < 0.3 else 0,
        output_tokens=output,
        reasoning_tokens=output // 2 if chance.random() < 0.1 else 0,
        written_tokens=tokens // 5 if started_at.second % 3 == 0 else 0,
        written_hour_tokens=tokens // 7 if started_at.second % 5 == 0 else 0,
        searches=started_at.second % 4,
        estimated=estimated,
        cost=None if model == UNPRICED else Decimal(tokens * 250 + output * 1000) / Decimal(100_000_000),
        first_token_ms=None if code == "timeout" else first,
        total_ms=first + output * 18,
        outcome=outcome,
        error_code=code,
        error_cause=find_cause(code) if code else "",
    )


@contextmanager
def keep_given_start() -> Iterator[None]:
    """Let rows be written with a past beginning, which the model sets itself otherwise."""
    field: Any = ProviderCall._meta.get_field("started_at")
    field.auto_now_add = False
    try:
        yield
    finally:
        field.auto_now_add = True


def write(calls: Iterator[ProviderCall], progress: Callable[[int], None] = lambda written: None) -> int:
    """Put rows on the ledger without counting them, as an import does; return how many."""
    written = 0
    with keep_given_start():
        batch: list[ProviderCall] = []
        for call in calls:
            batch.append(call)
            if len(batch) == 10_000:
                ProviderCall.objects.bulk_create(batch, batch_size=2000)
                written += len(batch)
                progress(written)
                batch = []
        ProviderCall.objects.bulk_create(batch, batch_size=2000)
    return written + len(batch)
