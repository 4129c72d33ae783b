"""The limits and budgets that are nearly used up in their current windows."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice
from math import floor
from operator import attrgetter
from typing import NamedTuple

from django.db.models import F
from django.utils import timezone

from chat.accounting.budgets import make_terms
from chat.accounting.formatting import write_amount
from chat.accounting.policies import find_lowest_limits, load_limits
from chat.models import Budget, Meter, MeterKey, User
from chat.models.long_reads import read_in_pieces

NEAR = 0.8
"""The share of a limit from which on it is near."""

# Meters whose users' limits are looked up at once. 10,000 users, one with a far lower limit, took 1.3 s.
CHUNK = 500


class NearLimit(NamedTuple):
    """A limit of a user or a budget that is nearly or wholly used."""

    name: str
    user: int | None
    budget: int | None
    used: str
    most: str
    share: float
    until: datetime


def find_near_limits(most: int) -> list[NearLimit]:
    """Return the limits in tokens and money that are used and held by 80 % or more, the fullest first.

    Limits of requests a minute and of live answers are left out: they fill and empty within seconds. Each is measured
    as it is now: a meter knows the limit by which its last call was admitted, which may have been changed since.
    """
    now = timezone.now()
    near = [*_find_near_budgets(now), *_find_near_users(now, "tokens"), *_find_near_users(now, "cost")]
    return heapq.nlargest(most, near, key=attrgetter("share"))


def _find_near_budgets(now: datetime) -> Iterator[NearLimit]:
    limits = {
        amount.key: (budget.name, amount.most)
        for budget in Budget.objects.filter(is_active=True)
        for amount in make_terms(budget).find_amounts(now)
    }
    for meter in Meter.objects.filter(pk__in=limits).order_by("pk"):
        name, limit = limits[meter.key]
        if _is_near(meter, limit):
            yield _make_line(meter, name, limit)


def _find_near_users(now: datetime, measure: str) -> Iterator[NearLimit]:
    lowest = find_lowest_limits()
    least = lowest.cost_units if measure == "cost" else lowest.tokens_per_day
    if least is None:
        return
    meters = Meter.objects.filter(key__startswith="user/", key__contains=f"/{measure}/", until__gt=now)
    filled = meters.annotate(amount=F("used") + F("held")).filter(amount__gte=floor(NEAR * least)).order_by("pk")
    found = read_in_pieces(filled, CHUNK)
    while chunk := list(islice(found, CHUNK)):
        yield from _choose_near(chunk, measure)


def _choose_near(meters: Sequence[Meter], measure: str) -> Iterator[NearLimit]:
    """Yield those of some users' meters that are near their limits; those of deleted users are left out."""
    owners = {meter.key: MeterKey.parse(meter.key).owner for meter in meters}
    limits = load_limits(set(owners.values()))
    near = []
    for meter in meters:
        own = limits[owners[meter.key]]
        limit = own.cost_units if measure == "cost" else own.tokens_per_day
        if limit is not None and _is_near(meter, limit):
            near.append((meter, limit))
    wanted = {owners[meter.key] for meter, _ in near}
    names = dict(User.objects.filter(pk__in=wanted).values_list("pk", "username"))
    for meter, limit in near:
        if owners[meter.key] in names:
            yield _make_line(meter, names[owners[meter.key]], limit)


def _is_near(meter: Meter, limit: int) -> bool:
    return limit > 0 and meter.used + meter.held >= NEAR * limit


def _make_line(meter: Meter, name: str, limit: int) -> NearLimit:
    key, amount = MeterKey.parse(meter.key), meter.used + meter.held
    user, budget = (None, key.owner) if key.scope == "budget" else (key.owner, None)
    used, most = (write_amount(key.measure, each) for each in (amount, limit))
    return NearLimit(name, user, budget, used, most, amount / limit, meter.until)
