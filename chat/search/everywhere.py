"""The search in what all users wrote, for staff who may read it.

The index is asked for some users' words at a time, because each word is kept with its user: 1,000 users take 30 to 60
ms, whatever they wrote.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection
from django.db.models import F

from chat.models import Conversation, Message, User
from chat.search import postgres, sqlite
from chat.search.index import TITLE
from chat.search.queries import Query, read_query
from chat.search.words import compose, fold

USERS_AT_ONCE = 100

_UNINDEXED = 1000  # rows that are looked through without the index, which does not have them yet


class Found(NamedTuple):
    """The messages with some words, and the conversations that have them in their titles."""

    messages: dict[UUID, UUID]
    """With their conversations."""
    titles: set[UUID]


def find_everywhere(text: str, most: int) -> Found | None:
    """Return the messages and titles with words that begin so; None for more than `most`, and for no word."""
    query = read_query(text)
    if query is None:
        return None
    entries = list(islice(_find_indexed(query, most + 1), most + 1))
    if len(entries) > most:
        return None
    found = Found({}, set())
    for source, conversation, role in entries:
        if role == TITLE:
            found.titles.add(_read_id(conversation))
        else:
            found.messages[_read_id(source)] = _read_id(conversation)
    if not query.is_exact:
        _look_once_more(found, query)
    _add_unindexed(found, query)
    return found


def _read_id(value: Any) -> UUID:
    return value if isinstance(value, UUID) else UUID(value)


def _find_indexed(query: Query, most: int) -> Iterator[tuple[Any, Any, str]]:
    database = postgres if connection.vendor == "postgresql" else sqlite
    users = list(User.objects.order_by("pk").values_list("pk", flat=True))
    for start in range(0, len(users), USERS_AT_ONCE):
        yield from database.find_entries_of_users(users[start : start + USERS_AT_ONCE], query.lookups, most)


def _look_once_more(found: Found, query: Query) -> None:
    """Remove what has the words of the index, but not what was asked for."""
    texts = Message.objects.filter(pk__in=list(found.messages)).order_by().values_list("pk", "text")
    for key in [key for key, text in texts if not query.matches(fold(compose(text)))]:
        del found.messages[key]
    titles = Conversation.objects.filter(pk__in=found.titles).order_by().values_list("pk", "title")
    found.titles.difference_update([key for key, title in titles if not query.matches(fold(compose(title)))])


def _add_unindexed(found: Found, query: Query) -> None:
    """Look through live answers and whatever else is not indexed yet, in the place of what the index has of them."""
    messages = Message.objects.filter(is_indexed=False).order_by("-created_at")
    for key, conversation, text in messages.values_list("pk", "conversation_id", "text")[:_UNINDEXED]:
        found.messages.pop(key, None)
        if query.matches(fold(compose(text))):
            found.messages[key] = conversation
    titles = Conversation.objects.exclude(title=F("indexed_title")).order_by("-updated_at")
    for key, title in titles.values_list("pk", "title")[:_UNINDEXED]:
        found.titles.discard(key)
        if query.matches(fold(compose(title))):
            found.titles.add(key)
