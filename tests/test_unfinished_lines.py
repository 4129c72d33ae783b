"""A line is shown while it grows, from where nothing that may follow can make it something else."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat.rendering import StreamingMarkdown
from chat.rendering.blocks import blocks_of, is_certain

BEGINNINGS = (
    "word",
    "**Term**:",
    "*Emphasis*",
    "_emphasis_",
    "~~struck~~",
    "`code`",
    "3 eggs",
    "1989:",
    "3.5 million",
    '"Quoted"',
    "(in parentheses)",
    "“Quoted”",
    "✅",
    "$5",
    "& so on",
    "…",
    "世界",
)
IN_AN_ITEM_TOO = ("[link](http://a.b)", "[x] done", "= 4", "<b>", "\\*")
REST = " goes on with more words"


@pytest.mark.parametrize(
    "before",
    [
        "- one\n",
        "- one\n- two\n",
        "* one\n",
        "1. one\n",
        "1. one\n\n",
        "9) one\n",
        "> - one\n",
        "- one\n\n",
        "Text.\n\n",
    ],
)
@pytest.mark.parametrize("beginning", BEGINNINGS + IN_AN_ITEM_TOO)
def test_an_item_is_shown_while_it_grows(before: str, beginning: str) -> None:
    mark = {"1": "2. ", "9": "10) ", "*": "* ", ">": "> - "}.get(before[0], "- ")
    assert_grows(before, mark + beginning + REST)


@pytest.mark.parametrize(
    "before", ["- one\n\n", "1. one\n\n", "| a | b |\n|---|---|\n| 1 | 2 |\n\n", "> one\n\n", "```\nx\n```\n"]
)
@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_a_paragraph_after_something_else_is_shown_while_it_grows(before: str, beginning: str) -> None:
    assert_grows(before, beginning + REST)


def assert_grows(before: str, line: str) -> None:
    """Each word of the rest is sent to the page with the letter that ends it."""
    streaming = StreamingMarkdown()
    streaming.feed(before + line.removesuffix(REST))
    streaming.changes()
    for word in REST.split():
        streaming.feed(f" {word}")
        shown = "".join(swap.html for swap in streaming.changes())
        assert re.sub("<[^>]+>", "", shown).rstrip().endswith(word)


CONTEXTS = (
    *("", "word", "a | b", "|a|b|", "|---|---|", "- item", "- ", "* item", "1. one", "2) two", "  - nested"),
    *("   indented", "> quote", "> - q", "# head", "```", "code", "    code", "text **bold**", "---"),
    *("[x]: http://a", "<div>", "<b>", "1", "-", "    ", "\tq", "- a | b", "|1|2|", "**b**"),
)
PIECES = (*"- *_`~#>|:=[]()!<.12ab\\\"'é✅+$&^/\t", "  ", "    ", "23", "word", "div>", "- ", "* ", "1. ", "> ")


def structure(lines: list[str]) -> object:
    """What sealing goes by: where blocks begin, and of the first one what it is and where its items begin."""
    found = blocks_of(lines)
    return [block.start for block in found], [(block.tag, block.items) for block in found[:1]]


@given(st.lists(st.sampled_from(CONTEXTS), max_size=3), st.lists(st.sampled_from(PIECES), max_size=9).map("".join))
@settings(deadline=None, max_examples=1000)
def test_what_is_certain_stays_so_however_the_line_goes_on(before: list[str], line: str) -> None:
    found = [structure([*before, line[:end]]) for end in range(1, len(line)) if is_certain(line[:end])]
    assert all(each == structure([*before, line]) for each in found)
