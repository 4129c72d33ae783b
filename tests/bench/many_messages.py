"""A site of many messages, written straight into the tables: the site's own code takes a millisecond of CPU for each.

Texts are drawn from some thousands, of words that are as unequally common as those of a language.
"""

from __future__ import annotations

import itertools
import random
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

SYLLABLES = (
    *("ba", "co", "de", "mi", "ra", "tion", "pre", "com", "lu"),
    *("ster", "in", "an", "o", "the", "qui", "ne", "por", "tal"),
)
TURNS = 10  # of a conversation
DRAWN = 6_000  # texts of each length that are drawn from
WORDS = {"user": 12, "assistant": 150}
WORDS_OF_OTHERS = {"user": 12, "assistant": 30}
"""The others' answers are short: a search passes by what they have in the index, and filling a site takes long."""

AT_ONCE = 100  # conversations of a transaction


class Text:
    """A text that many messages have, and what they have in common: their rows, and the words of the index."""

    def __init__(self, text: str) -> None:
        from chat.search.words import split_words  # noqa: PLC0415 - after the settings are chosen

        self.text = text
        self.words = split_words(text)
        self.rows: dict[str, list[Any]] = {}
        """By role, a row of the table of messages."""
        self.index = ""
        """The words as the index has them, for a user without a number."""


class Texts:
    """Questions and answers, a fiftieth of them in Japanese."""

    def __init__(self) -> None:
        self.chance = random.Random(7)
        chosen = ("".join(self.chance.choices(SYLLABLES, k=self.chance.randint(1, 5))) for _ in range(150_000))
        self.words = list(dict.fromkeys(chosen))  # the commonest first
        self._weights = list(itertools.accumulate(1 / (rank + 2) for rank in range(len(self.words))))
        self._drawn: dict[int, list[Text]] = {}

    def write(self, words: int) -> str:
        """Return a new text of so many words."""
        if self.chance.random() < 0.02:
            return "".join(self.chance.choices("東京都大阪府の学生が日本語を勉強している", k=words * 3))
        return " ".join(self.chance.choices(self.words, cum_weights=self._weights, k=words))

    def draw(self, words: int) -> Text:
        """Return one of the texts of so many words."""
        drawn = self._drawn.setdefault(words, [])
        if len(drawn) >= DRAWN:
            return self.chance.choice(drawn)
        drawn.append(Text(self.write(words)))
        return drawn[-1]


def fill(texts: Texts, messages: int, own: float) -> None:
    """Fill the site up to so many messages, a part of them the user `bench`'s, the rest those of a thousand others."""
    from chat.models import Message, User  # noqa: PLC0415

    began = time.monotonic()
    names = ["bench", *(f"u{number}" for number in range(1000))]
    users = [User.objects.get_or_create(username=name)[0].pk for name in names]
    writer = _Writer(texts, users, own)
    count = Message.objects.count()
    writer.tables.prepare()
    while count < messages:
        count += writer.write_some(messages - count)
    writer.tables.finish()
    print(f"{messages:,} messages after {time.monotonic() - began:.0f} s", flush=True)


