"""The search in a user's titles and messages: those with all the words of a query, ranked.

The index yields the newest entries that match, a window of a hundred at a time, and these are ranked by how often and
how closely the words stand in them, and by their age. So a search costs the same however much a user has written:
ranking every match of a common word would read all of them. After a window's pages come those of the next window.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from math import log
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection
from django.db.models import CharField, F, QuerySet
from django.db.models.functions import Left
from django.utils import timezone

from chat.models import Conversation, Message, Role, SearchEntry
from chat.models.search import RARE_STATUSES
from chat.search import postgres, sqlite
from chat.search.excerpts import Excerpt, cut_excerpt
from chat.search.index import TITLE
from chat.search.lookups import Conditions
from chat.search.queries import Query, is_found
from chat.search.words import compose, fold

WINDOW = 100
"""Entries that are ranked together."""

PAGE = 20

_HEAD = 3000  # characters of a text that count for its rank
_WINDOWS = 5  # read for one page at most, where the texts of a window do not match after all
_UNINDEXED = 1000  # rows of the site that are searched without the index, which does not have them yet
_LAST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Filters:
    """The filters of a search; an empty one filters nothing."""

    model: str = ""
    role: str = ""
    status: str = ""
    since: datetime | None = None
    until: datetime | None = None
    """The end of the period, which is not part of it."""
    except_conversation: UUID | None = None

    @property
    def conditions(self) -> Conditions:
        """The filters as conditions on the index."""
        wanted = [
            ("entry.model = %s", self.model),
            ("entry.role = %s", self.role),
            ("entry.status = %s", self.status),
            ("entry.at >= %s", self._adapt("at", self.since)),
            ("entry.at < %s", self._adapt("at", self.until)),
            ("entry.conversation_id <> %s", self._adapt("conversation", self.except_conversation)),
        ]
        used = [(sql, value) for sql, value in wanted if value]
        # Of the other statuses there are as many entries as of any.
        rare = ("AND entry.status = %s", (self.status,)) if self.status in RARE_STATUSES else ("", ())
        return Conditions("".join(f" AND {sql}" for sql, _ in used), tuple(value for _, value in used), rare)

    @staticmethod
    def _adapt(field: str, value: Any) -> Any:
        column: Any = SearchEntry._meta.get_field(field)
        return value and column.get_db_prep_value(value, connection)

    def allow(self, row: Row) -> bool:
        """Return whether a row that is not indexed passes the filters."""
        return (
            (not self.model or row.model == self.model)
            and (not self.role or row.role == self.role)
            and (not self.status or row.status == self.status)
            and (self.since is None or row.at >= self.since)
            and (self.until is None or row.at < self.until)
            and row.conversation_id != self.except_conversation
        )


@dataclass(frozen=True, slots=True)
class Cursor:
    """A cursor: the window of entries up to the id `upper`, and how many of its hits were shown."""

    upper: int = _LAST
    shown: int = 0
    is_first: bool = True
    """Whether the window includes the rows that are not indexed."""

    @classmethod
    def read(cls, text: str) -> Cursor:
        """Return the cursor in an address; the first one for nothing. Raises ValueError for any other text."""
        if not text:
            return cls()
        upper, shown, first = (int(part) if part.isascii() and part.isdigit() else -1 for part in text.split("."))
        if not (0 <= upper <= _LAST and 0 <= shown <= 10**6 and first in (0, 1)):
            raise ValueError(text)
        return cls(upper, shown, first == 1)

    def __str__(self) -> str:
        return f"{self.upper}.{self.shown}.{int(self.is_first)}"


class Row(NamedTuple):
    """A title or a message that may be a hit, as the database has it; `text` may be its beginning alone."""

    id: UUID
    conversation_id: UUID
    role: str
    status: str
    model: str
    at: datetime
    text: str


class Hit(NamedTuple):
    """Something that was found, with its conversation's title and an excerpt that shows the words."""

    row: Row
    title: str
    excerpt: Excerpt

    @property
    def message_id(self) -> UUID | None:
        """The message to open the conversation at; None for a title."""
        return None if self.row.role == TITLE else self.row.id


class HitPage(NamedTuple):
    """A page of hits, the cursor of the next page, and whether every row that is not indexed yet was searched."""

    hits: list[Hit]
    next_cursor: Cursor | None
    is_complete: bool


def search(user_id: int, query: Query, filters: Filters, cursor: Cursor | None = None, most: int = PAGE) -> HitPage:
    """Return a page of the user's own titles and messages with all the terms of the query, the best first."""
    cursor = cursor or Cursor()
    unindexed, is_complete = _find_unindexed(user_id) if cursor.is_first else ([], True)
    fresh = [row for row in unindexed if filters.allow(row) and query.matches(fold(compose(row.text)))]
    for _ in range(_WINDOWS):
        window, lowest = _load_window(user_id, query, filters, cursor.upper)
        ranked = _rank([*fresh, *window], query)
        shown = ranked[cursor.shown : cursor.shown + most]
        if cursor.shown + most < len(ranked):
            next_cursor: Cursor | None = replace(cursor, shown=cursor.shown + most)
        else:
            next_cursor = Cursor(lowest - 1, 0, is_first=False) if lowest else None
        if shown or next_cursor is None:
            break
        cursor, fresh = next_cursor, []
    return HitPage(_show(shown, query), next_cursor, is_complete)


