"""A long text stands in stretches, and what is longer than one goes on in the next, streamed and loaded alike."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat import rendering
from chat.rendering import StreamingMarkdown, render
from tests.corpus import CORPUS
from tests.test_streaming_markdown import markdown, stream

STRETCH = re.compile(r'<div class="(stretch[^"]*)">')


@pytest.fixture
def short() -> Iterator[None]:
    """Stretches so short that any text has many."""
    with shortened():
        yield


def shortened() -> AbstractContextManager[object]:
    return mock.patch.multiple(rendering, STRETCH_CHARS=30, HIGHLIGHT_CHARS=12)


def stretches(text: str) -> list[tuple[str, str]]:
    """The class of each stretch of the finished text, and what stands in it."""
    _, *parts = STRETCH.split(render(text))
    return [(kind, html.removesuffix("</div>")) for kind, html in zip(parts[::2], parts[1::2], strict=True)]


@pytest.mark.parametrize("name", CORPUS)
@pytest.mark.parametrize("size", [7, 50, 1000])
@pytest.mark.usefixtures("short")
def test_the_corpus_in_pieces(name: str, size: int) -> None:
    text = CORPUS[name]
    stream(text[start : start + size] for start in range(0, len(text), size))


@given(st.lists(markdown, max_size=6))
@settings(deadline=None, max_examples=200)
def test_any_text_however_it_is_cut(pieces: list[str]) -> None:
    with shortened():
        stream(pieces)


def test_a_short_text_is_one_stretch() -> None:
    assert [kind for kind, _ in stretches("One\n\ntwo\n\n- three\n")] == ["stretch"]


@pytest.mark.usefixtures("short")
def test_a_long_list_goes_on_with_its_numbers() -> None:
    found = stretches("".join(f"{number}. An item with some words\n" for number in range(3, 6)))
    assert [kind for kind, _ in found] == ["stretch", "stretch on", "stretch on"]
    assert [html[:14] for _, html in found] == ['<ol start="3">', '<ol start="4">', '<ol start="5">']


@pytest.mark.usefixtures("short")
def test_a_long_table_goes_on_under_its_head() -> None:
    found = stretches("| Head |\n|---|\n| a row with some words |\n| another one |\n")
    assert [kind for kind, _ in found] == ["stretch", "stretch on"]
    assert all("<thead>" in html and "Head" in html for _, html in found)


@pytest.mark.usefixtures("short")
def test_a_long_block_of_code_goes_on_without_a_second_head() -> None:
    found = stretches("```python\nfirst = 'line'\nsecond = 'line'\n```\n")
    assert [kind for kind, _ in found] == ["stretch", "stretch on"]
    assert [html.count("copy") for _, html in found] == [1, 0]
    assert [re.sub("<[^>]*>", "", html.partition("<pre>")[2]) for _, html in found] == [
        "first = 'line'\n",
        "second = 'line'\n",
    ]


@pytest.mark.usefixtures("short")
def test_what_follows_a_long_block_does_not_go_on_with_it() -> None:
    found = stretches(
        "- An item with quite some words\n- another\n\nA paragraph that is long enough.\n\nAnd one more.\n"
    )
    assert [kind for kind, _ in found] == ["stretch", "stretch on", "stretch"]


@pytest.mark.parametrize("line", ["word *word* word\n\n", "- an item\n", "| a | row |\n", "a line of code\n"])
def test_what_is_sent_at_a_time_does_not_grow_with_the_text(line: str) -> None:
    """Nor does what is sent in all: no block is sent again when it is whole, unless it is short."""
    start = {"|": "| a | head |\n|---|---|\n", "a": "```\n"}.get(line[0], "")
    text = start + line * (60_000 // len(line))
    streaming, sent = StreamingMarkdown(), []
    for position in range(0, len(text), 40):
        streaming.feed(text[position : position + 40])
        sent.append(sum(len(swap.html) for swap in streaming.changes()))
    streaming.finish()
    sent.append(sum(len(swap.html) for swap in streaming.changes()))
    assert max(sent) < 2_000
    assert sum(sent) < 3 * len(render(text))
