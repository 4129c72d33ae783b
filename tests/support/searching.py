"""Conversations to search in, and what a search finds in them."""

from __future__ import annotations

from django.db import connection

from chat.models import Conversation, Message, Role, SearchEntry, Status, User
from chat.search.hits import Filters, search
from chat.search.index import index_some
from chat.search.queries import read_query


def keep_turn(user: User, title: str, question: str, answer: str = "", *, model: str = "demo:one") -> Conversation:
    """Make a conversation of one turn, which the index does not have yet."""
    made = Conversation.objects.create(user=user, title=title)
    asked = Message.objects.create(conversation=made, role=Role.USER, text=question)
    if answer:
        made.leaf = Message.objects.create(
            conversation=made, parent=asked, role=Role.ASSISTANT, text=answer, model=model, status=Status.COMPLETE
        )
    else:
        made.leaf = asked
    made.save()
    return made


def index_all() -> None:
    """Index whatever is not indexed yet."""
    while index_some(1000):
        pass


def find(user: User, text: str, filters: Filters | None = None) -> list[str]:
    """Return the texts of the excerpts that a search finds, on its first page."""
    query = read_query(text)
    return [hit.excerpt.text for hit in search(user.pk, query, filters or Filters()).hits] if query else []


def read_index() -> dict[str, str]:
    """Return the words that the database has for each source."""
    table = "SELECT source, words FROM chat_searchentry AS entry"
    if connection.vendor == "sqlite":
        table += " JOIN chat_searchwords ON chat_searchwords.rowid = entry.id"
    with connection.cursor() as cursor:
        cursor.execute(table)
        rows = {str(source).replace("-", ""): words for source, words in cursor.fetchall()}
    assert SearchEntry.objects.count() == len(rows)
    return rows
