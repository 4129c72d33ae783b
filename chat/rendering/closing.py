"""The unfinished end of a text, closed as if it ended here, so that no syntax shows that will vanish."""

from __future__ import annotations

import re

# Lines that are only markers so far: what they will be is not known yet.
_MARKERS_ONLY = re.compile(
    r"(?:> ?)*(?:[-+*]|\d{1,9}[.)]?|#{1,6}|[-=_*]+|`+[^`\n]*|~{3,}[^\n]*|\[[ xX]?\]?|<|\|[^\n]*)?"
)
_LIST_START = re.compile(r"(?:> ?)*(?:(?:[-+*]|\d{1,9}[.)]) {1,4})+(?:\[[ xX]?\]? ?)?")
_PARAGRAPH_END = re.compile(r"\n[ \t]*\n")
_ENTITY = re.compile(r"&#?\w{0,31}$")
_AUTOLINK = re.compile(r"<[a-z][\w+.-]*:?[^\s>]*$", re.IGNORECASE)
_DELIMITERS = re.compile(r"\\.|(`+)|(\*{1,3}|_{1,3}|~~)|(\$\$?)|(!?\[)|(\])|(\\$)", re.DOTALL)
_LINK_REST = re.compile(r"\(([^()\s]*(?:\([^()\s]*\)[^()\s]*)*)(?:\s+\"[^\"]*\"?)?\s*")

# A price, not the beginning of a formula: what follows the number is a word.
_PRICE = re.compile(r"\$\d[^\s\\^_{}=$]*[ \t]+(?:an?|at|in|is|of|on|or|to|[^\W\d_]{3,})\b")

# A label or a formula longer than this is taken for text.
LABEL = 60
FORMULA = 400


def closed(source: str) -> str:
    """Markdown that renders as the source will most likely look when it goes on."""
    start = _leaf(source)
    return source[:start] + _closed_leaf(source[start:])


def _leaf(source: str) -> int:
    """Where the paragraph begins that still grows; an unfinished line of markers alone is not part of it."""
    last = source.rfind("\n") + 1
    paragraph = max((found.end() for found in _PARAGRAPH_END.finditer(source)), default=0)
    for number in range(last, paragraph, -1):
        if source[number - 1] == "\n" and _LIST_START.match(source[number : number + 200].lstrip()):
            return number
    return paragraph


def _closed_leaf(leaf: str) -> str:
    before, newline, line = leaf.rpartition("\n")
    marks = line.strip()
    if _MARKERS_ONLY.fullmatch(marks) or _LIST_START.fullmatch(f"{marks} "):
        return _with_delimiters(_inline(before))
    return _inline(before + newline + line)


def closed_row(line: str) -> str:
    """The same for a row of a table."""
    return _inline(line)


def _with_delimiters(paragraph: str) -> str:
    """A line of cells will most likely be the head of a table."""
    if not paragraph.startswith("|") or "\n" in paragraph:
        return paragraph
    cells = paragraph.strip().strip("|").count("|") + 1
    return f"{paragraph}\n|{'---|' * cells}"


def _inline(text: str) -> str:  # noqa: C901, PLR0912 - one pass over the delimiters, a branch for each kind
    """Close what is open, hold back what has only begun."""
    stack: list[tuple[str, int]] = []
    position = 0
    while found := _DELIMITERS.search(text, position):
        position = found.end()
        code, emphasis, dollar, bracket, unbracket, _ = found.groups()
        if code:
            end = text.find(code, position)
            while end >= 0 and (text[end + len(code) : end + len(code) + 1] == "`" or text[end - 1] == "`"):
                end = text.find(code, end + len(code))
            if end < 0:
                return _ended(text, [*stack, (code, found.start())])
            position = end + len(code)
        elif dollar:
            end = text.find(dollar, position)
            if end < 0:
                if _PRICE.match(text, found.start()):
                    continue
                if (text[position : position + 1].strip() and len(text) - position < FORMULA) or position == len(text):
                    return _ended(text[: found.start()], stack)
                continue
            position = end + len(dollar)
        elif emphasis:
            _emphasis(text, found.start(), emphasis, stack)
        elif bracket:
            stack.append((bracket, found.start()))
        elif unbracket:
            opened = next((index for index in range(len(stack) - 1, -1, -1) if stack[index][0] in ("[", "![")), None)
            if opened is None:
                continue
            kind, start = stack[opened]
            del stack[opened:]
            if text[position : position + 1] == "(":
                rest = _LINK_REST.match(text, position)
                if rest and text[rest.end() : rest.end() + 1] == ")":
                    position = rest.end() + 1
                elif "\n" not in text[position:]:
                    label = text[start + len(kind) : found.start()]
                    return _ended(text[:start] + ("" if kind == "![" else label), stack)
            elif position == len(text) and kind == "![":
                return _ended(text[:start], stack)
    return _ended(text, stack)


def _emphasis(text: str, start: int, marker: str, stack: list[tuple[str, int]]) -> None:
    before, after = text[start - 1 : start] or " ", text[start + len(marker) : start + len(marker) + 1] or " "
    closes = not before.isspace()
    if closes and any(kind == marker for kind, _ in stack):
        while stack and stack.pop()[0] != marker:
            continue
        return
    intraword = marker in {"*", "_"} and before.isalnum()
    ends_here = start + len(marker) == len(text)
    if (not after.isspace() or ends_here) and not (intraword or (marker[0] == "_" and before.isalnum())):
        stack.append((marker, start))


def _ended(text: str, stack: list[tuple[str, int]]) -> str:
    for kind, start in stack:
        if kind in ("[", "![") and (len(text) - start <= LABEL or kind == "![") and "\n" not in text[start:]:
            return _ended(text[:start], [open_ for open_ in stack if open_[1] < start])
    text = _AUTOLINK.sub("", _ENTITY.sub("", text))
    if text.endswith("\\"):
        text = text[:-1]
    text = text.rstrip(" \t")
    # Markers after which nothing has come yet are held back; a closing pair may have one of its signs so far.
    while stack and stack[-1][1] + len(stack[-1][0]) >= len(text):
        text = text[: stack.pop()[1]].rstrip(" \t")
    closers = [kind for kind, _ in reversed(stack) if kind not in ("[", "![")]
    if closers and closers[0] == "**" and text.endswith("*") and not text.endswith("**"):
        text = text[:-1]
    if closers and closers[0] == "~~" and text.endswith("~") and not text.endswith("~~"):
        text = text[:-1]
    return text + "".join(closers)
