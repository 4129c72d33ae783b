"""Search in what the user and the models have said to each other before."""

from __future__ import annotations

from typing import Annotated, Any

from django.db import connection
from django.db.models import Exists, OuterRef, Q
from pydantic import Field

from chat.events import storable
from chat.models import Conversation, Message
from chat.tools import Context, Result, ToolError

MOST_FOUND = 10
MOST_WORDS = 8
LONGEST_WORD = 100
EXCERPT = 240
"""Characters around the first word found."""


def search_conversations(
    query: Annotated[str, Field(description="Words that a message or a title must contain, all of them.")],
    context: Context,
) -> Result:
    """Search the user's earlier conversations. Answers with titles, dates and short excerpts, the newest first."""
    words = [word[:LONGEST_WORD] for word in storable(query).split()[:MOST_WORDS]]
    if not words:
        raise ToolError("Say what to look for")
    try:
        found = _found(words, context)
    finally:
        connection.close()  # this thread ends with the call, and nobody else would give its connection back
    count = "1 conversation" if len(found) == 1 else f"{len(found) or 'No'} conversations"
    return Result(found, f"{count} found")


def _found(words: list[str], context: Context) -> list[dict[str, str]]:
    said = Message.objects.filter(_containing("text", words))
    conversations = (
        Conversation.objects.filter(user_id=context.user_id)
        .exclude(pk=context.conversation_id)  # the model has it before its eyes, with the question itself in it
        .filter(_containing("title", words) | Exists(said.filter(conversation=OuterRef("pk"))))
        .order_by("-updated_at")[:MOST_FOUND]
    )
    return [
        {
            "title": str(conversation),
            "date": f"{conversation.updated_at:%Y-%m-%d}",
            "excerpt": _excerpt(said.filter(conversation=conversation), words),
        }
        for conversation in conversations
    ]


def _containing(field: str, words: list[str]) -> Q:
    """All of the words, however they are written.

    SQLite, and PostgreSQL with the C locale, know upper and lower case of ASCII only; so each word is looked for as
    it is and in the ways that people write words.
    """
    condition = Q()
    for word in words:
        spellings = Q()
        for spelling in dict.fromkeys((word, word.lower(), word.upper(), word.capitalize())):
            spellings |= Q(**{f"{field}__icontains": spelling})
        condition &= spellings
    return condition


def _excerpt(messages: Any, words: list[str]) -> str:
    """What the newest of the messages says around the first of the words, in one line."""
    text: str = messages.order_by("-created_at").values_list("text", flat=True).first() or ""
    start = max(0, text.lower().find(words[0].lower()) - EXCERPT // 3)
    end = start + EXCERPT
    excerpt = " ".join(text[start:end].split())
    return f"{'…' if start else ''}{excerpt}{'…' if end < len(text) else ''}"
