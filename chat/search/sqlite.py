"""The words in SQLite: a table of FTS5, whose rows have the ids of `SearchEntry`.

Each word is kept with its user, "5·sky". So a search walks through what its own user has written and nothing else,
which matters most for the beginning of a word: of 100,000 messages, a tenth of them the user's, the first three letters
took 240 ms without and 5 with it (November 2026). The table is 1.7 times as large for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.db import connection

from chat.search.lookups import Conditions, mark_words
from chat.search.queries import Lookup

_KEEP_ENTRY = """
    INSERT INTO chat_searchentry (user_id, conversation_id, source, role, status, model, at)
    VALUES (%s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (source) DO UPDATE SET status = excluded.status, model = excluded.model
    RETURNING id
"""
_KEEP_WORDS = "INSERT OR REPLACE INTO chat_searchwords (rowid, words) VALUES (%s, %s)"

# CROSS JOIN keeps this order: FTS5 yields the newest first and stops when there are enough.
_FIND = """
    SELECT entry.id, entry.source
    FROM chat_searchwords AS found CROSS JOIN chat_searchentry AS entry
    WHERE found.words MATCH %s AND found.rowid <= %s AND entry.id = found.rowid {conditions}
    ORDER BY found.rowid DESC LIMIT %s
"""

_FIND_OF_USERS = """
    SELECT entry.source, entry.conversation_id, entry.role
    FROM chat_searchwords AS found CROSS JOIN chat_searchentry AS entry ON entry.id = found.rowid
    WHERE found.words MATCH %s LIMIT %s
"""

NEWEST = 1000
"""Entries of a user that are looked through word by word for a short beginning, before FTS5 is asked.

FTS5 joins the rows of all words that begin so, before it yields the first one: two letters of 100,000 messages took 57
to 146 ms of CPU, these rows take 5 (November 2026, a loaded machine), and most short beginnings are in a hundred.
"""

_SHORT = 4

_FIND_AMONG_NEWEST = """
    SELECT entry.id, entry.source FROM (
        SELECT * FROM chat_searchentry AS entry
        WHERE entry.user_id = %s AND entry.id <= %s ORDER BY entry.id DESC LIMIT %s
    ) AS entry CROSS JOIN chat_searchwords AS kept ON kept.rowid = entry.id
    WHERE {matches} {conditions} ORDER BY entry.id DESC LIMIT %s
"""
_MATCHES = "instr(' ' || kept.words || ' ', %s)"


def write_entries(entries: Iterable[tuple[list[Any], int, list[str]]]) -> None:
    """Write entries, each with its user and its words, in the place of those with the same source."""
    with connection.cursor() as cursor:
        for values, user_id, words in entries:
            cursor.execute(_KEEP_ENTRY, values)
            ((entry_id,),) = cursor.fetchall()
            cursor.execute(_KEEP_WORDS, (entry_id, " ".join(mark_words(user_id, words))))


def find_entries(
    user_id: int, lookups: Sequence[Lookup], upper: int, conditions: Conditions, most: int
) -> list[tuple[int, Any]]:
    """Return the ids, at most `upper`, and sources of entries that have all of these words, the newest first."""
    if any(lookup.is_prefix and len(lookup.words[-1]) <= _SHORT for lookup in lookups):
        found = _find_among_newest(user_id, lookups, upper, conditions, most)
        if len(found) == most:
            return found
    wanted = _compose(user_id, lookups)
    with connection.cursor() as cursor:
        cursor.execute(_FIND.format(conditions=conditions.sql), (wanted, upper, *conditions.values, most))
        return list(cursor.fetchall())


def _find_among_newest(
    user_id: int, lookups: Sequence[Lookup], upper: int, conditions: Conditions, most: int
) -> list[tuple[int, Any]]:
    matches = " AND ".join([_MATCHES] * len(lookups))
    pieces = [f" {_join_words(user_id, lookup)}{'' if lookup.is_prefix else ' '}" for lookup in lookups]
    sql = _FIND_AMONG_NEWEST.format(matches=matches, conditions=conditions.sql)
    with connection.cursor() as cursor:
        cursor.execute(sql, (user_id, upper, NEWEST, *pieces, *conditions.values, most))
        return list(cursor.fetchall())


def find_entries_of_users(user_ids: Sequence[int], lookups: Sequence[Lookup], most: int) -> list[tuple[Any, Any, str]]:
    """Return the sources, conversations and roles of entries of some users that have all of these words."""
    wanted = " OR ".join(f"({_compose(user_id, lookups)})" for user_id in user_ids)
    with connection.cursor() as cursor:
        cursor.execute(_FIND_OF_USERS, (wanted, most))
        return list(cursor.fetchall())


def _compose(user_id: int, lookups: Iterable[Lookup]) -> str:
    return " AND ".join(_compose_lookup(user_id, lookup) for lookup in lookups)


def _compose_lookup(user_id: int, lookup: Lookup) -> str:
    # Words hold letters, digits and pictures, and no quotation mark.
    return f'"{_join_words(user_id, lookup)}"{" *" if lookup.is_prefix else ""}'


def _join_words(user_id: int, lookup: Lookup) -> str:
    return " ".join(mark_words(user_id, lookup.words))
