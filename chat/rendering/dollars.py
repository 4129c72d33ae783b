"""Dollar signs: whether they enclose a formula, or are prices or variables of a shell.

The rule is pandoc's (no space after the opening sign or before the closing one, no digit after it), and GitHub's that
no letter stands before the opening one, with what prose about shells needs: `$HOME/bin:$PATH` is text. The streamed and
the loaded page both use this rule, so a formula never becomes text again.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

# An open formula that is longer than this is taken for text.
FORMULA_CHARS = 400

# A price, not the beginning of a formula: what follows the number is a word.
_PRICE = re.compile(
    r"\d[^\s\\^_{}=$]*[ \t]+(?!mod\b)(?:an?|at|in|is|of|on|or|to|[^\W\d_]{3,})\b",
)
# An open formula does not begin like `$HOME/`, `$VERIFIED_COUNT `, `${HOME}` or `$name is`. The sign that follows tells
# it from `$ABC$`, and the word from `$sin x$`.
_VARIABLE = re.compile(
    r"\{?(?:[A-Z][A-Z0-9]*_[A-Z0-9_]*|[A-Z]{3,}[A-Z0-9]*|[a-z]+_[a-z][a-z0-9_]+)(?![A-Za-z0-9_])(?=\s*[^\s\\^_'=<>+*$-])"
    r"|[A-Za-z_]\w+[,;.:]?\s+[A-Za-z]{2}"
)
# A formula by all rules, as most are: deciding it by this takes a third of the time.
_PLAIN_FORMULA = re.compile(
    r"(?<![A-Za-z0-9])\$[^\s\d\"'?!@#*.,;:/)\]}{(\\$`&|][^$\\`\n]*+(?<![\s/:@&|])\$(?![A-Za-z0-9_$])"
)
_NEVER_FIRST = frozenset("\"'?!@#*.,;:/)]}")
_NEVER_LAST = frozenset("/:@&|")
_ENDING = re.compile(r"(?:th|st|nd|rd|e?s|ary)(?![A-Za-z0-9_])")
_BLANK_LINE = re.compile(r"\n[ \t]*\n")
_RUN = re.compile(r"\\.|(\$+)", re.DOTALL)


class Dollars(NamedTuple):
    """The meaning of a run of dollar signs. `end` is the end of the formula, otherwise the end of the run."""

    kind: Literal["formula", "text", "open"]
    end: int


def parse_dollars(text: str, start: int) -> Dollars:
    """Return what the run of dollar signs at `start` means; `open` if it may still become a formula."""
    if (plain := _PLAIN_FORMULA.match(text, start)) is not None:
        return Dollars("formula", plain.end())
    size = 1
    while text.startswith("$", start + size):
        size += 1
    after = start + size
    if size > 2 or not _may_open(text, start, after):
        return Dollars("text", after)
    closing = _find_closing(text, after, size)
    if closing < 0:
        content = text[after:]
        is_open = (
            not _is_prose(content) and len(content) < FORMULA_CHARS and not (size == 1 and _VARIABLE.match(content))
        )
        return Dollars("open" if is_open else "text", after)
    if size == 1 and text[closing - 1].isspace():
        return Dollars("text", after)
    content, end = text[after:closing], closing + size
    is_formula = bool(content.strip()) and not _is_prose(content)
    if size == 1:
        is_formula = is_formula and _may_close(content, text[end : end + 8])
    return Dollars("formula", end) if is_formula else Dollars("text", after)


def _find_closing(text: str, position: int, size: int) -> int:
    """Return where the next run of this many dollar signs is, -1 where there is none."""
    while found := _RUN.search(text, position):
        if found[1] is not None and found.end() - found.start() == size:
            return found.start()
        position = found.end()
    return -1


def _may_open(text: str, start: int, after: int) -> bool:
    if after - start == 2:
        return True
    before, first = text[start - 1 : start] if start else "", text[after : after + 1]
    if first.isspace() or first in _NEVER_FIRST:
        return False
    if not (before.isascii() and before.isalnum()):
        return True
    return before.isdigit() and (not first or first == "\\" or first.isalpha())


def _is_prose(content: str) -> bool:
    """Return whether no formula contains this, whatever follows."""
    if "`" in content or ("\n" in content and _BLANK_LINE.search(content)):
        return True
    return content[:1].isdecimal() and _PRICE.match(content) is not None


def _may_close(content: str, following: str) -> bool:
    if content[-1] in _NEVER_LAST and not (content[-1] == "|" and content.count("|") % 2 == 0):  # but `$|x|$`
        return False
    after = following[:1]
    if after in {"{", "("} and content[0] == after:
        return False  # ${A}${B}, $(a)$(b)
    if not (after.isascii() and (after.isalnum() or after == "_")):
        return True
    return not after.isdigit() and content[-1] not in "-.,;=" and _ENDING.match(following) is not None
