"""The overview: today beside a usual day, the last 31 days, and what the month will come to; from the ledger's sums."""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from math import ceil

from chat.accounting.figures import Figures, Line, sum_lines
from chat.accounting.reports import Trend, make_trend
from chat.accounting.selections import Selection
from chat.models import COST_UNIT

# The longest month lies within the trend, and a week evens out its weekend.
TREND_DAYS = 31
PACE_DAYS = 7


@dataclass(frozen=True, slots=True)
class UsualDay:
    """The mean of some days, named as in `Figures`.

    Shares and prices are those of all of their calls: of 13 calls in a week, 7 of them interrupted, whole calls a day
    would be one, and that interrupted.
    """

    total: Figures
    days: int

    @property
    def calls(self) -> int:
        return round(self.total.calls / self.days)

    @property
    def tokens(self) -> int:
        return round(self.total.tokens / self.days)

    @property
    def unpriced(self) -> int:
        """Calls without a price; one at least, where there was any."""
        return ceil(self.total.unpriced / self.days)

    @property
    def cost_units(self) -> int:
        return self.total.cost_units // self.days

    @property
    def cost(self) -> Decimal | None:
        """The cost in US dollars; None when none of the calls has a price."""
        return None if self.total.cost is None else self.cost_units * COST_UNIT

    @property
    def error_share(self) -> float:
        return self.total.error_share


@dataclass(frozen=True, slots=True)
class Overview:
    """The figures that an administrator sees first."""

    today: Line
    usual: UsualDay | None
    """The mean of the whole days of the last week; None on the ledger's first day."""
    month: Figures
    forecast: Decimal | None
    """US dollars of the whole month at the pace of a usual day; None without one, and without prices."""
    trend: Trend


def make_overview(today: date) -> Overview:
    """Return the overview of a day, UTC; every settled call has to be counted."""
    trend = make_trend(Selection(today - timedelta(days=TREND_DAYS - 1), today), "day")
    *past, current = trend.series
    week = past[-PACE_DAYS:]
    usual = UsualDay(sum_lines(week), len(week)) if week else None
    month = sum_lines(line for line in trend.series if line.name >= today.replace(day=1).isoformat())
    return Overview(current, usual, month, forecast_month(today, month, current.figures, usual), trend)


def forecast_month(today: date, month: Figures, current: Figures, usual: Figures | UsualDay | None) -> Decimal | None:
    """Return the US dollars that a month will come to when the rest of it is as a usual day.

    What today lacks to a usual day is still to come, and nothing is taken off when today is dearer.
    """
    if usual is None or month.cost is None:
        return None
    days_left = monthrange(today.year, today.month)[1] - today.day
    rest_of_today = max(0, usual.cost_units - current.cost_units)
    return (month.cost_units + rest_of_today + usual.cost_units * days_left) * COST_UNIT
