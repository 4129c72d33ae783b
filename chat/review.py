"""The usage review of the admin: its form, its pages, and its tables as CSV."""

from __future__ import annotations

import csv
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import wraps
from io import StringIO
from typing import Any, NamedTuple, get_args

from django import forms
from django.contrib import admin
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.http import require_GET

from chat import charts, ledger, reports
from chat.background import in_thread
from chat.errors import CODES
from chat.models import SUMS, Outcome, ProviderCall, User
from chat.reports import By, Line, Report, Selection
from chat.templatetags.figures import NO_PRICE, compact, dollars, percent, seconds

PERMISSION = "chat.view_providercall"

USERS_A_PAGE = 25
ROWS_A_PAGE = 100
ROWS_A_CHUNK = 1000

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
    """What to look at. Dates of its own win over a named period; without either it is this month."""

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
        models = reports.models_used()
        self._offer("model", models)
        self._offer("provider", sorted({reports.provider_of(model) for model in models}))

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

    def selection(self) -> Selection:
        given = self.cleaned_data
        start, end = days_of(self.named_period or "all", timezone.now().date())
        return Selection(
            given["start"] or start,
            given["end"] or end,
            given["user"] and given["user"].pk,
            given["group"] and given["group"].pk,
            given["model"],
            given["provider"],
            given["outcome"],
        )


def days_of(period: str, today: date) -> tuple[date, date]:
    """The first and the last day of a named period."""
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
            first, last = reports.days_counted() or (today, today)
            return first, max(last, today)
    return today - timedelta(days=int(period) - 1), today


