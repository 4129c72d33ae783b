"""Stand-ins for signs that the parser would misread: put in before it reads, and turned back in its HTML.

comrak strikes through between single tildes, lets a bare address take in the Chinese sentence after it, has its own
rule for which dollar signs enclose a formula, and shows every tag as text. Stand-ins mean nothing to it, and nobody
writes them. They are punctuation like the signs they stand for, so that emphasis beside them stays the same.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from chat.rendering.dollars import parse_dollars

# Tags that change only how a word looks. They have no attributes and come in pairs.
TAGS = ("sub", "sup", "kbd", "mark", "u", "small")
_TAG = rf"</?(?:{'|'.join(TAGS)})>|<br ?/?>"

# Punctuation of dead scripts; a text that contains nearly all of it loses some.
_POOL = [chr(0x10A50 + number) for number in range(9)] + [chr(0x12470 + number) for number in range(5)]

# The end of a bare address that the parser would not see: punctuation that is not ASCII, except for dashes and signs
# that may stand in a word.
_STOP = re.compile(
    "[\ufdd0\u2018\u201c-\u201f\u2026\u2014\u2039\u203a«»¡¿\u060c\u061b\u061f\u06d4\u0964\u0965\u3001-\u3003\u3008-\u3020\u3030"
    "\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65\ufe10-\ufe1f\ufe30-\ufe6b]|\u2019(?![A-Za-z])|[}]"
)
_TOKEN = re.compile(
    rf"\\.|(`+)|(~+)|(\$+)|(?:https?://|ftp://|www\.)([^\s<`]*)|({_TAG})",
    re.DOTALL | re.IGNORECASE,
)
_IN_CODE = re.compile(rf"(?<!~)~(?!~)|(\$)|({_TAG})", re.IGNORECASE)

# Each token begins like this. Searching for that takes 4 us in 1,000 characters of prose, searching for the tokens 100,
# because each alternative here begins with a plain character.
_SCHEME = r"(?=(?i:ttps?://))"
_BEGINNING = re.compile(
    rf"\\|`|~|\$|<|h{_SCHEME}|H{_SCHEME}|f(?=(?i:tp://))|F(?=(?i:tp://))|w(?=(?i:ww\.))|W(?=(?i:ww\.))"
)
_TICKS = re.compile("`+")


class StandIns(NamedTuple):
    """The stand-ins in one source."""

    tilde: str
    dollar: str
    less: str
    stop: str

    def restore(self, html: str) -> str:
        """Return the parser's HTML with the signs that the stand-ins stand for."""
        if self.less in html:
            html = _LINE_ENDS.sub("", _restore_tags(html, self.less))
        for sign, meant in ((f" {self.stop}", ""), (self.stop, ""), (self.tilde, "~"), (self.dollar, "$")):
            html = _restore_sign(html, sign, meant)
        return _restore_sign(html, self.less, "&lt;")


def mask(source: str) -> tuple[str, StandIns | None]:
    """Return the source for the parser, and the stand-ins in it; None if there are none."""
    if not any(sign in source for sign in "~$<") and "://" not in source and "www." not in source.lower():
        return source, None
    signs = [sign for sign in _POOL if sign not in source][:4]
    if len(signs) < 4:
        signs = _POOL[:4]
        source = source.translate({ord(sign): "\ufffd" for sign in signs})
    standins = StandIns(*signs)
    return _mask(source, standins), standins


def begins_with_tag(line: str, position: int) -> bool:
    """Return whether one of TAGS stands at a position of a line: unlike other tags it begins no raw HTML."""
    return _MASKED_TAG.match(line, position) is not None


_MASKED_TAG = re.compile(_TAG, re.IGNORECASE)


def _mask(source: str, standins: StandIns) -> str:
    parts: list[str] = []
    position = done = 0
    ticks: dict[int, list[int]] | None = None
    while found := _find_token(source, position):
        position = found.end()
        run, tildes, dollars, address, tag = found.groups()
        if run:
            ticks = ticks if ticks is not None else _find_runs(source)
            end = _find_end_of_code(ticks, len(run), position)
            if end:
                parts += [source[done : found.start()], _mask_code(source[found.start() : end], standins)]
                position = done = end
        elif tildes == "~":
            parts += [source[done : found.start()], standins.tilde]
            done = position
        elif dollars:
            kind, position = parse_dollars(source, found.start())
            if kind != "formula":
                parts += [source[done : found.start()], standins.dollar * len(dollars)]
                position = done = found.end()
        elif tag:
            parts += [source[done : found.start()], standins.less]
            done = found.start() + 1
        elif address is not None:
            stop = None if _is_in_link(source, found.start()) else _find_stop(source, found)
            if stop is not None:
                position = stop
            parts += [source[done : found.start()], _mask_code(source[found.start() : position], standins)]
            parts += [f" {standins.stop}"] if stop is not None else []
            done = position
    parts.append(source[done:])
    return "".join(parts)


