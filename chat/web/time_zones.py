"""The time zone in which a user's days begin: the browser's, which its script keeps in a cookie, else the site's."""

from __future__ import annotations

import re
from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.conf import settings
from django.http import HttpRequest
from django.utils.dateformat import format as date_format

COOKIE = "timezone"

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_+-]{0,30}(?:/[A-Za-z0-9_+-]{1,30}){0,2}")


def find_zone(request: HttpRequest) -> ZoneInfo:
    """Return the time zone of a request's browser, or the site's where the browser has sent none."""
    return _load_zone(request.COOKIES.get(COOKIE, "")) or ZoneInfo(str(settings.CHAT_TIME_ZONE))


@lru_cache(maxsize=256)
def _load_zone(name: str) -> ZoneInfo | None:
    if not _NAME.fullmatch(name):
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # a folder of zones is an OSError
        return None


def name_day(at: datetime, now: datetime) -> str:
    """Return the heading that a moment is listed under, from Today to its month; both are in the reader's zone."""
    ago = (now.date() - at.date()).days
    if ago <= 0:
        return "Today"
    if ago == 1:
        return "Yesterday"
    if ago <= 7:
        return "Previous 7 days"
    if (at.year, at.month) == (now.year, now.month):
        return "This month"
    return date_format(at, "F") if at.year == now.year else date_format(at, "F Y")
