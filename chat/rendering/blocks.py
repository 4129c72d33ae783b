"""The beginnings of a text's blocks, line by line, by the rules of CommonMark and of GitHub's tables.

The rules are those of https://spec.commonmark.org/0.31.2/#appendix-a-parsing-strategy, as comrak has them. comrak
itself cannot be asked: it would have to read an open block again for every line of it, and its source positions end too
early where code ends with a blank line.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from chat.rendering.standins import begins_with_tag

_FENCE = re.compile(r"(`{3,})([^`]*)|(~{3,})(.*)")
_DEFINITION = re.compile(
    r" {0,3}\[(?!\^)((?:[^\[\]\\]|\\.){1,200})\]:[ \t]*(<[^<>]*>|[^\s<]\S*)"
    r"(?:[ \t]+(?:\"[^\"]*\"|'[^']*'|\([^()]*\)))?[ \t]*"
)

# The beginning of a note, and the columns that its further paragraphs are indented by.
_NOTE = re.compile(r"\[\^[^\s^<>\[\]]{1,60}\]:")
_NOTE_INDENT = 4

# The beginning of a line that decides its block, however it goes on: markers, then text, or the beginning of an item.
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

_HEADING = re.compile(r"(#{1,6})(?: |$)")
_UNDERLINE = re.compile(r"(?:=+|-+) *$")
_RULE = re.compile(r"(?:(?:\* *){3,}|(?:_ *){3,}|(?:- *){3,})$")
_MARKER = re.compile(r">|(?:[-+*]|([0-9]{1,9})[.)])(?= |$)")
_DELIMITERS = re.compile(r"\|? *:?-+:? *(?:\| *:?-+:? *)*\|? *$")
_CELL = re.compile(r"(?:[^|\\]|\\.|\\$)*", re.DOTALL)

_BLOCK_TAGS = (
    "address|article|aside|base|basefont|blockquote|body|caption|center|col|colgroup|dd|details|dialog|dir|div|dl|dt|"
    "fieldset|figcaption|figure|footer|form|frame|frameset|h1|h2|h3|h4|h5|h6|head|header|hr|html|iframe|legend|li|link|"
    "main|menu|menuitem|nav|noframes|ol|optgroup|option|p|param|section|search|source|summary|table|tbody|td|tfoot|th|"
    "thead|title|tr|track|ul"
)
_ATTRIBUTE = r"\s+[a-zA-Z_:][a-zA-Z0-9_.:-]*(?:\s*=\s*(?:[^\s\"'=<>`]+|'[^']*'|\"[^\"]*\"))?"
# The beginnings of raw HTML and their ends; None if a blank line ends it.
_HTML = (
    (
        re.compile(r"<(?:script|pre|textarea|style)(?:\s|>|$)", re.I),
        re.compile(r"</(?:script|pre|textarea|style)>", re.I),
    ),
    (re.compile(r"<!--"), re.compile(r"-->")),
    (re.compile(r"<\?"), re.compile(r"\?>")),
    (re.compile(r"<!\[CDATA\["), re.compile(r"\]\]>")),
    (re.compile(r"<![a-zA-Z]"), re.compile(r">")),
    (re.compile(rf"</?(?:{_BLOCK_TAGS})(?:\s|/?>|$)", re.I), None),
)
_HTML_ALONE = re.compile(rf"(?:<[a-zA-Z][a-zA-Z0-9-]*(?:{_ATTRIBUTE})*\s*/?>|</[a-zA-Z][a-zA-Z0-9-]*\s*>)\s*$")

# A line that begins like this is nothing but another line of the paragraph before it: it begins no block, and makes no
# heading or table of the paragraph. Other lines are read by all rules, which takes three times as long.
_MORE_TEXT = re.compile(
    r"[^ \t#>`~<=*_+|:0-9-]|#{1,6}[^# \t]|`{1,2}(?!`)|~{1,2}(?!~)|<(?![a-z/!?])|\*{1,2}(?![* \t])|_(?![ \t]*_)"
    r"|\+(?![ \t])|\|(?![ \t]*[:-])|[0-9]+(?![0-9.)])",
    re.IGNORECASE,
)

# How deep quotes and lists may nest: nobody means more than a few levels, and each costs the parser and the browser.
MAX_DEPTH = 20


# Marks cost more to render than letters. A block that grows is rendered again and again until it costs LEAF_COST; a
# line is cut into pieces of at most LINE_COST. The costs are such that a mark that is repeated streams in at most 1.5
# times the time of words where 20 characters come at a time; of 100 it takes up to five times: docs/performance-log.md.
LINE_COST = 4_000
LEAF_COST = 8_000
_LINE_END_COST = 12
_LINE_BREAK_COST = 45
_MARK_COSTS = {
    **dict.fromkeys(">#-&:!\\", 8),
    **dict.fromkeys("]()|", 10),
    **dict.fromkeys("[`", 16),
    **dict.fromkeys("*_~", 30),
    "/": 12,
    "<": 40,
    "@": 40,
    "$": 80,
}
_MARK = re.compile(f"[{re.escape(''.join(_MARK_COSTS))}]")
PIECE_CHARS = 100


def estimate_cost(text: str) -> int:
    """Return what it costs to render a line, in characters of prose."""
    return _LINE_END_COST + len(text) + sum(map(_MARK_COSTS.__getitem__, _MARK.findall(text)))


# The longest word, in characters, that is not cut in two.
_WORD_CHARS = 100


def measure_piece(line: str, start: int) -> int:
    """Return how many characters of a line, from a position, make a piece of it; 0 if the rest is short enough.

    A piece ends after a word where there is one. Where it ends depends on the characters in it and on those that would
    have made it too long, so that it ends at the same place however the text arrives.
    """
    if len(line) - start <= PIECE_CHARS:
        return 0
    size, cost = 0, 0
    while start + size < len(line):
        cost += estimate_cost(line[start + size : start + size + PIECE_CHARS])
        if cost > LINE_COST and size:
            return _find_end_of_words(line[start : start + size]) if start + size < len(line) else 0
        size += PIECE_CHARS
    return 0


def _find_end_of_words(piece: str) -> int:
    """Return the length of a piece that holds whole words: it ends after its last blank, if that is near its end.

    Its first PIECE_CHARS characters stay together: `is_certain` may have decided by them what the line is.
    """
    blank = piece.rfind(" ", max(PIECE_CHARS, len(piece) - _WORD_CHARS))
    return len(piece) if blank < 0 else blank + 1


class Fence(NamedTuple):
    """The opening line of a block of code."""

    indent: int
    marker: str
    info: str

    def closes(self, line: str) -> bool:
        stripped = line.strip(" \t")
        indent = len(line) - len(line.lstrip(" "))
        return indent <= 3 and len(stripped) >= len(self.marker) and set(stripped) == {self.marker[0]}


class Container(NamedTuple):
    """A quote, an item of a list or a note. `mark` is `>`, the bullet, what follows the number, or `^`."""

    mark: str
    width: int = 0
    """Columns that a line needs to belong to the item."""
    is_empty: bool = False
    is_over: bool = False
    """The item is whole, its list may go on."""


class Leaf(NamedTuple):
    """The open block in the innermost container: one that has no blocks in it."""

    kind: Literal["", "p", "pre", "fence", "html", "table"]
    fence: Fence | None = None
    end: re.Pattern[str] | None = None
    """Of raw HTML: None if it ends at a blank line."""
    is_no_table: bool = False
    """A line of the paragraph was no head for the delimiters that followed: it is not looked for again."""
    is_definitions: bool = False
    """All lines of the paragraph so far define links."""
    last: str = ""
    """The last line of a paragraph: the head of a table, perhaps."""
    before: str = ""
    """The line before it: the label of an address, perhaps."""
    is_long: bool = False
    """The paragraph has more than one line."""


NO_LEAF = Leaf("")


def estimate_line_cost(leaf: Leaf, line: str) -> int:
    """Return what it costs to render a line of this leaf, in characters of prose: in code nothing is a mark."""
    if leaf.fence is not None:
        return _LINE_END_COST + len(line)
    return estimate_cost(line) + (_LINE_BREAK_COST if leaf.is_long else 0)


class Step(NamedTuple):
    """The effect of a line on the blocks before it."""

    kind: Literal["blank", "same", "item", "block"]
    """`blank`: a blank line. `same`: a line of the open top-level block. `item`: the first line of its next item.
    `block`: the first line of another block."""
    line: str
    """The line, with a backslash before a marker that would nest too deep."""
    content: int
    """The column where its text begins, after the markers and indents of the containers, and after that of a fence."""
    tag: str = ""
    """The tag of a block that begins here; `/pre` at the end of a block of code."""


class Scanner:
    """A reader of whole lines that knows the open blocks after each of them."""

    __slots__ = ("containers", "leaf", "number", "tag")

    def __init__(self) -> None:
        self.containers: tuple[Container, ...] = ()
        self.leaf = NO_LEAF
        self.tag = ""
        """The tag of the open top-level block; empty when no line can belong to it any more."""
        self.number = 1
        """The number of the last item of an ordered list."""

    def copy(self) -> Scanner:
        """Return a scanner that reads on from here by itself."""
        other = Scanner()
        other.containers, other.leaf, other.tag, other.number = self.containers, self.leaf, self.tag, self.number
        return other

    def forget_line(self) -> None:
        """Make the last line of a paragraph no head of a table and no label: it was cut, or its block was."""
        if self.leaf.kind == "p":
            self.leaf = self.leaf._replace(last="", before="")

    def find_column(self, line: str, containers: int) -> int:
        """Return the column after those of the outermost containers that the line belongs to."""
        return self._match(line.expandtabs(4) if "\t" in line else line, containers)[0]

    def read(self, line: str) -> Step:
        """Take in the next line and return what it does."""
        if self.tag == "p" and not self.leaf.is_definitions and _MORE_TEXT.match(line):
            leaf = self.leaf
            self.leaf = Leaf("p", None, None, leaf.is_no_table, False, line, leaf.last, True)
            return Step("same", line, 0)
        text = line.expandtabs(4) if "\t" in line else line
        at, matched = self._match(text)
        leaf = self.leaf
        first = _skip_spaces(text, at)
        if matched == len(self.containers) and leaf.kind:
            if leaf.kind == "fence":
                return self._read_code(line, text, at, first)
            if leaf.kind == "html" and (leaf.end is not None or first < len(text)):
                if leaf.end is not None and leaf.end.search(text, at):
                    self._end_leaf()
                return Step("same", line, at)
            if leaf.kind == "pre" and (first == len(text) or first - at >= 4):
                return Step("same" if first < len(text) else "blank", line, at)
            if leaf.kind != "p" and not (leaf.kind == "table" and count_cells(text[first:])):
                leaf = NO_LEAF
        if first == len(text):
            return self._read_blank(line, at, matched)
        return self._read_text(line, text, at, matched, leaf)

    def _match(self, text: str, most: int | None = None) -> tuple[int, int]:
        """Return the column after the containers that the line belongs to, and their number."""
        at = matched = 0
        for container in self.containers[:most]:
            if container.is_over:
                break
            first = _skip_spaces(text, at)
            if container.mark == ">":
                if first - at > 3 or text[first : first + 1] != ">":
                    break
                at = first + 1 + (text[first + 1 : first + 2] == " ")
            elif first - at >= container.width:
                at += container.width
            elif first == len(text) and not container.is_empty:
                at = first
            else:
                break
            matched += 1
        return at, matched

    def _read_code(self, line: str, text: str, at: int, first: int) -> Step:
        fence = self.leaf.fence
        if fence is None:
            return Step("same", line, at)
        if first < len(text) and fence.closes(text[at:]):
            self._end_leaf()
            return Step("same", line, at, "/pre")
        return Step("same", line, at + min(first - at, fence.indent))

    def _end_leaf(self) -> None:
        self.leaf = NO_LEAF
        if not self.containers:
            self.tag = ""

    def _read_blank(self, line: str, at: int, matched: int) -> Step:
        """Take in a blank line: it ends a paragraph, a quote, and an item that is empty."""
        rest = self.containers[matched:]
        self.containers = self.containers[:matched]
        if rest and rest[0].mark != ">":
            self.containers += (rest[0]._replace(is_over=True),)
        self._end_leaf()
        return Step("blank", line, at)

    def _read_text(self, line: str, text: str, at: int, matched: int, leaf: Leaf) -> Step:
        before = self.containers
        is_inside_all = matched == len(before)
        paragraph = leaf if is_inside_all and leaf.kind == "p" else None
        beginning = self._find_beginning(text, at, matched, paragraph)
        if beginning.is_too_deep:
            line = beginning.text
        new_leaf = beginning.leaf
        if new_leaf is None and not beginning.containers:
            if paragraph is not None:
                new_leaf = self._find_table(text, at, beginning.first, paragraph)
            is_lazy = not is_inside_all and self.leaf.kind == "p"  # a lazy continuation line, in CommonMark's words
            if new_leaf is None and (paragraph or is_lazy):
                # Spaces before a lazy line stay.
                self._continue_paragraph(beginning.text[beginning.first if is_inside_all else at :])
                return Step("same", line, at)
            if new_leaf is None and is_inside_all and leaf.kind == "table":
                return Step("same", line, at)
        is_same = matched or (not before and paragraph and not beginning.containers and _takes_paragraph_in(new_leaf))
        kind: Literal["same", "item", "block"] = "same" if is_same else "block"
        if not matched and before and beginning.containers and before[0].mark == beginning.containers[0].mark != ">":
            kind = "item"
        rest = beginning.text[beginning.first :]
        if new_leaf is None and not matched and not beginning.containers and _NOTE.match(rest):
            beginning.containers.append(Container("^", _NOTE_INDENT))
        self._open(before[:matched], beginning.containers, new_leaf, rest)
        tag = self.tag
        if not matched:
            tag = self.tag = _find_tag(self.containers, new_leaf)
            self.number = beginning.number
        if not self.containers and not self.leaf.kind:
            self.tag = ""
        return Step(kind, line, beginning.at, tag)

    def _continue_paragraph(self, last: str) -> None:
        """Make this the last line of the open paragraph."""
        paragraph = self.leaf
        self.leaf = Leaf(
            "p",
            is_no_table=paragraph.is_no_table,
            is_definitions=paragraph.is_definitions and is_definition(last),
            last=last,
            before=paragraph.last,
            is_long=True,
        )

    def _find_beginning(self, text: str, at: int, matched: int, paragraph: Leaf | None) -> _Beginning:
        """Return what begins in a line after the containers that it belongs to."""
        containers: list[Container] = []
        number = self.number
        may_be_lazy = self.leaf.kind == "p"
        while (first := _skip_spaces(text, at)) < len(text):
            if first - at >= 4:
                leaf = None if may_be_lazy else ("pre", Leaf("pre"))
                return _Beginning(containers, leaf, text, at, first, number)
            leaf = _find_leaf(text, at, first, paragraph)
            marker = _find_marker(text, first, paragraph) if leaf is None else None
            if marker is None:
                return _Beginning(containers, leaf, text, at, first, number)
            if matched + len(containers) >= MAX_DEPTH:
                end = marker.end() - 1
                return _Beginning(containers, None, f"{text[:end]}\\{text[end:]}", at, first, number, is_too_deep=True)
            if not containers and not matched and marker[1]:
                number = int(marker[1])
            at, container = _make_container(text, at, first, marker)
            containers.append(container)
            paragraph, may_be_lazy = None, False
        return _Beginning(containers, None, text, at, first, number)

    def _open(
        self, kept: tuple[Container, ...], opened: list[Container], leaf: tuple[str, Leaf] | None, rest: str
    ) -> None:
        if kept and kept[-1].is_empty:  # what begins is in it
            kept = (*kept[:-1], kept[-1]._replace(is_empty=False))
        if leaf is None and not rest and opened and (last := opened[-1]).mark != ">":
            opened[-1] = Container(last.mark, last.width, is_empty=True)
        self.containers = (*kept, *opened)
        if leaf is not None:
            self.leaf = leaf[1]
        elif rest:
            self.leaf = Leaf("p", last=rest, is_definitions=is_definition(rest))
        else:
            self.leaf = NO_LEAF

    def _find_table(self, text: str, at: int, first: int, paragraph: Leaf) -> tuple[str, Leaf] | None:
        """Return the table that this line of delimiters makes of the paragraph, if it does."""
        line = text[first:]
        if first - at >= 4 or paragraph.is_no_table or not _DELIMITERS.match(line):
            return None
        if count_cells(paragraph.last) != count_cells(line):
            self.leaf = self.leaf._replace(is_no_table=True)
            return None
        return "table", Leaf("table")


class _Beginning(NamedTuple):
    """The blocks that begin in a line: containers, and the tag and the leaf of a block that holds no others."""

    containers: list[Container]
    leaf: tuple[str, Leaf] | None
    text: str
    at: int
    first: int
    """The column after the markers of containers."""
    number: int
    is_too_deep: bool = False


def _takes_paragraph_in(leaf: tuple[str, Leaf] | None) -> bool:
    """Return whether the leaf takes the paragraph before it in: as the text of a heading, or the head of a table."""
    return leaf is not None and (leaf[0] == "setext" or leaf[1].kind == "table")


def _find_leaf(text: str, at: int, first: int, paragraph: Leaf | None) -> tuple[str, Leaf] | None:
    """Return the tag of the block that begins here and holds no others, and what is open of it after the line."""
    mark = text[first]
    if mark == "#" and (heading := _HEADING.match(text, first)) is not None:
        return f"h{len(heading[1])}", NO_LEAF
    if mark in "`~" and (fence := _FENCE.fullmatch(text, first)) is not None:
        info = (fence[2] or fence[4] or "").strip()
        return "pre", Leaf("fence", Fence(first - at, fence[1] or fence[3], info))
    if mark == "<":
        return _find_html(text, first, is_alone=paragraph is None)
    if mark in "=-" and paragraph is not None and not paragraph.is_definitions and _UNDERLINE.match(text, first):
        return "setext", NO_LEAF
    if mark in "*-_" and _RULE.match(text, first):
        return "hr", NO_LEAF
    return None


def _skip_spaces(text: str, at: int) -> int:
    """Return the first column that is not a space."""
    while text[at : at + 1] == " ":
        at += 1
    return at


def _find_marker(text: str, first: int, paragraph: Leaf | None) -> re.Match[str] | None:
    """Return the marker of a quote or an item. Within a paragraph an item has to have text, and the number 1."""
    marker = _MARKER.match(text, first)
    if marker is None or text[first] == ">" or paragraph is None:
        return marker
    has_text = _skip_spaces(text, marker.end()) < len(text)
    return marker if has_text and (marker[1] is None or int(marker[1]) == 1) else None


def _make_container(text: str, at: int, first: int, marker: re.Match[str]) -> tuple[int, Container]:
    """Return the column after the marker of a quote or an item, and the container that begins with it."""
    end = marker.end()
    if text[first] == ">":
        return end + (text[end : end + 1] == " "), Container(">")
    content = _skip_spaces(text, end)
    spaces = content - end
    if content == len(text) or spaces > 4:
        spaces = 1
    return min(end + spaces, len(text)), Container(text[end - 1], end + spaces - at)


def _find_html(text: str, first: int, *, is_alone: bool) -> tuple[str, Leaf] | None:
    for begin, end in _HTML:
        if begin.match(text, first):
            is_over = end is not None and end.search(text, first) is not None
            return "html", NO_LEAF if is_over else Leaf("html", end=end)
    if is_alone and not begins_with_tag(text, first) and _HTML_ALONE.match(text, first):
        return "html", Leaf("html")
    return None


def _find_tag(containers: tuple[Container, ...], leaf: tuple[str, Leaf] | None) -> str:
    if containers:
        return _CONTAINER_TAGS[containers[0].mark]
    return leaf[0] if leaf is not None else "p"


_CONTAINER_TAGS = {">": "blockquote", "^": "note", **dict.fromkeys(".)", "ol"), **dict.fromkeys("-+*", "ul")}


def remove_columns(line: str, columns: int) -> str:
    """Return the line without its first columns. The columns of a tab beyond them are left as spaces."""
    if "\t" not in line[:columns]:
        return line[columns:]
    column = 0
    for index, char in enumerate(line):
        if column >= columns:
            return " " * (column - columns) + line[index:]
        column += 4 - column % 4 if char == "\t" else 1
    return " " * (column - columns)


def count_cells(line: str) -> int:
    """Return the number of cells of a row."""
    line = line.rstrip(" ")
    inner = line.removeprefix("|")
    cells, at = 0, 0
    while at < len(inner):
        cell = _CELL.match(inner, at)
        at = (cell.end() if cell else at) + 1
        cells += 1
    return cells


def is_definition(line: str) -> bool:
    """Return whether the line defines a link for the parser."""
    return _DEFINITION.fullmatch(line) is not None


def is_certain(line: str) -> bool:
    """Return whether the beginning of a line already says which block the line belongs to, however it goes on.

    Only the first PIECE_CHARS characters count: a line that is cut has at least as many in its first piece, so that the
    piece is read as the unfinished line was.
    """
    return _CERTAIN.match(line, 0, PIECE_CHARS) is not None
