"""A browser's page as one string, with the swaps that htmx would make of it."""

from __future__ import annotations

import re

_TAIL = re.compile(r'<(\w+) class="tail">')
_VOID = {"br", "hr"}
_LAST_CHILD = "> :last-child"


class Page:
    """Holds the inside of an answer's text, as its stream changes it. Selectors are those that the stream uses."""

    def __init__(self, html: str = '<div class="stretch"><div class="tail"></div></div>') -> None:
        self.html = html

    def swap(self, selector: str, how: str, html: str) -> None:
        """Change the HTML as htmx does for a swap.

        `selector` is empty for the whole text; its last stretch is `> :last-child`, and in there are the last block
        and the tail, and in the tail what is its last child, or the last child of that.
        """
        if not selector:
            self.html = self.html + html if how == "beforeend" else html
            return
        if selector == _LAST_CHILD:
            self.html = f"{self.html.removesuffix('</div>')}{html}</div>"
            return
        _, is_in_tail, inside = selector.partition(".tail")
        start, end = self._find_tail() if is_in_tail else self._find_last_block()
        for _ in range(inside.count(_LAST_CHILD)):
            start, end = self._list_children(self.html.index(">", start) + 1, self.html.rindex("<", start, end))[-1]
        if how == "beforebegin":
            end = start
        elif how == "beforeend":
            start = end = self.html.rindex("<", start, end)
        self.html = self.html[:start] + html + self.html[end:]

    def _find_tail(self) -> tuple[int, int]:
        [found] = _TAIL.finditer(self.html)
        return found.start(), self._end_of(found.start())

    def _find_last_block(self) -> tuple[int, int]:
        stretches = self._list_children(0, len(self.html))
        start, end = stretches[-1]
        return self._list_children(self.html.index(">", start) + 1, end - len("</div>"))[-1]

    def _list_children(self, start: int, end: int) -> list[tuple[int, int]]:
        """Return where the elements between two places begin and end."""
        found = []
        while (following := self.html.find("<", start, end)) >= 0:
            start = self._end_of(following)
            found.append((following, start))
        return found

    def _end_of(self, start: int) -> int:
        """Return where the element that begins at `start` ends."""
        depth = 0
        for found in re.finditer(r"<(/?)(\w+)[^>]*>", self.html[start:]):
            if found[2] in _VOID:
                depth += 0
            else:
                depth += -1 if found[1] else 1
            if depth == 0:
                return start + found.end()
        raise AssertionError(f"the element at {start} does not end")
