"""A line end that a provider cuts in two is one line end, streamed and loaded: nothing is normalised by the cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat.core.events import Lasting, Reasoning, Thought, Token, ToolArguments, ToolCall, count_positions
from chat.core.transcript import Transcript, add_positions
from chat.streaming.page_change import Change
from chat.streaming.page_parts import build_parts
from chat.streaming.shown_answer import ShownAnswer
from tests.support.parts import ANSWER, Parted, render_parts

KINDS: dict[str, Callable[[str], Lasting]] = {
    "reasoning": Reasoning,
    "text": Token,
    "arguments": lambda text: ToolArguments("a", text),
}
PIECES = st.lists(
    st.sampled_from(["a", "\r", "\n", "\r\n", "\n\r", "one\r", "\ntwo", " ", "\r\r"]), min_size=1, max_size=8
)


def as_read(html: str) -> str:
    """Return HTML with the line ends that a browser makes of it, in a page and in each message of an event stream."""
    return html.replace("\r\n", "\n").replace("\r", "\n")


def read(changes: Sequence[Change]) -> list[Change]:
    return [change._replace(html=as_read(change.html)) for change in changes]


def make_events(kind: str, pieces: Sequence[str]) -> list[Lasting]:
    opening: list[Lasting] = [ToolCall("a", "clock")] if kind == "arguments" else []
    ending: list[Lasting] = [Thought(5)] if kind == "reasoning" else []
    return [*opening, *map(KINDS[kind], pieces), *ending]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(pieces=PIECES, data=st.data())
def test_streamed_and_loaded_are_equal_wherever_a_reader_begins(
    kind: str, pieces: list[str], data: st.DataObject
) -> None:
    events = make_events(kind, pieces)
    whole = Transcript()
    whole.append(events)
    cut = data.draw(st.integers(0, sum(map(count_positions, events))))
    page = Parted(as_read(render_parts(build_parts(ANSWER, whole.read_since(0, cut), is_live=True))))
    following = ShownAnswer(ANSWER, cut)
    for position, event in add_positions(events, 0):
        following.take(event, position)
        if data.draw(st.booleans()):
            page.make(read(following.take_changes()))
    following.end()
    page.make(read(following.take_changes()))
    assert as_read(page.html) == as_read(render_parts(build_parts(ANSWER, whole.read_since(0), is_live=False)))


def test_a_line_end_cut_in_two_is_one_line_end() -> None:
    page = Parted(render_parts(build_parts(ANSWER, [], is_live=True)))
    following = ShownAnswer(ANSWER, 0)
    for position, event in add_positions([Reasoning("one\r"), Reasoning("\ntwo")], 0):
        following.take(event, position)
        page.make(read(following.take_changes()))
    assert "one\ntwo" in page.html
