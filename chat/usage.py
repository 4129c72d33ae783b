"""What an answer costs: estimates where a provider sent no figure, prices, and money as `Decimal`. And how long it
took: the buckets in which milliseconds are counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from itertools import accumulate
from math import ceil
from typing import TYPE_CHECKING, Protocol

from chat.events import Usage

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, Provider

# English prose has about four characters a token in every current tokenizer; CJK has fewer, so an estimate is
# marked as one wherever it is shown.
CHARS_PER_TOKEN = 4

MILLION = Decimal(1_000_000)

# The ledger keeps eight places, so that one token of the cheapest model is not rounded away.
SMALLEST = Decimal("0.00000001")


def estimate_tokens(chars: int) -> int:
    """Tokens of a text of so many characters; at least one for any text."""
    return -(-chars // CHARS_PER_TOKEN)


class Tariff(Protocol):
    """Anything that can say what a call costs."""

    def dollars(self, usage: Usage) -> Decimal: ...


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for a million tokens. Cached input costs as much as other input unless a price is given."""

    input: Decimal
    output: Decimal
    cached: Decimal

    def dollars(self, usage: Usage) -> Decimal:
        fresh = usage.input_tokens - usage.cached_tokens
        total = fresh * self.input + usage.cached_tokens * self.cached + usage.output_tokens * self.output
        return total / MILLION


@dataclass(frozen=True, slots=True)
class PublishedPrice:
    """A provider's own price list as `genai-prices` has it, with its steps for long prompts and its dates."""

    provider: Provider
    model: ModelInfo
    at: datetime

    def dollars(self, usage: Usage) -> Decimal:
        figures = {
            "input_tokens": usage.input_tokens,
            "cache_read_tokens": usage.cached_tokens,
            "output_tokens": usage.output_tokens,
        }
        return self.model.calc_price(figures, self.provider, genai_request_timestamp=self.at).total_price


def cost(usage: Usage, price: Tariff | None) -> Decimal | None:
    """Dollars for one upstream call, to eight places, or None when nobody knows what the model costs."""
    return None if price is None else price.dollars(usage).quantize(SMALLEST)


def price_of(
    model: str, prices: Mapping[str, Price], *, base_url: str | None = None, at: datetime | None = None
) -> Tariff | None:
    """The price of a `provider:model` name at a moment: the site's own, then the published one, or None.

    `base_url` is the server that the provider is asked at, when it is not the provider's own. The demo provider is
    free unless `prices` says otherwise.
    """
    if model in prices:
        return prices[model]
    if model.startswith("demo:"):
        return Price(Decimal(0), Decimal(0), Decimal(0))
    return published_price(model, base_url, at or datetime.now(UTC))


def published_price(model: str, base_url: str | None, at: datetime) -> PublishedPrice | None:
    """A server that the list knows by its address has its own prices. Any other is taken for a gateway: it has the
    prices of the provider whose format it speaks, for models of that provider's names and no others."""
    found = _listed(model, base_url)
    return None if found is None else PublishedPrice(*found, at)


@lru_cache(maxsize=256)  # the list tries a hundred patterns for each name
def _listed(model: str, base_url: str | None) -> tuple[Provider, ModelInfo] | None:
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
        return listed.find_provider_model(name, seller, None, None)
    except LookupError:
        return None


# Milliseconds are counted in ten buckets for each doubling, so a bucket is at most 10 % wide. Below 16 ms each
# millisecond has its own. Whole numbers only: both databases and Python agree to the last call.
EXACT_BELOW = 16
PER_DOUBLING = 10
_FIRST_POWER = EXACT_BELOW.bit_length() - 1
_POWERS = range(_FIRST_POWER, 31)  # a ledger row holds at most 2**31 - 1 ms


def bucket_of(ms: int) -> int:
    if ms < EXACT_BELOW:
        return ms
    power = ms.bit_length() - 1
    return EXACT_BELOW + (power - _FIRST_POWER) * PER_DOUBLING + (ms - (1 << power)) * PER_DOUBLING // (1 << power)


def bucket_sql(column: str) -> str:
    """`bucket_of` as SQL. The column's values must be 64 bits wide, or the multiplication overflows."""
    steps = [f"WHEN {column} < {EXACT_BELOW} THEN {column}"]
    for power in _POWERS:
        low, first = 1 << power, EXACT_BELOW + (power - _FIRST_POWER) * PER_DOUBLING
        steps.append(f"WHEN {column} < {low * 2} THEN {first} + ({column} - {low}) * {PER_DOUBLING} / {low}")
    return f"CASE {' '.join(steps)} END"


def middle_of(bucket: int) -> float:
    """What stands for the milliseconds of a bucket; at most 5 % from any of them."""
    if bucket < EXACT_BELOW:
        return bucket
    power, step = divmod(bucket - EXACT_BELOW, PER_DOUBLING)
    low = 1 << (power + _FIRST_POWER)
    first, after = (low + -(-low * edge // PER_DOUBLING) for edge in (step, step + 1))
    return (first + after - 1) / 2


def percentile(counts: Mapping[int, int], share: float) -> float | None:
    """The nearest-rank percentile of a histogram by bucket, in milliseconds; None when it is empty."""
    buckets = sorted(counts)
    reached = list(accumulate(counts[bucket] for bucket in buckets))
    if not reached or not reached[-1]:
        return None
    rank = ceil(share * reached[-1])
    return middle_of(next(bucket for bucket, upto in zip(buckets, reached, strict=True) if upto >= rank))


def histogram(values: Iterable[int]) -> dict[int, int]:
    """How many of the milliseconds lie in each bucket."""
    counts: dict[int, int] = {}
    for ms in values:
        bucket = bucket_of(ms)
        counts[bucket] = counts.get(bucket, 0) + 1
    return counts


def dollars(amount: Decimal) -> str:
    """An amount for people: in cents, and below ten of them as exactly as it takes to see it."""
    if amount >= Decimal("0.1") or not amount:
        return f"${amount:,.2f}"
    return f"${amount:.4f}" if amount >= Decimal("0.0001") else "less than $0.0001"
