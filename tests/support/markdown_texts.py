"""Texts of everything that Markdown nests: lists in lists, code in items, quotes, tables, raw HTML, blank lines."""

from __future__ import annotations

import random
from collections.abc import Iterator

_WORDS = (
    "word",
    "Two words",
    "**bold** text",
    "a `code` b",
    "*x*",
    "3 eggs",
    "é",
    "http://a.b/c",
    "a | b",
    "x <b> y",
    "1",
)
_INFO = ("", "python", "js", "text", " c ")
_RAW = ("<div>", "</div>", "<b>", "<section>", "<!-- a", "-->", "<pre>", "</pre>", "<script>")
_ALONE = (
    "---",
    "***",
    "===",
    "-",
    "*",
    "1.",
    "#",
    "# Head",
    "## Head ##",
    "|",
    "|-|",
    "```",
    "~~~",
    ">",
    "    code",
    "$$",
)


class _Writer:
    """Writes one text, block by block, each inside the blocks around it."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def write(self) -> str:
        lines = [line for _ in range(self._chance.randrange(1, 4)) for line in self._write_block(0)]
        end = self._chance.choice(("\n", "\n", "\n", "\r\n", "\r"))
        return end.join(lines) + self._chance.choice(("", end, end * 2))

    def _write_block(self, depth: int) -> list[str]:
        kinds = [
            self._write_paragraph,
            self._write_fenced_code,
            self._write_lone_line,
            self._write_raw_html,
            self._write_table,
            self._write_indented_code,
        ]
        if depth < 3:
            kinds += [self._list, self._list, self._list, self._quote]
        lines = self._chance.choice(kinds)(depth)
        return lines + [self._write_blank()] * self._chance.choice((0, 0, 1, 1, 1, 2, 3))

    def _write_blank(self) -> str:
        return self._chance.choice(("", "", "", "  ", "\t"))

    def _write_paragraph(self, depth: int) -> list[str]:
        return [self._chance.choice(_WORDS) for _ in range(self._chance.randrange(1, 3))]

    def _write_lone_line(self, depth: int) -> list[str]:
        return [self._chance.choice(_ALONE)]

    def _write_raw_html(self, depth: int) -> list[str]:
        return [self._chance.choice(_RAW) for _ in range(self._chance.randrange(1, 3))]

    def _write_indented_code(self, depth: int) -> list[str]:
        return [self._chance.choice(("    ", "\t", "     ")) + self._chance.choice(_WORDS)]

    def _write_table(self, depth: int) -> list[str]:
        rows = ["| 1 | 2 |"] * self._chance.randrange(3) + self._chance.choice(([], ["x"], ["| 1 |"], ["|"]))
        return ["| a | b |", self._chance.choice(("|---|---|", "|:-:|--:|", "|---|", "---|---")), *rows]

    def _write_fenced_code(self, depth: int) -> list[str]:
        """Write code with blank lines in it, closed or not."""
        mark = self._chance.choice(("```", "```", "~~~", "````"))
        code = [self._chance.choice(("a = 1", "  b", "", "", "- x", "```", "# c", "\tt", "1. y")) for _ in range(4)]
        opening = " " * self._chance.choice((0, 0, 0, 1, 3)) + mark + self._chance.choice(_INFO)
        return [opening, *code[: self._chance.randrange(5)], *([mark] if self._chance.random() < 0.7 else [])]

    def _list(self, depth: int) -> list[str]:
        number = self._chance.choice((1, 1, 1, 2, 7, 10, 0, 123456789))
        mark = self._chance.choice(("-", "*", "+", ".", ".", ")"))
        lines: list[str] = []
        for index in range(self._chance.randrange(1, 4)):
            marker = f"{number + index}{mark}"[-10:] if mark in ".)" else mark
            gap = self._chance.choice((" ", " ", " ", "  ", "   ", "\t", "     "))
            indent = " " * (len(marker) + len(gap.expandtabs(4)) if gap != "\t" else 4)
            inner = [line for _ in range(self._chance.choice((1, 1, 2, 2, 3))) for line in self._write_block(depth + 1)]
            lines += self._indent(marker + gap, indent, inner)
        return lines

    def _quote(self, depth: int) -> list[str]:
        inner = [line for _ in range(self._chance.randrange(1, 3)) for line in self._write_block(depth + 1)]
        mark = self._chance.choice(("> ", "> ", ">", ">\t"))
        return [line if self._chance.random() < 0.05 else mark + line for line in inner]

    def _indent(self, marker: str, indent: str, lines: list[str]) -> list[str]:
        """Indent the lines of an item as people write them, and a little wrong now and then."""
        first, *others = lines
        indented = [marker + first]
        for line in others:
            wrong = self._chance.random()
            if not line.strip() or wrong < 0.03:
                indented.append(line)
            elif wrong < 0.06:
                indented.append(indent[1:] + line)
            elif wrong < 0.08:
                indented.append("\t" + line)
            else:
                indented.append(indent + line)
        return indented


def write_markdown_texts(number: int, seed: int) -> Iterator[str]:
    """Yield so many texts, the same for the same seed."""
    chance = random.Random(seed)
    for _ in range(number):
        yield _Writer(chance).write()
