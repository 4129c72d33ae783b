"""The words on PostgreSQL: a `tsvector` with a GIN index, in a column of `SearchEntry` that Django does not know.

Each word is kept with its user, "5·sky", so the index yields no row of anybody else. It needs no extension: pairs of
characters, which `chat.search.words` makes, find what `pg_trgm` cannot, a piece of two characters, and they are there
in a database of any locale and for an owner who may create no extension.

The index knows that words are in an entry, not where: of 100,000 entries of a user 57,000 may have two common words and
a tenth of them the phrase. So a second column, `pairs`, has a number for each two neighbouring words, in the same
index. It is one of 65,536, and a few entries have it for other words' sake: `words` decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any
from zlib import crc32

from django.db import connection, transaction

from chat.search.lookups import Conditions, mark_words
from chat.search.queries import Lookup

# What a tsvector holds: its size is limited to 1 MB, and the number of each word's positions.
_BYTES = 900_000
_PLACES = 250
_LAST_PLACE = 16_383

_KEEP = """
    INSERT INTO chat_searchentry (user_id, conversation_id, source, role, status, model, at, words, pairs)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s::tsvector, %s::smallint[])
    ON CONFLICT (source) DO UPDATE
    SET status = excluded.status, model = excluded.model, words = excluded.words, pairs = excluded.pairs
"""

NEWEST = 1000
"""Entries of a user that are looked through without the index of words, which brings all that have a common word.

Of those with a rare status these are mostly all that there are: 0.1 s became 4 ms for 100,000 entries of a user.
"""

FURTHER = 8000
"""Entries that are looked through after them, at most, where so many more are likely to be enough.

18 ms of a user's 100,000. The index would bring a tenth of these for two words that 85 of the newest 1,000 have, and
for a word of one model six times as many as are wanted.
"""

# Without a limit within, the planner takes the index of words after all.
_FIND_AMONG_NEWEST = """
    SELECT entry.id, entry.source FROM (
        SELECT * FROM chat_searchentry AS entry
        WHERE entry.user_id = %s AND entry.id <= %s {rare} ORDER BY entry.id DESC LIMIT %s
    ) AS entry
    WHERE entry.words @@ %s::tsquery {conditions} ORDER BY entry.id DESC LIMIT %s
"""
_FIND_LAST_OF_NEWEST = """
    SELECT entry.id FROM chat_searchentry AS entry
    WHERE entry.user_id = %s AND entry.id <= %s {rare} ORDER BY entry.id DESC OFFSET %s LIMIT 1
"""
# The rows are found by the index of words alone, then sorted: with LIMIT in one query the planner walks through all of
# the user's rows instead when it takes the words for common ones.
_FIND = """
    WITH entry AS MATERIALIZED (
        SELECT entry.id, entry.source FROM chat_searchentry AS entry
        WHERE entry.words @@ %s::tsquery {pairs} AND entry.id <= %s {conditions}
    ) SELECT id, source FROM entry ORDER BY id DESC LIMIT %s
"""
_FIND_OF_USERS = """
    SELECT entry.source, entry.conversation_id, entry.role FROM chat_searchentry AS entry
    WHERE entry.words @@ ANY(%s::tsquery[]) LIMIT %s
"""
_HAS_ENTRIES_WITHOUT_PAIRS = "SELECT EXISTS (SELECT FROM chat_searchentry WHERE user_id = %s AND pairs IS NULL)"

# The words are written anew, as the column stores them since it has pairs beside it.
_ADD_PAIRS = "UPDATE chat_searchentry SET pairs = %s::smallint[], words = words || ''::tsvector WHERE id = %s"
_LOCK_ENTRIES_WITHOUT_PAIRS = """
    SELECT id FROM chat_searchentry WHERE pairs IS NULL
    ORDER BY user_id, id DESC LIMIT %s FOR UPDATE SKIP LOCKED
"""
_READ_PLACES = """
    SELECT entry.id, array_agg(word.lexeme ORDER BY place), array_agg(place ORDER BY place)
    FROM chat_searchentry AS entry, unnest(entry.words) AS word, unnest(word.positions) AS place
    WHERE entry.id = ANY(%s) GROUP BY entry.id
