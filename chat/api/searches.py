"""The search of a user's titles and messages, for programs."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse

from chat.api import response_shapes
from chat.api.operations import Operation, Parameter, serve_programs
from chat.conversations.search import InvalidSearchError, make_address, read_search, run_search
from chat.models import User
from chat.search.hits import Hit
from chat.tasks import run_in_thread

_SEARCH = Operation(
    "GET",
    "Search the titles and messages of the user's own conversations.",
    {200: response_shapes.SearchReply},
    refuses=(400,),
    parameters=(
        Parameter("q", 'Words, all of which are to be there, and "phrases"; the last word may be unfinished.'),
        Parameter("model", "Answers of this model alone, as `provider:model`."),
        Parameter("role", "`user` for questions, `assistant` for answers, `title` for titles."),
        Parameter("status", "Messages of this status alone."),
        Parameter("from", "The first day, such as 2026-11-28; days are UTC."),
        Parameter("to", "The last day."),
        Parameter("cursor", "The `next` of the page before."),
    ),
)


@serve_programs(_SEARCH)
async def search(request: HttpRequest, user: User) -> HttpResponse:
    """Return a page of what was found, the best first."""
    if not request.GET.get("q", "").strip():
        raise InvalidSearchError("Say in `q` what to look for.", "q")
    found = await run_in_thread(run_search, user, read_search(request.GET.dict()))
    return JsonResponse(
        {
            "results": [_describe_hit(hit) for hit in found.hits],
            "next": found.next_cursor and str(found.next_cursor),
            "complete": found.is_complete,
        }
    )


def _describe_hit(hit: Hit) -> dict[str, Any]:
    row = hit.row
    return {
        "conversation": str(row.conversation_id),
        "title": hit.title,
        "message": hit.message_id and str(hit.message_id),
        "role": row.role,
        "model": row.model or None,
        "status": row.status or None,
        "at": row.at.isoformat(),
        "snippet": hit.excerpt.html,
        "url": make_address(hit),
    }
