"""The staff's page of readers' ratings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_POST, require_safe

from chat.conversations.ratings import sum_ratings
from chat.conversations.readings import READ_CONVERSATIONS
from chat.core.moments import bound_day
from chat.http.requests import HtmxRequest
from chat.http.row_cursor import RowCursor
from chat.models import Rating, User
from chat.staff import ratings
from chat.staff.views import require_permissions, run_view_in_thread
from chat.tasks import run_in_thread


class RatingsForm(forms.Form):
    """The address of the page: days, a model, good or bad. Every field may be left out."""

    start = forms.DateField(required=False, label="From", widget=forms.DateInput(attrs={"type": "date"}))
    end = forms.DateField(required=False, label="To", widget=forms.DateInput(attrs={"type": "date"}))
    model = forms.ChoiceField(
        required=False, choices=lambda: [("", "Any model"), *((name, name) for name in ratings.list_models())]
    )
    value = forms.ChoiceField(
        required=False, label="Rated", choices=[("", "Good or bad"), ("up", "Good"), ("down", "Bad")]
    )

    def to_selection(self) -> ratings.Selection:
        """Return the selection of a valid form."""
        first, last = ratings.choose_last_days()
        fields = self.cleaned_data
        start, end = bound_day(fields["start"] or first), bound_day(fields["end"] or last)
        return ratings.Selection(start, end, fields["model"], fields["value"])


@require_safe
@require_permissions(ratings.VIEW)
@run_view_in_thread
def list_ratings(request: HtmxRequest, user: User) -> HttpResponse:
    """Show what readers thought of models and prompts, and their ratings; no text of theirs."""
    form = RatingsForm(request.GET)
    context: dict[str, Any] = {"form": form, "may_read": user.has_perm(READ_CONVERSATIONS)}
    if form.is_valid():
        selection = form.to_selection()
        selected = selection.select_ratings()
        page = ratings.load_page(selected, _read_cursor(request))
        query = {name: value for name, value in request.GET.items() if name != "after" and value}
        context |= {
            "selection": selection,
            "models": sum_ratings(selected, "model"),
            "prompts": ratings.sum_by_prompt(selected),
            "page": page,
            "query": urlencode(query),
            "next": urlencode({**query, "after": page.next_cursor}) if page.next_cursor else "",
        }
    return render(request, "staff/ratings.html", context, status=200 if form.is_valid() else 400)


def _read_cursor(request: HtmxRequest) -> RowCursor[int] | None:
    try:
        return RowCursor.read(request.GET.get("after", ""), int)
    except ValueError:
        raise Http404 from None


@require_safe
@require_permissions(ratings.VIEW)
@run_view_in_thread
def download_ratings(request: HtmxRequest, user: User) -> StreamingHttpResponse:
    """Return ratings as CSV, without what their readers wrote."""
    return _write_download(RatingsForm(request.GET))


@require_POST
@require_permissions(ratings.VIEW, READ_CONVERSATIONS)
@run_view_in_thread
def download_comments(request: HtmxRequest, user: User) -> StreamingHttpResponse:
    """Return ratings as CSV with the comments that may be read, and record each as read; so it is a POST."""
    return _write_download(RatingsForm(request.POST), user)


def _write_download(form: RatingsForm, reader: User | None = None) -> StreamingHttpResponse:
    if not form.is_valid():
        raise Http404
    selection = form.to_selection()
    headers = {"Content-Disposition": f'attachment; filename="ratings-{selection.start}-{selection.end}.csv"'}
    content = _read_in_threads(ratings.write_csv(selection, reader))
    return StreamingHttpResponse(content, content_type="text/csv; charset=utf-8", headers=headers)


async def _read_in_threads(chunks: Iterator[str]) -> AsyncIterator[str]:
    """Yield chunks that are read from the database, each in a thread; between two of them nothing is kept of it."""
    while (chunk := await run_in_thread(next, chunks, None)) is not None:
        yield chunk


@require_POST
@require_permissions(ratings.VIEW, READ_CONVERSATIONS)
@run_view_in_thread
def read_rating(request: HtmxRequest, user: User, rating_id: int) -> HttpResponse:
    """Show a comment with its question and answer, where its reader has agreed, and record that; so it is a POST."""
    rating: Rating = get_object_or_404(ratings.select_readable_ratings(), pk=rating_id)
    ratings.read_rating(user, rating)
    context = {"rating": rating, "answer": rating.answer, "question": rating.answer.parent}
    return render(request, "staff/_rating_text.html" if request.htmx else "staff/rating.html", context)