"""


def write_entries(entries: Iterable[tuple[list[Any], int, list[str]]]) -> None:
    """Write entries, each with its user and its words, in the place of those with the same source."""
    with connection.cursor() as cursor:
        cursor.executemany(
            _KEEP,
            [
                (*values, compose_vector(user_id, words), number_pairs(list(mark_words(user_id, words))))
                for values, user_id, words in entries
            ],
        )


def add_pairs(most: int) -> int:
    """Add their pairs to entries that an older version wrote, at most `most`; return how many."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_LOCK_ENTRIES_WITHOUT_PAIRS, (most,))
        pairs: dict[int, list[int]] = {id_: [] for (id_,) in cursor.fetchall()}
        if pairs:
            cursor.execute(_READ_PLACES, (list(pairs),))
            for id_, words, places in cursor.fetchall():
                neighbours = zip(pairwise(words), pairwise(places), strict=True)
                pairs[id_] = sorted(
                    {_number_pair(*two) for two, (place, following) in neighbours if following == place + 1}
                )
            rows = [(numbers, id_) for id_, numbers in pairs.items()]
            cursor.executemany(_ADD_PAIRS, rows)
    return len(pairs)


def number_pairs(marked: Sequence[str]) -> list[int]:
    """Return the numbers of all neighbouring words, each once; the words are as the index has them for their user."""
    return sorted({_number_pair(*two) for two in pairwise(marked[:_LAST_PLACE])})


def _number_pair(word: str, following: str) -> int:
    """Return one of the 65,536 numbers of a smallint, the same in every version of everything."""
    return (crc32(f"{word} {following}".encode()) & 0xFFFF) - 0x8000


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
    wanted = _compose(user_id, lookups)
    found, rest = _walk(user_id, wanted, upper, conditions, NEWEST, most)
    # A quarter more, since matches do not lie evenly.
    further = NEWEST * (most - len(found)) * 5 // (len(found) * 4) if found else 0
    if rest is not None and 0 < further <= FURTHER:
        walked, rest = _walk(user_id, wanted, rest, conditions, further, most - len(found))
        found += walked
    if rest is not None:
        pairs, numbers = _write_pair_condition(user_id, lookups)
        sql = _FIND.format(pairs=pairs, conditions=conditions.sql)
        with connection.cursor() as cursor:
            cursor.execute(sql, (wanted, *numbers, rest, *conditions.values, most - len(found)))
            found += cursor.fetchall()
    return found


def _walk(
    user_id: int, wanted: str, upper: int, conditions: Conditions, through: int, most: int
) -> tuple[list[tuple[int, Any]], int | None]:
    """Return what is found in so many of the newest entries, and the highest id of the rest; None if none is needed."""
    rare, values = conditions.rare
    with connection.cursor() as cursor:
        sql = _FIND_AMONG_NEWEST.format(rare=rare, conditions=conditions.sql)
        cursor.execute(sql, (user_id, upper, *values, through, wanted, *conditions.values, most))
        found = list(cursor.fetchall())
        if len(found) == most:
            return found, None
        cursor.execute(_FIND_LAST_OF_NEWEST.format(rare=rare), (user_id, upper, *values, through - 1))
        last = cursor.fetchone()
    return found, last[0] - 1 if last else None


def _write_pair_condition(user_id: int, lookups: Sequence[Lookup]) -> tuple[str, tuple[list[int], ...]]:
    """Return the condition that an entry has the pairs of all phrases, with its value; none while some lack theirs."""
    numbers: set[int] = set()
    for lookup in lookups:
        words = lookup.words[:-1] if lookup.is_prefix else lookup.words
        numbers.update(number_pairs(list(mark_words(user_id, words))))
    if not numbers:
        return "", ()
    with connection.cursor() as cursor:
        cursor.execute(_HAS_ENTRIES_WITHOUT_PAIRS, (user_id,))
        ((is_incomplete,),) = cursor.fetchall()
    return ("", ()) if is_incomplete else ("AND entry.pairs @> %s::smallint[]", (sorted(numbers),))


def find_entries_of_users(user_ids: Sequence[int], lookups: Sequence[Lookup], most: int) -> list[tuple[Any, Any, str]]:
    """Return the sources, conversations and roles of entries of some users that have all of these words."""
    wanted = [_compose(user_id, lookups) for user_id in user_ids]
    with transaction.atomic(), connection.cursor() as cursor:
        # Of a hundred queries the planner expects more rows than there are.
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(_FIND_OF_USERS, (wanted, most))
        return list(cursor.fetchall())


def _compose(user_id: int, lookups: Iterable[Lookup]) -> str:
    return " & ".join(_compose_lookup(user_id, lookup) for lookup in lookups)


def _compose_lookup(user_id: int, lookup: Lookup) -> str:
    words = [f"'{word}'" for word in mark_words(user_id, lookup.words)]
    if lookup.is_prefix:
        words[-1] += ":*"
    return "(" + " <-> ".join(words) + ")"