def _find_token(source: str, position: int) -> re.Match[str] | None:
    """Return the next token from a position on, or None."""
    while beginning := _BEGINNING.search(source, position):
        position = beginning.end()
        if found := _TOKEN.match(source, beginning.start()):
            return found
    return None


def _mask_code(source: str, standins: StandIns) -> str:
    def replace(found: re.Match[str]) -> str:
        if found[1]:
            return standins.dollar
        return standins.less + found[2][1:] if found[2] else standins.tilde

    return _IN_CODE.sub(replace, source)


def _find_runs(source: str) -> dict[int, list[int]]:
    """Return the ends of the runs of backticks by their length, the last first."""
    runs: dict[int, list[int]] = {}
    for found in reversed(list(_TICKS.finditer(source))):
        runs.setdefault(len(found[0]), []).append(found.end())
    return runs


def _find_end_of_code(ticks: dict[int, list[int]], size: int, position: int) -> int:
    """Return the end of the code that a run of this many backticks opens, 0 if nothing closes it."""
    ends = ticks.get(size, [])
    while ends and ends[-1] <= position:
        ends.pop()
    return ends[-1] if ends else 0


def _is_in_link(source: str, start: int) -> bool:
    """Return whether the address is marked as one: in a link, in angle brackets or in a definition."""
    before = source[max(0, start - 3) : start]
    return before.endswith(("](", "<")) or before == "]: "


def _find_stop(source: str, found: re.Match[str]) -> int | None:
    for stop in _STOP.finditer(source, found.start(4), found.end()):
        if stop[0] != "}" or "{" not in source[found.start() : stop.start()]:
            return stop.start()
    return found.end() if _MASKED_TAG.match(source, found.end()) else None


def _restore_sign(html: str, sign: str, meant: str) -> str:
    if sign in html:
        html = html.replace(sign, meant)
    encoded = "".join(f"%{byte:02X}" for byte in sign.encode())
    return html.replace(encoded, meant) if encoded in html else html


_PIECE = r"(<pre>.*?</pre>|<code>.*?</code>|<span data-math-style.*?</span>)|(<[^>]*>)|"
_VOID = re.compile("<(?:br|hr|img|input)[ />]")

# A line break that is written at the end of a line, which makes one by itself.
_LINE_ENDS = re.compile("<br />(?=<br />\n)")


def _restore_tags(html: str, less: str) -> str:
    """Return the HTML with those of TAGS restored that come in pairs within one element's text."""
    piece = re.compile(_PIECE + rf"{less}(/?)(br|{'|'.join(TAGS)})( ?/?)&gt;", re.DOTALL | re.IGNORECASE)
    open_: list[tuple[str, int]] = []  # the parser's elements as "", ours by name; and the places of their tags
    parts: list[str] = []
    done = 0
    for found in piece.finditer(html):
        parts.append(html[done : found.start()])
        done = found.end()
        skipped, tag, slash, name = found[1], found[2], found[3], (found[4] or "").lower()
        parts.append(found[0])
        if skipped or (tag and _VOID.match(tag)):
            continue
        if tag and tag[1] != "/":
            open_.append(("", len(parts) - 1))
        elif tag:
            while open_ and open_.pop()[0]:
                continue
        elif name == "br":
            parts[-1] = "<br />" if not slash else found[0]
        elif not slash:
            open_.append((name, len(parts) - 1))
        else:
            _close_tag(name, open_, parts)
    return "".join([*parts, html[done:]])


def _close_tag(name: str, open_: list[tuple[str, int]], parts: list[str]) -> None:
    for index in range(len(open_) - 1, -1, -1):
        kind, place = open_[index]
        if not kind:
            return
        if kind == name:
            parts[place], parts[-1] = f"<{name}>", f"</{name}>"
            del open_[index:]
            return
