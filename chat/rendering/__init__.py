"""Streaming Markdown: what models write, as safe HTML, the same whether it is streamed or loaded.

A text is split into top-level blocks, and an open list into items, a table into rows, a block of code into lines. What
nothing that may still come can change is *sealed*: its HTML is sent once. What still grows is the *tail*, closed
virtually so that no raw syntax flashes. The HTML of a whole text is defined as the fold of the same split, so the
streamed page and the loaded page cannot differ; and the split of a prefix depends on the prefix alone, because it is
decided line by line.

Blocks stand in *stretches* of a few screens each, so that a browser can leave out what is out of sight: a long list or
block of code goes on in the next one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape
from typing import Literal, Protocol

from chat.rendering.blocks import Fence, Found, blocks_of, fence_of, is_certain, is_definition
from chat.rendering.closing import closed, closed_row
from chat.rendering.html import CODE_END, CODE_ON, HIGHLIGHT_CHARS, code_block, code_start, prepare, to_html

__all__ = ["StreamingMarkdown", "Swap", "prepare", "render", "snapshot"]


@dataclass(frozen=True, slots=True)
class Swap:
    """One change of the page. `target` is the tail, the last block, the last stretch, or the whole text; `how` is a
    swap of htmx."""

    target: Literal["tail", "open", "stretch", "text"]
    how: Literal["beforebegin", "outerHTML", "beforeend", "delete"]
    html: str = ""


@dataclass(frozen=True, slots=True)
class _Container:
    """What the tail stands in: nothing, or a list, a table or a block of code that is open."""

    kind: Literal["", "list", "table", "fence"]
    tail: Literal["div", "li", "tr", "span"]
    start: str = ""
    end: str = ""

    def empty_tail(self) -> str:
        return _tail(self.tail)


_TOP = _Container("", "div")
_CODE_ON = _Container("fence", "span", CODE_ON, CODE_END)


@dataclass(frozen=True, slots=True)
class _Items:
    """A list that is open, and the number of its next item."""

    tag: str
    number: int = 1

    def container(self) -> _Container:
        start = f' start="{self.number}"' if self.tag == "ol" and self.number != 1 else ""
        return _Container("list", "li", f"<{self.tag}{start}>", f"</{self.tag}>")

    def after_one(self) -> _Items:
        return _Items(self.tag, self.number + 1)


# Of HTML: two or three screens. What grows is laid out with the rest of its stretch, and a browser looks at every
# stretch for every frame.
STRETCH_CHARS = 6_000

_STRETCH = '<div class="stretch">'
_CONTINUED = '<div class="stretch on">'
_STRETCH_END = "</div>"


def render(text: str) -> str:
    """The HTML of a whole text."""
    whole = _Whole()
    fold = _Fold(whole)
    fold.read(text)
    fold.end()
    return whole.html()


def snapshot(text: str) -> str:
    """The HTML of a text that still grows: what a page shows that made the changes of it."""
    whole = _Whole()
    _Fold(whole).read(text)
    return whole.html()


class StreamingMarkdown:
    """What one reader's page shows of a growing text, as changes to that page."""

    def __init__(self) -> None:
        self._changes = _Changes()
        self._fold = _Fold(self._changes)

    def feed(self, delta: str) -> None:
        """The text goes on with this."""
        self._fold.read(delta)

    def finish(self) -> None:
        """The text is whole: seal what is left and take the tail away."""
        self._fold.end()

    def changes(self) -> list[Swap]:
        """The changes from what the page showed when this was last asked; none when it is the same. They belong into
        one message, and no others of this text: they do not depend on each other, but those of two calls do."""
        return self._changes.taken()


