"""The brake on guessing secret links: after some that lead nowhere, a reader is refused for the rest of the minute.

A secret of 256 bits cannot be guessed; this keeps those who try from costing a query each. Each process counts for
itself, in memory: a table would be written to at the guesser's pace.
"""

from __future__ import annotations

from contextlib import suppress

from django.core.cache import cache

# Links that lead nowhere, of one reader in a minute: a person who opens old ones has a few.
MAX_MISSES = 30
WINDOW = 60


def is_braked(reader: str) -> bool:
    """Return whether a reader, a user or a network, is refused now."""
    return int(cache.get(_make_key(reader), 0)) >= MAX_MISSES


def note_miss(reader: str) -> None:
    """Count a link that led a reader nowhere."""
    cache.add(_make_key(reader), 0, WINDOW)
    with suppress(ValueError):  # its minute has just ended
        cache.incr(_make_key(reader))


def _make_key(reader: str) -> str:
    return f"chat.link_misses.{reader}"
