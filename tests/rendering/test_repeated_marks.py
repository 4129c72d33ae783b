"""A text in which a model repeats a mark streams in a few times the time of as many words, and no change takes long."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest

from chat.rendering.document import StreamingMarkdown, render_snapshot

MARKS = "[]()*_~$\\|><#-`"
CHARS = 2_000
LIMIT = 400_000  # of an answer

# Measured on two cores, 12,000 characters in tokens of 4, shown every 20: words take 12 us a character, the 135 texts
# below 0.1 to 1.3 times that. Quadratic is ten to a thousand times as much: see the tests of ten times the length.
TIMES_WORDS = 2.5
LINK, TIMES_WORDS_OF_LINKS = "[a](http://b.c) ", 3.5  # 2.6 to 2.8 on an AMD EPYC
TOKEN_CHARS = 4
SHOWN_CHARS = 20
BOUND_SECONDS = 0.05
TRIES = 10

PAIRS = [first + second for first, second in pairwise(MARKS[::-2] + MARKS[::3])]


def repeat(unit: str, chars: int = CHARS) -> str:
    return (unit * (chars // len(unit) + 1))[:chars]


def stream(text: str, size: int = SHOWN_CHARS, token_chars: int = TOKEN_CHARS) -> tuple[float, float]:
    """Return the CPU seconds that a text takes in all, and that the longest of its changes takes."""
    markdown, started, longest = StreamingMarkdown(), time.process_time(), 0.0
    for start in range(0, len(text), size):
        before = time.process_time()
        for token in range(start, min(start + size, len(text)), token_chars):
            markdown.feed(text[token : min(token + token_chars, start + size)])
        markdown.take_changes()
        longest = max(longest, time.process_time() - before)
    markdown.finish()
    markdown.take_changes()
    return time.process_time() - started, longest


def assert_nearly_as_fast_as_words(unit: str) -> None:
    """Stream the unit, and as many words beside it, until it is as fast as it has to be: other processes only slow it
    down.
    """
    text, words = repeat(unit), repeat("word ")
    for _ in range(TRIES):
        took, longest = stream(text)
        ratio = took / stream(words)[0]
        if ratio < (TIMES_WORDS_OF_LINKS if unit == LINK else TIMES_WORDS) and longest < BOUND_SECONDS:
            return
    pytest.fail(f"{unit!r} takes {ratio:.1f} times as long as words, and {longest * 1000:.0f} ms at once")


@pytest.mark.parametrize("mark", [*MARKS, *PAIRS])
def test_marks_take_a_few_times_the_time_of_words(mark: str) -> None:
    in_line = (mark, f"{mark} ", f"{mark}a", f"a{mark} ", f"word {mark} ")
    for unit in (*in_line, f"{mark}\n", f"{mark}a\n", f"{mark}a\n\n", f"a\n{mark}\n"):
        assert_nearly_as_fast_as_words(unit)


@pytest.mark.parametrize("unit", ["$a$ ", "`a` ", "**a** ", LINK, "- a\n", "- a\n  - b\n", "|a|\n", "> a\n"])
def test_short_elements_take_a_few_times_the_time_of_words(unit: str) -> None:
    assert_nearly_as_fast_as_words(unit)


@pytest.mark.parametrize("unit", ["[", "$a ", "*a ", "_a\n", "- a\n", "\n", "> ", "```\n", "[a](http://b.c) ", "<b>\n"])
def test_ten_times_the_length_takes_ten_times_as_long(unit: str) -> None:
    short = min(stream(repeat(unit, 6_000), 500, 500)[0] for _ in range(3))
    long = stream(repeat(unit, 60_000), 500, 500)[0]
    assert long < 20 * short


@pytest.mark.parametrize("unit", ["[", "![", "[a](", "*", "**a ", "- ", "> ", "$", "\\(", "<", "<sub>", "`", "|", "\n"])
def test_the_longest_answer_opens(unit: str) -> None:
    text = repeat(unit, LIMIT)
    started = time.process_time()
    assert render_snapshot(text).startswith('<div class="stretch">')
    assert time.process_time() - started < 10


@pytest.mark.parametrize(
    "text",
    [
        "".join("  " * depth + "- a\n" for depth in range(400)),
        "- a\n" + "  - b\n" * 10_000,
        "1. a\n\n   ```\n" + "   code\n\n" * 10_000 + "   ```\n2. b\n",
        "- " * 20_000 + "a",
        "> " * 20_000 + "a\n" * 2_000,
        "- a\n" + "\n" * 100_000,
        "<div>\n" + "<b>\n" * 10_000,
        "> ```\n" + "> code\n" * 10_000,
        "| a " * 90 + "|\n" + "|-" * 90 + "|\n" + "|x|\n" * 10_000,
        "word " * 20_000,
    ],
    ids=[
        "deep list",
        "long item",
        "code in an item",
        "items in one",
        "quotes",
        "blank",
        "raw",
        "quoted",
        "wide",
        "words",
    ],
)
def test_no_change_of_a_long_block_takes_long(text: str) -> None:
    assert min(stream(text, 2_000, 2_000)[1] for _ in range(2)) < BOUND_SECONDS