def _load_window(user_id: int, query: Query, filters: Filters, upper: int) -> tuple[list[Row], int | None]:
    """Return the rows of a window, and the lowest id of the index in it if there may be another window."""
    database = postgres if connection.vendor == "postgresql" else sqlite
    entries = database.find_entries(user_id, query.lookups, upper, filters.conditions, WINDOW)
    sources = {UUID(str(source)) for _, source in entries}
    # A row that has changed since it was indexed is among the rows that are not indexed.
    messages = Message.objects.filter(pk__in=sources, is_indexed=True)
    titles = Conversation.objects.filter(pk__in=sources, title=F("indexed_title"))
    rows = [*_load_messages(user_id, messages, _HEAD if query.is_exact else None), *_load_titles(user_id, titles)]
    if not query.is_exact:
        rows = [row for row in rows if query.matches(fold(compose(row.text)))]
    return rows, entries[-1][0] if len(entries) == WINDOW else None


def _load_messages(user_id: int, rows: QuerySet[Message], head: int | None = None) -> Iterator[Row]:
    text = F("text") if head is None else Left("text", head, output_field=CharField())
    fields = ("pk", "conversation_id", "role", "status", "model", "created_at")
    found = [Row(*row) for row in rows.order_by().values_list(*fields, text)]
    # The user is checked again: no fault of the index may show another user's words. In one query with the messages
    # SQLite would begin with all of the user's conversations, 100 ms for 5,000 of them.
    conversations = Conversation.objects.filter(pk__in={row.conversation_id for row in found})
    own = set(conversations.filter(user=user_id, deleted_at=None).order_by().values_list("pk", flat=True))
    return (row for row in found if row.conversation_id in own)


def _load_titles(user_id: int, rows: QuerySet[Conversation]) -> Iterator[Row]:
    for pk, at, title in rows.filter(user=user_id, deleted_at=None).order_by().values_list("pk", "created_at", "title"):
        yield Row(pk, pk, TITLE, "", "", at, title)


def _find_unindexed(user_id: int) -> tuple[list[Row], bool]:
    """Return the user's live answers and whatever else is not indexed yet, and whether that is all of it."""
    messages = Message.objects.filter(is_indexed=False).order_by("-created_at")
    titles = Conversation.objects.exclude(title=F("indexed_title")).order_by("-updated_at")
    waiting = list(messages.values_list("pk", "conversation__user_id")[:_UNINDEXED])
    named = list(titles.values_list("pk", "user_id")[:_UNINDEXED])
    rows = [
        *_load_messages(user_id, Message.objects.filter(pk__in=[pk for pk, user in waiting if user == user_id])),
        *_load_titles(user_id, Conversation.objects.filter(pk__in=[pk for pk, user in named if user == user_id])),
    ]
    return rows, max(len(waiting), len(named)) < _UNINDEXED


def _rank(rows: Iterable[Row], query: Query) -> list[Row]:
    now = timezone.now()
    return sorted(rows, key=lambda row: (-_score(row, query, now), row.at, row.id))


def _score(row: Row, query: Query, now: datetime) -> float:
    """Return the score of a hit: higher for frequent and close words, a title, a short text, a new one."""
    folded = fold(compose(row.text[:_HEAD]))
    score = 0.0
    for term in query.terms:
        times = sum(1 for _ in islice(term.find(folded), 5))
        score += (1 + log(times)) if times else 0.5
    score /= len(query.terms)
    if query.together is not None and is_found(query.together, folded):
        score += 1
    if row.role == TITLE:
        score += 1.5
    elif row.role == Role.USER:
        score += 0.2
    score -= min(1, len(row.text) / 10_000)
    days = max(0.0, (now - row.at).total_seconds() / 86_400)
    return score + 1 / (1 + days / 30)


def _show(rows: Sequence[Row], query: Query) -> list[Hit]:
    titles = dict(
        Conversation.objects.filter(pk__in={row.conversation_id for row in rows}, deleted_at=None)
        .order_by()
        .values_list("pk", "title")
    )
    cut = [row.id for row in rows if len(row.text) >= _HEAD]
    whole = dict(Message.objects.filter(pk__in=cut).order_by().values_list("pk", "text")) if cut else {}
    # A conversation may have been deleted a moment ago.
    return [
        Hit(row, titles[row.conversation_id] or "New chat", cut_excerpt(whole.get(row.id, row.text), query))
        for row in rows
        if row.conversation_id in titles
    ]
