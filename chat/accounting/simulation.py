"""A trial of a limit on the past: goes through the ledger's calls in order, counts what it would have refused."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from django.conf import settings
from django.db.models import F, Q, QuerySet, Sum

from chat.accounting import ledger
from chat.accounting.formatting import write_dollars
from chat.accounting.periods import find_window
from chat.models import COST_UNIT, ProviderCall
from chat.models.long_reads import read_in_pieces


class TriedLimit(NamedTuple):
    """A limit to try, for each user by themselves or for all calls together.

    `cost_units` is in units of `COST_UNIT`. `calls` is the condition of the ledger's rows that count.
    """

    period: str
    tokens: int | None = None
    cost_units: int | None = None
    is_of_each_user: bool = False
    calls: Q = Q()


class SimulationResult(NamedTuple):
    """The calls that a limit would have refused of `calls`."""

    calls: int
    refused: int
    tokens: int
    cost: Decimal
    users: tuple[tuple[str, int], ...]
    """The names of those who were refused most, with how often."""

    def __str__(self) -> str:
        """Return a sentence."""
        if not self.refused:
            return f"None of {self.calls:,} calls would have been refused."
        most = ", ".join(f"{name} {count:,}" for name, count in self.users)
        return (
            f"{self.refused:,} of {self.calls:,} calls would have been refused, with {self.tokens:,} tokens and "
            f"{write_dollars(self.cost)}. Most often: {most}."
        )


MAX_NAMED = 10


def simulate(limit: TriedLimit, begins: datetime, until: datetime) -> SimulationResult:
    """Return what the limit would have refused of the ended calls that began between two moments.

    A call needs its input and the usual reservation, and takes what it took; one that is refused takes nothing. Cost
    is by what each call cost. Only pots that took more than the limit in all are gone through.
    """
    calls = ledger.find_ended_calls(begins, until).filter(limit.calls)
    if limit.is_of_each_user:
        calls = calls.filter(user__isnull=False, billed_to=ProviderCall.BilledTo.USER)
    total = calls.count()
    used: Counter[tuple[int | None, str]] = Counter()
    spent: Counter[tuple[int | None, str]] = Counter()
    by_user: Counter[str] = Counter()
    tokens, cost = 0, Decimal(0)
    columns = ("user_id", "user__username", "started_at", "input_tokens", "output_tokens", "cost")
    rows = _find_suspects(calls, limit).order_by("started_at", "pk").values_list(*columns)
    for user, name, started_at, input_tokens, output_tokens, price in read_in_pieces(rows, 5_000):
        pot = user if limit.is_of_each_user else None, find_window(limit.period, started_at).name
        units = int((price or 0) / COST_UNIT)
        needed = input_tokens + settings.CHAT_RESERVE_OUTPUT
        if _is_over(used[pot], needed, input_tokens, limit.tokens) or _is_over(
            spent[pot], units, units, limit.cost_units
        ):
            by_user[name or "nobody"] += 1
            tokens, cost = tokens + input_tokens + output_tokens, cost + (price or 0)
        else:
            used[pot] += input_tokens + output_tokens
            spent[pot] += units
    return SimulationResult(total, by_user.total(), tokens, cost, tuple(by_user.most_common(MAX_NAMED)))


def _is_over(used: int, need: int, least: int, most: int | None) -> bool:
    """Return whether a call would have been refused, as `chat.accounting.quotas` decides it."""
    return most is not None and need > 0 and used + min(need, max(most, least)) > most


def _find_suspects(calls: QuerySet[ProviderCall], limit: TriedLimit) -> QuerySet[ProviderCall]:
    """Return the calls of users who took so much in all that the limit may have refused one of theirs."""
    if not limit.is_of_each_user:
        return calls
    sums = (
        calls.order_by()
        .values("user")
        .annotate(tokens=Sum(F("input_tokens") + F("output_tokens")), spent=Sum("cost", default=Decimal(0)))
    )
    users = [
        row["user"]
        for row in sums
        if (limit.tokens is not None and row["tokens"] > limit.tokens - settings.CHAT_RESERVE_OUTPUT)
        or (limit.cost_units is not None and row["spent"] > limit.cost_units * COST_UNIT)
    ]
    return calls.filter(user__in=users)
