"""Bars in the formulas of a table's rows: `| $|x|$ |` is one cell, though for the parser each bar ends one.

A stand-in takes their place before the line is read, and is the bar again in the parser's HTML.
"""

from __future__ import annotations

import re

from chat.rendering.dollars import parse_dollars

# A character that means nothing to the parser, and that nobody writes.
BAR = "\ufdd8"

_ROW = re.compile(r"[ \t>]*(?:(?:[-+*]|[0-9]{1,9}[.)])[ \t]+)?\|")
_BRACKETS = re.compile(r"\\\(.*?\\\)")


def hide_bars(line: str) -> str:
    """Return a line that may be a row with a stand-in for each bar in a formula; its length does not change."""
    if not ("$" in line or "\\(" in line) or _ROW.match(line) is None:
        return line
    line = _BRACKETS.sub(lambda found: found[0].replace("|", BAR), line)
    position = 0
    while (start := line.find("$", position)) >= 0:
        if line[start - 1 : start] == "\\":
            position = start + 1
            continue
        kind, position = parse_dollars(line, start)
        if kind == "formula":
            line = line[:start] + line[start:position].replace("|", BAR) + line[position:]
    return line


def show_bars(html: str) -> str:
    """Return the parser's HTML with the bars that the stand-ins stand for."""
    return html.replace(BAR, "|") if BAR in html else html
