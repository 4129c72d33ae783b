"""Texts made to be slow or deep cost little, whole and streamed."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from chat.rendering.document import StreamingMarkdown, render

# The bound tells linear from quadratic on a busy machine: what is quadratic here takes minutes.
BOUND_SECONDS = 5.0

HOSTILE: dict[str, str] = {
    "open brackets": "[" * 20_000,
    "emphasis never closed": "*a" * 20_000,
    "underscores": "_a*b" * 15_000,
    "nested emphasis": "*a " * 10_000 + "a* " * 10_000,
    "nested strong": "**a " * 10_000 + "a** " * 10_000,
    "strikes": "~~a " * 10_000,
    "quotes in one line": ">" * 20_000,
    "spaced quotes": "> " * 50_000,
    "quoted lines": ">a\n" * 20_000,
    "deep quotes over lines": (">" * 40 + "a\n") * 2000,
    "backtick runs": "".join("`" * length + " " for length in range(300)),
    "one backtick run": "`" * 50_000,
    "tildes": "~" * 50_000,
    "nested list": "".join("  " * depth + "- a\n" for depth in range(300)),
    "list in one line": "- " * 20_000,
    "numbers in one line": "1. " * 20_000,
    "empty items": "\n- " * 8000,
    "alternating lists": "- a\n* b\n" * 2000,
    "loose items": "- a\n\n" * 4000,
    "loose and tight": "- a\n\n- b\n* c\n" * 1000,
    "dollars": "$" * 50_000,
    "open formulas": "$a " * 20_000,
    "formulas": "".join(f"$x_{{{number}}}$ " for number in range(8000)),
    "TeX brackets": "\\(" * 20_000,
    "TeX braces": "$" + "{" * 20_000 + "}" * 20_000 + "$",
    "less than": "<" * 50_000,
    "tags": "<a" * 25_000,
    "comments": "<!--\n" * 10_000,
    "ampersands": "&" * 50_000,
    "entities": "&amp;" * 20_000,
    "pipes": "|" * 50_000,
    "huge table header": "|a" * 10_000 + "|\n" + "|-" * 10_000 + "|\n" + "|x|\n" * 100,
    "wide table": "|a" * 60 + "|\n" + "|-" * 60 + "|\n" + "|x|\n" * 1000,
    "rows": "|a|\n|-|\n" + "|b|\n" * 5000,
    "unclosed fences": "```\na\n~~~\n" * 5000,
    "fence line": "```py\n" + "a" * 90_000,
    "links in links": "[a](" * 15_000,
    "images": "![a](" * 15_000,
    "nested labels": "[a " * 10_000 + "](x)" * 10_000,
    "definitions": "".join(f"[{number}]: http://a.b/{number}\n\n[{number}]\n\n" for number in range(1500)),
    "late definition": "[a] " * 20_000 + "\n\n[a]: http://b.c\n\nend",
    "one autolink": "http://" + "a" * 90_000,
    "autolinks": "http://a.b " * 8000,
    "addresses": "a@" * 30_000,
    "headings": "# a\n" * 5000,
    "rules": "---\n" * 5000,
    "paragraphs": "a\n\n" * 5000,
    "lines": "a\n" * 40_000,
    "emoji": "👩‍👩‍👧‍👦" * 4000,
    "right to left": "مرحبا\u202e " * 10_000,
    "tabs": "\t" * 50_000 + "a",
    "carriage returns": "a\r\n" * 10_000 + "b\r" * 10_000,
    "form feeds": "\x0c\n" * 2000,
    "spaces": " " * 100_000,
    "backslashes": "\\" * 50_000,
}


def measure_seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def stream(text: str) -> None:
    markdown, size = StreamingMarkdown(), -(-len(text) // 50)
    for start in range(0, len(text), size):
        markdown.feed(text[start : start + size])
        markdown.take_changes()
    markdown.finish()
    markdown.take_changes()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_text_renders_in_bounded_time(name: str) -> None:
    took = measure_seconds(lambda: render(HOSTILE[name][:20_000]))
    assert took < BOUND_SECONDS


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_text_streams_in_bounded_time(name: str) -> None:
    took = measure_seconds(lambda: stream(HOSTILE[name][:6000]))
    assert took < BOUND_SECONDS
