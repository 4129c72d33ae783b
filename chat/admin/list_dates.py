"""The years, months and days above a list of the admin: all those between its first row and its last.

Django's own are those that have a row, which it finds by reading every row.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from django.utils.formats import date_format


@dataclass(frozen=True, slots=True)
class DateLink:
    """A year, month or day, and the address of the list of its rows; no address for the one that is shown."""

    title: str
    link: str = ""


@dataclass(frozen=True, slots=True)
class Dates:
    """The dates to choose from, and the way back to the longer period, as Django's template shows them."""

    choices: list[DateLink]
    back: DateLink | None = None


@dataclass(frozen=True, slots=True)
class DateNavigation:
    """The way through the dates of a table, which are in a field of its rows.

    `find_address` returns the list's address with the given conditions on that field in place of those it has.
    """

    rows: QuerySet[Any]
    field: str
    find_address: Callable[[dict[str, Any]], str]

    def list_dates(self, year: int | None, month: int | None, day: int | None) -> Dates | None:
        """Return the dates to choose from where a year, month or day was chosen; None for an empty table."""
        first, last = self._find_day(self.field), self._find_day(f"-{self.field}")
        if first is None or last is None:
            return None
        if year and month and day:
            return Dates([DateLink(write_day(date(year, month, day)))], self._link_month(date(year, month, 1)))
        if year and month:
            days = (date(year, month, number + 1) for number in range(monthrange(year, month)[1]))
            return Dates([self._link_day(each) for each in days if first <= each <= last], self._link_year(year))
        if year or first.year == last.year:
            months = (date(year or first.year, number, 1) for number in range(1, 13))
            between = [self._link_month(each) for each in months if first.replace(day=1) <= each <= last]
            return Dates(between, DateLink("All dates", self.find_address({})) if year else None)
        return Dates([self._link_year(each) for each in range(first.year, last.year + 1)])

    def _find_day(self, order: str) -> date | None:
        found: datetime | None = self.rows.order_by(order).values_list(self.field, flat=True).first()
        return timezone.localtime(found).date() if found else None

    def _link_year(self, year: int) -> DateLink:
        return DateLink(str(year), self.find_address({f"{self.field}__year": year}))

    def _link_month(self, month: date) -> DateLink:
        chosen = {f"{self.field}__year": month.year, f"{self.field}__month": month.month}
        return DateLink(date_format(month, "YEAR_MONTH_FORMAT"), self.find_address(chosen))

    def _link_day(self, day: date) -> DateLink:
        parts = {f"{self.field}__{part}": getattr(day, part) for part in ("year", "month", "day")}
        return DateLink(write_day(day), self.find_address(parts))


def write_day(day: date) -> str:
    """Return `November 28`."""
    return date_format(day, "MONTH_DAY_FORMAT")
