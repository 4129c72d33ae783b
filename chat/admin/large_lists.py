"""Lists of the admin that open as fast over millions of rows as over a hundred.

Django's own counts every row twice, reads them all for the dates above the list and for the values of a filter, and
sorts them by whichever column is asked for.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ORDER_VAR, ChangeList
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property

from chat.admin.list_dates import DateNavigation, Dates
from chat.admin.model_names import list_known_models
from chat.core.errors import CODES
from chat.models import Outcome, Status

# The rows that are counted and have pages. An earlier row is found by a filter or by its day.
MAX_COUNTED = 10_000

# Among a request's own values, which no header can name.
_LONG = "chat.admin.is_long_list"


class BoundedPaginator(Paginator[Any]):
    """The pages of a list's first rows, at most `MAX_COUNTED`."""

    is_known_to_be_cut = False
    """True where a search has found more rows than these already: then nothing is counted."""

    @cached_property
    def _found(self) -> int:
        if self.is_known_to_be_cut:
            return MAX_COUNTED + 1
        rows = self.object_list
        assert isinstance(rows, QuerySet)  # noqa: S101 - for the type checker
        return rows.order_by()[: MAX_COUNTED + 1].count()

    @cached_property
    def count(self) -> int:
        """Return the number of rows that have a page."""
        return min(self._found, MAX_COUNTED)

    @property
    def is_cut(self) -> bool:
        """True when the list has more rows than that."""
        return self._found > MAX_COUNTED


class LargeChangeList(ChangeList):
    """A list whose dates go from the table's first row to its last, and which is sorted by time while it is long."""

    is_order_refused = False
    """True when the list is too long for the order that was asked for, which no index has."""

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        order = super().get_ordering(request, queryset)
        by, time = str(order[0]), str(self.date_hierarchy)
        if by in (time, f"-{time}"):
            # Rows of one moment in the same direction: SQLite would sort all of them otherwise.
            return [by, by.replace(time, "pk")]
        if not BoundedPaginator(queryset, self.list_per_page).is_cut:
            return order
        self.is_order_refused = True
        for parameters in (self.params, self.filter_params):
            parameters.pop(ORDER_VAR, None)
        return super().get_ordering(request, queryset)

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        # Beside the search stands how many were found of how many; of a list that is cut, neither is known.
        if self.paginator.is_cut or not (self.query or self.has_active_filters):
            self.full_result_count = self.result_count

    @cached_property
    def dates(self) -> Dates | None:
        """Return the years, months or days that the list can be cut down to; None for an empty table."""
        field = str(self.date_hierarchy)

        def find_address(conditions: dict[str, Any]) -> str:
            return self.get_query_string(conditions, [f"{field}__"])

        chosen = [self.params.get(f"{field}__{part}") for part in ("year", "month", "day")]
        navigation = DateNavigation(self.root_queryset, field, find_address)
        return navigation.list_dates(*(int(part) if part else None for part in chosen))


class LargeList(admin.ModelAdmin[Any]):
    """A list of a table with millions of rows. Its `date_hierarchy` is what it is ordered by, and has an index."""

    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return LargeChangeList

    def mark_long(self, request: HttpRequest) -> None:
        """Note that what a request searches for is in more rows than have pages."""
        request.META[_LONG] = "1"

    def get_paginator(self, request: HttpRequest, *args: Any, **kwargs: Any) -> BoundedPaginator:
        """Return the pages of what was found."""
        pages = self.paginator(*args, **kwargs)
        pages.is_known_to_be_cut = _LONG in request.META
        return pages


class ModelFilter(admin.SimpleListFilter):
    """A filter by model that offers those the site has and those that the ledger has counted."""

    title = "model"
    parameter_name = "model"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in list_known_models()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(model=self.value()) if self.value() else queryset


class ErrorCodeFilter(admin.SimpleListFilter):
    """A filter by error code, which only what was interrupted has; `ended` is the field that says so, in an index."""

    title = "error code"
    parameter_name = "error_code"
    ended = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(code, code) for code in sorted(CODES)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        code = self.value()
        return queryset.filter(error_code=code, **{self.ended: Status.INTERRUPTED}) if code else queryset


class CallErrorFilter(ErrorCodeFilter):
    """The same for the calls of the ledger."""

    ended = "outcome"


class CauseFilter(admin.ChoicesFieldListFilter):
    """Django's filter by the cause of a call's failure; only what was interrupted has one."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any] | None:
        found = super().queryset(request, queryset)
        return found.filter(outcome=Outcome.INTERRUPTED) if found is not None and any(self.lookup_val or ()) else found
