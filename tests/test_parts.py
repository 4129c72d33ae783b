"""An answer's parts come in their order, and a page that follows them is the page that is loaded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from uuid import UUID

import pytest
from django.template.loader import render_to_string

from chat.events import Continued, Lasting, Reasoning, Thought, Token, ToolArguments, ToolCall, ToolResult, width
from chat.page import Change, Following, Parts, parts_of
from chat.transcript import Transcript, positioned
from tests.page import Page

ANSWER = UUID("0a2c1b5e-5c1f-4a8e-9f3e-2f7c0a4f9d10")

PART = re.compile(
    r'<(?:div|details) class="\w+" id="(part-[^"]+)".*?(?=<(?:div|details) class="\w+" id="part-|\Z)', re.DOTALL
)

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


def html_of(parts: Parts) -> str:
    return "".join(render_to_string(part.template, {"part": part}).strip() for part in parts)


class Parted:
    """A browser's answer: the parts by their id, each a string that its changes are made to."""

    def __init__(self, html: str) -> None:
        self.parts: dict[str, str] = {}
        self._add(html)

    def _add(self, html: str) -> None:
        for found in PART.finditer(html):
            self.parts[found[1]] = found[0]

    def make(self, changes: Sequence[Change]) -> None:
        assert len({change.target for change in changes}) == len(changes), (
            "htmx finds all targets before the first swap"
        )
        for target, how, html in changes:
            if target.startswith("#parts-"):
                self._add(html)
                continue
            id_, _, inside = target.removeprefix("#").partition(" ")
            self.parts[id_] = changed(self.parts[id_], inside, how, html)

    @property
    def html(self) -> str:
        return "".join(self.parts.values())


def changed(part: str, inside: str, how: str, html: str) -> str:
    if part.startswith("<div"):
        opening, rest = part[: part.index(">") + 1], part[part.index(">") + 1 : part.rindex("</div>")]
        text = Page(rest)
        text.swap(inside, how, html)
        return f"{opening}{text.html}</div>"
    name = inside.removeprefix("> ").removeprefix(".")
    tag = "summary" if name == "summary" else r"\w+"
    attributes = "[^>]*" if name == "summary" else rf' class="{name}"[^>]*'
    element = re.search(rf"<({tag}){attributes}>(.*?)</\1>", part, re.DOTALL)
    assert element
    if how == "outerHTML":
        return part[: element.start()] + html + part[element.end() :]
    inner = element[2] + html if how == "beforeend" else html
    return part[: element.start(2)] + inner + part[element.end(2) :]


def test_the_parts_stand_in_the_order_in_which_they_came() -> None:
    parts = parts_of(ANSWER, SAID, is_live=False)
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
    html = html_of(parts_of(ANSWER, SAID, is_live=False))
    assert "about &lt;b&gt;Django&lt;/b&gt;." in html
    assert "<b>Django" not in html
    assert "Thought for 12 s" in html
    assert "Thought for 1 s" in html


@pytest.mark.parametrize("cut", range(len(SAID) + 1))
@pytest.mark.parametrize("is_ended", [True, False], ids=["ended", "live"])
def test_a_page_that_follows_is_the_page_that_is_loaded(cut: int, is_ended: bool) -> None:
    """From every event on, whatever came in one message."""
    before = SAID[:cut]
    seen = sum(map(width, before))
    page = Parted(html_of(parts_of(ANSWER, before, is_live=True)))
    following = Following(ANSWER, seen)
    transcript = Transcript()
    transcript.append(SAID)
    for position, event in positioned(SAID, 0):
        following.take(event, position)
        if position % 3 == 0:
            page.make(following.changes())
    if is_ended:
        following.end()
    page.make(following.changes())
    assert page.html == html_of(parts_of(ANSWER, transcript.since(0), is_live=not is_ended))


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_page_may_come_back_within_an_event(cut: int) -> None:
    transcript = Transcript()
    transcript.append(SAID)
    page = Parted(html_of(parts_of(ANSWER, transcript.since(0, cut), is_live=True)))
    following = Following(ANSWER, cut)
    for position, event in positioned(transcript.since(0), 0):
        following.take(event, position)
    following.end()
    page.make(following.changes())
    assert page.html == html_of(parts_of(ANSWER, transcript.since(0), is_live=False))


def test_a_tool_that_the_end_of_the_answer_cut_says_so() -> None:
    html = html_of(parts_of(ANSWER, [ToolCall("a", "search")], is_live=False))
    assert "not finished" in html
