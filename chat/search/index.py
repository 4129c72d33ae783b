"""The index, which the sweep of any process brings up to date, in batches.

A message says in its own transaction that it is not indexed, `Message.is_indexed`, and so does a title that is not its
`Conversation.indexed_title`; a search reads those rows themselves, see `chat.search.hits`. So nothing is ever missing,
whoever wrote it: the text of a live answer, what was asked a moment ago, an import, a process of an older version. To
index each message in its own transaction took 1.1 ms of the 7.3 that a question costs, half of it for ending FTS5's
part of the transaction; a batch of a hundred has that once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef, QuerySet

from chat.models import LIVE, Conversation, Message, SearchEntry
from chat.models.compiled import bind_value
from chat.search import postgres, sqlite
from chat.search.words import split_words
from chat.tasks import run_in_thread

TITLE = "title"
"""The role of a title in the index."""


BATCH = 100
"""Messages that are indexed in one transaction: some 20 ms, for which others that write to SQLite wait."""

BATCHES = 4
"""Batches of a sweep; a checkpoint waits for one of them. `rebuild_search` does them without a pause."""


class Source(NamedTuple):
    """A title or a message, as the index takes it."""

    id: UUID
    conversation_id: UUID
    user_id: int
    role: str
    status: str
    model: str
    at: datetime
    text: str


def index_some(most: int) -> int:
    """Index the newest messages and titles that are not indexed yet, at most `most` of each; return how many.

    On PostgreSQL also as many entries that an older version wrote without the pairs of their words.
    """
    done = _index_messages(Message.objects.order_by("-created_at"), most) + _index_titles(most)
    return done + (postgres.add_pairs(most) if connection.vendor == "postgresql" else 0)


async def sweep() -> None:
    """Index what is not indexed yet, a little of it; the sweeper calls this with each of its sweeps."""
    for _ in range(BATCHES):
        if await run_in_thread(index_some, BATCH) < BATCH:
            return


def index_again(after: UUID | None, most: int) -> UUID | None:
    """Index the next messages once more, in the order of their ids; return the last one's, None after the last."""
    ended = Message.objects.exclude(status__in=LIVE).order_by("pk")
    with transaction.atomic():
        rows = list(_read_messages((ended.filter(pk__gt=after) if after else ended)[:most]))
        _write(rows)
        Message.objects.filter(pk__in=[row.id for row in rows]).exclude(status__in=LIVE).update(is_indexed=True)
    return rows[-1].id if rows else None


def index_titles_again(after: UUID | None, most: int) -> UUID | None:
    """Index the next titles once more, in the order of their conversations' ids; return the last one's."""
    rows = Conversation.objects.order_by("pk")
    with transaction.atomic():
        titles = list((rows.filter(pk__gt=after) if after else rows).select_for_update()[:most])
        _write_titles(titles)
    return titles[-1].pk if titles else None


def remove_orphans() -> int:
    """Remove what the index has of conversations and messages that are gone; return how many entries."""
    conversations = Conversation.objects.filter(pk=OuterRef("conversation_id"))
    messages = Message.objects.filter(pk=OuterRef("source"))
    gone = SearchEntry.objects.filter(~Exists(conversations))
    gone_messages = SearchEntry.objects.exclude(role=TITLE).filter(~Exists(messages))
    return gone.delete()[0] + gone_messages.delete()[0]


def _index_messages(rows: QuerySet[Message], most: int) -> int:
    waiting = rows.filter(is_indexed=False).exclude(status__in=LIVE)
    if not waiting.exists():
        return 0
    with transaction.atomic():
        # Another process may index these at the same moment, and a Continue make one of them live.
        locked = [pk for (pk,) in waiting.select_for_update(skip_locked=True).values_list("pk")[:most]]
        _write(_read_messages(Message.objects.filter(pk__in=locked)))
        Message.objects.filter(pk__in=locked).update(is_indexed=True)
    return len(locked)


def _index_titles(most: int) -> int:
    waiting = Conversation.objects.exclude(title=F("indexed_title")).order_by("-updated_at")
    if not waiting.exists():
        return 0
    with transaction.atomic():
        rows = list(waiting.select_for_update(skip_locked=True)[:most])
        _write_titles(rows)
    return len(rows)


def _write_titles(rows: Sequence[Conversation]) -> None:
    _write([_make_title_source(row) for row in rows])
    Conversation.objects.filter(pk__in=[row.pk for row in rows]).update(indexed_title=F("title"))


_FIELDS = ("pk", "conversation_id", "conversation__user_id", "role", "status", "model", "created_at", "text")


def _read_messages(messages: QuerySet[Message]) -> list[Source]:
    return [Source(*row) for row in messages.values_list(*_FIELDS)]


def _make_title_source(conversation: Conversation) -> Source:
    dates = conversation.created_at, conversation.title
    return Source(conversation.pk, conversation.pk, conversation.user_id, TITLE, "", "", *dates)


def _write(sources: Sequence[Source]) -> None:
    if sources:
        database = postgres if connection.vendor == "postgresql" else sqlite
        database.write_entries(list(_prepare(sources)))


def _prepare(sources: Iterable[Source]) -> Iterable[tuple[list[Any], int, list[str]]]:
    """Yield the values of `COLUMNS`, the user and the words of each source."""
    fields: list[Any] = [SearchEntry._meta.get_field(name) for name in _ENTRY_FIELDS]
    for source in sources:
        values = source.user_id, source.conversation_id, source.id, *source[3:7]
        kept = [bind_value(field, value, connection) for field, value in zip(fields, values, strict=True)]
        yield kept, source.user_id, split_words(source.text)


_ENTRY_FIELDS = ("user_id", "conversation", "source", "role", "status", "model", "at")
