"""The HTML put together from the stream is the HTML of the loaded page, at every prefix, however the text was cut."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat.rendering import StreamingMarkdown, Swap, render, snapshot

CORPUS = {path.stem: path.read_text() for path in sorted((Path(__file__).parent / "corpus").glob("*.md"))}

# What Markdown is made of, so that random texts have structure.
PIECES = (
    *(
        "\n",
        "\n\n",
        "- ",
        "* ",
        "1. ",
        "2) ",
        "  ",
        "    ",
        "> ",
        "# ",
        "## ",
        "---\n",
        "***",
        "**",
        "*",
        "_",
        "~~",
        "`",
        "```",
    ),
    *(
        "```py\n",
        "~~~\n",
        "| a | b |\n",
        "|---|---|\n",
        "| 1 ",
        "|",
        "$",
        "$$",
        "\\(",
        "\\)",
        "[x]",
        "](http://a.b)",
        "![",
        "\r\n",
    ),
    *(
        "[x]: http://a.b\n",
        "<b>",
        "<div>\n",
        "&amp;",
        "&",
        "\\",
        "word",
        "Two words",
        "é",
        "🚀",
        "http://a.b/c ",
        "- [ ] ",
        "\t",
        "=\n",
    ),
)
markdown = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)


class Page:
    """A browser's page as one string, with the swaps that htmx would make of it."""

    TAIL = re.compile(r'<(div|li|tr|span) class="tail">')

    def __init__(self) -> None:
        self.html = '<div class="stretch"><div class="tail"></div></div>'

    def apply(self, swaps: Iterable[Swap]) -> None:
        for swap in swaps:
            self._apply(swap)

    def _apply(self, swap: Swap) -> None:
        if swap.target == "text":
            assert swap.how == "beforeend"
            self.html += swap.html
            return
        if swap.target == "stretch":
            assert swap.how == "beforeend"
            self.html = f"{self.html.removesuffix('</div>')}{swap.html}</div>"
            return
        start, end = self._last_block() if swap.target == "open" else self._tail()
        if swap.how == "beforebegin":
            end = start
        self.html = self.html[:start] + swap.html + self.html[end:]

    def _tail(self) -> tuple[int, int]:
        """The one element of class `tail`."""
        [found] = self.TAIL.finditer(self.html)
        return found.start(), self._end_of(found[1], found.start())

    def _last_block(self) -> tuple[int, int]:
        """The block of code that is open: it is the last one."""
        start = self.html.rindex('<div class="code">')
        return start, len(self.html) - len("</div>")

    def _end_of(self, tag: str, start: int) -> int:
        depth = 0
        for found in re.finditer(rf"<(/?){tag}[ >]", self.html[start:]):
            depth += -1 if found[1] else 1
            if depth == 0:
                return start + found.end()
        raise AssertionError(f"<{tag}> does not end")


def stream(pieces: Iterable[str]) -> None:
    """Feed the pieces, and hold the page beside the loaded one after each of them."""
    page, streaming, text = Page(), StreamingMarkdown(), ""
    for piece in pieces:
        streaming.feed(piece)
        page.apply(streaming.changes())
        text += piece
        assert page.html == snapshot(text), text
    streaming.finish()
    page.apply(streaming.changes())
    assert page.html == render(text), text


@pytest.mark.parametrize("name", CORPUS)
def test_every_prefix_of_the_corpus(name: str) -> None:
    stream(CORPUS[name])


@pytest.mark.parametrize("name", CORPUS)
@pytest.mark.parametrize("size", [2, 7, 50, 1000])
def test_the_corpus_in_pieces(name: str, size: int) -> None:
    text = CORPUS[name]
    stream(text[start : start + size] for start in range(0, len(text), size))


@given(markdown)
@settings(deadline=None, max_examples=300)
def test_every_prefix_of_any_text(text: str) -> None:
    stream(text)


@given(st.lists(markdown, max_size=6))
@settings(deadline=None, max_examples=200)
def test_any_text_however_it_is_cut(pieces: list[str]) -> None:
    stream(pieces)


def test_a_blank_line_ends_raw_html_however_it_is_cut() -> None:
    text = "</div>\n\nA paragraph\n "
    stream(text)
    stream([text])


def test_an_empty_answer_is_an_empty_tail_and_then_nothing() -> None:
    assert snapshot("") == '<div class="stretch"><div class="tail"></div></div>'
    assert render("") == '<div class="stretch"></div>'


def test_what_does_not_change_the_page_changes_nothing() -> None:
    streaming = StreamingMarkdown()
    streaming.feed("")
    assert streaming.changes() == []
    streaming.feed("word")
    assert streaming.changes() != []
    streaming.feed("")
    assert streaming.changes() == []


@given(st.lists(markdown, min_size=1, max_size=6))
@settings(deadline=None, max_examples=100)
def test_the_changes_of_one_message_do_not_depend_on_each_other(pieces: list[str]) -> None:
    """htmx finds the targets of all parts of a message before it makes the first swap."""
    page, streaming = Page(), StreamingMarkdown()
    for piece in pieces:
        streaming.feed(piece)
        swaps = streaming.changes()
        targets = [swap.target for swap in swaps]
        assert targets in ([], ["tail"], ["open"], ["tail", "stretch"], ["tail", "text"], ["open", "text"]) or (
            targets == ["tail", "stretch", "text"]
        )
        page.apply(swaps)
    streaming.feed("\n\n- end\n\n```\ncode")
    streaming.finish()
    page.apply(streaming.changes())
    assert page.html == render("".join(pieces) + "\n\n- end\n\n```\ncode")
