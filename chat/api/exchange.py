"""A conversation as a file, for programs."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest, HttpResponseBase

from chat.api.operations import Operation, choose_response_type, serve_programs
from chat.conversations.actions import get_owned_conversation
from chat.http.exports import HTML, MARKDOWN, export_json, export_markdown, export_page
from chat.http.negotiation import JSON
from chat.models import Conversation, User
from chat.tasks import run_in_thread

_EXPORT = Operation(
    "GET",
    "Take a conversation away, in the form that `Accept` prefers.",
    {200: None},
    media_types=(JSON, MARKDOWN, HTML),
)


@serve_programs(_EXPORT, find_owned=get_owned_conversation)
async def export_conversation(request: HttpRequest, user: User, conversation_id: UUID) -> HttpResponseBase:
    """Return a conversation in the form that `Accept` prefers: JSON, Markdown, or a page for paper."""
    found: Conversation = await run_in_thread(get_owned_conversation, user, conversation_id)
    match choose_response_type(request, _EXPORT):
        case "text/markdown":
            return await run_in_thread(export_markdown, found)
        case "text/html":
            return export_page(found)
        case _:
            return await run_in_thread(export_json, found)
