"""Amounts of money and of tokens as people read them."""

from __future__ import annotations

from decimal import Decimal

from django.template.defaultfilters import pluralize

from chat.models import COST_UNIT


def write_dollars(amount: Decimal | float) -> str:
    """Write US dollars in cents, and an amount below ten cents with as many places as it takes to see it."""
    if not amount or amount >= Decimal("0.1"):
        return f"${amount:,.2f}"
    return f"${amount:.4f}" if amount >= Decimal("0.0001") else f"${amount:.8f}"


def write_amount(measure: str, amount: int) -> str:
    """Write an amount as a meter has it, with its unit."""
    if measure == "cost":
        return write_dollars(amount * COST_UNIT)
    noun = {"tokens": "token", "requests": "request", "live": "answer"}[measure]
    return f"{amount:,} {noun}{pluralize(amount)}"
