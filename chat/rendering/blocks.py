"""Where the blocks of a text begin, as the parser itself tells."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import comrak

from chat.rendering.html import PARSING, POSITIONED, extensions_for

_TAG = re.compile(r"<(/?)(\w+)([^>]*?)(/?)>")
_POSITION = re.compile(r'data-sourcepos="(\d+):\d+-(\d+):(\d+)"')
_FENCE = re.compile(r" {0,3}(`{3,})([^`]*)|( {0,3})(~{3,})(.*)")
_DEFINITION = re.compile(r" {0,3}\[[^\]]{1,200}\]:[ \t]*\S+")

# What an unfinished line is, however it goes on: markers, then what can be nothing but text, or what begins an item.
# `* **` may still become a rule, `- |` the second line of a table, `1` the number of an item, and what is in quotes or
# parentheses the title of the definition before it, which is alone on its line.
_MARKERS = r" {0,3}(?:(?:[-+*]|\d{1,9}[.)]) {1,4}|#{1,6} +|> ?|\[[ xX]\] +)*"
_TEXT = (
    r"[^\W\d_]",  # a letter
    r"[^\s\w*_+#><=|:\[\]`~\\\"'(-]",  # a sign that marks nothing
    r"\"[^\"\\]*\" *[^\s\"]|'[^'\\]*' *[^\s']|\([^()\\]*\) *[^\s)]",
    r"\d+[^\s\d.)]|\d+ +[^\s|:-]|\d+[.)][^\s|:-]",
    r"\*{1,3}[^\s*]",
    r"_{1,3}[^\s_]",
    r"`{1,2}[^\s`]",
    r"~{1,2}[^\s~]",
)
_ITEM = r"(?:- {1,4}[^\s|:-]|\* {1,4}[^\s*]|(?:\+|\d{1,9}[.)]) {1,4}\S)"
_CERTAIN = re.compile(f"{_MARKERS}(?:{'|'.join(_TEXT)})| {{0,3}}(?:> ?)*{_ITEM}")


class Found(NamedTuple):
    """A block: its tag, its first line, and, of a list, the first line of each item. Lines count from 0."""

    tag: str
    start: int
    items: tuple[int, ...] = ()


class Fence(NamedTuple):
    """The opening line of a block of code."""

    indent: int
    marker: str
    info: str

    def closes(self, line: str) -> bool:
        stripped = line.strip(" ")
        indent = len(line) - len(line.lstrip(" "))
        return indent <= 3 and len(stripped) >= len(self.marker) and set(stripped) == {self.marker[0]}

    def content(self, line: str) -> str:
        """The line without the indent of its fence."""
        indent = len(line) - len(line.lstrip(" "))
        return line[min(indent, self.indent) :]


def fence_of(line: str) -> Fence | None:
    found = _FENCE.fullmatch(line)
    if found is None:
        return None
    marker = found[1] or found[4]
    return Fence(len(line) - len(line.lstrip(" ")), marker, (found[2] or found[5] or "").strip())


def is_definition(line: str) -> bool:
    return _DEFINITION.match(line) is not None


def is_certain(line: str) -> bool:
    """Whether an unfinished line already says which block it belongs to."""
    return _CERTAIN.match(line) is not None


def blocks_of(lines: Sequence[str]) -> list[Found]:
    """The top-level blocks. Raw HTML and definitions of links, which have no element, are blocks `html`."""
    found: list[Found] = []
    depth, covered = 0, 0
    items: list[int] = []
    for closing, tag, attributes, void in _TAG.findall(_positioned("\n".join(lines) + "\n")):
        if closing:
            depth -= 1
        elif not void:
            depth += 1
        position = _POSITION.search(attributes)
        if closing or position is None:
            continue
        start, end = int(position[1]) - 1, int(position[2]) - (position[3] == "0")
        if depth - (not void) == 0 and start >= covered:
            found += _without_element(lines, covered, start)
            items = []
            found.append(Found(tag, start))
            covered = end
        elif depth == 2 and tag == "li":
            items.append(start)
            found[-1] = found[-1]._replace(items=tuple(items))
    return found + _without_element(lines, covered, len(lines))


def _positioned(source: str) -> str:
    return comrak.render_markdown(source, extensions_for(source), PARSING, POSITIONED)


def _without_element(lines: Sequence[str], start: int, end: int) -> list[Found]:
    return next(([Found("html", number)] for number in range(start, end) if lines[number].strip()), [])
