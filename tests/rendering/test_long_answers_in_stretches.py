"""A long text stands in stretches, and what is longer than one goes on in the next, streamed and loaded alike."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from html import unescape
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat.rendering import blocks, fold
from chat.rendering.document import StreamingMarkdown, render
from tests.corpus import CORPUS
from tests.support.markdown_streams import markdown, stream
from tests.support.markdown_texts import write_markdown_texts

STRETCH = re.compile(r'<div class="(stretch[^"]*)">')


@pytest.fixture
def short() -> Iterator[None]:
    """Stretches so short that any text has many."""
    with shorten_stretches():
        yield


def shorten_stretches() -> AbstractContextManager[object]:
    return mock.patch.multiple(fold, STRETCH_CHARS=30, HIGHLIGHT_CHARS=12)


def list_stretches(text: str) -> list[tuple[str, str]]:
    """Return the class and the inside of each stretch of the finished page."""
    _, *parts = STRETCH.split(render(text))
    return [(kind, html.removesuffix("</div>")) for kind, html in zip(parts[::2], parts[1::2], strict=True)]


@pytest.mark.parametrize("name", CORPUS)
@pytest.mark.parametrize("size", [7, 1000])
@pytest.mark.usefixtures("short")
def test_the_corpus_streams_in_pieces_as_it_loads(name: str, size: int) -> None:
    text = CORPUS[name]
    stream(text[start : start + size] for start in range(0, len(text), size))


@given(st.lists(markdown, max_size=6))
@settings(deadline=None, max_examples=200)
def test_any_text_streams_as_it_loads_however_it_is_cut(pieces: list[str]) -> None:
    with shorten_stretches():
        stream(pieces)


def test_a_short_text_is_one_stretch() -> None:
    assert [kind for kind, _ in list_stretches("One\n\ntwo\n\n- three\n")] == ["stretch"]


@pytest.mark.usefixtures("short")
def test_a_long_list_goes_on_with_its_numbers() -> None:
    found = list_stretches("".join(f"{number}. An item with some words\n" for number in range(3, 6)))
    assert [kind for kind, _ in found] == ["stretch", "stretch on", "stretch on"]
    assert [html[:14] for _, html in found] == ['<ol start="3">', '<ol start="4">', '<ol start="5">']


@pytest.mark.usefixtures("short")
def test_a_long_table_goes_on_under_its_head() -> None:
    found = list_stretches("| Head |\n|---|\n| a row with some words |\n| another one |\n")
    assert [kind for kind, _ in found] == ["stretch", "stretch on"]
    assert all("<thead>" in html and "Head" in html for _, html in found)


@pytest.mark.usefixtures("short")
def test_a_long_block_of_code_goes_on_without_a_second_head() -> None:
    found = list_stretches("```python\nfirst = 'line'\nsecond = 'line'\n```\n")
    assert [kind for kind, _ in found] == ["stretch", "stretch on"]
    assert [html.count("copy") for _, html in found] == [1, 0]
    assert [re.sub("<[^>]*>", "", html.partition("<pre>")[2]) for _, html in found] == [
        "first = 'line'\n",
        "second = 'line'\n",
    ]


@pytest.mark.usefixtures("short")
def test_a_block_after_a_long_one_does_not_continue_it() -> None:
    found = list_stretches(
        "- An item with quite some words\n- another\n\nA paragraph that is long enough.\n\nAnd one more.\n"
    )
    assert [kind for kind, _ in found] == ["stretch", "stretch on", "stretch"]


@pytest.mark.parametrize("line", ["word *word* word\n\n", "- an item\n", "| a | row |\n", "a line of code\n"])
def test_a_change_is_not_longer_in_a_longer_text(line: str) -> None:
    """Nor is more sent in all: no block is sent again when it is complete, unless it is short."""
    start = {"|": "| a | head |\n|---|---|\n", "a": "```\n"}.get(line[0], "")
    text = start + line * (60_000 // len(line))
    streaming, sent = StreamingMarkdown(), []
    for position in range(0, len(text), 40):
        streaming.feed(text[position : position + 40])
        sent.append(sum(len(swap.html) for swap in streaming.take_changes()))
    streaming.finish()
    sent.append(sum(len(swap.html) for swap in streaming.take_changes()))
    assert max(sent) < 2_000
    assert sum(sent) < 3 * len(render(text))


@contextmanager
def cut_blocks() -> Iterator[None]:
    """Cut blocks and lines after a few words, so that short texts are cut too."""
    with (
        shorten_stretches(),
        mock.patch.object(fold, "LEAF_COST", 60),
        mock.patch.multiple(blocks, LINE_COST=80, PIECE_CHARS=8),
    ):
        yield


@given(st.lists(markdown, max_size=6))
@settings(deadline=None, max_examples=300)
def test_any_text_streams_as_it_loads_when_its_blocks_are_cut(pieces: list[str]) -> None:
    with cut_blocks():
        stream(pieces)


@pytest.mark.parametrize(
    "text",
    [
        "&amp;\n-   ***- ",  # cut after "-   ", the item would be a heading's underline
        "word\n- ***- ",
        "- item\n\n    ***word ",
        "a | b\n- ***- ",
        "word\n#    ***_ ",
        "word\n1.   ***_ ",
        "> word\n> -   ***_ ",
        "word\n>      ***_ ",
    ],
)
def test_a_line_that_is_cut_is_the_block_that_its_beginning_decided(text: str) -> None:
    with cut_blocks():
        stream(text)


@pytest.mark.parametrize("before", ["word\n", "- item\n", "- item\n\n", "> word\n", "a | b\n"])
@pytest.mark.parametrize("marker", ["- ", "1. ", "# ", "> ", "> - ", "-    "])
def test_a_line_of_costly_marks_is_the_block_that_its_beginning_decided(before: str, marker: str) -> None:
    """A hundred characters of dollars cost more than a piece may, so that the piece has no word in it to end after."""
    text = f"{before}{marker}{'x$' * 150} end"
    stream(text[start : start + 20] for start in range(0, len(text), 20))


@pytest.mark.parametrize(
    "text",
    [
        "|---|---|\n|---|---|\n```py\n",
        "|a|b|c|d|e|f|g|\n|-|-|-|-|-|-|-|\n|1|\n",
        "word word word\nword word word word\n|a|b|\n|-|-|\n|1|2|\n\nend\n",
        "word word word\n\n|a|b **b** |\n|-|-|\n|1|2|\n\nend\n",
        "> word word word word\n> |a|b|\n> |-|-|\n> |1|2|\n",
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_a_line_that_is_cut_is_no_head_of_a_table(text: str, size: int) -> None:
    with cut_blocks():
        stream(text[start : start + size] for start in range(0, len(text), size))
        html = render(text)
    assert html.count("<table>") == html.count("</table>") == html.count("</thead>")


@pytest.mark.parametrize("words", [3_000, 8_000])
def test_a_long_head_is_a_head_or_text(words: int) -> None:
    text = f"| a | {'word ' * (words // 5)}| c |\n|---|---|\n| 1 | 2 |\n"
    html = render(text)
    assert html.count("<table>") == html.count("</table>") == html.count("</thead>")
    stream([text])


def test_nested_blocks_that_are_cut_stream_as_they_load() -> None:
    with cut_blocks():
        for number, text in enumerate(write_markdown_texts(25, seed=3)):
            size = number % 7 + 1
            stream(text[start : start + size] for start in range(0, len(text), size))


def read_words(text: str) -> str:
    """Return the words of the finished page."""
    return unescape(re.sub("<[^>]*>", "", render(text)))


def test_code_in_an_item_goes_on_when_the_item_is_cut() -> None:
    code = "".join(f"   line {number}\n\n" for number in range(2_000))
    text = f"1. Step:\n   ```python\n{code}   ```\n2. Next\n"
    html = render(text)
    assert re.findall(r"line \d+", read_words(text)) == [f"line {number}" for number in range(2_000)]
    assert "```" not in html
    assert re.findall(r'<ol start="\d+">', html) == ['<ol start="2">']
    assert html.endswith("Next</li></ol></div>")


def test_a_paragraph_longer_than_any_loses_nothing() -> None:
    words = [f"word{number}" for number in range(20_000)]
    assert re.findall(r"word\d+", read_words(" ".join(words))) == words


def test_a_quote_that_is_cut_stays_a_quote() -> None:
    html = render("> word word word\n" * 2_000)
    assert html.count("<p>") == html.count("<blockquote>") > 1
    assert "&gt;" not in html
