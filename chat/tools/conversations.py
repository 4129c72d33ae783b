"""Search in a user's earlier conversations."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from django.db import connection
from pydantic import Field

from chat.models import Conversation
from chat.search.hits import WINDOW, Filters, Hit, search
from chat.search.queries import read_query
from chat.tools.base import Context, Result, ToolError

MAX_FOUND = 10


def search_conversations(
    query: Annotated[
        str,
        Field(description='Words that a message or a title must contain, all of them. "A phrase" is quoted.'),
    ],
    context: Context,
) -> Result:
    """Search the user's earlier conversations. Answers with titles, dates and short excerpts, the newest first."""
    if not query.strip():
        raise ToolError("Say what to look for")
    try:
        found = _search(query, context)
    finally:
        connection.close()  # this thread ends with the call, and nothing else would give its connection back
    count = "1 conversation" if len(found) == 1 else f"{len(found) or 'No'} conversations"
    return Result(found, f"{count} found")


def _search(text: str, context: Context) -> list[dict[str, str]]:
    query = read_query(text)
    if query is None:
        return []
    current = UUID(str(context.conversation_id)) if context.conversation_id else None
    # The model has the current conversation in its prompt.
    hits = search(context.user_id, query, Filters(except_conversation=current), most=WINDOW).hits
    best: dict[UUID, Hit] = {}
    for hit in hits:
        best.setdefault(hit.row.conversation_id, hit)
    newest = Conversation.objects.filter(pk__in=best, deleted_at=None).order_by("-updated_at")[:MAX_FOUND]
    return [
        {
            "title": str(conversation),
            "date": f"{conversation.updated_at:%Y-%m-%d}",
            "excerpt": best[conversation.pk].excerpt.text,
        }
        for conversation in newest
    ]
