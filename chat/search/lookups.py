"""The conditions of a lookup of words, which both databases share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


class Conditions(NamedTuple):
    """Further conditions on the rows of `chat_searchentry AS entry`: SQL that begins with AND, and its values.

    `rare` is the one of them that few rows pass, which have an index of their own, in the same form.
    """

    sql: str = ""
    values: tuple[Any, ...] = ()
    rare: tuple[str, tuple[Any, ...]] = ("", ())


def mark_words(user_id: int, words: Iterable[str]) -> Iterator[str]:
    """Yield words as the index has them for one user.

    The sign between them is in no word, and FTS5 takes it for a letter.
    """
    mark = f"{_shorten(user_id)}·"
    return (mark + word for word in words)


def _shorten(number: int) -> str:
    """Return a number in base 36: it stands before each word of the index."""
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits or "0"
