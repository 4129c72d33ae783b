"""The days on which models are switched off, and the models that their providers recommend instead.

The sources are those of `chat.providers.model_families`. What a provider lists, and the operator's options, win.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import NamedTuple


class _Retirement(NamedTuple):
    """The models whose names match stop answering on `day`; `successor` is whom their provider recommends."""

    names: re.Pattern[str]
    day: date
    successor: str


def _make_retirement(names: str, day: str, successor: str) -> _Retirement:
    return _Retirement(re.compile(names), date.fromisoformat(day), successor)


# The dates are those of *types*, unless a line says otherwise.
_RETIREMENTS: Mapping[str, tuple[_Retirement, ...]] = {
    "anthropic": (
        _make_retirement(r"claude-opus-4-5", "2027-01-22", "claude-opus-5-5"),
        _make_retirement(r"claude-sonnet-4-5", "2026-11-30", "claude-sonnet-5-5"),
        _make_retirement(r"claude-opus-4-1", "2026-08-05", "claude-opus-5-5"),  # reports; it has left *types*
        _make_retirement(r"claude-mythos-preview", "2026-06-30", "claude-mythos-5-2"),
        _make_retirement(r"claude-opus-4(-0)?", "2026-06-15", "claude-opus-5-5"),
        _make_retirement(r"claude-sonnet-4(-0)?", "2026-06-15", "claude-sonnet-5-5"),
        _make_retirement(r"claude-3-7-sonnet(-latest)?", "2026-02-19", "claude-sonnet-5-5"),
        _make_retirement(r"claude-3-5-haiku(-latest)?", "2026-02-19", "claude-haiku-5-5"),
        _make_retirement(r"claude-3-opus(-latest)?", "2026-01-05", "claude-opus-5-5"),
        _make_retirement(r"claude-3-sonnet|claude-2-[01]", "2025-07-21", "claude-sonnet-5-5"),
        _make_retirement(r"claude-(1-3|instant-1-[12])(-100k)?", "2024-11-06", "claude-haiku-5-5"),
    ),
    "openai": (
        # The successors are those of *deprecations*.
        _make_retirement(r"gpt-5|o3|gpt-5-pro|o3-pro", "2026-12-11", "gpt-6.1-sol"),
        _make_retirement(r"gpt-5-mini", "2026-12-11", "gpt-6.1-terra"),
        _make_retirement(r"gpt-5-nano", "2026-12-11", "gpt-6-luna"),
        _make_retirement(r"gpt-4\.1(-mini)?|gpt-4o(-mini)?", "2027-01-14", "gpt-6-luna"),
        _make_retirement(r"gpt-5\.4-nano", "2027-04-01", "gpt-6-luna"),
        _make_retirement(r"gpt-5\.1", "2027-04-01", "gpt-6.1-sol"),
        _make_retirement(r"gpt-5\.[23]-chat-latest", "2026-08-10", "gpt-6.1-terra"),
        _make_retirement(r"gpt-5\.1-codex|gpt-5(\.1)?-chat-latest", "2026-07-23", "gpt-6.1-sol"),
        _make_retirement(r"gpt-4o(-mini)?-search-preview", "2026-07-23", "gpt-6.1-terra"),
        _make_retirement(r"gpt-4\.1-nano", "2026-10-23", "gpt-6-luna"),
        _make_retirement(r"o4-mini|o3-mini|o1|gpt-4(-turbo|-0613|-1106-preview)?", "2026-10-23", "gpt-6.1-sol"),
        _make_retirement(r"gpt-3\.5-turbo(-0125)?", "2026-10-23", "gpt-6.1-terra"),
        _make_retirement(r"gpt-3\.5-turbo-1106", "2026-09-28", "gpt-6.1-terra"),
        _make_retirement(r"gpt-4-0125-preview|gpt-4-turbo-preview|gpt-4-0314", "2026-03-26", "gpt-6.1-sol"),
        _make_retirement(r"chatgpt-4o-latest", "2026-02-17", "gpt-6.1-terra"),
        _make_retirement(r"codex-mini-latest", "2026-02-12", "gpt-6.1-terra"),
        _make_retirement(r"o1-mini", "2025-10-27", "gpt-6.1-terra"),
        _make_retirement(r"o1-preview", "2025-07-28", "gpt-6.1-sol"),
        _make_retirement(r"gpt-4-32k(-0314|-0613)?", "2025-06-06", "gpt-6.1-sol"),
        _make_retirement(r"gpt-4-vision-preview", "2024-12-06", "gpt-6-luna"),
        _make_retirement(r"gpt-3\.5-turbo-(0301|0613|16k(-0613)?)", "2024-09-13", "gpt-6.1-terra"),
    ),
}

# Snapshots that end on another day than their family.
_SNAPSHOTS: Mapping[str, date] = {"gpt-4o-2024-05-13": date(2026, 10, 23)}


def find_retirement(provider: str, model: str, name: str) -> tuple[date | None, str]:
    """Return the day on which a model is switched off, None when nobody knows one, and its successor.

    `name` is the model's plain name, without the date of a snapshot.
    """
    for row in _RETIREMENTS.get(provider, ()):
        if row.names.fullmatch(name):
            return _SNAPSHOTS.get(model, row.day), row.successor
    return None, ""
