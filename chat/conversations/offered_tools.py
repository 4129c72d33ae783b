"""The tools that the model of a turn is offered: the process has them, and hands them over here."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TypeVar

from chat.providers.base import ToolSchema

Offer = Callable[[str], tuple[ToolSchema, ...]]
"""The tools that a `provider:model` is offered."""

_offer: ContextVar[Offer] = ContextVar("offer", default=lambda model: ())

B = TypeVar("B")


def store_with_tools(offer: Offer, turn: Callable[[], B]) -> B:
    """Store a turn whose prompt has the tools of the `offer`, and return what `turn` returns.

    The schemas of tools are a part of the input, and so of what is reserved and estimated for it.
    """
    token = _offer.set(offer)
    try:
        return turn()
    finally:
        _offer.reset(token)


def offer_tools(model: str) -> tuple[ToolSchema, ...]:
    """Return the tools that a `provider:model` is offered in the turn that is stored here."""
    return _offer.get()(model)
