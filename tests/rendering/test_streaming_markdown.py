"""The HTML put together from the stream is the HTML of the loaded page, at every prefix, however the text was cut."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chat.rendering.document import StreamingMarkdown, render, render_snapshot
from tests.corpus import CORPUS, split_into_parts
from tests.support.markdown_streams import markdown, stream
from tests.support.page import Page
from tests.support.streamed import apply_swaps


@pytest.mark.parametrize("name", CORPUS)
def test_every_prefix_of_the_corpus_streams_as_it_loads(name: str) -> None:
    for part in split_into_parts(CORPUS[name], 400):
        stream(part)


@pytest.mark.parametrize("name", CORPUS)
@pytest.mark.parametrize("size", [7, 1000])
def test_the_corpus_streams_in_pieces_as_it_loads(name: str, size: int) -> None:
    text = CORPUS[name]
    stream(text[start : start + size] for start in range(0, len(text), size))


@given(markdown)
@settings(deadline=None, max_examples=300)
def test_every_prefix_of_any_text_streams_as_it_loads(text: str) -> None:
    stream(text)


@given(st.lists(markdown, max_size=6))
@settings(deadline=None, max_examples=200)
def test_any_text_streams_as_it_loads_however_it_is_cut(pieces: list[str]) -> None:
    stream(pieces)


def test_a_blank_line_ends_raw_html_however_it_is_cut() -> None:
    text = "</div>\n\nA paragraph\n "
    stream(text)
    stream([text])


def test_an_empty_answer_is_an_empty_tail_and_then_nothing() -> None:
    assert render_snapshot("") == '<div class="stretch"><div class="tail"></div></div>'
    assert render("") == '<div class="stretch"></div>'


def test_a_text_that_stays_the_same_makes_no_changes() -> None:
    streaming = StreamingMarkdown()
    streaming.feed("")
    assert streaming.take_changes() == []
    streaming.feed("word")
    assert streaming.take_changes() != []
    streaming.feed("")
    assert streaming.take_changes() == []


@given(st.lists(markdown, min_size=1, max_size=6))
@example(["[x]: http://a.b\n***```py\n***", "```py\n"])  # two elements of the tail grow at once
@settings(deadline=None, max_examples=100)
def test_the_changes_of_one_message_do_not_depend_on_each_other(pieces: list[str]) -> None:
    """htmx finds the targets of all parts of a message before it makes the first swap."""
    page, streaming = Page(), StreamingMarkdown()
    for piece in pieces:
        streaming.feed(piece)
        swaps = streaming.take_changes()
        # A tail that grows may do so in several of its elements, each found by its depth.
        targets = list(dict.fromkeys(swap.target for swap in swaps))
        assert len({(swap.target, swap.depth) for swap in swaps}) == len(swaps)
        assert targets in (
            [],
            ["text"],
            ["tail"],
            ["open"],
            ["tail", "stretch"],
            ["tail", "text"],
            ["open", "text"],
        ) or (targets == ["tail", "stretch", "text"])
        apply_swaps(page, swaps)
    streaming.feed("\n\n- end\n\n```\ncode")
    streaming.finish()
    apply_swaps(page, streaming.take_changes())
    assert page.html == render("".join(pieces) + "\n\n- end\n\n```\ncode")
