"""Estimates of tokens, where a provider sent no figure."""

from __future__ import annotations

# English prose has about four characters a token in every current tokenizer; CJK has fewer, so an estimate is
# marked as one wherever it is shown.
CHARS_PER_TOKEN = 4


def estimate_tokens(chars: int) -> int:
    """Return the estimated tokens of a text of `chars` characters; at least one for any text."""
    return -(-chars // CHARS_PER_TOKEN)
