"""A line that stands among other text turns none of it round, and shows something."""

from __future__ import annotations

import unicodedata

import pytest

from chat.conversations.titles_by_rule import make_title
from chat.core.lines import join_lines, remove_invisible
from chat.providers.sources import Sources
from chat.tools.toolbox import write_headline

TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c"
UNSEEN = "\u200b\u2060\ufeff\u00ad\u3164\x7f\x9b\U000e0041"


@pytest.mark.parametrize("sign", TURNING + UNSEEN, ids=lambda sign: f"U+{ord(sign):04X}")
def test_a_line_holds_no_sign_that_turns_text_or_is_not_seen(sign: str) -> None:
    text = f"{sign}one{sign} two\n{sign}"
    assert join_lines(text) == "one two"
    assert make_title(text) == "one two"
    assert write_headline(f"look{sign}_up", f'{{"query": "a{sign}b"}}') == "Look up: ab"
    assert sign not in remove_invisible(text)


def test_no_sign_of_unicode_that_turns_text_is_left() -> None:
    turning = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    found = [chr(number) for number in range(0x110000) if unicodedata.bidirectional(chr(number)) in turning]
    assert len(found) == 9
    assert remove_invisible("".join(found)) == ""


@pytest.mark.parametrize("text", ["می‌خواهم", "क्‍ष", "👩‍👩‍👧 ok", "❤️", "שלום", "日本語", "é́", "a\u2028b"])
def test_joiners_that_a_script_or_an_emoji_needs_stay(text: str) -> None:
    assert join_lines(text) == " ".join(text.split())


@pytest.mark.parametrize("text", ["", " \n", "\u202e\u200f", "\u200b\n\ufeff", "\u200d", "\ufe0f", "\u3164"])
def test_a_title_that_nobody_would_see_is_none(text: str) -> None:
    assert make_title(text) == ""


def test_a_title_is_the_first_line_that_shows_something() -> None:
    assert make_title("\u202e\n \u200b\nWhy?\nBecause") == "Why?"


def test_the_title_of_a_source_turns_no_other_line() -> None:
    sources = Sources()
    sources.add("https://example.org/a", "one\u202etwo")
    assert "[onetwo]" in sources.write_markdown()
