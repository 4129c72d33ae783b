"""The cost and the settlement of one upstream call's row."""

from __future__ import annotations

import logging
from datetime import date, datetime
from decimal import Decimal
from functools import partial

from django.conf import settings
from django.core.cache import cache
from django.db import models

from chat.accounting.pricing import compute_cost, find_price
from chat.core.events import Usage
from chat.core.prices import Price
from chat.models import (
    MAX_DOLLARS,
    SOUND,
    USAGE_FIELDS,
    ModelPrice,
    Outcome,
    ProviderCall,
)
from chat.models.compiled import Update

log = logging.getLogger(__name__)


def find_ended_calls(begins: datetime, until: datetime) -> models.QuerySet[ProviderCall]:
    """Return the calls that began between two moments and have ended, without those with impossible figures."""
    calls = ProviderCall.objects.filter(SOUND, started_at__gte=begins, started_at__lt=until)
    return calls.exclude(outcome=Outcome.RUNNING)


def find_call_price(call: ProviderCall, usage: Usage) -> Decimal | None:
    """Return the dollars for a call: by the admin's table, CHAT_PRICES, or the published lists, in this order.

    A price by which the call would cost a negative, infinite or absurd amount counts as none: no answer fails for it.
    """
    try:
        dollars = _compute_cost(call, usage)
    except ArithmeticError:
        dollars = Decimal("NaN")
    if dollars is None or (dollars.is_finite() and 0 <= dollars <= MAX_DOLLARS):
        return dollars
    log.error("call %s costs %s dollars by the price of %s; it is taken for unpriced", call.pk, dollars, call.model)
    return None


def _compute_cost(call: ProviderCall, usage: Usage) -> Decimal | None:
    provider = call.model.partition(":")[0]
    base_url = settings.CHAT_PROVIDERS.get(provider, {}).get("base_url")
    prices = {**settings.CHAT_PRICES, **_find_own_price(call)}
    return compute_cost(usage, find_price(call.model, prices, base_url=base_url, at=call.started_at))


def _read_prices(model: str) -> list[tuple[date, Price]]:
    return [(row.since, row.price) for row in ModelPrice.objects.filter(model=model).order_by("-since")]


def _find_own_price(call: ProviderCall) -> dict[str, Price]:
    """Return the price of the admin's table on the day of a call, by the name of its model."""
    day = call.started_at.date()
    prices = cache.get_or_set(f"chat.prices.{call.model}", partial(_read_prices, call.model)) or []
    known = next((price for since, price in prices if since <= day), None)
    return {} if known is None else {call.model: known}


SETTLED = (
    *(*USAGE_FIELDS, "estimated", "cost", "first_token_ms", "total_ms", "outcome", "error_code"),
    *("error_cause", "error_status", "error_kind", "error_message", "request_id"),
)
_settle = Update(
    ProviderCall,
    SETTLED,
    lambda pk: ProviderCall.objects.filter(pk=pk, outcome=Outcome.RUNNING),
    models.BigIntegerField(),
)


def settle(call: ProviderCall) -> bool:
    """Write a call's figures and its outcome; return whether this was the first time.

    A row is settled once: a second attempt, or one whose row is gone, writes nothing. `rollups.count` counts it.
    """
    if not _settle(*(getattr(call, name) for name in SETTLED), call.pk):
        log.warning("call %s was settled before, its row stays as it is", call.pk)
        return False
    return True
