"""References by a label: to addresses, `[1]: https://…`, and to notes, `[^1]: …`.

Models put both at the end, after the text that refers to them. The parser finds only definitions in the source that it
is given, so each block is given those that it refers to. If a definition comes after a block that refers to it, the
text is rendered again from its beginning.
"""

from __future__ import annotations

import re
from bisect import bisect_left

from chat.rendering.joint import insert_joints, take_joints

# The longest text that is rendered again because of a definition, in characters: that takes up to 50 ms of the event
# loop, and a page of a longer text would get all of it again.
RESTART_CHARS = 30_000
# The characters of the definitions that are kept.
DEFINITIONS_CHARS = 20_000

# The labels without a definition that are kept.
LABELS = 1_000

# The text is rendered again at its end, and before that only when it is this many times as long as the last time: each
# character is sent about twice more at most.
TIMES_LONGER = 4

_LABEL = r"(?:[^\[\]\\]|\\.){1,100}"
_LINE = re.compile(rf"\[({_LABEL})\]:[ \t]*(.*)", re.DOTALL)
_ADDRESS = re.compile(r"<?((?:https?://|mailto:)[^\s<>]+)>?([ \t]+(?:\"[^\"]*\"|'[^']*'|\([^()]*\)))?", re.IGNORECASE)
_NOTE = re.compile(r"\^[^\s^<>]+")
_CITATIONS = re.compile(r"(?<!\\)\[(?:\^[^\s^\[\]\\]{1,60}|\d{1,4})\](?=\[(?:\^[^\s^\[\]\\]{1,60}|\d{1,4})\])")
_REFERENCE = re.compile(rf"(?<!\\)\[({_LABEL})\]")


# Put between `[1]` and `[2]`: the parser would take the first for the text of the other. No text contains this
# character, and it is removed from the parser's HTML.
BETWEEN = "\ufdd1"


class References:
    """The definitions of a text so far, and the labels that it has used without a definition."""

    def __init__(self) -> None:
        self._definitions: dict[str, str] = {}
        self._size = 0  # of the definitions, in characters
        self._wanted: set[str] = set()
        self._used: set[str] = set()
        self._is_due = False
        self._rendered_chars = 0  # characters of the text when it was last rendered again

    def copy(self) -> References:
        """Return a copy, for a part that still grows: what it refers to is not final."""
        other = References()
        other._definitions, other._size, other._wanted = dict(self._definitions), self._size, set(self._wanted)
        other._used = set(self._used)
        return other

    def define(self, line: str, before: str = "") -> bool:
        """Take in a line of a paragraph, and return whether it defines a label, by itself or with the line before."""
        if before.rstrip(" \t").endswith("]:") and not line.startswith("["):
            line = f"{before} {line}"
        found = _LINE.fullmatch(line.strip(" \t")) if "[" in line else None
        if found is None:
            return False
        label, rest = _normalise_label(found[1]), found[2]
        if _NOTE.fullmatch(found[1]):
            address = f"<footnote:{found[1][1:]}>"
        elif link := _ADDRESS.fullmatch(rest):
            address = f"<{link[1]}>{link[2] or ''}"
        else:
            return False
        definition = f"[{found[1]}]: {address}\n"
        if label not in self._definitions and self._size + len(definition) <= DEFINITIONS_CHARS:
            self._definitions[label] = definition
            self._size += len(definition)
            self._is_due = self._is_due or label in self._wanted
        return True

    def escape_definition(self, line: str) -> str:
        """Return a line of a paragraph so that the parser shows it although it begins with a label and a colon.

        The parser takes such lines for definitions and drops them, but readers want to see the sources.
        """
        start = line.find("[")
        found = _LINE.fullmatch(line, start) if start >= 0 else None
        if found is None:
            return line
        if _NOTE.fullmatch(found[1]) and _normalise_label(found[1]) in self._used:
            return f"{line[:start]}[{found[1]}] {found[2]}"
        return f"{line[:start]}\\{line[start:]}"

    def add_definitions(self, source: str, *, is_growing: bool) -> str:
        """Return the source of a block with the definitions that it refers to.

        Remember labels that are not defined yet, unless the block still grows.
        """
        if "]" not in source:
            return source
        plain, joints = take_joints(source)
        used: dict[str, str] = {}
        for found in _REFERENCE.finditer(plain):
            label = _normalise_label(found[1])
            if definition := self._definitions.get(label):
                used[label] = definition
                if not is_growing:
                    self._used.add(label)
            elif not is_growing and len(self._wanted) < LABELS:
                self._wanted.add(label)
        if not used:
            return source
        ends = [found.end() for found in _CITATIONS.finditer(plain)]
        joints = [joint + bisect_left(ends, joint) for joint in joints]
        plain = _CITATIONS.sub(rf"\g<0>{BETWEEN}", plain)
        return f"{insert_joints(plain, joints)}\n\n{''.join(used.values())}"

    def is_due(self, chars: int) -> bool:
        """Return whether a text of `chars` characters has to be rendered again at its end."""
        return self._is_due and chars <= RESTART_CHARS

    def is_worth(self, chars: int) -> bool:
        """Return whether it has to be rendered again before its end."""
        return self.is_due(chars) and chars >= TIMES_LONGER * self._rendered_chars

    def restart(self, chars: int) -> None:
        """Keep the definitions of a text of `chars` characters, which is rendered again, and forget its labels."""
        self._rendered_chars, self._is_due = chars, False
        self._wanted.clear()
        self._used.clear()


def _normalise_label(written: str) -> str:
    """Return a label in the form in which labels are compared."""
    return " ".join(written.split()).casefold()