class _Sink(Protocol):
    """What a fold tells of a page. Each call changes the page that the calls before it made."""

    def seal(self, html: str) -> None:
        """Put this before the tail, for ever."""

    def show(self, tail: str) -> None:
        """The tail looks like this now."""

    def enter(self, container: _Container) -> None:
        """The tail stands in a container from now on."""

    def leave(self) -> None:
        """The container is whole, and the tail stands after it."""

    def replace(self, html: str) -> None:
        """This takes the place of the container, and the tail stands after it."""

    def turn(self, *, is_continued: bool) -> None:
        """The stretch is whole, and the tail stands in a new one. It may go on with the block before it."""

    def end(self) -> None:
        """There is no tail any more."""


class _Changes:
    """A page in a browser, as swaps that do not depend on each other: htmx finds all targets before it makes the first.

    So whatever happened since the changes were last taken becomes one swap of the tail that the browser has, or one of
    the container it stands in, one that appends to its stretch, and one that appends stretches to the text.
    """

    def __init__(self) -> None:
        self._shown = _TOP.empty_tail()  # the tail that the browser has
        self._container = _TOP  # and what it stands in
        self._start_over(_TOP.empty_tail())

    def _start_over(self, tail: str) -> None:
        self._inside = ""  # what replaces or precedes the browser's tail
        self._replacement: str | None = None  # what replaces the browser's container
        self._after: _Whole | None = None  # what follows the browser's container, which is closed
        self._tail = tail

    def seal(self, html: str) -> None:
        if self._after is not None:
            self._after.seal(html)
        else:
            self._inside += html

    def show(self, tail: str) -> None:
        if self._after is not None:
            self._after.show(tail)
        else:
            self._tail = tail

    def enter(self, container: _Container) -> None:
        self._follow().enter(container)

    def leave(self) -> None:
        if self._after is not None:
            self._after.leave()
        else:
            self._after = _Whole()

    def replace(self, html: str) -> None:
        if self._after is not None:
            self._after.replace(html)
        else:
            self._after, self._replacement = _Whole(), html

    def turn(self, *, is_continued: bool) -> None:
        self._follow().turn(is_continued=is_continued)

    def end(self) -> None:
        self._follow().end()

    def _follow(self) -> _Whole:
        """The page after the browser's tail. A tail at the top has no container to be left."""
        if self._after is None:
            self._after = _Whole()
        return self._after

    def taken(self) -> list[Swap]:
        """The changes since they were last taken."""
        after, stretches = self._after.pieces() if self._after is not None else ("", "")
        swaps = self._swaps(after)
        if stretches:
            swaps.append(Swap("text", "beforeend", stretches))
        if self._after is not None:
            self._container, self._tail = self._after.container, self._after.tail
        self._shown = self._tail
        self._start_over(self._tail)
        return swaps

    def _swaps(self, after: str) -> list[Swap]:
        if self._replacement is not None:
            return [Swap("open", "outerHTML", self._replacement + after)]
        if self._after is None:
            if self._tail == self._shown:
                return [Swap("tail", "beforebegin", self._inside)] if self._inside else []
            return [Swap("tail", "outerHTML", self._inside + self._tail)]
        if self._container.kind == "":
            html = self._inside + after
            return [Swap("tail", "outerHTML", html) if html else Swap("tail", "delete")]
        last = Swap("tail", "outerHTML", self._inside) if self._inside else Swap("tail", "delete")
        return [last, Swap("stretch", "beforeend", after)] if after else [last]


