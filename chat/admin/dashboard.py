"""The admin's first page: how the site does today, what the month will cost, and what needs somebody's attention."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from urllib.parse import urlencode

from django.db.models import Count
from django.urls import reverse
from django.utils import timezone

from chat.accounting import rollups
from chat.accounting.near_limits import NearLimit, find_near_limits
from chat.accounting.overview import TREND_DAYS, Overview, make_overview
from chat.accounts.model_registry import RetirementNotice, list_retirement_notices
from chat.admin.plots import Plot, draw_cost, draw_first_token
from chat.conversations.open_failures import select_open_failures
from chat.conversations.ratings import RatingLine, sum_ratings
from chat.models import Rating, User

# Lines of each list; the pages behind them have all.
SHOWN = 8


@dataclass(frozen=True, slots=True)
class OpenFailures:
    """The open failures of one code."""

    code: str
    count: int


@dataclass(slots=True)
class Dashboard:
    """The parts of the page that its reader may see; a part that they may not see is None or empty."""

    overview: Overview | None = None
    plots: list[Plot] = field(default_factory=list)
    near_limits: list[NearLimit] | None = None
    failures: list[OpenFailures] | None = None
    ratings: list[RatingLine] | None = None
    retirements: list[RetirementNotice] = field(default_factory=list)

    @property
    def open_failures(self) -> int:
        """The number of all open failures."""
        return sum(group.count for group in self.failures or ())


def make_dashboard(user: User) -> Dashboard:
    """Return the page's parts for a reader, by their permissions."""
    dashboard = Dashboard()
    if user.has_perm("chat.view_providercall"):
        rollups.catch_up()
        dashboard.overview = make_overview(timezone.now().date())
        trend = dashboard.overview.trend
        dashboard.plots = [draw_cost(trend, find_calls_of_day), draw_first_token(trend)]
    if user.has_perm("chat.view_meter"):
        dashboard.near_limits = find_near_limits(SHOWN)
    if user.has_perm("chat.retry_answer"):
        dashboard.failures = count_open_failures()
    if user.has_perm("chat.view_rating"):
        since = timezone.now() - timedelta(days=TREND_DAYS)
        dashboard.ratings = sum_ratings(Rating.objects.filter(created_at__gte=since), "model")[:SHOWN]
    if user.has_perm("chat.view_modelhealth"):
        dashboard.retirements = list_retirement_notices()
    return dashboard


def find_calls_of_day(name: str) -> str:
    """Return the address of the calls of a day that a plot names."""
    day = date.fromisoformat(name[:10])
    return f"{reverse('usage_calls')}?{urlencode({'start': day, 'end': day})}"


def count_open_failures() -> list[OpenFailures]:
    """Return how many open failures the last days have of each code, the most frequent first.

    Whether an answer is the last attempt is looked up for each: of a year's 130,000 that takes more than a second.
    """
    since = timezone.now() - timedelta(days=TREND_DAYS)
    rows = (
        select_open_failures()
        .filter(created_at__gte=since)
        .order_by()
        .values_list("error_code")
        .annotate(count=Count("pk"))
    )
    return [OpenFailures(code, count) for code, count in rows.order_by("-count", "error_code")]
