"""The piece of a text that shows best why it was found, with its words marked."""

from __future__ import annotations

import re
from bisect import bisect_right
from itertools import accumulate, islice
from typing import NamedTuple

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from chat.core.lines import remove_invisible
from chat.search.queries import Query
from chat.search.words import compose, fold, fold_character

LENGTH = 240
"""Characters of an excerpt."""

_BEFORE = 60
_MAX_MARKS = 200


class Excerpt(NamedTuple):
    """Pieces of text on one line, each with whether it was searched for."""

    pieces: list[tuple[str, bool]]

    @property
    def text(self) -> str:
        return "".join(text for text, _ in self.pieces)

    @property
    def html(self) -> SafeString:
        """The excerpt as HTML: the text is escaped, and `<mark>` is the only element."""
        marked = [f"<mark>{escape(text)}</mark>" if is_found else escape(text) for text, is_found in self.pieces]
        return mark_safe("".join(marked))  # noqa: S308 - every piece is escaped


def cut_excerpt(text: str, query: Query, length: int = LENGTH) -> Excerpt:
    """Return the piece of a text that has the most different terms, with all of them marked."""
    composed = compose(text)
    spans = _find_spans(composed, query)
    start = _choose_start(spans, length)
    if start:  # between two words, if one ends nearby
        start = composed.find(" ", start, start + 20) + 1 or start
    end = min(len(composed), start + length)
    pieces = [("…", False)] if start else []
    done = start
    for low, high, _ in sorted(spans):
        if low < done or high > end:
            continue
        pieces += [(composed[done:low], False), (composed[low:high], True)]
        done = high
    pieces.append((composed[done:end], False))
    if end < len(composed):
        pieces.append(("…", False))
    return Excerpt([(line, found) for piece, found in pieces if (line := _join_spaces(piece))])


def _find_spans(composed: str, query: Query) -> list[tuple[int, int, int]]:
    """Return where the terms are: start, end, and the term's number."""
    folded = fold(composed)
    places = _map_places(composed, folded)
    spans = []
    for number, term in enumerate(query.terms):
        for low, high in islice(term.find(folded), _MAX_MARKS):
            if places is None:
                spans.append((low, high, number))
            else:
                spans.append((bisect_right(places, low), bisect_right(places, high - 1) + 1, number))
    return spans


def _map_places(composed: str, folded: str) -> list[int] | None:
    """Return where each character's folding ends in the folded text; None where each is one character."""
    if composed.isascii():
        return None
    lengths = [1 if character.isascii() else len(fold_character(character)) for character in composed]
    return None if len(folded) == len(composed) and max(lengths) == 1 == min(lengths) else list(accumulate(lengths))


def _choose_start(spans: list[tuple[int, int, int]], length: int) -> int:
    best, best_start = 0, 0
    ordered = sorted(spans)
    for first, (low, _, _) in enumerate(ordered):
        start = max(0, low - _BEFORE)
        terms = set()
        for _, high, number in ordered[first : first + 50]:
            if high > start + length:
                break
            terms.add(number)
        if len(terms) > best:
            best, best_start = len(terms), start
    return best_start


# Markdown's signs, which an excerpt has no use for.
_SIGNS = re.compile(r"\*\*+|`+|(?<!\S)#{1,6}(?=\s)")


def _join_spaces(piece: str) -> str:
    """Return the piece on one line, with a space at an end that had one."""
    piece = _SIGNS.sub("", remove_invisible(piece))
    line = " ".join(piece.split())
    if not line:
        return " " if piece else ""
    return (" " if piece[0].isspace() else "") + line + (" " if piece[-1].isspace() else "")
