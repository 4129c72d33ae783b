"""A line is shown while it grows, as soon as it is certain which block it belongs to."""

from __future__ import annotations

import re
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat.rendering.blocks import Scanner, is_certain
from chat.rendering.document import StreamingMarkdown
from tests.support.streamed import stream_pieces

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
    """Assert that each word of the rest is sent to the page with the letter that ends it."""
    streaming = StreamingMarkdown()
    streaming.feed(before + line.removesuffix(REST))
    streaming.take_changes()
    for word in REST.split():
        streaming.feed(f" {word}")
        shown = "".join(swap.html for swap in streaming.take_changes())
        assert re.sub("<[^>]+>", "", shown).rstrip().endswith(word)


CONTEXTS = (
    *("", "word", "a | b", "|a|b|", "|---|---|", "- item", "- ", "* item", "1. one", "2) two", "  - nested"),
    *("   indented", "> quote", "> - q", "# head", "```", "code", "    code", "text **bold**", "---"),
    *("[x]: http://a", "<div>", "<b>", "1", "-", "    ", "\tq", "- a | b", "|1|2|", "**b**"),
)
PIECES = (*"- *_`~#>|:=[]()!<.12ab\\\"'é✅+$&^/\t", "  ", "    ", "23", "word", "div>", "- ", "* ", "1. ", "> ")


class Block(NamedTuple):
    """The tag and the first line of a block, and the first lines of a list's items. Lines count from 0."""

    tag: str
    start: int
    items: tuple[int, ...] = ()


def split_into_blocks(lines: list[str]) -> list[Block]:
    """Return the top-level blocks of the lines."""
    scanner, found = Scanner(), list[Block]()
    for number, line in enumerate(lines):
        step = scanner.read(line)
        if step.kind == "block":
            is_list = bool(scanner.containers) and scanner.containers[0].mark not in ">^"
            found.append(Block(step.tag, number, (number,) if is_list else ()))
        elif step.kind == "item":
            found[-1] = found[-1]._replace(items=(*found[-1].items, number))
        elif step.kind == "same" and scanner.leaf.kind == "table" and found[-1].tag == "p":
            found[-1:] = [found[-1]] if found[-1].start < number - 1 else []
            found.append(Block("table", number - 1))
    return found


def find_structure(lines: list[str]) -> object:
    """Return what sealing depends on: the beginnings of blocks, and the tag and the items of the first."""
    found = split_into_blocks(lines)
    return [block.start for block in found], [(block.tag, block.items) for block in found[:1]]


@given(st.lists(st.sampled_from(CONTEXTS), max_size=3), st.lists(st.sampled_from(PIECES), max_size=9).map("".join))
@settings(deadline=None, max_examples=1000)
def test_a_certain_line_stays_the_same_block_however_it_goes_on(before: list[str], line: str) -> None:
    found = [find_structure([*before, line[:end]]) for end in range(1, len(line)) if is_certain(line[:end])]
    assert all(each == find_structure([*before, line]) for each in found)


@pytest.mark.parametrize("marker", ["-", "*", "+", "1.", "#", "=", "- ["])
@pytest.mark.parametrize("rest", ["</details>", "<b", "\\", "&amp;", "![a](http://b.c)", "**"])
def test_what_is_left_of_an_unfinished_line_begins_no_block(marker: str, rest: str) -> None:
    for _ in stream_pieces(f"- item\n{marker}{rest} x\n\nword\n{marker}{rest}"):
        continue
