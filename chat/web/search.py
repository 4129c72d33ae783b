"""The page of the search, and what its dialog shows of it."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from chat.accounts.model_access import list_allowed_models
from chat.conversations.search import (
    NOTHING,
    InvalidSearchError,
    make_address,
    read_search,
    run_search,
)
from chat.http.requests import HtmxRequest
from chat.search.hits import HitPage
from chat.web.listed_conversations import show_open
from chat.web.time_zones import find_zone


@require_safe
def show_search(request: HtmxRequest) -> HttpResponse:
    """Show what was found: a page of its own, or its results alone for the dialog, or the next ones.

    The days of its filter, and those that its hits show, are the reader's, as in the sidebar.
    """
    with timezone.override(find_zone(request)):
        return _render_search(request)


def _render_search(request: HtmxRequest) -> HttpResponse:
    fields = request.GET.dict()
    found, complaint = NOTHING, ""
    try:
        found = run_search(request.user, read_search(fields))
    except InvalidSearchError as error:
        complaint = error.sentence
    context = {
        "fields": fields,
        "complaint": complaint,
        "found": found,
        "hits": [(hit, make_address(hit)) for hit in found.hits],
        "next_page": _write_next_page(request, found),
    }
    if request.htmx:
        return render(request, "search/_hits.html" if "cursor" in fields else "search/_results.html", context)
    choices = {
        "models": list_allowed_models(request.user),
        "conversations": show_open(request.user, find_zone(request)),
    }
    return render(request, "search/page.html", {**context, **choices}, status=400 if complaint else 200)


def _write_next_page(request: HtmxRequest, found: HitPage) -> str:
    """Return the query of the page after this one; nothing after the last."""
    if found.next_cursor is None:
        return ""
    query = request.GET.copy()
    query["cursor"] = str(found.next_cursor)
    return query.urlencode()
