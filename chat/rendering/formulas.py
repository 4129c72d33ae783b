r"""Formulas on lines of their own: between `$$` and `$$`, or `\[` and `\]`.

A line of a formula may look like a rule, a heading's underline or a list. So its lines are held back until the formula
is closed and then joined into one, which the parser takes for a formula: for TeX a line end is a space.
"""

from __future__ import annotations

import re
from typing import Literal

from chat.rendering.blocks import Scanner

_OPENING = re.compile(r"([ \t]*(?:(?:[-+*]|[0-9]{1,9}[.)])[ \t]+)?)(\$\$|\\\[)(?!\$)(.*)")
_CLOSING: dict[str, Literal["$$", "\\]"]] = {"$$": "$$", "\\[": "\\]"}
_ITEM = re.compile(r" *(?:[-+*]|[0-9]{1,9}[.)])(?: |$)")

_MARKER = re.compile(r"(?:>[ \t]*|(?:[-+*]|[0-9]{1,9}[.)])[ \t]+)+")

# A comment of TeX: it would swallow the rest of the joined line.
_COMMENT = re.compile(r"(?<!\\)%.*")

# A longer formula is shown as it was written.
FORMULA_CHARS = 2_000


class Formula:
    """The lines since an opening sign, which may turn out to be a formula."""

    def __init__(self, first: str, sign: str, column: int = 0) -> None:
        self._lines = [first]
        self._opening = sign
        self._closing = _CLOSING[sign]
        self._size = len(first)
        self._column = column  # of the opening sign in an item: a marker left of it begins the next item
        self.is_whole = False
        self.is_previous_sealed = False
        """True when the item or block that the formula's first line ends has been sealed."""

    def take_line(self, line: str) -> bool:
        """Take the line in if it belongs to the formula, and return whether it does. A blank line does not."""
        self._size += len(line)
        text = line.strip()
        if not text or self._size > FORMULA_CHARS or self._is_next_item(line):
            return False
        end = text.find(self._closing)
        if 0 <= end < len(text) - 2 and not text[end + 2 :].strip(" .,;:!?"):
            end = len(text) - len(text[end:])
        elif end >= 0 and end + 2 < len(text):
            return False
        if end >= 0 and _MARKER.fullmatch(text, 0, end):  # no formula ends with an operator
            return False
        self._lines.append(line)
        self.is_whole = end >= 0
        return True

    def _is_next_item(self, line: str) -> bool:
        if not self._column:
            return False
        columns = line.expandtabs(4)
        return len(columns) - len(columns.lstrip(" ")) < self._column and _ITEM.match(columns) is not None

    def join_lines(self) -> list[str]:
        """Return the formula as one line if it is whole and not empty, otherwise the lines as they came."""
        if not self.is_whole:
            return self._lines
        first, *others = self._lines
        line = " ".join([_COMMENT.sub("", first).rstrip(), *(_COMMENT.sub("", line).strip() for line in others)])
        inside = line[line.index(self._opening) + 2 : line.rindex(self._closing)]
        return [line] if inside.strip() else self._lines


def begin_formula(line: str, scanner: Scanner) -> Formula | None:
    """Return the formula that a line opens and does not close, or None."""
    found = _OPENING.fullmatch(line) if "$$" in line or "\\[" in line else None
    if found is None or scanner.leaf.kind in ("fence", "html", "pre", "table"):
        return None
    space, sign, rest = found.groups()
    if _CLOSING[sign] in rest or (sign == "\\[" and "]" in rest):
        return None
    if not scanner.containers and len(space.expandtabs(4)) > 3 and not space.strip():
        return None
    is_in_item = bool(space.strip()) or any(container.mark != ">" for container in scanner.containers)
    return Formula(line, sign, len(space.expandtabs(4)) if is_in_item else 0)
