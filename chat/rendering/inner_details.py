"""Details in an item of a list, or in a quote.

The parser takes their tags, and what follows on the same lines, for raw HTML, which is shown as text. So each tag gets
a paragraph of its own before the text is parsed, with stand-ins in place of the tags, and that becomes the tag again in
the parser's HTML. Details that their item or quote ends before their closing tag does are open, so that nothing is
hidden which might never be found.
"""

from __future__ import annotations

import re
from collections import deque
from itertools import islice

from chat.rendering.blocks import Container, Scanner, remove_columns
from chat.rendering.details import MAX_NESTING, Opening, find_closing, may_become_opening, read_opening

# Stand-ins: characters that mean nothing to the parser, and that nobody writes.
_CLOSED, _OPEN, _SUMMARY_END, _END = "\ufdd4", "\ufdd5", "\ufdd6", "\ufdd7"
_FOREIGN = re.compile(f"[{_CLOSED}-{_END}]")

_DETAILS = re.compile("<details", re.IGNORECASE)
_PIECE = re.compile(
    f"(?:<p>)?([{_CLOSED}{_OPEN}])(.*?){_SUMMARY_END}(?:</p>)?|(?:<p>)?({_END})(?:</p>)?|<(/?)([a-z][a-z0-9]*)[^>]*>",
    re.DOTALL,
)
_VOID = {"br", "hr", "img", "input"}


def mark_details(source: str, *, is_growing: bool) -> str | None:
    """Return the source with stand-ins for the tags of details in its items and quotes; None if it has none.

    What may become the beginning of details is left out of a source that is growing.
    """
    if _DETAILS.search(source) is None:
        return None
    plain = _FOREIGN.sub("\ufffd", source)
    marker = _Marker(plain.rstrip("\n") if is_growing else plain, is_growing=is_growing)
    marker.read()
    return "\n".join([*marker.lines, ""]) if marker.is_marked else None


def count_open_details(source: str) -> int:
    """Return how many details of a source's items and quotes are not closed in it."""
    if _DETAILS.search(source) is None:
        return 0
    marker = _Marker(_FOREIGN.sub("\ufffd", source), is_growing=False)
    marker.read()
    return marker.nesting


def remove_closing(line: str, most: int) -> tuple[str, int]:
    """Return the rest of an item or quote without its first closing tags of details, at most `most`, and their number.

    The details were opened in what was cut off before it, and are closed there.
    """
    count = 0
    while count < most and (found := find_closing(line)) is not None:
        line = line[: found.start()] + line[found.end() :]
        count += 1
    return line, count


def is_beginning_of_closing(text: str) -> bool:
    """Return whether an unfinished line may become a closing tag."""
    start = text.strip().lower()
    return bool(start) and "</details>".startswith(start)


def restore_details(html: str, *, is_growing: bool) -> str:
    """Return the HTML of a marked source with the tags of details, each of them closed where it was opened."""
    page, done = _RestoredPage(is_growing=is_growing), 0
    for found in _PIECE.finditer(html):
        page.parts.append(html[done : found.start()])
        done = found.end()
        sign, summary, end, slash, name = found.groups()
        if sign:
            page.open_details(sign, summary.strip())
        elif end:
            page.close_details()
        elif slash:
            page.close_element(found[0])
        else:
            page.open_element(found[0], name)
    page.parts.append(html[done:])
    page.close_rest()
    return "".join(page.parts)


