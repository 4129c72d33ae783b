"""The joint: a mark where an answer was cut and continued, which must change nothing else in its HTML.

The text is parsed without the mark. Then the mark is put where the cut was if the HTML stays the same but for the mark;
otherwise at the next beginning of a word, or at the end of the paragraph, where it does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

# A character that no text contains, see `chat.core.events.make_storable`.
JOINT = "\ufdd0"

# The beginnings of words that are tried after the cut.
_TRIES = 4

_TAG = re.compile(r"<[^>\"]*(?:\"[^\"]*\"[^>\"]*)*>")
_WORD = re.compile(r"(?<=\s)\S")
_BLANK_LINE = re.compile(r"\n[ \t]*\n|\Z")
_CLOSING = re.compile(r"(?:\s*</(?:p|li|ul|ol|blockquote|h[1-6]|td|th|tr|tbody|thead|table)>)*\s*\Z")


def insert_joints(text: str, places: list[int]) -> str:
    """Return the text with a mark at each of the places; places beyond its end count as its end."""
    for place in sorted(places, reverse=True):
        text = text[:place] + JOINT + text[place:]
    return text


def take_joints(text: str) -> tuple[str, list[int]]:
    """Return the text without its marks, and their places."""
    pieces = text.split(JOINT)
    places, place = [], 0
    for piece in pieces[:-1]:
        place += len(piece)
        places.append(place)
    return "".join(pieces), places


def convert_with_joints(source: str, convert: Callable[[str], str]) -> str:
    """Return the HTML of a source with marks: the HTML without them, and the marks where they change nothing else."""
    plain, places = take_joints(source)
    html = convert(plain)
    if not html:  # a definition
        return JOINT * len(places)
    kept = [found for place in places if (found := _find_place(plain, place, html, convert)) is not None]
    marked = convert(insert_joints(plain, kept)) if kept else html
    if not _is_alike(marked, html, len(kept)):
        marked, kept = html, []
    end = _CLOSING.search(marked)
    start = end.start() if end else len(marked)
    return marked[:start] + JOINT * (len(places) - len(kept)) + marked[start:]


def _find_place(source: str, place: int, html: str, convert: Callable[[str], str]) -> int | None:
    for candidate in _find_candidates(source, place):
        if _is_alike(convert(insert_joints(source, [candidate])), html, 1):
            return candidate
    return None


def _find_candidates(source: str, place: int) -> Iterator[int]:
    yield place
    end = _BLANK_LINE.search(source, place)
    paragraph = end.start() if end else len(source)
    words = _WORD.finditer(source, place + 1, paragraph)
    for _, word in zip(range(_TRIES), words, strict=False):
        yield word.start()
    last = len(source[:paragraph].rstrip())
    if last > place:
        yield last
    line = source.rfind("\n", 0, place) + 1
    before = max(source.rfind(" ", line, place), source.rfind("\t", line, place)) + 1
    if before > line:
        yield before


def _is_alike(marked: str, html: str, number: int) -> bool:
    """Return whether all marks are there, all in text, and the rest is as it was."""
    if marked.count(JOINT) != number or marked.replace(JOINT, "") != html:
        return False
    return not any(JOINT in tag for tag in _TAG.findall(marked))
