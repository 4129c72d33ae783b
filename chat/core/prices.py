"""Prices of models, in US dollars."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from chat.core.events import Usage

MILLION = Decimal(1_000_000)
THOUSAND = Decimal(1_000)

# Dollars for a million tokens, or for a thousand searches. Ten times what the dearest model has ever cost; the ledger's
# column holds less than a million dollars a call, which is a hundred million tokens at this price.
HIGHEST_PRICE = Decimal(10_000)

# What Anthropic and OpenAI charge for input that they write to their caches, as multiples of the price of input.
WRITTEN_FACTOR = Decimal("1.25")
WRITTEN_HOUR_FACTOR = Decimal(2)


class InputParts(NamedTuple):
    """The input of a call by what its tokens cost. The parts add up to all of the input."""

    uncached: int
    cached: int
    written: int
    written_hour: int


def split_input(usage: Usage) -> InputParts:
    """Split the input into its parts. A part that a provider reports as more than what is left is cut to that."""
    left = usage.input_tokens
    parts = []
    for reported in (usage.cached_tokens, usage.written_tokens, usage.written_hour_tokens):
        parts.append(min(reported, left))
        left -= parts[-1]
    return InputParts(left, *parts)


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for a million tokens, and for a thousand searches (`search`).

    A price for writing to the cache that is None follows from that of input: 1.25 times as much, and for an hour twice.
    """

    input: Decimal
    output: Decimal
    cached: Decimal
    written: Decimal | None = None
    written_hour: Decimal | None = None
    search: Decimal = Decimal(0)

    def compute_dollars(self, usage: Usage) -> Decimal:
        """Return what a call costs, unrounded."""
        parts = split_input(usage)
        written = self.input * WRITTEN_FACTOR if self.written is None else self.written
        written_hour = self.input * WRITTEN_HOUR_FACTOR if self.written_hour is None else self.written_hour
        tokens = (
            parts.uncached * self.input
            + parts.cached * self.cached
            + parts.written * written
            + parts.written_hour * written_hour
            + usage.output_tokens * self.output
        )
        return tokens / MILLION + usage.searches * self.search / THOUSAND