class _RestoredPage:
    """The pieces of the HTML, and which elements are open after them."""

    def __init__(self, *, is_growing: bool) -> None:
        self.parts: list[str] = []
        self._is_growing = is_growing
        self._open: list[tuple[str, int]] = []  # details by their sign and the place of their tag, others as ""

    def open_details(self, sign: str, summary: str) -> None:
        self._open.append((sign, len(self.parts)))
        self.parts.append(f"<details{' open' if sign == _OPEN else ''}><summary>{summary}</summary>")

    def close_details(self) -> None:
        if self._open and self._open[-1][0]:
            self._open.pop()
            self.parts.append("</details>")
        else:
            self.parts.append("<p>&lt;/details&gt;</p>")

    def open_element(self, tag: str, name: str) -> None:
        if name not in _VOID:
            self._open.append(("", 0))
        self.parts.append(tag)

    def close_element(self, tag: str) -> None:
        while self._open and (last := self._open.pop())[0]:
            self._end_details(*last)
        self.parts.append(tag)

    def close_rest(self) -> None:
        for sign, place in reversed(self._open):
            if sign:
                self._end_details(sign, place)

    def _end_details(self, sign: str, place: int) -> None:
        """Close details without a closing tag: while they grow only their summary is shown, then they are open."""
        if sign == _CLOSED and self._is_growing:
            self.parts[place + 1 :] = ["<p>…</p>"]
        elif sign == _CLOSED:
            self.parts[place] = self.parts[place].replace("<details>", "<details open>", 1)
        self.parts.append("</details>")


class _Marker:
    """A reader of a block that writes it again with stand-ins."""

    def __init__(self, source: str, *, is_growing: bool) -> None:
        self.lines: list[str] = []
        self.is_marked = False
        self._is_growing = is_growing
        self._left = deque(source.split("\n"))
        self._scanner = Scanner()
        self.nesting = 0

    def read(self) -> None:
        while self._left:
            self._read_line(self._left.popleft())

    def _write(self, line: str) -> None:
        self._scanner.read(line)
        self.lines.append(line)

    def _read_line(self, line: str) -> None:
        after = self._scanner.copy()
        step = after.read(line)
        is_raw = self._scanner.leaf.end is not None or "fence" in (self._scanner.leaf.kind, after.leaf.kind)
        if is_raw or "<" not in line or not after.containers or after.leaf.kind == "pre":
            self._write(line)
            return
        start, text = line.expandtabs(4)[: step.content], remove_columns(line, step.content)
        if after.leaf.kind == "html" and self._scanner.leaf.kind != "html" and self.nesting < MAX_NESTING:
            opening = self._read_opening(text, after)
            if isinstance(opening, Opening):
                self._open(opening, start, _indent(after.containers))
                return
            if opening and self._is_growing:
                self._left.clear()
                self.is_marked = True
                if start.strip():
                    self._write(start.rstrip())
                return
        closing = find_closing(text) if self.nesting else None
        if closing is None:
            self._write(line)
        else:
            self._close(start, text[: closing.start()], text[closing.end() :], _indent(after.containers))

    def _read_opening(self, text: str, after: Scanner) -> Opening | bool:
        """Return what a line opens, with the lines after it as far as they belong to it, which are taken."""
        depth, scanner, taken = len(after.containers), after.copy(), 0
        while (opening := read_opening(text)) is True and taken < len(self._left):
            step = scanner.read(self._left[taken])
            if len(scanner.containers) != depth or step.kind not in ("same", "blank"):
                return False
            text += "\n" + remove_columns(self._left[taken], step.content)
            taken += 1
        if opening is False and not any(islice(self._left, taken, None)):
            return may_become_opening(text)
        if isinstance(opening, Opening):
            for _ in range(taken):
                self._left.popleft()
        return opening

    def _open(self, opening: Opening, start: str, indent: str) -> None:
        self.is_marked = True
        self.nesting += 1
        if not start.strip(" >") and self._scanner.leaf.kind:  # a blank line would end an item that is empty so far
            self._write(indent.rstrip())
        sign = _OPEN if opening.is_open else _CLOSED
        self._write(f"{start}{sign} {' '.join(opening.summary.split())} {_SUMMARY_END}")
        self._write(indent.rstrip())
        if opening.rest:
            self._left.appendleft(indent + opening.rest)

    def _close(self, start: str, before: str, rest: str, indent: str) -> None:
        self.nesting -= 1
        if before.strip() or start.strip(" >"):
            self._write(start + before)
        self._write(indent.rstrip())
        self._write(indent + _END)
        self._write(indent.rstrip())
        if rest.strip():
            self._left.appendleft(indent + rest.lstrip())


def _indent(containers: tuple[Container, ...]) -> str:
    """Return the beginning of a further line in these containers."""
    return "".join("> " if container.mark == ">" else " " * container.width for container in containers)
