"""A model's context window, and what of a conversation fits into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from itertools import accumulate

from chat.providers import Prompt, Turn
from chat.usage import estimate_tokens, published_price

# Kept free for the answer, where the conversation does not say how long one may be.
ANSWER_TOKENS = 4_096

# An estimate of four characters a token is off by about a quarter for prose and code.
MARGIN = 0.75


def window_of(model: str, known: Mapping[str, int]) -> int | None:
    """Tokens that a `provider:model` reads and writes in all: what the site configures, otherwise the published figure;
    None when nobody knows."""
    return known[model] if model in known else _published_window(model)


@cache
def _published_window(model: str) -> int | None:
    """The list takes 0.2 s to load; a server has it loaded before its first question."""
    published = published_price(model, None, datetime.now(UTC))
    return published.model.context_window if published else None


def room_in(prompt: Prompt, window: int) -> float:
    """Tokens of a window that are left for what was said, beside what the system says and the answer."""
    answer = prompt.max_output_tokens or min(ANSWER_TOKENS, window // 4)
    return MARGIN * (window - answer) - size_of(_parted(prompt.turns)[0])


def fitted(prompt: Prompt, window: int | None) -> tuple[Prompt, int]:
    """The prompt without the oldest turns that do not fit, and how many messages were left out.

    Whole turns go: a question with its answer. What stands at the beginning as the system's stays, and so does the last
    question, whatever its length: only the provider knows whether it fits.
    """
    if window is None:
        return prompt, 0
    system, said = _parted(prompt.turns)
    room = room_in(prompt, window)
    starts = [index for index, turn in enumerate(said) if turn.role == "user"]
    # The tokens from each turn to the end, in one pass: taking them for each start took 0.4 s of 2,000 turns.
    sizes = list(accumulate(estimate_tokens(len(turn.content)) for turn in reversed(said)))[::-1]
    kept = next((start for start in starts if sizes[start] <= room), starts[-1] if starts else 0)
    return replace(prompt, turns=(*system, *said[kept:])), _messages(said[:kept])


def halved(prompt: Prompt) -> tuple[Prompt, int]:
    """The prompt without the older half of its turns, for a provider that finds it too long; 0 when it has one."""
    system, said = _parted(prompt.turns)
    starts = [index for index, turn in enumerate(said) if turn.role == "user"]
    kept = starts[(len(starts) + 1) // 2] if len(starts) > 1 else 0
    return replace(prompt, turns=(*system, *said[kept:])), _messages(said[:kept])


def _parted(turns: Sequence[Turn]) -> tuple[list[Turn], list[Turn]]:
    system = [turn for turn in turns if turn.role == "system"]
    return system, [turn for turn in turns if turn.role != "system"]


def _messages(turns: Sequence[Turn]) -> int:
    """How many messages the turns are. An answer that called tools is one message, and several turns."""
    roles = [turn.role for turn in turns]
    return sum("user" in (before, role) for before, role in zip(["user", *roles], roles, strict=False))


def size_of(turns: Sequence[Turn]) -> int:
    """Tokens, by estimate."""
    return sum(estimate_tokens(len(turn.content)) for turn in turns)
