"""The limits and budgets that are nearly used up in their current windows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from django.db.models import ExpressionWrapper, F, FloatField, Q
from django.utils import timezone

from chat.accounting.budgets import make_terms
from chat.accounting.formatting import write_amount
from chat.accounting.policies import find_limits
from chat.models import Budget, Meter, MeterKey, User

NEAR = 0.8
"""The share of a limit from which on it is near."""

# Meters that are read at once: most pages need no more than their first few.
CHUNK = 50


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

    Limits of requests a minute and of live answers are left out: they fill and empty within seconds. A meter knows the
    limit by which its last call was admitted. One that has been raised since is measured anew, and one that has been
    taken away is left out.
    """
    share = ExpressionWrapper((F("used") + F("held")) * 1.0 / F("most"), output_field=FloatField())
    of_amounts = Q(key__contains="/tokens/") | Q(key__contains="/cost/")
    now = timezone.now()
    near = (
        Meter.objects.filter(of_amounts, until__gt=now, most__gt=0)
        .annotate(share=share)
        .filter(share__gte=NEAR)
        .order_by("-share", "key")
    )
    of_budgets = {
        amount.key: (budget, amount.most)
        for budget in Budget.objects.filter(is_active=True)
        for amount in make_terms(budget).find_amounts(now)
    }
    found: list[NearLimit] = []
    for meter in near.iterator(CHUNK):
        key = MeterKey.parse(meter.key)
        limit = _find_budget_limit(meter, of_budgets) if key.scope == "budget" else _find_user_limit(key)
        if limit is not None and meter.used + meter.held >= NEAR * limit.most:
            found.append(_make_line(meter, key, limit))
            if len(found) == most:
                break
    return sorted(found, key=lambda each: -each.share)


class _Limit(NamedTuple):
    """A limit as it is now, with the name of its owner; `most` is as a meter has it."""

    name: str
    most: int


def _find_budget_limit(meter: Meter, of_budgets: Mapping[str, tuple[Budget, int]]) -> _Limit | None:
    budget, most = of_budgets.get(meter.key, (None, 0))
    return None if budget is None else _Limit(budget.name, most)


def _find_user_limit(key: MeterKey) -> _Limit | None:
    limits = find_limits(key.owner)
    most = limits.cost_units if key.measure == "cost" else limits.tokens_per_day
    name = User.objects.filter(pk=key.owner).values_list("username", flat=True).first() if most else None
    return None if most is None or name is None else _Limit(name, most)


def _make_line(meter: Meter, key: MeterKey, limit: _Limit) -> NearLimit:
    amount = meter.used + meter.held
    user, budget = (None, key.owner) if key.scope == "budget" else (key.owner, None)
    used, most = (write_amount(key.measure, each) for each in (amount, limit.most))
    return NearLimit(limit.name, user, budget, used, most, amount / limit.most, meter.until)
