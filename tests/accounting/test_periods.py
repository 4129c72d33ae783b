"""Days, weeks and months of limits begin at midnight of the site's time zone, also where the clock is changed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pytest_django import Settings

from chat.accounting.periods import find_window, write_moment


def parse_moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "period", "at", "name", "begins", "until"),
    [
        ("UTC", "day", "2026-11-28T00:00", "2026-11-28", "2026-11-28T00:00", "2026-11-29T00:00"),
        ("UTC", "week", "2026-11-29T23:59", "2026-W48", "2026-11-23T00:00", "2026-11-30T00:00"),
        ("UTC", "week", "2027-01-01T12:00", "2026-W53", "2026-12-28T00:00", "2027-01-04T00:00"),
        ("UTC", "month", "2026-12-31T23:59", "2026-12", "2026-12-01T00:00", "2027-01-01T00:00"),
        ("UTC", "month", "2028-02-29T12:00", "2028-02", "2028-02-01T00:00", "2028-03-01T00:00"),
        # East of UTC a day begins in UTC's day before.
        ("Europe/Berlin", "day", "2026-11-27T23:00", "2026-11-28", "2026-11-27T23:00", "2026-11-28T23:00"),
        ("Europe/Berlin", "day", "2026-11-27T22:59", "2026-11-27", "2026-11-26T23:00", "2026-11-27T23:00"),
        # The clock is put forward: 23 hours. Back: 25.
        ("Europe/Berlin", "day", "2026-03-29T12:00", "2026-03-29", "2026-03-28T23:00", "2026-03-29T22:00"),
        ("Europe/Berlin", "day", "2026-10-25T12:00", "2026-10-25", "2026-10-24T22:00", "2026-10-25T23:00"),
        ("Europe/Berlin", "month", "2026-10-31T23:30", "2026-11", "2026-10-31T23:00", "2026-11-30T23:00"),
        ("Europe/Berlin", "week", "2026-03-29T21:59", "2026-W13", "2026-03-22T23:00", "2026-03-29T22:00"),
        # Midnight itself is skipped: the day begins with one o'clock.
        ("Africa/Cairo", "day", "2026-04-24T12:00", "2026-04-24", "2026-04-23T22:00", "2026-04-24T21:00"),
        ("America/Los_Angeles", "day", "2026-11-01T08:30", "2026-11-01", "2026-11-01T07:00", "2026-11-02T08:00"),
        ("Asia/Kathmandu", "day", "2026-11-28T18:15", "2026-11-29", "2026-11-28T18:15", "2026-11-29T18:15"),
    ],
)
def test_a_window_begins_and_ends_at_local_midnight(
    settings: Settings, zone: str, period: str, at: str, name: str, begins: str, until: str
) -> None:
    settings.CHAT_TIME_ZONE = zone
    window = find_window(period, parse_moment(at))
    assert (window.name, window.begins, window.until) == (name, parse_moment(begins), parse_moment(until))


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Africa/Cairo", "America/Sao_Paulo", "Pacific/Apia"])
@pytest.mark.parametrize("period", ["day", "week", "month"])
def test_windows_follow_each_other_without_a_gap(settings: Settings, zone: str, period: str) -> None:
    settings.CHAT_TIME_ZONE = zone
    window = find_window(period, parse_moment("2026-01-01T12:00"))
    names = {window.name}
    while window.until < parse_moment("2027-01-01T00:00"):
        following = find_window(period, window.until)
        assert following.begins == window.until
        assert following.name not in names
        names.add(following.name)
        window = following


@pytest.mark.parametrize(
    ("zone", "words"),
    [
        ("UTC", "on 1 December at 00:00 UTC"),
        ("Europe/Berlin", "on 1 December at 01:00 CET"),
        ("America/Sao_Paulo", "on 30 November at 21:00 UTC-03"),
    ],
)
def test_a_moment_is_written_in_the_sites_time(settings: Settings, zone: str, words: str) -> None:
    settings.CHAT_TIME_ZONE = zone
    assert write_moment(parse_moment("2026-12-01T00:00"), parse_moment("2026-11-28T05:00")) == words
