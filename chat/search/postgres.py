"""The words on PostgreSQL: a `tsvector` with a GIN index, in a column of `SearchEntry` that Django does not know.

Each word is kept with its user, "5·sky", so the index yields no row of anybody else. It needs no extension: pairs of
characters, which `chat.search.words` makes, find what `pg_trgm` cannot, a piece of two characters, and they are there
in a database of any locale and for an owner who may create no extension.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.db import connection

from chat.search.lookups import Conditions, mark_words
from chat.search.queries import Lookup

# What a tsvector holds: its size is limited to 1 MB, and the number of each word's positions.
_BYTES = 900_000
_PLACES = 250
_LAST_PLACE = 16_383

_KEEP = """
    INSERT INTO chat_searchentry (user_id, conversation_id, source, role, status, model, at, words)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s::tsvector)
    ON CONFLICT (source) DO UPDATE SET status = excluded.status, model = excluded.model, words = excluded.words
"""

NEWEST = 1000
"""Entries of a user that are looked through without the index of words, which brings all that have a common word.

Of those with a rare status these are mostly all that there are: 0.1 s became 4 ms for 100,000 entries of a user.
"""

# There is a row without an entry where none is found: how many were looked through is always told.
_FIND_AMONG_NEWEST = """
    WITH newest AS MATERIALIZED (
        SELECT * FROM chat_searchentry AS entry
        WHERE entry.user_id = %s AND entry.id <= %s {rare} ORDER BY entry.id DESC LIMIT %s
    ), found AS (
        SELECT entry.id, entry.source FROM newest AS entry
        WHERE entry.words @@ %s::tsquery {conditions} ORDER BY entry.id DESC LIMIT %s
    )
    SELECT found.id, found.source, looked.through
    FROM (SELECT count(*) AS through FROM newest) AS looked LEFT JOIN found ON TRUE ORDER BY found.id DESC
"""
# The rows are found by the index of words alone, then sorted: with LIMIT in one query the planner walks through all of
# the user's rows instead when it takes the words for common ones.
_FIND = """
    WITH entry AS MATERIALIZED (
        SELECT entry.id, entry.source FROM chat_searchentry AS entry
        WHERE entry.words @@ %s::tsquery AND entry.id <= %s {conditions}
    ) SELECT id, source FROM entry ORDER BY id DESC LIMIT %s
"""


def write_entries(entries: Iterable[tuple[list[Any], int, list[str]]]) -> None:
    """Write entries, each with its user and its words, in the place of those with the same source."""
    with connection.cursor() as cursor:
        cursor.executemany(_KEEP, [(*values, compose_vector(user_id, words)) for values, user_id, words in entries])


def compose_vector(user_id: int, words: Sequence[str]) -> str:
    """Return a tsvector as text. Words are letters, digits and pictures, so nothing in them needs a backslash."""
    places: dict[str, list[str]] = {}
    size = 0
    for place, word in enumerate(words, 1):
        known = places.get(word)
        if known is None:
            size += len(word.encode()) + 16
            if size > _BYTES:
                break
            known = places[word] = []
        if len(known) < _PLACES and place <= _LAST_PLACE:
            known.append(str(place))
            size += 2
    return " ".join(
        f"'{word}'" + (":" + ",".join(known) if known else "")
        for word, known in zip(mark_words(user_id, places), places.values(), strict=True)
    )


def find_entries(
    user_id: int, lookups: Sequence[Lookup], upper: int, conditions: Conditions, most: int
) -> list[tuple[int, Any]]:
    """Return the ids, at most `upper`, and sources of entries that have all of these words, the newest first."""
    wanted = " & ".join(_compose(user_id, lookup) for lookup in lookups)
    rare, values = conditions.rare
    with connection.cursor() as cursor:
        sql = _FIND_AMONG_NEWEST.format(rare=rare, conditions=conditions.sql)
        cursor.execute(sql, (user_id, upper, *values, NEWEST, wanted, *conditions.values, most))
        rows = cursor.fetchall()
        found = [(id_, source) for id_, source, _ in rows if id_ is not None]
        if len(found) < most and rows[0][2] == NEWEST:
            sql = _FIND.format(conditions=conditions.sql)
            cursor.execute(sql, (wanted, upper, *conditions.values, most))
            found = list(cursor.fetchall())
    return found


def _compose(user_id: int, lookup: Lookup) -> str:
    words = [f"'{word}'" for word in mark_words(user_id, lookup.words)]
    if lookup.is_prefix:
        words[-1] += ":*"
    return "(" + " <-> ".join(words) + ")"
