"""A paragraph that is too long to be rendered again and again is cut between words, never inside one."""

from __future__ import annotations

import re

import pytest

from chat.rendering.document import render
from tests.support.markdown_streams import stream

NUMBERS = " ".join(map(str, range(3_000)))
WORDS = "Lorem ipsum dolor sit amet, consectetur adipiscing elit. " * 300
MARKS = "**bold** and `code` and [a link](https://example.com/a) - 1. # > " * 200


def read_words(html: str) -> list[str]:
    """Return the words that a reader sees, where each paragraph ends a word."""
    return re.sub(r"<[^>]+>", "", html.replace("</p>", " ")).split()


@pytest.mark.parametrize("text", [NUMBERS, WORDS], ids=["numbers", "words"])
def test_every_word_is_whole(text: str) -> None:
    assert render(text).count("<p>") > 1
    assert read_words(render(text)) == text.split()


@pytest.mark.parametrize("text", [NUMBERS, WORDS, MARKS], ids=["numbers", "words", "marks"])
@pytest.mark.parametrize("size", [97, 1_000])
def test_it_is_cut_at_the_same_places_while_it_streams(text: str, size: int) -> None:
    stream(text[start : start + size] for start in range(0, len(text), size))