class _Writer:
    """Writes conversations with their messages and the index of both."""

    def __init__(self, texts: Texts, users: Sequence[int], own: float) -> None:
        from django.db import connection  # noqa: PLC0415
        from django.utils import timezone  # noqa: PLC0415

        self._texts, self._own = texts, own
        self._bench, self._others = users[0], itertools.cycle(users[1:])
        self.tables: _Tables = _PostgresTables() if connection.vendor == "postgresql" else _SqliteTables()
        self._now = timezone.now()

    def write_some(self, left: int) -> int:
        """Write some conversations, the oldest first; return of how many messages."""
        from django.db import transaction  # noqa: PLC0415

        for number in range(min(AT_ONCE, left // (2 * TURNS) + 1)):
            owner = self._bench if self._texts.chance.random() < self._own else next(self._others)
            self._add_conversation(owner, self._now - timedelta(minutes=left - number * 2 * TURNS))
        with transaction.atomic():
            return self.tables.flush()

    def _add_conversation(self, owner: int, at: datetime) -> None:
        from chat.models import Conversation  # noqa: PLC0415

        title, words = self._texts.draw(5), WORDS if owner == self._bench else WORDS_OF_OTHERS
        made = Conversation(user_id=owner, title=title.text[:80], indexed_title=title.text[:80], titled_by="rule")
        made.created_at = made.updated_at = made.answered_at = made.read_at = at
        self.tables.add_entry(_Entry(owner, made.pk, made.pk, "title", "", "", at, title))
        parent = None
        for turn in range(TURNS):
            for role in ("user", "assistant"):
                text = self._texts.draw(words[role])
                model = f"demo:m{turn % 3}" if role == "assistant" else ""
                key = uuid.UUID(int=self._texts.chance.getrandbits(128), version=4)
                self.tables.add_message(
                    text, role, id=key, conversation_id=made.pk, parent_id=parent, model=model, created_at=at
                )
                self.tables.add_entry(_Entry(owner, made.pk, key, role, "complete", model, at, text))
                parent = key
        made.leaf_id = parent
        self.tables.conversations.append(made)


class _Entry(NamedTuple):
    user_id: int
    conversation: uuid.UUID
    source: uuid.UUID
    role: str
    status: str
    model: str
    at: datetime
    text: Text


_COLUMNS = ["id", "user_id", "conversation_id", "source", "role", "status", "model", "at"]


class _Tables(ABC):
    """Writes rows without Django's composing of each."""

    def __init__(self) -> None:
        from django.db.models import Max  # noqa: PLC0415

        from chat.models import Message, SearchEntry  # noqa: PLC0415

        self._last = SearchEntry.objects.aggregate(last=Max("pk"))["last"] or 0
        self._columns = [str(field.column) for field in Message._meta.concrete_fields]
        self.conversations: list[Any] = []
        self._messages: list[list[Any]] = []
        self._entries: list[tuple[int, _Entry]] = []

    def add_message(self, text: Text, role: str, **columns: Any) -> None:
        if role not in text.rows:
            text.rows[role] = self._make_row(text.text, role)
        row = text.rows[role].copy()
        for column, value in columns.items():
            row[self._columns.index(column)] = self.adapt(value)
        self._messages.append(row)

    def add_entry(self, entry: _Entry) -> None:
        self._last += 1
        self._entries.append((self._last, entry))

    def flush(self) -> int:
        """Write what was added; return how many messages."""
        from chat.models import Conversation  # noqa: PLC0415

        Conversation.objects.bulk_create(self.conversations)
        self.write("chat_message", self._columns, self._messages)
        self.write_entries(self._entries)
        written = len(self._messages)
        self.conversations, self._messages, self._entries = [], [], []
        return written

    def _make_row(self, text: str, role: str) -> list[Any]:
        from django.db import connection  # noqa: PLC0415

        from chat.models import Message  # noqa: PLC0415

        made = Message(role=role, text=text, is_indexed=True)
        if role == "assistant":
            made.outline, made.position, made.finish_reason = [["token", len(text)]], len(text), "stop"
        fields = Message._meta.concrete_fields
        return [field.get_db_prep_save(getattr(made, field.attname), connection) for field in fields]

    def adapt(self, value: Any) -> Any:
        """Return a value as the database's driver takes it."""
        return value

    @abstractmethod
    def prepare(self) -> None: ...

    @abstractmethod
    def finish(self) -> None: ...

    @abstractmethod
    def write_entries(self, entries: Sequence[tuple[int, _Entry]]) -> None: ...

    @abstractmethod
    def write(self, table: str, columns: list[str], rows: Iterable[Sequence[Any]]) -> None: ...


class _SqliteTables(_Tables):
    def prepare(self) -> None:
        _execute("PRAGMA synchronous = OFF", "PRAGMA cache_size = -400000")

    def finish(self) -> None:
        from django.db import connection  # noqa: PLC0415

        connection.close()  # what is measured has the site's own settings

    def adapt(self, value: Any) -> Any:
        return value.hex if isinstance(value, uuid.UUID) else str(value)[:26] if isinstance(value, datetime) else value

    def write_entries(self, entries: Sequence[tuple[int, _Entry]]) -> None:
        from chat.search.lookups import mark_words  # noqa: PLC0415

        words = []
        for number, entry in entries:
            text = entry.text
            text.index = text.index or " ".join(mark_words(0, text.words)).replace("0·", "·")
            (mark,) = mark_words(entry.user_id, [""])
            words.append((number, text.index.replace("·", mark)))
        rows = [(number, *map(self.adapt, entry[:7])) for number, entry in entries]
        self.write("chat_searchentry", _COLUMNS, rows)
        self.write("chat_searchwords", ["rowid", "words"], words)

    def write(self, table: str, columns: list[str], rows: Iterable[Sequence[Any]]) -> None:
        from django.db import connection  # noqa: PLC0415

        places = ", ".join("?" * len(columns))
        connection.connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})", rows)


class _PostgresTables(_Tables):
    """The index of words is made again at the end, as after a restore."""

    def prepare(self) -> None:
        _execute("DROP INDEX IF EXISTS search_words_and_pairs")

    def finish(self) -> None:
        _execute(
            "CREATE INDEX search_words_and_pairs ON chat_searchentry USING gin (words, pairs) "
            "WITH (gin_pending_list_limit = 256)",
            "SELECT setval(pg_get_serial_sequence('chat_searchentry', 'id'), max(id)) FROM chat_searchentry",
            "VACUUM ANALYZE",
        )

    def write_entries(self, entries: Sequence[tuple[int, _Entry]]) -> None:
        from chat.search.lookups import mark_words  # noqa: PLC0415
        from chat.search.postgres import compose_vector, number_pairs  # noqa: PLC0415

        rows = []
        for number, entry in entries:
            text = entry.text
            text.index = text.index or compose_vector(0, text.words).replace("0·", "·")
            (mark,) = mark_words(entry.user_id, [""])
            pairs = number_pairs([mark + word for word in text.words])
            rows.append((number, *entry[:7], text.index.replace("·", mark), pairs))
        self.write("chat_searchentry", [*_COLUMNS, "words", "pairs"], rows)

    def write(self, table: str, columns: list[str], rows: Iterable[Sequence[Any]]) -> None:
        from django.db import connection  # noqa: PLC0415

        with connection.cursor() as cursor, cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)


def _execute(*statements: str) -> None:
    from django.db import connection  # noqa: PLC0415

    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
