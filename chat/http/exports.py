"""One conversation as a file, or as a page for paper; pages and the API send the same ones."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from urllib.parse import quote
from uuid import UUID

from django.http import HttpResponse, StreamingHttpResponse
from django.template.loader import render_to_string

from chat.accounting.spending import Spending, find_spending
from chat.conversations.exchange.database_reader import load_conversation, name_file
from chat.conversations.exchange.json_form import write_document
from chat.conversations.exchange.markdown_form import write_markdown
from chat.http.negotiation import JSON
from chat.models import Conversation, Message, Role, sort_branch
from chat.tasks import run_in_thread

MARKDOWN = "text/markdown"
HTML = "text/html"

# Messages of a page for paper that are rendered at once: some milliseconds, in which no answer of this process goes on.
PRINTED_AT_ONCE = 10


def export_json(conversation: Conversation) -> HttpResponse:
    """Return a conversation's whole tree as a file."""
    portable = load_conversation(conversation)
    body = json.dumps(write_document(portable), ensure_ascii=False, indent=1)
    return _attach(HttpResponse(body, content_type=f"{JSON}; charset=utf-8"), f"{name_file(portable)}.json")


def export_markdown(conversation: Conversation) -> HttpResponse:
    """Return the branch of a conversation that is shown as a file."""
    portable = load_conversation(conversation)
    response = HttpResponse(write_markdown(portable), content_type=f"{MARKDOWN}; charset=utf-8")
    return _attach(response, f"{name_file(portable)}.md")


def _attach(response: HttpResponse, name: str) -> HttpResponse:
    response.headers["Content-Disposition"] = make_disposition(name)
    return response


def make_disposition(name: str) -> str:
    """Return the header that has a browser keep a response under this name, by RFC 6266."""
    plain = name.encode("ascii", "ignore").decode() or "chat"
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name)}"


def export_page(conversation: Conversation) -> StreamingHttpResponse:
    """Return the branch that is shown as a page for paper, with all its turns; they are rendered while it is sent."""
    return StreamingHttpResponse(_render_page(conversation), content_type=f"{HTML}; charset=utf-8")


async def _render_page(conversation: Conversation) -> AsyncIterator[str]:
    ids = await run_in_thread(_list_branch, conversation)
    head, foot = await run_in_thread(_render_frame, conversation)
    yield head
    for start in range(0, len(ids), PRINTED_AT_ONCE):
        some = ids[start : start + PRINTED_AT_ONCE]
        yield await run_in_thread(_render_messages, conversation, some)
    yield foot


def _list_branch(conversation: Conversation) -> list[UUID]:
    """Return the ids of the branch that is shown: a page reads the messages themselves a few at a time."""
    most = 2**31 - 1
    rows = Message.objects.only("pk", "parent").select_branch(conversation.leaf_id, most)
    return [message.pk for message in sort_branch(rows, conversation.leaf_id)]


TURNS_HERE = "<!-- turns -->"


def _render_frame(conversation: Conversation) -> tuple[str, str]:
    """Return the page before its turns and after them."""
    page = render_to_string("chat/print.html", {"conversation": conversation, "turns_here": TURNS_HERE})
    head, _, foot = page.partition(TURNS_HERE)
    return head, foot


def _render_messages(conversation: Conversation, ids: list[UUID]) -> str:
    found = {message.pk: message for message in conversation.messages.filter(pk__in=ids)}
    messages = [found[id_] for id_ in ids if id_ in found]
    spent = find_spending([message.pk for message in messages if message.role == Role.ASSISTANT])
    for message in messages:
        message.spending = spent.get(message.pk, Spending())
    return render_to_string("chat/_print_messages.html", {"messages": messages})
