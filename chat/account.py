"""A user's own pages: what they use, and how much they may."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from math import ceil
from typing import NamedTuple

from django.db.models import Count, F, Q, Sum
from django.db.models.functions import TruncDate
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.defaultfilters import pluralize
from django.utils import timezone
from django.views.decorators.http import require_GET

from chat import quotas
from chat.models import Conversation, Outcome, ProviderCall, User
from chat.quotas import Quota
from chat.usage import dollars

DAYS = 30

# The chart's own units; the page stretches it.
BAR, HEIGHT = 10, 100

Show = Callable[[Decimal], str]


class Gauge(NamedTuple):
    """One limit as the page shows it. Shares are percent of the limit, together at most 100."""

    title: str
    used: str
    limit: str
    notes: list[str]
    used_share: Decimal | None = None
    reserved_share: Decimal = Decimal(0)
    is_full: bool = False


class Day(NamedTuple):
    """What one day's ended calls took. `cost` is empty when none of their models had a price."""

    date: date
    calls: int = 0
    tokens: int = 0
    cost: Decimal | None = None
    unpriced: int = 0

    @property
    def price(self) -> str:
        """The cost in words; a call without a price is never taken for one that cost nothing."""
        if self.cost is None:
            return "no price" if self.calls else ""
        return dollars(self.cost) + (f" + {self.unpriced:,} without a price" if self.unpriced else "")


class Bar(NamedTuple):
    """One day in the chart."""

    day: Day
    x: int
    y: Decimal
    height: Decimal


@require_GET
def usage(request: HttpRequest) -> HttpResponse:
    assert isinstance(request.user, User)  # noqa: S101 - LoginMiddleware lets nobody else through
    now = timezone.now()
    days = days_of(request.user, now)
    context = {
        "gauges": gauges_of(request.user, days, now),
        "days": days,
        "bars": bars_of(days),
        "width": BAR * DAYS,
        "peak": max(days, key=lambda day: day.tokens),
        "conversations": Conversation.objects.owned_by(request.user)[:100],
    }
    return render(request, "account/usage.html", context)


def days_of(user: User, now: datetime) -> list[Day]:
    """The last days, today last, by the ledger; a call counts for the day on which it began, in UTC."""
    today = now.astimezone(UTC).date()
    dates = [today - timedelta(days=ago) for ago in reversed(range(DAYS))]
    figures = (
        ProviderCall.objects.filter(
            user=user, billed_to=ProviderCall.BilledTo.USER, started_at__gte=datetime.combine(dates[0], time(), UTC)
        )
        .exclude(outcome=Outcome.RUNNING)
        .annotate(day=TruncDate("started_at", tzinfo=UTC))
        .order_by("day")
        .values_list("day")
        .annotate(
            calls=Count("pk"),
            tokens=Sum(F("input_tokens") + F("output_tokens")),
            spent=Sum("cost"),
            unpriced=Count("pk", filter=Q(cost=None)),
        )
    )
    found = {row[0]: Day(*row) for row in figures}
    return [found.get(date, Day(date)) for date in dates]


def bars_of(days: Sequence[Day]) -> list[Bar]:
    """The chart's bars; the highest fills it, and a day with any tokens can be seen."""
    peak = max(day.tokens for day in days) or 1
    heights = [max(HEIGHT * Decimal(day.tokens) / peak, Decimal(bool(day.tokens))) for day in days]
    return [
        Bar(day, BAR * number + 1, round(HEIGHT - height, 2), round(height, 2))
        for number, (day, height) in enumerate(zip(days, heights, strict=True))
    ]


def gauges_of(user: User, days: Sequence[Day], now: datetime) -> list[Gauge]:
    requests, live, tokens, cost = quotas.standing_of(user)
    gauges = [
        _gauge("Requests this minute", requests, _whole, _until_the_minute_ends(requests, now)),
        _gauge("Answers being written", live, _whole),
        _gauge("Tokens today", tokens, _whole, _until(tokens, now)),
    ]
    month = [day for day in days if day.date.replace(day=1) == days[-1].date.replace(day=1)]
    unpriced = sum(day.unpriced for day in month)
    if cost.limit is None and not cost.used and not cost.reserved and not any(day.cost is not None for day in month):
        return gauges
    note = [f"{unpriced:,} call{pluralize(unpriced)} to models without a price not counted."] if unpriced else []
    return [*gauges, _gauge("Cost this month", cost, dollars, [*_until(cost, now), *note])]


def _gauge(title: str, quota: Quota, show: Show, notes: Sequence[str] = ()) -> Gauge:
    held = [f"{show(quota.reserved)} reserved for answers being written."] if quota.reserved else []
    if quota.limit is None:
        return Gauge(title, show(quota.used), "", [*held, *notes])
    used = min(100 * quota.used / quota.limit, Decimal(100))
    reserved = min(100 * quota.reserved / quota.limit, 100 - used)
    is_full = quota.used >= quota.limit
    return Gauge(
        title, show(quota.used), show(quota.limit), [*held, *notes], round(used, 2), round(reserved, 2), is_full
    )


def _until(quota: Quota, now: datetime) -> list[str]:
    return [f"Begins anew {quotas.moment(quota.resets_at, now)}."] if quota.resets_at else []


def _until_the_minute_ends(quota: Quota, now: datetime) -> list[str]:
    """Nothing while no minute is under way: it begins with its first request."""
    if not quota.used or quota.resets_at is None:
        return []
    seconds = max(1, ceil((quota.resets_at - now).total_seconds()))
    return [f"Begins anew in {seconds} second{pluralize(seconds)}."]


def _whole(value: Decimal) -> str:
    return f"{int(value):,}"
