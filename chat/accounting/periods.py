"""Days, weeks and months in the site's time zone: the one place that knows when a limit's window begins and ends."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from django.conf import settings

from chat.models import Period


class Window(NamedTuple):
    """One day, week or month: from `begins` until just before `until`."""

    name: str
    begins: datetime
    until: datetime


def find_window(period: str, at: datetime) -> Window:
    """Return the window of that length that a moment lies in."""
    zone = settings.CHAT_TIME_ZONE
    return _make_window(period, at.astimezone(_load_zone(zone)).date(), zone)


@lru_cache(maxsize=64)
def _make_window(period: str, day: date, zone: str) -> Window:
    if period == Period.DAY:
        return Window(f"{day:%Y-%m-%d}", _find_midnight(day, zone), _find_midnight(day + timedelta(days=1), zone))
    if period == Period.WEEK:
        first = day - timedelta(days=day.weekday())
        return Window(f"{first:%G-W%V}", _find_midnight(first, zone), _find_midnight(first + timedelta(days=7), zone))
    first = day.replace(day=1)
    following = find_next_month(first)
    return Window(f"{first:%Y-%m}", _find_midnight(first, zone), _find_midnight(following, zone))


def find_next_month(day: date) -> date:
    """Return the first day of the month after a day's own."""
    return (day.replace(day=1) + timedelta(days=31)).replace(day=1)


def _find_midnight(day: date, zone: str) -> datetime:
    """Return the moment at which a day begins: its midnight, or, where the clock skips that, the moment of the skip."""
    return datetime(day.year, day.month, day.day, tzinfo=_load_zone(zone)).astimezone(UTC)


@lru_cache(maxsize=8)
def _load_zone(name: str) -> tzinfo:
    return UTC if name == "UTC" else ZoneInfo(name)


def write_moment(then: datetime, now: datetime) -> str:
    """Write when a window ends: "at 00:00 UTC", with its day unless it is within the next 24 hours."""
    local = then.astimezone(_load_zone(settings.CHAT_TIME_ZONE))
    name = local.tzname() or ""
    time = f"{local:%H:%M} {name if name.isalpha() else f'UTC{name}'}"  # a zone without a name is called by its offset
    if then - now <= timedelta(days=1):
        return f"at {time}"
    return f"on {local.day} {local:%B} at {time}"
