"""Values of JSON that a stranger wrote: each is taken as the kind that it has to be, or refused with its name.

Every text is made make_storable, as typed text is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from chat.conversations.exchange.portable import UnreadableError
from chat.core.events import make_storable

# What a column of whole numbers holds on either database.
LARGEST = 2**31 - 1

# Dates before this are taken for a mistake of whoever wrote them, and both databases hold them from here on.
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


def take_object(value: Any, name: str) -> Mapping[str, Any]:
    """Return a JSON object. Raises `UnreadableError`."""
    if not isinstance(value, dict):
        raise UnreadableError(f"`{name}` must be an object.")
    return value


def take_list(value: Any, name: str) -> list[Any]:
    """Return a JSON array; null is an empty one. Raises `UnreadableError`."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise UnreadableError(f"`{name}` must be a list.")
    return value


def take_text(value: Any, name: str, most: int | None = None) -> str:
    """Return a text that both databases hold, cut to `most` characters; null is an empty one.

    Raises `UnreadableError`.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UnreadableError(f"`{name}` must be a text.")
    return make_storable(value[:most])


def take_count(value: Any, name: str) -> int:
    """Return a whole number from 0 on that a column holds; null is 0. Raises `UnreadableError`."""
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST:
        raise UnreadableError(f"`{name}` must be a whole number from 0 to {LARGEST:,}.")
    return value


def take_flag(value: Any, name: str) -> bool:
    """Return true or false. Raises `UnreadableError`."""
    if not isinstance(value, bool):
        raise UnreadableError(f"`{name}` must be true or false.")
    return value


def take_moment(value: Any, name: str) -> datetime:
    """Return a moment, written as ISO 8601 or in seconds since 1970; one to come is now. Raises `UnreadableError`."""
    found = find_moment(value)
    if found is None:
        raise UnreadableError(f"`{name}` must be a time such as 2026-11-28T12:00:00+00:00.")
    return found


def find_moment(value: Any) -> datetime | None:
    """Return a moment as `take_moment` reads it; None for any other value."""
    try:
        if isinstance(value, str):
            found = datetime.fromisoformat(value)
            found = found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC)
        elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            # Whole microseconds, so that a float is the moment that was written, on every machine.
            found = EARLIEST + timedelta(microseconds=round(value * 1_000_000))
        else:
            return None
    except (ValueError, OverflowError):
        return None
    return min(found, datetime.now(UTC)) if found >= EARLIEST else None
