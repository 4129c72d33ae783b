"""The page of a user's own usage and limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from math import ceil
from typing import NamedTuple

from django.db.models import Count, F, Q, Sum
from django.db.models.functions import TruncDate
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.template.defaultfilters import pluralize
from django.utils import timezone
from django.utils.dateformat import format as date_format
from django.utils.safestring import mark_safe
from django.views.decorators.http import require_POST, require_safe

from chat import charts
from chat.accounting import quotas
from chat.accounting.alerts import find_alerts
from chat.accounting.budgets import BudgetStanding, find_standings
from chat.accounting.formatting import write_dollars
from chat.accounting.periods import write_moment
from chat.accounting.quotas import Quota
from chat.accounting.rollups import find_midnight
from chat.models import SOUND, Outcome, ProviderCall, User
from chat.templatetags.figures import write_compact
from chat.web.listed_conversations import show_open
from chat.web.time_zones import find_zone

DAYS = 30

Format = Callable[[Decimal], str]


class Gauge(NamedTuple):
    """One limit on the page. Shares are in percent of the limit, together at most 100."""

    title: str
    used: str
    limit: str
    notes: list[str]
    used_share: Decimal | None = None
    reserved_share: Decimal = Decimal(0)
    is_full: bool = False


class Day(NamedTuple):
    """One day's ended calls. `cost` is None when none of their models had a price."""

    date: date
    calls: int = 0
    tokens: int = 0
    cost: Decimal | None = None
    unpriced: int = 0

    @property
    def price(self) -> str:
        """The cost in words; a day of calls without a price is not shown as one that cost nothing."""
        if self.cost is None:
            return "no price" if self.calls else ""
        return write_dollars(self.cost) + (f" + {self.unpriced:,} without a price" if self.unpriced else "")


@require_safe
def show_usage(request: HttpRequest) -> HttpResponse:
    """Show what the user has used and may use."""
    assert isinstance(request.user, User)  # noqa: S101 - LoginMiddleware lets nobody else through
    now = timezone.now()
    days = load_days(request.user, now)
    context = {
        "gauges": load_gauges(request.user, now),
        "days": days,
        "chart": draw_tokens(days),
        "conversations": show_open(request.user, find_zone(request)),
    }
    return render(request, "account/usage.html", context)


@require_POST
def dismiss_alert(request: HttpRequest, alert_id: int) -> HttpResponse:
    """Show the user one of their alerts no more, and return to the page that showed it."""
    assert isinstance(request.user, User)  # noqa: S101 - LoginMiddleware lets nobody else through
    get_object_or_404(find_alerts(request.user), pk=alert_id).dismissed_by.add(request.user)
    if request.headers.get("HX-Request"):
        return HttpResponse()
    return redirect("home")


def load_days(user: User, now: datetime) -> list[Day]:
    """Return the last days by the ledger, today last; a call counts for the UTC day on which it began."""
    today = now.astimezone(UTC).date()
    dates = [today - timedelta(days=ago) for ago in reversed(range(DAYS))]
    figures = (
        ProviderCall.objects.filter(
            SOUND,
            user=user,
            billed_to=ProviderCall.BilledTo.USER,
            started_at__gte=find_midnight(dates[0]),
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
    by_date = {row[0]: Day(*row) for row in figures}
    return [by_date.get(date, Day(date)) for date in dates]


def draw_tokens(days: Sequence[Day]) -> str:
    """Draw the tokens of each day; return nothing when none were used."""
    peak = max(days, key=lambda day: day.tokens)
    if not peak.tokens:
        return ""
    label = f"Tokens by day; most on {date_format(peak.date, 'j F')}: {peak.tokens:,}."
    places = [date_format(day.date, "j M") for day in days]
    tokens = charts.Series("tokens", "first", [day.tokens for day in days])
    return mark_safe(charts.draw_bars(label, places, [tokens], write_compact))  # noqa: S308 - charts escapes what it is given


def load_gauges(user: User, now: datetime) -> list[Gauge]:
    """Return the user's limits, without the one on cost where nothing has a cost."""
    requests, live, tokens, cost = quotas.find_standing(user)
    gauges = [
        _make_gauge("Requests this minute", requests, _format_count, _note_on_minute(requests, now)),
        _make_gauge("Answers being written", live, _format_count),
        _make_gauge("Tokens today", tokens, _format_count, _note_on_reset(tokens, now)),
    ]
    priced, unpriced = quotas.count_months_calls(user.pk)
    gauges += [_make_budget_gauge(standing, now) for standing in find_standings(user.pk)]
    if cost.limit is None and not cost.used and not cost.reserved and not priced:
        return gauges
    note = [f"{unpriced:,} call{pluralize(unpriced)} to models without a price not counted."] if unpriced else []
    return [*gauges, _make_gauge("Cost this month", cost, write_dollars, [*_note_on_reset(cost, now), *note])]


def _make_gauge(title: str, quota: Quota, format_amount: Format, notes: Sequence[str] = ()) -> Gauge:
    notes_on_reserved = (
        [f"{format_amount(quota.reserved)} reserved for answers being written."] if quota.reserved else []
    )
    if quota.limit is None:
        return Gauge(title, format_amount(quota.used), "", [*notes_on_reserved, *notes])
    is_full = quota.used >= quota.limit
    # A budget may be of nothing, which leaves the models without a price.
    used = Decimal(100) if is_full else 100 * quota.used / quota.limit
    reserved = Decimal(0) if is_full else min(100 * quota.reserved / quota.limit, 100 - used)
    return Gauge(
        title,
        format_amount(quota.used),
        format_amount(quota.limit),
        [*notes_on_reserved, *notes],
        round(used, 2),
        round(reserved, 2),
        is_full,
    )


def _make_budget_gauge(standing: BudgetStanding, now: datetime) -> Gauge:
    """Return a budget of the user's or of one of their groups."""
    note = ["Shared by your group."] if standing.is_shared else []
    quota = Quota(standing.most, standing.used, standing.held, standing.resets_at)
    write = write_dollars if standing.measure == "cost" else _format_count
    noun = "dollars" if standing.measure == "cost" else "tokens"
    window = "today" if standing.period == "day" else f"this {standing.period}"
    return _make_gauge(f"{standing.name}: {noun} {window}", quota, write, [*note, *_note_on_reset(quota, now)])


def _note_on_reset(quota: Quota, now: datetime) -> list[str]:
    return [f"Resets {write_moment(quota.resets_at, now)}."] if quota.resets_at else []


def _note_on_minute(quota: Quota, now: datetime) -> list[str]:
    """Return when the current minute ends; nothing before its first request, which begins it."""
    if not quota.used or quota.resets_at is None:
        return []
    seconds = max(1, ceil((quota.resets_at - now).total_seconds()))
    return [f"Resets in {seconds} second{pluralize(seconds)}."]


def _format_count(value: Decimal) -> str:
    return f"{int(value):,}"