class _Whole:
    """A page as one string; or what comes to one, and then the first stretch is the rest of the page's last."""

    def __init__(self) -> None:
        self._stretches: list[str] = []  # those that are whole, the first of them without its tags
        self._start = ""  # of the stretch that is not
        self._before: list[str] = []
        self._inside: list[str] = []
        self.tail = _TOP.empty_tail()
        self.container = _TOP

    def seal(self, html: str) -> None:
        self._inside.append(html)

    def show(self, tail: str) -> None:
        self.tail = tail

    def enter(self, container: _Container) -> None:
        self._before += self._inside
        self._inside = [container.start]
        self.container, self.tail = container, container.empty_tail()

    def leave(self) -> None:
        self._before += [*self._inside, self.container.end]
        self._inside = []
        self.container, self.tail = _TOP, _TOP.empty_tail()

    def replace(self, html: str) -> None:
        self._inside = [html]
        self.container, self.tail = _TOP, _TOP.empty_tail()

    def turn(self, *, is_continued: bool) -> None:
        end = _STRETCH_END if self._stretches else ""
        self._stretches.append("".join([self._start, *self._before, *self._inside, end]))
        self._start = _CONTINUED if is_continued else _STRETCH
        self._before, self._inside = [], []
        self.tail = _TOP.empty_tail()

    def end(self) -> None:
        self.tail = ""

    def pieces(self) -> tuple[str, str]:
        """The inside of the first stretch, and the others."""
        last = "".join([self._start, *self._before, *self._inside, self.tail, self.container.end])
        first, *others = [*self._stretches, last]
        return first, "".join(others) + (_STRETCH_END if others else "")

    def html(self) -> str:
        first, others = self.pieces()
        return f"{_STRETCH}{first}{_STRETCH_END}{others}"


