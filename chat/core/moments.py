"""Moments and days that come from outside, such as those in the addresses of pages."""

from __future__ import annotations

from datetime import UTC, date, datetime

# Nothing on the site is older. The last one has a month after it, and ends in every time zone.
FIRST_DAY = date(1970, 1, 1)
LAST_DAY = date(9998, 12, 31)


def bound_day(day: date) -> date:
    """Return a day that has a midnight before and after it in every time zone: the nearest one to the given day.

    People write 9999-12-31 for "without an end", and Python has no day after it.
    """
    return min(max(day, FIRST_DAY), LAST_DAY)


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
