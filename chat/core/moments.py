"""Moments that come as text, such as those in the addresses of pages."""

from __future__ import annotations

from datetime import UTC, datetime


def parse_moment(text: str) -> datetime:
    """Return the moment that an ISO 8601 text with an offset says, in UTC.

    Raises `ValueError` for any other text, and for a moment outside the years 1 to 9999 of UTC, which no database
    takes: 0001-01-01T00:00+14:00 is one.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(text)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(text) from None
