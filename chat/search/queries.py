"""Queries: words, "phrases", and a last word that may not be finished."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from chat.core.events import make_storable
from chat.search.words import LONGEST_WORD, compose, cut_run, find_runs, fold, is_letter, is_spaced_letter

LONGEST_QUERY = 1000
"""Characters of a query that count: a sentence that was pasted, not a page."""

MAX_WORDS = 32

_QUOTED = re.compile('["\u201c\u201d\u201e\u00ab\u00bb\u300c\u300d]')


@dataclass(frozen=True, slots=True)
class Lookup:
    """Words of the index that stand one after the other; the last of them may be the beginning of a word."""

    words: tuple[str, ...]
    is_prefix: bool = False


@dataclass(frozen=True)
class Term:
    """A word or a phrase: its runs, as `find_runs` gives them."""

    runs: tuple[tuple[str, bool], ...]
    is_prefix: bool = False

    @cached_property
    def lookups(self) -> list[Lookup]:
        """The lookups in the index: a text that has all of them may contain the term, which `find` decides."""
        found: list[Lookup] = []
        neighbours: list[str] = []
        for run, is_unspaced in (*self.runs, ("", True)):
            if not is_unspaced:
                neighbours.append(run[:LONGEST_WORD])
                continue
            if neighbours:
                found.append(Lookup(tuple(neighbours), self.is_prefix and not run))
                neighbours = []
            found += [Lookup((pair,)) for pair in cut_run(run) if run]
        return found

    @property
    def is_exact(self) -> bool:
        """True when the lookups alone decide: `find` finds the term in whatever the index returns."""
        return len(self.lookups) == 1

    def find(self, folded: str) -> Iterator[tuple[int, int]]:
        """Yield where the term is in folded text, start and end.

        A regular expression would be compiled for each search, 3 ms a word: its class of letters is long.
        """
        first = self.runs[0][0]
        start = folded.find(first[:LONGEST_WORD])
        while start >= 0:
            end = self._match(folded, start)
            if end is not None:
                yield start, end
            start = folded.find(first[:LONGEST_WORD], end or start + 1)

    def _match(self, folded: str, start: int) -> int | None:
        """Return the end of the term that starts here; None where it does not."""
        end = start
        for number, (run, is_unspaced) in enumerate(self.runs):
            piece = run[:LONGEST_WORD]
            while number and end < len(folded) and not is_letter(folded[end]):
                end += 1
            if not folded.startswith(piece, end):
                return None
            start, end = end, end + len(piece)
            if is_unspaced or not is_letter(piece[0]):
                continue
            is_open = len(run) >= LONGEST_WORD or (self.is_prefix and number == len(self.runs) - 1)
            if start and is_spaced_letter(folded[start - 1]):
                return None
            if not is_open and end < len(folded) and is_spaced_letter(folded[end]):
                return None
        return end


@dataclass(frozen=True)
class Query:
    """The terms of a search; a text that is found has all of them."""

    terms: tuple[Term, ...]

    @cached_property
    def lookups(self) -> list[Lookup]:
        """The lookups of all terms, each once."""
        return list(dict.fromkeys(lookup for term in self.terms for lookup in term.lookups))

    @property
    def is_exact(self) -> bool:
        return all(term.is_exact for term in self.terms)

    @cached_property
    def together(self) -> Term | None:
        """All terms as one phrase, where there are several: a text that has the phrase ranks higher."""
        if len(self.terms) < 2:
            return None
        return Term(tuple(run for term in self.terms for run in term.runs), self.terms[-1].is_prefix)

    def matches(self, folded: str) -> bool:
        """Return whether folded text has all of the terms."""
        return all(is_found(term, folded) for term in self.terms)


def is_found(term: Term, folded: str) -> bool:
    """Return whether folded text has the term."""
    return next(term.find(folded), None) is not None


def read_query(text: str) -> Query | None:
    """Return what a text searches for; None where there is no word in it.

    Text in quotation marks is a phrase. The last word may be the beginning of one, unless a space or a quotation mark
    follows it.
    """
    terms: list[Term] = []
    rest = MAX_WORDS
    pieces = _QUOTED.split(compose(make_storable(text[:LONGEST_QUERY])))
    for number, piece in enumerate(pieces):
        runs = list(find_runs(fold(piece)))[:rest]
        rest -= len(runs)
        if number % 2 and number < len(pieces) - 1:
            terms += [Term(tuple(runs))] if runs else []
        else:
            is_last = number == len(pieces) - 1
            terms += _read_words(runs, is_open=is_last and not piece[-1:].isspace())
    return Query(tuple(dict.fromkeys(terms))) if terms else None


def _read_words(runs: Sequence[tuple[str, bool]], *, is_open: bool) -> list[Term]:
    last = len(runs) - 1
    return [
        Term((run,), is_prefix=is_open and number == last and not run[1] and run[0].isalnum())
        for number, run in enumerate(runs)
    ]
