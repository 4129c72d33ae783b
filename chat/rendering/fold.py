"""The fold of a text: its blocks as safe HTML, the same whether it is streamed or loaded.

A text is split into top-level blocks, and an open list into items, a table into rows, a block of code into lines. What
no further text can change is *sealed*: its HTML is sent once. What still grows is the *tail*. It is rendered as if it
ended here, with open marks closed, so that no raw syntax flashes. The HTML of a whole text is defined as the fold of
the same split, so the streamed page and the loaded page cannot differ; and the split of a prefix depends on the prefix
alone, because it is decided line by line.

Blocks are grouped in *stretches* of a few screens each, so that a browser can skip those out of sight. A long list or
block of code continues in the next stretch.
"""

from __future__ import annotations

from html import escape

from chat.rendering.bars import hide_bars
from chat.rendering.blocks import (
    LEAF_COST,
    Container,
    Fence,
    Leaf,
    Scanner,
    Step,
    count_cells,
    estimate_line_cost,
    is_certain,
    measure_piece,
    remove_columns,
)
from chat.rendering.details import MAX_NESTING, Details, Opening, may_open_details, opens_details, read_opening
from chat.rendering.formulas import Formula, begin_formula
from chat.rendering.highlight import CODE_END, HIGHLIGHT_CHARS, render_code_start
from chat.rendering.html import convert_to_html, render_code_block, render_details
from chat.rendering.inner_details import count_open_details, is_beginning_of_closing, remove_closing
from chat.rendering.joint import JOINT, insert_joints
from chat.rendering.references import RESTART_CHARS, References
from chat.rendering.sink import (
    MORE_CODE,
    TOP,
    OpenCode,
    OpenItems,
    Sink,
    TailContainer,
    render_tail_element,
)
from chat.rendering.tail import close_row, close_text
from chat.rendering.whole_page import WholePage

# Characters of HTML in a stretch: two or three screens. What grows is laid out with the rest of its stretch, and a
# browser looks at every stretch for every frame.
STRETCH_CHARS = 6_000


