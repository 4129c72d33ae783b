"""The limits and budgets that are nearly used up in their current windows."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from django.db.models import ExpressionWrapper, F, FloatField, Q
from django.utils import timezone

from chat.accounting.formatting import write_amount
from chat.models import Budget, Meter, MeterKey, User

NEAR = 0.8
"""The share of a limit from which on it is near."""


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

    Requests a minute and answers at a time fill and empty within seconds: nobody has to act on those.
    """
    share = ExpressionWrapper((F("used") + F("held")) * 1.0 / F("most"), output_field=FloatField())
    of_amounts = Q(key__contains="/tokens/") | Q(key__contains="/cost/")
    meters = list(
        Meter.objects.filter(of_amounts, until__gt=timezone.now(), most__gt=0)
        .annotate(share=share)
        .filter(share__gte=NEAR)
        .order_by("-share", "key")[:most]
    )
    keys = [MeterKey.parse(meter.key) for meter in meters]
    users = dict(User.objects.filter(pk__in=_describe_owners(keys, "user")).values_list("pk", "username"))
    budgets = dict(Budget.objects.filter(pk__in=_describe_owners(keys, "budget")).values_list("pk", "name"))
    found = []
    for meter, key in zip(meters, keys, strict=True):
        is_budget = key.scope == "budget"
        if (name := (budgets if is_budget else users).get(key.owner)) is not None:
            user, budget = (None, key.owner) if is_budget else (key.owner, None)
            used, limit = (write_amount(key.measure, amount) for amount in (meter.used + meter.held, meter.most or 0))
            found.append(NearLimit(name, user, budget, used, limit, meter.share, meter.until))
    return found


def _describe_owners(keys: list[MeterKey], scope: str) -> list[int]:
    return [key.owner for key in keys if key.scope == scope]
