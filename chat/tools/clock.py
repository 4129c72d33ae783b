"""What time it is, which no model knows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import Field

from chat.tools import ToolError

# strftime would say them in whatever locale the process has.
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def current_time(
    zone: Annotated[str, Field(description="An IANA time zone such as Europe/Berlin; UTC when left out.")] = "UTC",
) -> str:
    """Tell the current date, weekday and time, in UTC or in a time zone."""
    return described(datetime.now(UTC), zone)


def described(moment: datetime, zone: str) -> str:
    """The moment as the zone's clocks show it; raises `ToolError` for a zone that does not exist."""
    try:
        place = ZoneInfo(zone)
    except (ValueError, OSError, LookupError):  # a path, a folder, no such zone
        raise ToolError(f"There is no time zone {zone[:64]!r}; IANA names such as Europe/Berlin are known") from None
    local = moment.astimezone(place)
    return f"{WEEKDAYS[local.weekday()]}, {local.isoformat(' ', 'seconds')} ({zone})"
