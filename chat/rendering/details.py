"""Text that a model folds away: `<details>` with a `<summary>`, and Markdown in it."""

from __future__ import annotations

import re
from typing import NamedTuple

from chat.rendering.joint import JOINT

# Closed details are shown when they are complete, open ones while they grow, up to SHOWN_CHARS characters. Details
# longer than LONGEST_CHARS are continued in others: rendering 24 KB at once holds the event loop for 130 ms.
LONGEST_CHARS = 6_000
SHOWN_CHARS = 3_000

# The longest summary, in characters.
SUMMARY_CHARS = 500

# The levels of details in details that are told apart.
MAX_NESTING = 4

_OPENING = re.compile(r" {0,3}<details( open)?>", re.IGNORECASE)
_SUMMARY = re.compile(r"\s*<summary>(.*?)</summary>[ \t]*(.*)", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(r"`+[^`]*`+|(<details(?: open)?>)|(</details>)", re.IGNORECASE)
_FENCE = re.compile(r"\s*(?:(`{3,})[^`]*|(~{3,}).*)", re.DOTALL)


class Opening(NamedTuple):
    """The complete lines that open details."""

    is_open: bool
    summary: str
    rest: str
    """The text after the summary on its line."""


def opens_details(line: str) -> bool:
    """Return whether details may begin with this line, which is whole."""
    return "<" in line and _OPENING.match(line) is not None


def may_open_details(line: str) -> bool:
    """Return whether details may begin with this line, which is unfinished."""
    if "<" not in line:
        return False
    if opens_details(line):
        return True
    start = line.lstrip(" ").lower()
    return bool(start) and len(line) - len(start) <= 3 and "<details open>".startswith(start)


def may_become_opening(text: str) -> bool:
    """Return whether lines, the last of which is unfinished, may become those that open details."""
    tag = _OPENING.match(text)
    if tag is None:
        return may_open_details(text)
    return "<summary>".startswith(text[tag.end() :].lstrip().lower())


def read_opening(text: str) -> Opening | bool:
    """Return what the lines open: True while it is not known yet, False if they open no details."""
    tag = _OPENING.match(text)
    if tag is None:
        return False
    if (found := _SUMMARY.fullmatch(text, tag.end())) is not None and len(found[1]) <= SUMMARY_CHARS:
        return Opening(tag[1] is not None, found[1].strip(), found[2])
    rest = text[tag.end() :].lstrip().lower()
    if "</summary>" in rest or len(text) > 2 * SUMMARY_CHARS:
        return False
    return not rest or rest.startswith("<summary>")


def find_closing(line: str) -> re.Match[str] | None:
    """Return the first closing tag in a line that is not in code, or None."""
    return next((found for found in _TAG.finditer(line) if found[2]), None)


class Details:
    """Details that are not complete."""

    def __init__(self, summary: str, *, is_open: bool, nesting: int = 1) -> None:
        self.summary = summary
        self.is_open = is_open
        self.html: str | None = None
        """The HTML that the page shows, as long as it stays the same."""
        self._lines: list[str] = []
        self._size = 0
        self._nesting = nesting
        self._fence = ""

    @property
    def text(self) -> str:
        return "".join(self._lines)

    def add_line(self, line: str) -> str | None:
        """Add a line with its line end. Return the text after the closing tag, or None if there is none."""
        if self._size <= SHOWN_CHARS:
            self.html = None
        plain = line.replace(JOINT, "")
        marks = plain.strip()
        if self._fence:
            if marks.startswith(self._fence) and set(marks) == {self._fence[0]}:
                self._fence = ""
        elif (fence := _FENCE.fullmatch(plain)) is not None:
            self._fence = fence[1] or fence[2]
        else:
            for found in _TAG.finditer(line):
                self._nesting += bool(found[1]) - bool(found[2])
                if self._nesting == 0:
                    self._lines.append(line[: found.start()])
                    return line[found.end() :]
        self._lines.append(line)
        self._size += len(line)
        return None

    def split_off(self) -> Details | None:
        """Return the details that continue these if these are too long, otherwise None."""
        is_between = not self._fence and not self._lines[-1].strip()
        if self._size > 2 * LONGEST_CHARS or (self._size > LONGEST_CHARS and is_between):
            return Details(self.summary, is_open=self.is_open, nesting=self._nesting)
        return None
