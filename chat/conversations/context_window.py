"""A model's context window, and what of a conversation fits into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from itertools import accumulate

from chat.accounting.pricing import find_published_price
from chat.core.tokens import estimate_tokens
from chat.providers.base import Prompt, Turn

# Tokens that are kept free for the answer, where the conversation does not say how long one may be.
ANSWER_TOKENS = 4_096

# How many messages are dropped at a time when the window is full. If they were dropped one by one, each turn's prompt
# would begin with another message, and nothing could be read from the provider's cache.
LEAVE_TOGETHER = 16

# An estimate of four characters a token is off by about a quarter for prose and code.
MARGIN = 0.75


def find_context_window(model: str, known: Mapping[str, int], listed: int | None = None) -> int | None:
    """Return how many tokens a `provider:model` reads and writes in all, None when that is not known.

    The site's configuration, `known`, comes before what the model's capabilities say, `listed`, and that before the
    published figure.
    """
    return known.get(model) or listed or _find_published_window(model)


@cache
def _find_published_window(model: str) -> int | None:
    """Return the published figure. The list takes 0.2 s to load; a server loads it before its first question."""
    published = find_published_price(model, None, datetime.now(UTC))
    return published.model.context_window if published else None


def count_free_tokens(prompt: Prompt, window: int) -> float:
    """Return how many tokens of a window are left for messages, beside all else that the model reads and writes."""
    answer = prompt.max_output_tokens or min(ANSWER_TOKENS, window // 4)
    beside = replace(prompt, turns=tuple(_split_system(prompt.turns)[0]))
    return MARGIN * (window - answer) - estimate_tokens(beside.size)


def fit_into_window(prompt: Prompt, window: int | None, unread: int = 0) -> tuple[Prompt, int]:
    """Return the prompt without the oldest turns that do not fit, and how many messages were left out.

    Whole turns are left out: a question with its answer. The system prompt stays, and so does the last question,
    whatever its length: only the provider knows whether it fits. `unread` is how many messages stand before the prompt.

    Messages are dropped `LEAVE_TOGETHER` at a time, so that the prompts of the next turns begin with the same message,
    and the provider reads their beginning from its cache.
    """
    if window is None:
        return prompt, 0
    system, messages = _split_system(prompt.turns)
    room = count_free_tokens(prompt, window)
    starts = [index for index, turn in enumerate(messages) if turn.role == "user"]
    # The tokens from each turn to the end, in one pass: taking them for each start took 0.4 s of 2,000 turns.
    sizes = list(accumulate(estimate_tokens(turn.measure_for(prompt.model)) for turn in reversed(messages)))[::-1]
    kept = next((start for start in starts if sizes[start] <= room), starts[-1] if starts else 0)
    omitted = _count_messages(messages[:kept])
    if unread + omitted:
        target = -(-(unread + omitted) // LEAVE_TOGETHER) * LEAVE_TOGETHER - unread
        later = next((start for start in starts if start >= kept and _count_messages(messages[:start]) >= target), None)
        if later is not None and sizes[later] >= room / 2:
            kept, omitted = later, _count_messages(messages[:later])
    return replace(prompt, turns=(*system, *messages[kept:])), omitted


def halve_prompt(prompt: Prompt) -> tuple[Prompt, int]:
    """Return the prompt without the older half of its turns, and how many messages were left out; 0 of one turn.

    What the model thought before its calls is left out too where it is bound to what stood before it.
    """
    system, messages = _split_system(prompt.turns)
    starts = [index for index, turn in enumerate(messages) if turn.role == "user"]
    kept = starts[(len(starts) + 1) // 2] if len(starts) > 1 else 0
    if not kept:
        return prompt, 0
    is_bound = prompt.capabilities.bound_thoughts
    rest = (replace(turn, thinking=()) if turn.thinking and is_bound else turn for turn in messages[kept:])
    return replace(prompt, turns=(*system, *rest)), _count_messages(messages[:kept])


def _split_system(turns: Sequence[Turn]) -> tuple[list[Turn], list[Turn]]:
    """Return the turns of the system, and the others."""
    system = [turn for turn in turns if turn.role == "system"]
    return system, [turn for turn in turns if turn.role != "system"]


def _count_messages(turns: Sequence[Turn]) -> int:
    """Return how many messages the turns are. An answer that called tools is one message, and several turns."""
    roles = [turn.role for turn in turns]
    return sum("user" in (before, role) for before, role in zip(["user", *roles], roles, strict=False))


def estimate_turn_tokens(turns: Sequence[Turn], model: str) -> int:
    """Return the estimated tokens that a model reads of some turns."""
    return sum(estimate_tokens(turn.measure_for(model)) for turn in turns)
