"""Prices that were published after the installed release of `genai-prices`, in the form of its list.

Remove a row once the list has the model: the list is asked first.
"""

from __future__ import annotations

from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo

# Dollars for a million tokens of input, read from the cache, written to it, and of output: developers.openai.com, the
# models' pages, 28 November 2026 (writing costs 1.25 times as much as input since GPT-5.6). Above 272,000 tokens of
# input a whole request costs twice as much for its input and 1.5 times as much for its output. Searches are $10 a
# thousand, as for OpenAI's other models.
_OPENAI = {
    "gpt-6.2-sol": ("2", "0.1", "2.5", "10"),
    "gpt-6.2-astra": ("8", "0.4", "10", "40"),
}
_LONG_PROMPT = 272_000


def find_newer(provider: str, name: str) -> ModelInfo | None:
    """Return a model of the provider's with its prices, or None."""
    return _list_newer_models().get(name) if provider == "openai" else None


@cache
def _list_newer_models() -> dict[str, ModelInfo]:
    # Imported late: the list takes 0.2 s to load, which no other command should wait for.
    from genai_prices.types import ClauseEquals, ModelInfo, ModelPrice, Tier, TieredPrices  # noqa: PLC0415

    def make_tiers(dollars: str, factor: str) -> TieredPrices:
        base = Decimal(dollars)
        return TieredPrices(base=base, tiers=[Tier(start=_LONG_PROMPT, price=base * Decimal(factor))])

    return {
        name: ModelInfo(
            id=name,
            match=ClauseEquals(name),
            prices=ModelPrice(
                input_mtok=make_tiers(fresh, "2"),
                cache_read_mtok=make_tiers(read, "2"),
                cache_write_mtok=make_tiers(written, "2"),
                output_mtok=make_tiers(output, "1.5"),
                web_searches_kcount=Decimal(10),
            ),
        )
        for name, (fresh, read, written, output) in _OPENAI.items()
    }