class _Fold:
    """Reads a text, however it is cut, and tells a page of it. Keeps the source of what is open and no more."""

    def __init__(self, sink: _Sink) -> None:
        self._sink = sink
        self._container = _TOP
        self._lines: list[str] = []  # whole lines of the open block or item
        self._partial = ""
        self._is_settled = False  # what the unfinished line decides is sealed: more of it decides nothing
        self._header: list[str] = []  # the first two lines of an open table
        self._fence: Fence | None = None
        self._code: list[str] = []  # the lines of an open block of code, of a continued one those of this stretch
        self._code_chars = 0
        self._items = _Items("ul")  # of an open list
        self._size = 0  # of what is sealed in this stretch
        self._definitions = ""
        self._runs_on = False  # the open block is one that a line of its own kind cannot end

    def read(self, delta: str) -> None:
        text = self._partial + delta
        # A carriage return at the end may be half of a line end.
        half = "\r" if text.endswith("\r") else ""
        plain = text.removesuffix(half).replace("\r\n", "\n").replace("\r", "\n").replace("\f", " ")
        *lines, partial = plain.split("\n")
        for line in lines:
            self._line(self._bounded(line))
            self._is_settled = False
        self._partial = partial + half
        partial = self._bounded(partial)
        if self._fence is None and not self._is_settled and is_certain(partial):
            self._settle([*self._lines, partial], unfinished=1)
            self._is_settled = True
        self._sink.show(self._growing(partial))

    def end(self) -> None:
        if partial := self._partial.removesuffix("\r"):
            self._line(self._bounded(partial))
        self._partial = ""
        if self._fence is not None:
            self._close_fence(self._fence)
        elif self._container.kind == "":
            self._seal_block(self._lines)
        else:
            if self._lines:
                self._seal(self._item(self._lines))
            self._leave()
        self._sink.end()

    def _line(self, line: str) -> None:
        if self._fence is not None:
            self._code_line(self._fence, line)
        elif self._goes_on(line):
            self._lines.append(line)
        else:
            self._settle([*self._lines, line], unfinished=0)

    def _bounded(self, line: str) -> str:
        """The line without what no one means and a parser pays for: quotes twenty deep, tables of a hundred columns."""
        if self._fence is not None:
            return line
        if ">" in line:
            line = _TOO_DEEP.sub(r"\1", line)
        return line.replace("|", r"\|") if line.count("|") > COLUMNS else line

    def _goes_on(self, line: str) -> bool:
        """A line of prose after a line of prose belongs to the same paragraph, and a quoted line after a quoted one to
        the same quote: there is nothing to parse, which keeps long ones linear."""
        last = self._lines[-1] if self._lines else ""
        if self._runs_on:
            return bool(line.strip()) and not _END_OF_RAW.search(line)
        if self._container.kind == "":
            return (last[:1].isalpha() and line[:1].isalpha()) or (last[:1] == line[:1] == ">")
        return self._container.kind == "list" and last[:1].isalpha() and line[:1].isalpha()

    def _settle(self, lines: list[str], *, unfinished: int) -> None:
        """Seal what the lines decide and keep the rest. The last one may be unfinished, if it is certain what it is."""
        while (decided := self._decided(lines, len(lines) - unfinished)) is not None:
            lines = lines[decided:]
        self._lines = lines[: len(lines) - unfinished]
        self._runs_on = self._runs_on and bool(self._lines and self._lines[-1].strip())

    def _decided(self, lines: list[str], whole: int) -> int | None:
        """Seal the first part that is decided; how many lines it had, or None when nothing more is decided."""
        if self._fence is not None or not lines:
            return None
        found = blocks_of([*self._header, *lines])
        if self._container.kind == "table":
            return self._decided_row(found, lines, whole)
        if not found:
            return whole or None
        if self._container.kind == "list":
            return self._decided_item(found, lines)
        return self._decided_block(found, lines, whole)

    def _decided_block(  # noqa: PLR0911 - each kind of block has its own answer
        self, found: list[Found], lines: list[str], whole: int
    ) -> int | None:
        block, first = found[0], lines[found[0].start]
        if block.start >= whole:
            return None
        self._runs_on = len(found) == 1 and block.tag == "html"
        if block.tag == "html" and is_definition(first):
            self._definitions += f"{first}\n"
            return block.start + 1
        if block.tag == "pre" and (fence := fence_of(first)) is not None:
            self._open_fence(fence)
            for line in lines[block.start + 1 : whole]:
                self._line(line)
            return whole
        if block.tag in ("ul", "ol"):
            return self._open_list(block, first)
        if block.tag == "table":
            return self._open_table(block, lines)
        if len(found) > 1:
            self._seal_block(lines[: found[1].start])
            return found[1].start
        if _HEADING_OR_RULE.fullmatch(block.tag):
            self._seal_block(lines[:whole])
            return whole
        return None

    # An open list: its items are decided one by one

    def _open_list(self, block: Found, first: str) -> int:
        number = int(_DIGITS.search(first)[0]) if block.tag == "ol" else 1  # type: ignore[index]  # an ordered item has them
        self._items = _Items(block.tag, number)
        self._enter(self._items.container())
        return block.start

    def _decided_item(self, found: list[Found], lines: list[str]) -> int | None:
        """An item is decided by the next one, or by the end of the list."""
        if len(found[0].items) > 1:
            following = found[0].items[1]
            self._seal(self._item(lines[:following]))
            self._items = self._items.after_one()
            if self._size > STRETCH_CHARS:
                self._go_on(self._items.container())
            return following
        if len(found) > 1:
            self._seal(self._item(lines[: found[1].start]))
            self._leave()
            return found[1].start
        return None

    def _item(self, lines: list[str]) -> str:
        """The item alone: it is loose when it has a blank line in itself, whatever its neighbours have."""
        rendered = self._html("\n".join(lines))
        return rendered[rendered.find("<li>") : rendered.rfind("</li>")] + "</li>"

    # An open table: its rows are decided by their line ends

    def _open_table(self, block: Found, lines: list[str]) -> int:
        self._header = lines[block.start : block.start + 2]
        head = self._html("\n".join(self._header)).partition("</thead>")[0]
        self._enter(_Container("table", "tr", f"{head}</thead><tbody>", "</tbody></table>"))
        return block.start + 2

    def _decided_row(self, found: list[Found], lines: list[str], whole: int) -> int | None:
        if whole and not lines[0].strip():
            self._leave()
            return 1
        if len(found) > 1 and found[1].start == len(self._header):
            self._leave()
            return 0
        if whole:
            if self._size > STRETCH_CHARS:
                self._go_on(self._container)  # with its head again
            self._seal(self._row(lines[0]))
            return 1
        return None

    def _row(self, line: str) -> str:
        body = self._html("\n".join([*self._header, line])).partition("<tbody>")[2]
        return body[body.find("<tr>") : body.rfind("</tr>")] + "</tr>" if body else ""

    # An open block of code: its lines are decided by their line ends, its colours by the closing fence

    def _open_fence(self, fence: Fence) -> None:
        self._fence, self._code, self._code_chars = fence, [], 0
        self._enter(_Container("fence", "span", code_start(fence.info), CODE_END))

    def _code_line(self, fence: Fence, line: str) -> None:
        if fence.closes(line):
            self._close_fence(fence)
            return
        if self._code_chars > HIGHLIGHT_CHARS:  # it stays plain
            self._code, self._code_chars = [], 0
            self._go_on(_CODE_ON)
        content = fence.content(line) + "\n"
        self._code.append(content)
        self._code_chars += len(content)
        self._seal(escape(content, quote=False))

    def _close_fence(self, fence: Fence) -> None:
        if self._container is _CODE_ON:
            self._sink.leave()
        else:
            html = code_block("".join(self._code), fence.info)
            self._sink.replace(html)
            self._size += len(html)
        self._fence, self._code, self._container = None, [], _TOP

    # What both have in common

    def _enter(self, container: _Container) -> None:
        self._begin_block()
        self._container = container
        self._sink.enter(container)

    def _leave(self) -> None:
        self._container, self._header = _TOP, []
        self._sink.leave()

    def _go_on(self, container: _Container) -> None:
        """What is open goes on in the next stretch."""
        self._sink.leave()
        self._sink.turn(is_continued=True)
        self._size = 0
        self._enter(container)

    def _begin_block(self) -> None:
        """A block stands in the next stretch when this one is long enough."""
        if self._size > STRETCH_CHARS:
            self._sink.turn(is_continued=False)
            self._size = 0

    def _seal(self, html: str) -> None:
        self._sink.seal(html)
        self._size += len(html)

    def _seal_block(self, lines: list[str]) -> None:
        if html := self._html("\n".join(lines)):
            self._begin_block()
            self._seal(html)

    def _html(self, source: str) -> str:
        return to_html(f"{source}\n\n{self._definitions}" if self._definitions else source)

    def _growing(self, partial: str) -> str:
        """The tail: what is not decided yet, closed as if it ended here."""
        kind = self._container.kind
        if self._fence is not None:
            fence = not partial.strip(" `~")
            return _tail("span", "" if fence else escape(self._fence.content(partial), quote=False))
        if kind == "table":
            row = self._row(closed_row(partial)) if partial.strip(" |") else ""
            return row.replace("<tr>", '<tr class="tail">', 1) or _tail("tr")
        source = closed("\n".join([*self._lines, partial]))
        if kind == "list":
            return self._growing_item(source.split("\n"))
        return _tail("div", self._html(source) if source.strip() else "")

    def _growing_item(self, lines: list[str]) -> str:
        """An unfinished line that would end the item may still become part of it: it is held back."""
        found = blocks_of(lines)
        if len(found) > 1 or (found and len(found[0].items) > 1):
            lines = self._lines
        item = self._item(lines)
        return item.replace("<li>", '<li class="tail">', 1) if item.startswith("<li>") else _tail("li")


# Quotes in quotes in quotes: nobody means more than a few, and each level costs the parser and the browser.
_TOO_DEEP = re.compile(r"^((?: {0,3}>){20})(?: {0,3}>)+")
# The parser fills each row up with cells: a wider head would make millions of them.
COLUMNS = 100

# Raw HTML ends at a blank line, or at one of these.
_END_OF_RAW = re.compile(r"-->|\?>|\]\]>|</")
_HEADING_OR_RULE = re.compile("h[1-6]|hr")
_DIGITS = re.compile("[0-9]+")


def _tail(tag: str, html: str = "") -> str:
    return f'<{tag} class="tail">{html}</{tag}>'