def reviewed(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """A page of the admin for those who may read the ledger, with every settled call counted."""

    @require_GET
    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not request.user.has_perm(PERMISSION):
            raise PermissionDenied
        ledger.catch_up()
        return view(request, *args, **kwargs)

    return admin.site.admin_view(guarded)


@reviewed
def usage(request: HttpRequest) -> HttpResponse:
    form = SelectionForm(request.GET)
    if not form.is_valid():
        return page(request, "admin/usage.html", "Usage", form, status=400)
    shown = reports.report(form.selection())
    return page(
        request,
        "admin/usage.html",
        "Usage",
        form,
        report=shown,
        plots=plots(shown),
        users=Paginator(shown.users, USERS_A_PAGE).get_page(request.GET.get("page")),
        messages_of={code: CODES[code].message for code in CODES},
        kept_from=ledger.kept_from(),
        running=ProviderCall.objects.filter(outcome=Outcome.RUNNING).count(),
        most_calls_timed=reports.MOST_CALLS_TIMED,
    )


@reviewed
def calls(request: HttpRequest) -> HttpResponse:
    """The rows themselves. A page is asked for by the last row of the one before, so that the last page of a million
    rows costs what the first does."""
    form = SelectionForm(request.GET)
    if not form.is_valid():
        return page(request, "admin/usage_calls.html", "Calls", form, status=400)
    try:
        after = Place.read(request.GET.get("after", ""))
    except ValueError:
        form.add_error(None, "There is no such page of the ledger.")
        return page(request, "admin/usage_calls.html", "Calls", form, status=400)
    selection = form.selection()
    rows = list(following(selection, after)[: ROWS_A_PAGE + 1])
    return page(
        request,
        "admin/usage_calls.html",
        "Calls",
        form,
        rows=rows[:ROWS_A_PAGE],
        selection=selection,
        after=after,
        following=Place.of(rows[ROWS_A_PAGE - 1]) if len(rows) > ROWS_A_PAGE else None,
        kept_from=ledger.kept_from(),
    )


@reviewed
def table_csv(request: HttpRequest, by: By) -> HttpResponseBase:
    if by not in get_args(By):
        raise Http404
    form = SelectionForm(request.GET)
    if not form.is_valid():
        return refusal(form)
    selection = form.selection()
    lines = reports.table(selection, by)
    return download(_in_chunks(csv_of(by, lines)), f"usage-by-{by}", selection)


@reviewed
def calls_csv(request: HttpRequest) -> HttpResponseBase:
    form = SelectionForm(request.GET)
    if not form.is_valid():
        return refusal(form)
    selection = form.selection()
    return download(csv_of_calls(selection), "calls", selection)


def page(
    request: HttpRequest, template: str, title: str, form: SelectionForm, status: int = 200, **context: Any
) -> HttpResponse:
    context |= {**admin.site.each_context(request), "title": title, "form": form, "periods": PERIODS}
    context["is_nav_sidebar_enabled"] = False  # the tables are wide
    return TemplateResponse(request, template, context, status=status)


def refusal(form: SelectionForm) -> HttpResponse:
    """What is wrong with the address of a file, in one line each."""
    wrong = [f"{name}: {' '.join(map(str, errors))}" for name, errors in form.errors.items()]
    return HttpResponse("\n".join(wrong), status=400, content_type="text/plain; charset=utf-8")


@dataclass(frozen=True, slots=True)
class Place:
    """Between two rows of the ledger, newest first: behind this one."""

    started_at: datetime
    id: int

    @classmethod
    def of(cls, call: ProviderCall) -> Place:
        return cls(call.started_at, call.pk)

    @classmethod
    def read(cls, text: str) -> Place | None:
        """Raises ValueError for what `__str__` never wrote."""
        if not text:
            return None
        moment, _, number = text.rpartition("_")
        started_at = datetime.fromisoformat(moment)
        if started_at.tzinfo is None or not 0 < int(number) < 2**63:
            raise ValueError(text)
        return cls(started_at, int(number))

    def __str__(self) -> str:
        return f"{self.started_at.isoformat()}_{self.id}"


def following(selection: Selection, after: Place | None) -> QuerySet[ProviderCall]:
    """The rows behind a place, or all of them."""
    if after is None:
        return selection.calls().select_related("user")
    # "Not this moment's later ones" and no OR: for an OR SQLite sorts what it finds by several indexes.
    rows = selection.calls(after.started_at).select_related("user")
    return rows.exclude(started_at=after.started_at, pk__gte=after.id)


# CSV

TABLE_COLUMNS = ("calls", "interrupted", *SUMS[1:-1])

CALL_COLUMNS = (
    "id",
    "started_at",
    "user",
    "purpose",
    "model",
    "outcome",
    "error_code",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "estimated",
    "cost",
    "first_token_ms",
    "total_ms",
)


def csv_of(by: str, lines: Iterable[Line]) -> Iterator[str]:
    """A table, line by line."""
    yield csv_line((by, *TABLE_COLUMNS, "cost"))
    for line in lines:
        figures = line.figures
        cost = NO_PRICE if figures.cost is None else f"{figures.cost:f}"
        yield csv_line((line.name, *(getattr(figures, name) for name in TABLE_COLUMNS), cost))


async def csv_of_calls(selection: Selection) -> AsyncIterator[str]:
    """Every row, a thousand at a time; between two reads neither memory nor a connection is kept."""
    yield csv_line(CALL_COLUMNS)
    after: Place | None = None
    while rows := await in_thread(list, following(selection, after)[:ROWS_A_CHUNK]):
        yield "".join(csv_line(_cells(call)) for call in rows)
        after = Place.of(rows[-1])


def _cells(call: ProviderCall) -> Iterator[Any]:
    for name in CALL_COLUMNS:
        value = getattr(call, name)
        if name == "cost":
            yield NO_PRICE if value is None else f"{value:f}"
        else:
            yield value.isoformat() if isinstance(value, datetime) else value


def csv_line(cells: Iterable[Any]) -> str:
    out = StringIO()
    csv.writer(out).writerow([cell if isinstance(cell, (int, float)) else harmless(cell) for cell in cells])
    return out.getvalue()


def harmless(cell: object) -> str:
    """Text that a spreadsheet does not run: one that would begin a formula is quoted, as OWASP advises."""
    text = "" if cell is None else str(cell)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


async def _in_chunks(lines: Iterable[str]) -> AsyncIterator[str]:
    for line in lines:
        yield line


def download(content: AsyncIterator[str], name: str, selection: Selection) -> StreamingHttpResponse:
    headers = {"Content-Disposition": f'attachment; filename="{name}-{selection.start}-{selection.end}.csv"'}
    return StreamingHttpResponse(content, content_type="text/csv; charset=utf-8", headers=headers)


# Plots


class Plot(NamedTuple):
    title: str
    legend: list[tuple[str, str]]  # a name and the class of its colour
    svg: SafeString


def plots(report: Report) -> list[Plot]:
    """What the page draws: an SVG for each question, all over the same days or months."""
    places = [line.name[:7] if report.step == "month" else line.name[5:] for line in report.series]
    figures = [line.figures for line in report.series]
    timings = [line.timing for line in report.series]

    def of(name: str, kind: str, values: Iterable[float | None]) -> charts.Series:
        return charts.Series(name, kind, list(values))

    def plot(title: str, draw: Callable[..., str], say: charts.Say, *series: charts.Series) -> Plot:
        svg = draw(f"{title} by {report.step}", places, series, say)
        return Plot(title, [(each.name, each.kind) for each in series], mark_safe(svg))  # noqa: S308 - charts escapes

    drawn = [
        plot(
            "Tokens",
            charts.bars,
            compact,
            of("input", "first", (each.input_tokens for each in figures)),
            of("output", "second", (each.output_tokens for each in figures)),
        ),
        plot("Cost", charts.bars, dollars, of("US dollars", "first", (float(each.cost or 0) for each in figures))),
        plot(
            "Calls",
            charts.bars,
            compact,
            of("answered or stopped", "first", (each.calls - each.interrupted for each in figures)),
            of("interrupted", "bad", (each.interrupted for each in figures)),
        ),
        plot(
            "Error rate",
            charts.lines,
            percent,
            of("interrupted calls", "bad", (each.error_share if each.calls else None for each in figures)),
        ),
    ]
    if report.timed:
        for title, half, most in (
            ("Time to the first token", "first_p50", "first_p95"),
            ("Time of the whole answer", "total_p50", "total_p95"),
        ):
            drawn.append(
                plot(
                    title,
                    charts.lines,
                    seconds,
                    of("p50", "first", (getattr(each, half) for each in timings)),
                    of("p95", "second", (getattr(each, most) for each in timings)),
                )
            )
    return drawn
