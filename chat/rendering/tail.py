"""The unfinished end of a text, closed as if it ended here: no syntax is shown that will vanish."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from chat.rendering.dollars import parse_dollars
from chat.rendering.joint import JOINT, insert_joints, take_joints
from chat.rendering.standins import TAGS

# Lines that are only markers so far: it is not known yet what they will be.
_MARKERS_ONLY = re.compile(
    r"(?:> ?)*(?:[-+*]|\d{1,9}[.)]?|#{1,6}|[-=_*]+|`+[^`\n]*|~{3,}[^\n]*|\[[ xX]?\]?|<|\|[^\n]*)?"
)
_LIST_START = re.compile(r"\s*+(?:> ?)*(?:(?:[-+*]|\d{1,9}[.)]) {1,4})+(?:\[[ xX]?\]? ?)?")
_ITEM_LINE = re.compile(r"^[^\S\n]{0,100}+(?:> ?){0,50}+(?:[-+*]|\d{1,9}[.)]) ", re.MULTILINE)
_PARAGRAPH_END = re.compile(r"\n[ \t]*\n")
_ENTITY = re.compile(r"&#?\w{0,31}$")
# The beginning of an address or a tag.
_AUTOLINK = re.compile(r"<(?:/?(?:[a-z][\w+.-]*:?[^\s>]*)?|br /?)", re.IGNORECASE)
_BACKTICKS = re.compile(r"`+")
_DELIMITERS = re.compile(
    rf"\\.|(`+)|(\*{{1,3}}|_{{1,3}}|~~)|(\$+)|(!?\[)|(\])|(</?(?:{'|'.join(TAGS)})>)|(\\$)", re.DOTALL | re.IGNORECASE
)
# Each of them begins with one of these: looking for that alone takes 4 us in 1,000 characters of prose, not 120.
_BEGINNING = re.compile(r"[\\`*_~$!\[\]<]")
_LINK_REST = re.compile(r"\(([^()\s]*(?:\([^()\s]*\)[^()\s]*)*)(?:\s+\"[^\"]*\"?)?\s*")

# Letters after a dollar sign that may still become `th`, or a word after which the sign closes nothing.
_FOLLOWING = re.compile("[A-Za-z]{0,4}")

# A longer label is taken for text, and so is a tag that is not closed after as many characters.
LABEL_CHARS = 60
TAGGED_CHARS = 200


def close_text(source: str) -> str:
    """Return Markdown that looks as the source will most likely look when it goes on."""
    if JOINT in source:
        plain, places = take_joints(source)
        return insert_joints(close_text(plain), places)
    start = _find_leaf(source)
    return source[:start] + _close_leaf(source[start:])


def _find_leaf(source: str) -> int:
    """Return the beginning of the paragraph or item that still grows."""
    paragraph = max((found.end() for found in _PARAGRAPH_END.finditer(source)), default=0)
    return max((found.start() for found in _ITEM_LINE.finditer(source, paragraph)), default=paragraph)


def _close_leaf(leaf: str) -> str:
    before, newline, line = leaf.rpartition("\n")
    marks = line.strip()
    if _MARKERS_ONLY.fullmatch(marks) or _LIST_START.fullmatch(f"{marks} "):
        return _add_delimiters(_close_inline(before))
    closed = _close_inline(leaf)
    rest = closed.rpartition("\n")[2].strip()
    # What is left of `-<` would begin an item.
    is_marker = rest != marks and newline and (_MARKERS_ONLY.fullmatch(rest) or _LIST_START.fullmatch(f"{rest} "))
    return _close_inline(before) if is_marker else closed


def close_row(line: str) -> str:
    """Return the cells of an unfinished row as they will most likely look when it goes on."""
    if JOINT in line:
        plain, places = take_joints(line)
        return insert_joints(_close_inline(plain), places)
    return _close_inline(line)


def _add_delimiters(paragraph: str) -> str:
    """Return a line of cells with delimiters below: it will most likely be the head of a table."""
    if not paragraph.startswith("|") or "\n" in paragraph:
        return paragraph
    cells = paragraph.strip().strip("|").count("|") + 1
    return f"{paragraph}\n|{'---|' * cells}"


class _Delimiter(NamedTuple):
    """A delimiter that is not closed yet, and its place in the text."""

    kind: str
    start: int


class _Delimiters:
    """The open delimiters, the innermost last. No question about them takes a look at all of them."""

    def __init__(self) -> None:
        self._open: list[_Delimiter] = []
        self._count: dict[str, int] = {}
        self._brackets = 0

    def push(self, kind: str, start: int) -> None:
        self._open.append(_Delimiter(kind, start))
        self._count[kind] = self._count.get(kind, 0) + 1
        self._brackets += kind in _BRACKETS

    def pop(self) -> _Delimiter:
        last = self._open.pop()
        self._count[last.kind] -= 1
        self._brackets -= last.kind in _BRACKETS
        return last

    def close(self, marker: str) -> bool:
        """Remove the last of this kind and those inside it, and return whether there was one."""
        if not self._count.get(marker):
            return False
        while self.pop().kind != marker:
            continue
        return True

    def close_bracket(self) -> _Delimiter | None:
        """Remove the last bracket and the delimiters inside it, and return it, or None if there is none."""
        if not self._brackets:
            return None
        while (last := self.pop()).kind not in _BRACKETS:
            continue
        return last

    def __bool__(self) -> bool:
        return bool(self._open)

    @property
    def last(self) -> _Delimiter:
        return self._open[-1]

    def list_closers(self, length: int) -> Iterator[str]:
        """Yield the closing marks of emphasis, code and tags that are open at this length, the innermost first."""
        for kind, start in reversed(self._open):
            if kind[0] == "<":
                if length - start < TAGGED_CHARS:
                    yield f"</{kind[1:]}"
            elif kind not in _BRACKETS:
                yield kind

    def drop_beginnings(self, length: int, last_line: int) -> int:
        """Return the length of the text without a label or an image that has only begun on its last line."""
        kept = len(self._open)
        for index in range(len(self._open) - 1, -1, -1):
            kind, start = self._open[index]
            if start < last_line:
                break
            if kind == "![" or (kind == "[" and length - start <= LABEL_CHARS):
                kept, length = index, start
        del self._open[kept:]
        return length


_BRACKETS = ("[", "![")


def _close_inline(text: str) -> str:  # noqa: C901 - one pass over the delimiters, a branch for each kind
    """Return the text with open marks closed and without what has only begun."""
    stack = _Delimiters()
    last_line = text.rfind("\n") + 1
    last_text, last_bracket = text.rstrip().rfind("\n") + 1, text.rfind("]")
    position = 0
    while found := _find_delimiter(text, position):
        position = found.end()
        code, emphasis, dollar, bracket, unbracket, tag, _ = found.groups()
        if code:
            end = _find_end_of_code(text, code, position)
            if end < 0:
                stack.push(code, found.start())
                return _end_text(text, stack)
            position = end
        elif dollar:
            verdict, position = parse_dollars(text, found.start())
            # What follows the closing sign decides too.
            if verdict == "open" or (verdict == "formula" and dollar == "$" and _FOLLOWING.fullmatch(text, position)):
                return _end_text(text[: found.start()], stack)
        elif tag:
            _read_tag(found.start(), tag.lower(), stack)
        elif emphasis:
            _read_emphasis(text, found.start(), emphasis, stack)
        elif bracket:
            start = found.start()
            if start < last_bracket or start >= last_text:  # otherwise it closes nothing, and is no beginning
                stack.push(bracket, start)
        elif unbracket and (opened := stack.close_bracket()) is not None:
            after = _find_end_of_link(text, position, last_line)
            if after is None:
                label = "" if opened.kind == "![" else text[opened.start + 1 : found.start()]
                return _end_text(text[: opened.start] + label, stack)
            position = after
            if position == len(text) and opened.kind == "![" and text.endswith("]"):
                return _end_text(text[: opened.start], stack)
    return _end_text(text, stack)


def _find_delimiter(text: str, position: int) -> re.Match[str] | None:
    """Return the next delimiter from a position on, or None."""
    while beginning := _BEGINNING.search(text, position):
        position = beginning.end()
        if found := _DELIMITERS.match(text, beginning.start()):
            return found
    return None


def _find_end_of_code(text: str, code: str, position: int) -> int:
    """Return the end of code that a run of as many backticks closes, -1 if none does."""
    for run in _BACKTICKS.finditer(text, position):
        if len(run[0]) == len(code):
            return run.end()
    return -1


def _find_end_of_link(text: str, position: int, last_line: int) -> int | None:
    """Return the end of a link after the end of its label, None if its address is not complete."""
    if text[position : position + 1] != "(":
        return position
    rest = _LINK_REST.match(text, position)
    if rest and text[rest.end() : rest.end() + 1] == ")":
        return rest.end() + 1
    return position if position < last_line else None


def _read_emphasis(text: str, start: int, marker: str, stack: _Delimiters) -> None:
    before, after = text[start - 1 : start] or " ", text[start + len(marker) : start + len(marker) + 1] or " "
    if not before.isspace() and stack.close(marker):
        return
    intraword = marker in {"*", "_"} and before.isalnum() and before < "\u2e80"  # Chinese has no spaces
    ends_here = start + len(marker) == len(text)
    if (not after.isspace() or ends_here) and not (intraword or (marker[0] == "_" and before.isalnum())):
        stack.push(marker, start)


def _read_tag(start: int, tag: str, stack: _Delimiters) -> None:
    if tag[1] == "/":
        stack.close(f"<{tag[2:]}")
    else:
        stack.push(tag, start)


def _end_text(text: str, stack: _Delimiters) -> str:
    text = text[: stack.drop_beginnings(len(text), text.rfind("\n") + 1)]
    text = _ENTITY.sub("", text)
    if (start := text.rfind("<")) >= 0 and _AUTOLINK.fullmatch(text, start):
        text = text[:start]
    text = text.removesuffix("\\").rstrip(" \t")
    # Markers after which nothing has come yet are held back; a closing pair may have one of its signs so far.
    end = len(text)
    while stack and stack.last.start + len(stack.last.kind) >= end:
        end = _trim_spaces(text, min(end, stack.pop().start))
    text = text[:end].rstrip()  # a sign on a line of its own would begin a list
    closers = list(stack.list_closers(len(text)))
    if closers and closers[0] == "**" and text.endswith("*") and not text.endswith("**"):
        text = text[:-1]
    if closers and closers[0] == "~~" and text.endswith("~") and not text.endswith("~~"):
        text = text[:-1]
    return text + "".join(closers)


def _trim_spaces(text: str, end: int) -> int:
    """Return the end of a text without the spaces before it."""
    while end and text[end - 1] in " \t":
        end -= 1
    return end
