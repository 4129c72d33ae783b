"""The usage review of the admin: its form, its pages, and its tables as CSV."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from datetime import date, timedelta
from functools import wraps
from typing import Any, NamedTuple, cast, get_args
from urllib.parse import urlencode

from django import forms
from django.contrib import admin
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from chat.accounting import call_tables, reports, rollups
from chat.accounting.figures import Line
from chat.accounting.providers import split_provider
from chat.accounting.report_steps import Step, find_days_of_step
from chat.accounting.report_times import MAX_CALLS_TIMED
from chat.accounting.reports import By
from chat.accounting.selections import CallSelection, Selection, find_counted_days, list_models
from chat.admin.plots import Link, draw_usage_plots
from chat.admin.saved_selections import PERMISSION, list_saved
from chat.admin.usage_csv import find_cursor, make_download, select_calls, stream_lines, write_calls, write_table
from chat.core.errors import CODES
from chat.core.moments import bound_day
from chat.http.row_cursor import RowCursor
from chat.models import Outcome, ProviderCall, User

CALL_TABLES: Mapping[str, Callable[[Selection, int], list[Line] | None]] = {
    "purpose": call_tables.sum_by_purpose,
    "hour": call_tables.sum_by_hour_of_day,
    "conversation": call_tables.sum_by_conversation,
}
TABLES = (*get_args(By), *CALL_TABLES)
FEWER = "choose fewer days."

USERS_A_PAGE = 25
ROWS_A_PAGE = 100

PERIODS = (
    ("today", "Today"),
    ("7", "7 days"),
    ("30", "30 days"),
    ("month", "This month"),
    ("last_month", "Last month"),
    ("year", "This year"),
    ("all", "Everything"),
)


class SelectionForm(forms.Form):
    """The selection of calls to review. Dates win over a named period; without either it is this month."""

    period = forms.ChoiceField(choices=PERIODS, required=False, widget=forms.HiddenInput)
    start = forms.DateField(required=False, label="From", widget=forms.DateInput({"type": "date"}))
    end = forms.DateField(required=False, label="To", widget=forms.DateInput({"type": "date"}))
    user = forms.CharField(required=False, max_length=150)
    group = forms.ModelChoiceField(Group.objects.order_by("name"), required=False, empty_label="all")
    model = forms.ChoiceField(required=False)
    provider = forms.ChoiceField(required=False)
    outcome = forms.ChoiceField(
        required=False,
        choices=[("", "all"), *(choice for choice in Outcome.choices if choice[0] != Outcome.RUNNING)],
    )

    def __init__(self, data: Any) -> None:
        super().__init__(data, label_suffix="")
        models = list_models()
        self._offer("model", models)
        self._offer("provider", sorted({split_provider(model) for model in models}))

    def _offer(self, name: str, values: Iterable[str]) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101 - for the type checker
        field.choices = [("", "all"), *((value, value) for value in values)]

    def clean_user(self) -> User | None:
        name: str = self.cleaned_data["user"]
        if not name:
            return None
        if (user := User.objects.filter(username=name).first()) is None:
            raise forms.ValidationError("There is no user of this name.")
        return user

    def clean(self) -> None:
        start, end = self.cleaned_data.get("start"), self.cleaned_data.get("end")
        if start and end and start > end:
            self.add_error("start", "The first day is after the last one.")

    @property
    def named_period(self) -> str:
        """The preset that is shown, or nothing when dates were given."""
        given = self.cleaned_data
        return "" if given.get("start") or given.get("end") else given.get("period") or "month"

    def to_selection(self) -> Selection:
        given = self.cleaned_data
        start, end = find_days(self.named_period or "all", timezone.now().date())
        return Selection(
            bound_day(given["start"] or start),
            bound_day(given["end"] or end),
            given["user"] and given["user"].pk,
            given["group"] and given["group"].pk,
            given["model"],
            given["provider"],
            given["outcome"],
        )


class CallsForm(SelectionForm):
    """The selection of calls to list, also by what the sums do not know."""

    purpose = forms.ChoiceField(required=False, choices=[("", "all"), *ProviderCall.Purpose.choices])
    error_code = forms.ChoiceField(required=False, label="Error")
    conversation = forms.UUIDField(required=False, widget=forms.HiddenInput)

    def __init__(self, data: Any) -> None:
        super().__init__(data)
        self._offer("error_code", sorted(CODES))

    def to_selection(self) -> CallSelection:
        given = self.cleaned_data
        return CallSelection(
            **asdict(super().to_selection()),
            purpose=given["purpose"],
            error_code=given["error_code"],
            conversation=given["conversation"],
        )


def find_days(period: str, today: date) -> tuple[date, date]:
    """Return the first and the last day of a named period."""
    month = today.replace(day=1)
    match period:
        case "today":
            return today, today
        case "month":
            return month, today
        case "last_month":
            last = month - timedelta(days=1)
            return last.replace(day=1), last
        case "year":
            return today.replace(month=1, day=1), today
        case "all":
            first, last = find_counted_days() or (today, today)
            return first, max(last, today)
    return today - timedelta(days=int(period) - 1), today


class EarlierPeriod(NamedTuple):
    """The days that a selection is compared with, and their total."""

    start: date
    end: date
    total: Line


def find_earlier_period(period: str, selection: Selection) -> EarlierPeriod | None:
    """Return the total of the period before; None where there was not a call in it.

    A month is compared with as many days of the month before, a year with those of the year before, and any other
    period with the same number of days just before it.
    """
    start, end = selection.start, selection.end
    counted = find_counted_days()
    if counted is None or start <= counted[0]:
        return None
    last = start - timedelta(days=1)
    if period in {"month", "last_month"}:
        first = last.replace(day=1)
        if period == "month":
            last = min(last, first + (end - start))
    elif period == "year":
        first = start.replace(year=start.year - 1)
        last = min(last, first + (end - start))
    else:
        first = last - (end - start) if (last - date.min) > (end - start) else date.min
    total = reports.sum_selection(replace(selection, start=first, end=last))
    return EarlierPeriod(first, last, total) if total.figures.calls else None


def make_link(request: HttpRequest, step: Step) -> Link:
    """Return what finds the calls of an hour or a day, or the review of a month, with the filters of a page."""
    kept = {name: value for name, value in request.GET.items() if name not in {"period", "start", "end", "page"}}

    def find_address(name: str) -> str:
        first, last = find_days_of_step(name, step)
        page = reverse("usage" if step == "month" else "usage_calls")
        return f"{page}?{urlencode({**kept, 'start': first, 'end': last})}"

    return find_address


def as_review_page(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Make a view a page of the admin for users who may read the ledger, with every settled call counted."""

    @require_safe
    @wraps(view)
    def respond(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not request.user.has_perm(PERMISSION):
            raise PermissionDenied
        rollups.catch_up()
        return view(request, *args, **kwargs)

    return admin.site.admin_view(respond)


@as_review_page
def show_usage(request: HttpRequest) -> HttpResponse:
    """Show sums, plots and tables of the selected calls."""
    form = SelectionForm(request.GET)
    if not form.is_valid():
        return render_page(request, "admin/usage.html", "Usage", form, status=400)
    selection = form.to_selection()
    shown = reports.make_report(selection)
    calls = shown.total.figures.calls
    return render_page(
        request,
        "admin/usage.html",
        "Usage",
        form,
        report=shown,
        plots=draw_usage_plots(shown.trend, make_link(request, shown.trend.step)),
        before=find_earlier_period(form.named_period, selection),
        by_hour=call_tables.sum_by_purpose_and_hour(selection, calls),
        conversations=call_tables.sum_by_conversation(selection, calls),
        saved=list_saved(request.user),
        conversations_shown=call_tables.CONVERSATIONS_SHOWN,
        users=Paginator(shown.users, USERS_A_PAGE).get_page(request.GET.get("page")),
        messages_of={code: CODES[code].message for code in CODES},
        kept_from=rollups.find_first_kept_day(),
        left_out=rollups.find_rows_left_out(),
        running=ProviderCall.objects.filter(outcome=Outcome.RUNNING).count(),
        most_calls_timed=MAX_CALLS_TIMED,
    )


@as_review_page
def show_calls(request: HttpRequest) -> HttpResponse:
    """Show the rows themselves.

    A page is asked for by the last row of the one before, so that the last page of a million rows costs what the first
    does.
    """
    form = CallsForm(request.GET)
    if not form.is_valid():
        return render_page(request, "admin/usage_calls.html", "Calls", form, status=400)
    try:
        after = RowCursor.read(request.GET.get("after", ""), int)
    except ValueError:
        form.add_error(None, "There is no such page of the ledger.")
        return render_page(request, "admin/usage_calls.html", "Calls", form, status=400)
    selection = form.to_selection()
    rows = list(select_calls(selection, after)[: ROWS_A_PAGE + 1])
    return render_page(
        request,
        "admin/usage_calls.html",
        "Calls",
        form,
        rows=rows[:ROWS_A_PAGE],
        selection=selection,
        after=after,
        following=find_cursor(rows[ROWS_A_PAGE - 1]) if len(rows) > ROWS_A_PAGE else None,
        kept_from=rollups.find_first_kept_day(),
    )


@as_review_page
def download_table(request: HttpRequest, by: str) -> HttpResponseBase:
    """Return one table as a CSV file."""
    if by not in TABLES:
        raise Http404
    form = SelectionForm(request.GET)
    if not form.is_valid():
        return refuse_file(form)
    selection = form.to_selection()
    lines = make_table(selection, by)
    if lines is None:
        form.add_error(None, f"This table is read from single calls, at most {MAX_CALLS_TIMED:,}: {FEWER}")
        return refuse_file(form)
    return make_download(stream_lines(write_table(by, lines)), f"usage-by-{by}", selection)


def make_table(selection: Selection, by: str) -> list[Line] | None:
    """Return the lines of one table; None where too many rows would have to be read for it."""
    if by not in CALL_TABLES:
        return reports.make_table(selection, cast("By", by))
    return CALL_TABLES[by](selection, reports.sum_selection(selection).figures.calls)


@as_review_page
def download_calls(request: HttpRequest) -> HttpResponseBase:
    """Return the selected rows as a CSV file."""
    form = CallsForm(request.GET)
    if not form.is_valid():
        return refuse_file(form)
    selection = form.to_selection()
    return make_download(write_calls(selection), "calls", selection)


def render_page(
    request: HttpRequest, template: str, title: str, form: SelectionForm, status: int = 200, **context: Any
) -> HttpResponse:
    """Return a page of the review with its form."""
    context |= {**admin.site.each_context(request), "title": title, "form": form, "periods": PERIODS}
    context["is_nav_sidebar_enabled"] = False  # the tables are wide
    return TemplateResponse(request, template, context, status=status)


def refuse_file(form: SelectionForm) -> HttpResponse:
    """Return the errors in the address of a file, in one line each."""
    wrong = [f"{name}: {' '.join(map(str, errors))}" for name, errors in form.errors.items()]
    return HttpResponse("\n".join(wrong), status=400, content_type="text/plain; charset=utf-8")
