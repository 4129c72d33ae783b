"""The growth of a piece of HTML: what changes in a browser that has the piece when it becomes a longer one.

A paragraph that grows by a word is then sent as that word: the words before it stay in the browser, with what a reader
has selected in them.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

_END = re.compile(r"(?:</[a-z0-9]+>\s*)+\Z", re.IGNORECASE)
_CLOSING_TAG = re.compile(r"</[a-z0-9]+>(\s*)", re.IGNORECASE)
_TAG = re.compile(r"<(/?)([a-z][a-z0-9]*)(?:[^>\"]|\"[^\"]*\")*>", re.IGNORECASE)
_VOID = frozenset(("br", "hr"))

# A shorter element is replaced as a whole: looking for the part of it that changes saves nothing.
SHORT_CHARS = 300


class Growth(NamedTuple):
    """A change of an open element: of the outermost at depth 0, of its last child at depth 1, and so on."""

    depth: int
    how: Literal["beforeend", "outerHTML"]
    html: str


def find_growth(shown: str, wanted: str) -> list[Growth] | None:
    """Return what makes the element `shown` the element `wanted`, or None if it has to be replaced as a whole.

    Both are whole elements of sanitised HTML. Only elements that nothing but spaces follows in `shown` change, so that
    each is the last child of the one around it.
    """
    ends = _find_ends(shown)
    # The innermost element that has to grow: what is shown of it and before it stays.
    depth = next((depth for depth, end in enumerate(ends) if wanted.startswith(shown[: end.start()])), None)
    if depth is not None:
        return _find_additions(ends, wanted, depth, ends[depth].start())
    if len(shown) < SHORT_CHARS:
        return None
    # None can grow, but one can be replaced: the innermost before which nothing changes.
    starts = _find_starts(shown, ends)
    depth = next((depth for depth in range(len(starts) - 1, 0, -1) if wanted.startswith(shown[: starts[depth]])), None)
    if depth is None:
        return None
    growth = _find_additions(ends, wanted, depth - 1, starts[depth])
    spaces = ends[depth][1]
    if not growth or growth[0].depth != depth - 1 or not growth[0].html.endswith(spaces):
        return None
    return [Growth(depth, "outerHTML", growth[0].html.removesuffix(spaces)), *growth[1:]]


def _find_additions(ends: list[re.Match[str]], wanted: str, depth: int, start: int) -> list[Growth] | None:
    """Return what the open elements grow by: from the one at this depth, whose growth starts there, outwards."""
    additions, inner = [], 0
    for tag in _TAG.finditer(wanted, start):
        if tag[2].lower() in _VOID:
            continue
        if not tag[1]:
            inner += 1
        elif inner:
            inner -= 1
        else:
            if tag.start() > start:
                additions.append(Growth(depth, "beforeend", wanted[start : tag.start()]))
            start = tag.end()
            if depth == 0:
                break
            # The spaces behind the element are shown already.
            if not wanted.startswith(spaces := ends[depth][1], start):
                return None
            start, depth = start + len(spaces), depth - 1
    return additions if start == len(wanted) else None


def _find_ends(shown: str) -> list[re.Match[str]]:
    """Return the closing tags that nothing but others and spaces follows, the outermost first."""
    end = _END.search(shown)
    return list(reversed(list(_CLOSING_TAG.finditer(shown, end.start())))) if end is not None else []


def _find_starts(shown: str, ends: list[re.Match[str]]) -> list[int]:
    """Return where the elements begin that these tags close."""
    starts: list[int] = []
    for tag in _TAG.finditer(shown, 0, ends[-1].start() if ends else 0):
        if tag[1]:
            starts.pop()
        elif tag[2].lower() not in _VOID:
            starts.append(tag.start())
    return starts
