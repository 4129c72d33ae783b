"""The current time, which no model knows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import Field

from chat.tools.base import ToolError

# strftime would name them in the locale of the process.
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def current_time(
    zone: Annotated[str, Field(description="An IANA time zone such as Europe/Berlin; UTC when left out.")] = "UTC",
) -> str:
    """Tell the current date, weekday and time, in UTC or in a time zone."""
    return describe(datetime.now(UTC), zone)


def describe(moment: datetime, zone: str) -> str:
    """Return the moment as the zone's clocks show it; raise `ToolError` for a zone that does not exist."""
    try:
        timezone = ZoneInfo(zone)
    except (ValueError, OSError, LookupError):  # a path, a folder, no such zone
        raise ToolError(f"There is no time zone {zone[:64]!r}; IANA names such as Europe/Berlin are known") from None
    local = moment.astimezone(timezone)
    return f"{WEEKDAYS[local.weekday()]}, {local.isoformat(' ', 'seconds')} ({zone})"
