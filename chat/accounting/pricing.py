"""Prices of models: the site's own, and the published lists. Money is a `Decimal`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from chat.accounting.newer_prices import find_newer
from chat.core.events import Usage
from chat.core.prices import Price, split_input

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, Provider

# The ledger keeps eight places, so that one token of the cheapest model is not rounded away.
SMALLEST = Decimal("0.00000001")


class Tariff(Protocol):
    """A price of any form from which the cost of a call can be computed."""

    def compute_dollars(self, usage: Usage) -> Decimal: ...


@dataclass(frozen=True, slots=True)
class PublishedPrice:
    """A provider's own price list as `genai-prices` has it, with its steps for long prompts and its dates."""

    provider: Provider
    model: ModelInfo
    at: datetime

    def compute_dollars(self, usage: Usage) -> Decimal:
        """Return what a call costs. A list without a price for writing to the cache has that of input for it."""
        parts = split_input(usage)
        figures = {
            "input_tokens": usage.input_tokens,
            "cache_read_tokens": parts.cached,
            "cache_write_tokens": parts.written + parts.written_hour,
            "cache_write_1h_tokens": parts.written_hour,
            "output_tokens": usage.output_tokens,
            "web_searches": usage.searches,
        }
        return self.model.calc_price(figures, self.provider, genai_request_timestamp=self.at).total_price


def compute_cost(usage: Usage, price: Tariff | None) -> Decimal | None:
    """Return the dollars for one upstream call, to eight places, or None when the model has no price."""
    return None if price is None else price.compute_dollars(usage).quantize(SMALLEST)


def find_price(
    model: str, prices: Mapping[str, Price], *, base_url: str | None = None, at: datetime | None = None
) -> Tariff | None:
    """Return the price of a `provider:model` at a moment: the site's own, then the published one, or None.

    `base_url` is the server that the provider is asked at, when it is not the provider's own. The demo provider is
    free unless `prices` says otherwise.
    """
    if model in prices:
        return prices[model]
    if model.startswith("demo:"):
        return Price(Decimal(0), Decimal(0), Decimal(0))
    return find_published_price(model, base_url, at or datetime.now(UTC))


def find_published_price(model: str, base_url: str | None, at: datetime) -> PublishedPrice | None:
    """Return the published price of a `provider:model`, or None.

    A server that the list knows by its address has its own prices. Any other is taken for a gateway: it has the prices
    of the provider whose format it speaks, for models of that provider's names and no others.
    """
    found = _find_listed(model, base_url)
    return None if found is None else PublishedPrice(*found, at)


@lru_cache(maxsize=256)  # the list tries a hundred patterns for each name
def _find_listed(model: str, base_url: str | None) -> tuple[Provider, ModelInfo] | None:
    # Imported late: the list takes 0.2 s to load, which no other command should wait for.
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415

    listed = get_snapshot()
    provider, _, name = model.partition(":")
    try:
        if base_url:
            try:
                seller = listed.find_provider(None, None, base_url)
            except LookupError:
                seller = listed.find_provider(None, provider, None)
        else:
            seller = listed.find_provider(None, provider, None)
    except LookupError:
        return None
    try:
        return listed.find_provider_model(name, seller, None, None)
    except LookupError:
        newer = find_newer(seller.id, name)
        return None if newer is None else (seller, newer)