class Fold:
    """A reader of a text that arrives in pieces of any size; it tells a page, its `Sink`, what to show.

    A line goes through these methods, each of which may hold it back or consume it: `_cut_line` cuts a long one into
    pieces, `_take_in` sees to its joints, `_take_line` to details, `_take_text_line` to formulas, and `_read_line` has
    the `Scanner` say whether it continues the open block or begins an item or a block.

    The source of the open block is kept, and the whole source of a short text, which is rendered again when a link
    definition comes after what refers to it.

    It has fewer than 30 attributes: with 30, the objects of a class no longer share their keys, and each fold, one for
    every page that reads along, takes 1.3 KiB more.
    """

    def __init__(self, sink: Sink, nesting: int = 0, references: References | None = None) -> None:
        self._sink = sink
        self._nesting = nesting
        self._references = references or References()
        self._start()

    def _start(self) -> None:
        self._source: list[str] = []  # of the whole text, while it is short enough to be rendered again
        self._chars = 0
        self._is_source_over = True  # the last line defines nothing
        self._is_whole_line = False
        self._scanner = Scanner()
        self._container = TOP
        self._lines: list[str] = []  # whole lines of the open block or item
        self._cost = 0  # of rendering these
        self._partial = ""
        self._is_previous_sealed = False  # the item or block that the unfinished line ends
        self._is_rest = False  # the unfinished line is the rest of one that was cut
        self._cut_depth = 0  # containers around the open block that its HTML lacks: of a block that was cut, or a note
        self._unclosed = 0  # details that were opened in what was cut off of the open block
        self._is_raw = False  # the open block is the rest of raw HTML
        self._is_quoted = False  # the open block is the rest of a quote
        self._delimiters: list[str] = []  # of an open table, one for each column
        self._code: OpenCode | None = None
        self._items = OpenItems("ul")  # of an open list
        self._size = 0  # HTML characters that are sealed in this stretch
        self._formula: Formula | None = None  # on lines of its own, not closed yet
        self._opening: list[str] = []  # whole lines that may open details
        self._details: Details | None = None
        self._joints: list[int] = []  # in the unfinished line
        self._joints_here: list[int] = []  # in the current line, counted from its end
        self._joints_left = 0  # that stand between two blocks

    def read(self, delta: str) -> None:
        """Read the next piece of the text and seal what can no longer change. A `JOINT` marks a place in the text."""
        first, *others = delta.split(JOINT)
        self._read(first)
        for piece in others:
            self._joints.append(len(self._partial.removesuffix("\r")))
            self._read(piece)

    def _read(self, delta: str) -> None:
        text = self._partial + delta
        # A carriage return at the end may be half of a line end.
        half = "\r" if text.endswith("\r") else ""
        plain = text.removesuffix(half).replace("\r\n", "\n").replace("\r", "\n").replace("\f", " ")
        *lines, partial = plain.split("\n")
        for line in lines:
            self._end_line(self._cut_line(line))
            if self._nesting == 0 and self._is_source_over and self._references.is_worth(self._chars):
                self._restart()
        partial = self._cut_line(partial)
        self._partial = partial + half
        self._seal_previous(self._escape_stray_bars(partial))

    def show(self) -> None:
        """Tell the page what the tail shows."""
        self._sink.show(self._render_tail(self._escape_stray_bars(self._partial.removesuffix("\r"))))

    def end(self) -> None:
        """Seal the rest: the text is whole."""
        self._seal_rest()
        if self._nesting == 0 and self._references.is_due(self._chars):
            self._restart()
            self._seal_rest()
        self._joints_left += len(self._joints)
        self._seal_joints()
        self._sink.end()

    def _seal_rest(self) -> None:
        if self._partial:
            self._end_line(self._partial.removesuffix("\r"))
        self._partial = ""
        self._replay()
        self._end_formula()
        if self._details is not None:  # never closed, so shown open: folded away it might never be found
            self._seal_details(self._details, is_open=True)
        self._close_block()

    def _restart(self) -> None:
        """Read the text again from its beginning: something that it refers to has been defined."""
        text, joints = "".join(self._source), self._joints
        self._references.restart(self._chars)
        self._sink.restart()
        self._start()
        self.read(text)
        self._joints = joints

    def _keep_source(self, line: str, end: str) -> None:
        """Keep the source of a line or a piece of one, with its joints."""
        self._chars += len(line) + len(end)
        if self._chars > RESTART_CHARS:
            self._source = []
            return
        if self._joints:
            line = insert_joints(line, [place for place in self._joints if place <= len(line)])
        self._source.append(line + end)

    # Lines, and the joints in them

    def _take_in(self, line: str, end: str = "") -> None:
        """Take in a line or a piece of one, and the joints in it."""
        if self._nesting == 0:
            self._keep_source(line, end)
        self._is_whole_line = bool(end)
        self._is_source_over = self._is_source_over or bool(line.strip())
        if self._joints:
            size = len(line)
            self._joints_here = [size - place for place in self._joints if place <= size]
            self._joints = [place - size for place in self._joints if place > size]
        self._take_line(line, end)
        if self._joints_here:
            self._joints_left += len(self._joints_here)
            self._joints_here = []
        if self._joints_left and self._details is None and self._code is None and self._container.kind == "":
            self._seal_joints()

    def _insert_joints(self, line: str) -> str:
        """Return the end of the current line, or all of it, with the joints that lie in it."""
        if not self._joints_here:
            return line
        places = [max(0, len(line) - place) for place in self._joints_here]
        self._joints_here = []
        return insert_joints(line, places)

    def _seal_joints(self) -> None:
        if self._joints_left:
            self._sink.seal(JOINT * self._joints_left)
            self._joints_left = 0

    # Details

    def _take_line(self, line: str, end: str) -> None:
        if self._details is not None:
            self._add_to_details(self._details, line + end)
        elif self._formula is not None:
            self._take_text_line(line, end)
        elif self._opening or (end and not self._is_rest and opens_details(line) and self._begins_raw(line)):
            self._opening.append(line)
            self._open_details()
        elif self._is_rest:
            self._take_rest(line, end)
        else:
            self._take_text_line(line, end)

    def _begins_raw(self, line: str) -> bool:
        """Return whether the line would begin raw HTML outside of all containers."""
        if self._nesting >= MAX_NESTING:
            return False
        scanner = self._scanner.copy()
        return scanner.read(line).kind == "block" and scanner.tag == "html"

    def _open_details(self) -> None:
        opening = read_opening("\n".join(self._opening))
        if opening is False:
            self._replay()
        elif isinstance(opening, Opening):
            self._opening = []
            self._close_block()
            self._scanner = Scanner()
            self._details = Details(opening.summary, is_open=opening.is_open)
            if opening.rest:
                self._add_to_details(self._details, f"{opening.rest}\n")

    def _replay(self) -> None:
        """Read the lines that were held back: they open no details."""
        lines, self._opening = self._opening, []
        for line in lines:
            self._take_text_line(line, "\n")

    def _add_to_details(self, details: Details, line: str) -> None:
        rest = details.add_line(line if "<" in line else self._insert_joints(line))
        if rest is not None:
            self._seal_details(details, is_open=details.is_open)
            if rest.strip():
                self._take_text_line(rest.rstrip("\n"), "\n")
        elif (following := details.split_off()) is not None:
            self._seal_details(details, is_open=details.is_open)
            self._details = following

    def _seal_details(self, details: Details, *, is_open: bool) -> None:
        self._details = None
        self._prepare_stretch()
        self._seal(self._render_details(details, self._references, is_open=is_open))

    def _render_details(self, details: Details, references: References, *, is_open: bool) -> str:
        whole = WholePage()
        fold = Fold(whole, self._nesting + 1, references)
        fold.read(details.text)
        fold.end()
        return render_details(details.summary, whole.render(), is_open=is_open)

    def _render_growing_details(self, details: Details) -> str:
        """Return details that are not complete: those that are folded show only their summary."""
        if not details.is_open:
            return render_details(details.summary, "<p>…</p>", is_open=False)
        if details.html is None:
            details.html = self._render_details(details, self._references.copy(), is_open=True)
        return details.html

    # Lines that are long, held back or unfinished

    def _cut_line(self, line: str) -> str:
        """Take in a line that is too long piece by piece, and return its rest."""
        start = 0
        while size := measure_piece(line, start):
            piece = line[start : start + size]
            self._take_in(piece)
            if self._code is None and self._container.kind != "table":
                self._break_block()
            self._is_rest, self._is_previous_sealed = True, False
            start += size
        return line[start:]

    def _end_line(self, line: str) -> None:
        self._take_in(line, "\n")
        self._is_rest = self._is_previous_sealed = False
        if self._cost > LEAF_COST and self._container.kind != "table":
            self._break_block()

    def _take_rest(self, piece: str, end: str = "") -> None:
        """Take in the rest of a line that was cut: it is text, whatever it looks like."""
        if self._code is not None:
            self._add_code(self._code, piece + end)
        elif self._container.kind == "table":
            self._add_row(piece)
        else:
            self._add_line(piece if self._lines else _escape_beginning(piece))
            if end and not self._scanner.tag:
                self._close_block()

    def _take_text_line(self, line: str, end: str = "") -> None:
        """Take in a line, or hold it back while it may belong to a formula, in which nothing is a list or a rule."""
        if self._formula is None:
            if end and self._code is None and (formula := begin_formula(line, self._scanner)) is not None:
                self._seal_previous(line)
                formula.is_previous_sealed = self._is_previous_sealed
                self._formula = formula
            else:
                self._read_line(line, end)
            return
        if self._formula.take_line(line) and end:
            if self._formula.is_whole:
                self._end_formula()
            return
        self._end_formula()
        self._take_text_line(line, end)

    def _end_formula(self) -> None:
        """Take in the lines that were held back: as one line when they are a formula."""
        if self._formula is not None:
            formula, self._formula = self._formula, None
            self._is_previous_sealed = formula.is_previous_sealed
            for line in formula.join_lines():
                self._read_line(line, "\n")
                self._is_previous_sealed = False

    def _read_line(self, line: str, end: str) -> None:
        if not line and not self._scanner.tag and not self._lines:
            return
        line = self._escape_stray_bars(line)
        cut_columns = self._scanner.find_column(line, self._cut_depth) if self._cut_depth else 0
        code = self._code
        step = self._scanner.read(line)
        if code is not None:
            if step.kind in ("same", "blank") and self._scanner.leaf.fence is code.fence:
                self._add_code(code, remove_columns(line, step.content) + end)
                return
            self._close_fence(code)
            if step.tag == "/pre":
                self._cut_depth = len(self._scanner.containers)
                return
        if step.kind in ("item", "block") and not self._is_previous_sealed:
            self._end_before(step.kind)
        if step.kind in ("same", "blank"):
            self._continue_block(self._remove_closing(remove_columns(step.line, cut_columns)))
        else:
            self._begin_block_or_item(step)

    def _escape_stray_bars(self, line: str) -> str:
        """Return the line with the bars escaped that end no cell: those in formulas, and all of too wide a row."""
        if "|" not in line or self._scanner.leaf.kind in ("fence", "html", "pre"):
            return line
        line = hide_bars(line)
        return line if line.count("|") <= COLUMNS else line.replace("|", r"\|")

    def _seal_previous(self, partial: str) -> None:
        """Seal the item or block that an unfinished line ends, as soon as it is certain what the line is."""
        if self._code is not None or self._is_rest:
            return
        if self._formula is not None or self._opening or self._details is not None:
            return  # the lines before this one are held back
        if not self._is_previous_sealed and is_certain(partial):
            kind = self._scanner.copy().read(partial).kind
            if kind in ("item", "block"):
                self._end_before(kind)
            self._is_previous_sealed = True

    def _end_before(self, kind: str) -> None:
        """Seal what stands before the next item, or before another block."""
        if kind == "block":
            self._close_block()
            return
        self._items = self._items.advance()
        if self._container.kind == "":  # the item before was so long that its list was left
            self._close_block()
            return
        self._seal(self._render_item(self._lines))
        self._lines, self._cost = [], 0
        if self._size > STRETCH_CHARS:
            self._continue_in_next_stretch(self._items.make_container())

    def _begin_block_or_item(self, step: Step) -> None:
        scanner = self._scanner
        if scanner.leaf.fence is not None and not scanner.containers:
            self._open_fence(scanner.leaf.fence)
            return
        if step.tag in ("ul", "ol"):
            if step.kind == "block":
                self._items = OpenItems(step.tag, scanner.number if step.tag == "ol" else 1)
            if self._container.kind == "":
                self._enter(self._items.make_container())
        self._add_line(step.line)
        if step.tag == "note":
            self._cut_depth = 1
        if not scanner.tag:
            self._close_block()

    def _continue_block(self, line: str) -> None:
        """Take in a line of the open block, or one that ends it."""
        scanner = self._scanner
        if self._container.kind == "table":
            if scanner.tag:
                self._add_row(line)
            else:
                self._leave()
            return
        self._add_line(line)
        if self._is_raw and scanner.leaf.kind != "html":
            self._seal_block(self._lines)
            self._lines, self._cost, self._is_raw = [], 0, False
        if not scanner.tag:
            self._close_block()
        elif scanner.tag == "table" and len(self._lines) > 1:
            self._open_table()

    def _add_line(self, line: str) -> None:
        leaf = self._scanner.leaf
        if leaf.kind == "p" and ("[" in leaf.last or "]:" in leaf.before) and not self._is_rest and not self._is_raw:
            if self._is_whole_line and self._references.define(leaf.last, leaf.before):
                self._is_source_over = False
            if self._may_define(leaf):
                line = self._references.escape_definition(line)
        self._lines.append(self._insert_joints(line) if self._joints_here else line)
        self._cost += estimate_line_cost(leaf, line)

    def _may_define(self, leaf: Leaf) -> bool:
        """Return whether the last line belongs to a paragraph and begins with a bracket."""
        return leaf.kind == "p" and leaf.last.lstrip().startswith("[") and not self._is_raw

    def _close_block(self) -> None:
        """Seal the open block: nothing more belongs to it."""
        if self._code is not None:
            self._close_fence(self._code)
        elif self._container.kind == "":
            self._seal_block(self._lines)
        else:
            if self._lines:
                self._seal(self._render_item(self._lines))
            self._leave()
        self._lines, self._cost, self._cut_depth, self._unclosed = [], 0, 0, 0
        self._is_raw = self._is_quoted = False

    def _break_block(self) -> None:
        """Cut a block that is too long to be rendered again and again: seal its lines so far.

        Its further lines make another block, which is not indented: nobody means an item or a paragraph of so many
        characters.
        """
        scanner = self._scanner
        self._unclosed += count_open_details("\n".join(self._lines))
        if self._container.kind == "list":
            self._seal(self._render_item(self._lines))
            self._leave()
        else:
            self._seal_block(self._lines)
        self._lines, self._cost = [], 0
        scanner.forget_line()
        self._cut_depth = len(scanner.containers)
        self._is_quoted = scanner.containers[:1] == (_QUOTE,)
        self._is_raw = scanner.leaf.kind == "html"
        if scanner.leaf.fence is not None:
            self._code = OpenCode(scanner.leaf.fence)
            self._enter(MORE_CODE)

    def _remove_closing(self, line: str) -> str:
        """Return a line of a block that was cut, without closing tags of details that were closed at the cut."""
        if self._unclosed and self._scanner.leaf.fence is None:
            line, count = remove_closing(line, self._unclosed)
            self._unclosed -= count
        return line

    def _render_item(self, lines: list[str], *, is_growing: bool = False) -> str:
        """Return the HTML of one item: it is loose if there is a blank line in it, whatever its neighbours have."""
        html = self._render("\n".join(lines), is_growing=is_growing)
        start, end = html.find("<li>"), html.rfind("</li>")
        return f"{html[start:end]}</li>" if start >= 0 else f"<li>{html}</li>"

    # An open table, whose rows are sealed at their line ends

    def _open_table(self) -> None:
        *before, head, delimiters = self._lines
        if before:
            self._seal_block(before)
        self._lines, self._cost = [], 0
        self._delimiters = delimiters.replace(JOINT, "").strip(" |").split("|")
        html = self._render(f"{head.lstrip()}\n{delimiters.lstrip()}").partition("</thead>")[0]
        self._enter(TailContainer("table", "tr", f"{html}</thead><tbody>", "</tbody></table>"))

    def _add_row(self, line: str) -> None:
        if self._size > STRETCH_CHARS:
            self._continue_in_next_stretch(self._container)  # with its head again
        self._seal(self._render_row(self._insert_joints(line)))

    def _render_row(self, line: str, *, is_growing: bool = False) -> str:
        """Return the HTML of one row, which is parsed under an empty head that is no wider than it has to be."""
        columns = len(self._delimiters)
        if columns > PADDED_COLUMNS:
            columns = min(columns, count_cells(line.lstrip(" ")))
        head = f"{'|x' * columns}|\n|{'|'.join(self._delimiters[:columns])}|"
        body = self._render(f"{head}\n{line}", is_growing=is_growing).partition("<tbody>")[2]
        return body[body.find("<tr>") : body.rfind("</tr>")] + "</tr>" if body else ""

    # An open block of code, whose lines are sealed at their line ends, and which is coloured when it is closed

    def _open_fence(self, fence: Fence) -> None:
        self._code = OpenCode(fence)
        self._prepare_stretch()
        self._joints_left, self._joints_here = self._joints_left + len(self._joints_here), []
        self._seal_joints()
        self._enter(TailContainer("fence", "span", render_code_start(fence.info), CODE_END))

    def _add_code(self, code: OpenCode, content: str) -> None:
        if code.chars > HIGHLIGHT_CHARS:  # it stays plain
            code.forget_lines()
            self._continue_in_next_stretch(MORE_CODE)
        code.add(content)
        self._seal(escape(content, quote=False))

    def _close_fence(self, code: OpenCode) -> None:
        if self._container is MORE_CODE:
            self._sink.leave()
        else:
            html = render_code_block("".join(code.lines), code.fence.info)
            self._sink.replace(html)
            self._size += len(html)
        self._code, self._container = None, TOP
        self._seal_joints()

    # Containers, stretches and blocks

    def _enter(self, container: TailContainer) -> None:
        self._prepare_stretch()
        self._container = container
        self._sink.enter(container)

    def _leave(self) -> None:
        self._container = TOP
        self._sink.leave()

    def _continue_in_next_stretch(self, container: TailContainer) -> None:
        """Continue the open block in the next stretch."""
        self._sink.leave()
        self._sink.begin_stretch(is_continued=True)
        self._size = 0
        self._enter(container)

    def _prepare_stretch(self) -> None:
        """Begin the next stretch if this one is long enough: a block follows."""
        if self._size > STRETCH_CHARS:
            self._sink.begin_stretch(is_continued=False)
            self._size = 0

    def _seal(self, html: str) -> None:
        self._sink.seal(html)
        self._size += len(html) - html.count(JOINT)

    def _seal_block(self, lines: list[str]) -> None:
        if html := self._render_block(lines):
            self._prepare_stretch()
            self._seal(html)

    def _render_block(self, lines: list[str], *, is_growing: bool = False) -> str:
        """Return the HTML of a top-level block, or of the rest of one that was cut."""
        source = "\n".join(lines)
        if self._is_raw:
            return escape(source, quote=False)
        html = self._render(source, is_growing=is_growing)
        return f"<blockquote>{html}</blockquote>" if self._is_quoted and html else html

    def _render(self, source: str, *, is_growing: bool = False) -> str:
        source = self._references.add_definitions(source, is_growing=is_growing)
        has_open_code = is_growing and self._scanner.leaf.fence is not None
        return convert_to_html(f"{source}\n", is_growing=is_growing, has_open_code=has_open_code)

    def _render_tail(self, partial: str) -> str:  # noqa: PLR0911 - each kind of container has its own answer
        """Return the tail: what is not decided yet, closed as if it ended here."""
        kind = self._container.kind
        if self._details is not None:
            return render_tail_element("div", self._render_growing_details(self._details))
        if self._formula is not None:
            return self._render_tail_without_line()
        may_open = not self._is_rest and kind != "list" and may_open_details(partial)
        if self._opening or (may_open and self._begins_raw(partial)):
            partial = ""
        if self._code is not None:
            return render_tail_element("span", self._render_growing_code(partial))
        if not self._is_rest and begin_formula(partial, self._scanner) is not None:
            return self._render_tail_without_line()
        if kind == "table":
            return self._render_tail_row(partial)
        if kind == "list":
            return self._render_growing_item(partial)
        rest = _escape_beginning(partial) if self._is_rest and not self._lines else self._remove_cut_columns(partial)
        scanner = self._scanner.copy()
        if not self._is_rest:
            scanner.read(partial)
        lines = self._close_lines(self._insert_new_joints(partial, rest), scanner.leaf)
        return self._render_tail_block(lines)

    def _render_tail_without_line(self) -> str:
        """Return the tail without the unfinished line."""
        if self._container.kind == "table":
            return render_tail_element("tr")
        if self._container.kind == "list":
            return self._render_tail_item(self._lines)
        return self._render_tail_block(self._lines)

    def _render_tail_block(self, lines: list[str]) -> str:
        html = self._render_block(lines, is_growing=True) if any(map(str.strip, lines)) else ""
        return render_tail_element("div", html)

    def _render_tail_item(self, lines: list[str]) -> str:
        if not lines:
            return render_tail_element("li")
        return self._render_item(lines, is_growing=True).replace("<li>", '<li class="tail">', 1)

    def _render_tail_row(self, partial: str) -> str:
        if not partial.strip(" |"):
            return render_tail_element("tr")
        row = self._render_row(close_row(insert_joints(partial, self._joints)), is_growing=True)
        return row.replace("<tr>", '<tr class="tail">', 1) or render_tail_element("tr")

    def _close_lines(self, partial: str, leaf: Leaf) -> list[str]:
        """Return the open lines and the unfinished one, with marks closed that would vanish later."""
        if leaf.kind not in ("fence", "pre", "html"):
            if not self._is_rest and self._may_define(leaf):
                partial = self._references.escape_definition(partial)
            return close_text("\n".join([*self._lines, partial])).split("\n")
        return [*self._lines, partial] if partial.strip(" `~>") else self._lines

    def _render_growing_code(self, partial: str) -> str:
        """Return an unfinished line of code as HTML: nothing while it may be the beginning of the closing fence."""
        if self._is_rest:
            return escape(partial, quote=False)
        if not partial.strip(" `~"):
            return ""
        step = self._scanner.copy().read(partial)
        return escape(remove_columns(partial, step.content), quote=False)

    def _render_growing_item(self, partial: str) -> str:
        """Return the item that grows. An unfinished line that would end it may still belong to it and is held back."""
        lines, scanner = self._lines, self._scanner.copy()
        kind = "same" if self._is_rest else scanner.read(partial).kind
        if self._is_previous_sealed or kind in ("same", "blank"):
            lines = self._close_lines(insert_joints(partial, self._joints), scanner.leaf)
        return self._render_tail_item(lines)

    def _insert_new_joints(self, partial: str, shown: str) -> str:
        """Return what is shown of the unfinished line with its joints."""
        return insert_joints(shown, [max(0, len(shown) - len(partial) + place) for place in self._joints])

    def _remove_cut_columns(self, partial: str) -> str:
        if not self._cut_depth:
            return partial
        line = remove_columns(partial, self._scanner.find_column(partial, self._cut_depth))
        if self._unclosed and self._scanner.leaf.fence is None:
            line = "" if is_beginning_of_closing(line) else remove_closing(line, self._unclosed)[0]
        return line


_QUOTE = Container(">")

# The parser adds cells to each row until it is as wide as its head: a wider head would make millions of them.
COLUMNS = 100

# Rows are as wide as their head in tables that are not wider than this.
PADDED_COLUMNS = 12


def _escape_beginning(line: str) -> str:
    """Return the line with a backslash before a sign that would begin a block."""
    line = line.lstrip(" ")
    return f"\\{line}" if line[:1] and line[0] in "<>#+-*_=~`|" else line
