"""An answer's parts come in their order, and a page that follows them is the page that is loaded."""

from __future__ import annotations

import pytest

from chat.core.events import (
    Continued,
    Lasting,
    Reasoning,
    Thought,
    Token,
    ToolArguments,
    ToolCall,
    ToolResult,
    count_positions,
)
from chat.core.transcript import Transcript, add_positions
from chat.streaming.page_parts import build_parts
from chat.streaming.shown_answer import ShownAnswer
from tests.support.parts import ANSWER, Parted, render_parts

SAID: tuple[Lasting, ...] = (
    Reasoning("The user asks "),
    Reasoning("about <b>Django</b>."),
    Thought(12_300),
    Token("Let me **search**.\n\n"),
    ToolCall("a", "search_conversations"),
    ToolArguments("a", '{"query": "django'),
    ToolArguments("a", ' streaming"}'),
    ToolCall("b", "calculator"),
    ToolArguments("b", '{"expression": "2 + 2"}'),
    ToolResult("b", "4", ok=True, milliseconds=3),
    ToolResult("a", "Timed out", ok=False, milliseconds=20_000),
    Reasoning("Hm."),
    Thought(400),
    Token("- Four\n- and *more"),
    Continued(),
    Token("* of it"),
)


def test_the_parts_stand_in_the_order_in_which_they_came() -> None:
    parts = build_parts(ANSWER, SAID, is_live=False)
    assert [type(part).__name__ for part in parts] == [
        "TextPart",
        "ReasoningPart",
        "TextPart",
        "ToolPart",
        "ToolPart",
        "ReasoningPart",
        "TextPart",
    ]


def test_reasoning_is_never_in_the_text_and_is_escaped() -> None:
    html = render_parts(build_parts(ANSWER, SAID, is_live=False))
    assert "about &lt;b&gt;Django&lt;/b&gt;." in html
    assert "<b>Django" not in html
    assert "Thought for 12 s" in html
    assert "Thought for 1 s" in html


@pytest.mark.parametrize("cut", range(len(SAID) + 1))
@pytest.mark.parametrize("is_ended", [True, False], ids=["ended", "live"])
def test_a_page_that_follows_is_the_page_that_is_loaded(cut: int, is_ended: bool) -> None:
    """From every event on, whatever came in one message."""
    before = SAID[:cut]
    seen = sum(map(count_positions, before))
    page = Parted(render_parts(build_parts(ANSWER, before, is_live=True)))
    following = ShownAnswer(ANSWER, seen)
    transcript = Transcript()
    transcript.append(SAID)
    for position, event in add_positions(SAID, 0):
        following.take(event, position)
        if position % 3 == 0:
            page.make(following.take_changes())
    if is_ended:
        following.end()
    page.make(following.take_changes())
    assert page.html == render_parts(build_parts(ANSWER, transcript.read_since(0), is_live=not is_ended))


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_page_may_come_back_within_an_event(cut: int) -> None:
    transcript = Transcript()
    transcript.append(SAID)
    page = Parted(render_parts(build_parts(ANSWER, transcript.read_since(0, cut), is_live=True)))
    following = ShownAnswer(ANSWER, cut)
    for position, event in add_positions(transcript.read_since(0), 0):
        following.take(event, position)
    following.end()
    page.make(following.take_changes())
    assert page.html == render_parts(build_parts(ANSWER, transcript.read_since(0), is_live=False))


def test_a_tool_that_the_end_of_the_answer_cut_says_so() -> None:
    html = render_parts(build_parts(ANSWER, [ToolCall("a", "search")], is_live=False))
    assert "not finished" in html
