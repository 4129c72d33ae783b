"""A transcript gives every reader exactly what it lacks, wherever its position cuts the text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chat.core.events import (
    Continued,
    Lasting,
    NativeForm,
    Reasoning,
    TextEvent,
    Token,
    ToolArguments,
    ToolCall,
    ToolResult,
    Usage,
    count_positions,
    get_text,
    replace_text,
)
from chat.core.transcript import Transcript, add_positions

texts = st.text(min_size=1, max_size=8)
ids = st.sampled_from(["one", "two"])
events = st.lists(
    st.one_of(
        st.builds(Token, texts),
        st.builds(Reasoning, texts),
        st.builds(ToolArguments, ids, texts),
        st.builds(ToolCall, ids, st.just("search")),
        st.builds(ToolResult, ids, st.just("3 found"), st.booleans()),
        st.just(Continued()),
    ),
    max_size=12,
)
Said = list[Lasting]


def make_transcript(said: Said) -> Transcript:
    transcript = Transcript()
    transcript.append(said)
    return transcript


def join_content(said: Said, kind: type[Token | Reasoning]) -> str:
    return "".join(event.content for event in said if isinstance(event, kind))


def list_positions(said: Said) -> list[object]:
    """Return what stands at each position: a character of a kind, or an event that cannot be split."""
    line: list[object] = []
    for event in said:
        if isinstance(event, TextEvent):
            line += [replace_text(event, char) for char in get_text(event)]
        else:
            line += [event] * count_positions(event)
    return line


@given(events)
def test_text_before_any_cut_and_text_after_it_are_the_whole(said: Said) -> None:
    transcript = make_transcript(said)
    line = list_positions(said)
    for cut in range(transcript.position + 1):
        if line[cut : cut + 1] == [Continued()] == line[cut - 1 : cut]:
            continue  # a reader gets such an event whole, and is never in the middle of it
        assert line[:cut] + list_positions(transcript.read_since(cut)) == line
        assert list_positions(transcript.read_since(0, cut)) == line[:cut]


@given(events)
def test_a_stored_transcript_is_the_same_line(said: Said) -> None:
    transcript = make_transcript(said)
    stored = Transcript.restore(transcript.text, transcript.reasoning, transcript.outline)
    assert stored.read_since(0) == transcript.read_since(0)
    assert stored.position == transcript.position


@given(st.lists(st.one_of(events.map(tuple), st.builds(NativeForm, texts)), max_size=6))
def test_native_forms_keep_their_place_and_nobody_else_notices(said: list[tuple[Lasting, ...] | NativeForm]) -> None:
    transcript = Transcript()
    line: list[object] = []
    for part in said:
        transcript.append([part] if isinstance(part, NativeForm) else part)
        line += [part] if isinstance(part, NativeForm) else list_positions(list(part))
    stored = Transcript.restore(transcript.text, transcript.reasoning, transcript.outline)
    for each in (transcript, stored):
        kept = [
            [event] if isinstance(event, NativeForm) else list_positions([event])
            for event in each.list_with_native_forms()
        ]
        assert [event for part in kept for event in part] == line
        assert list_positions(each.read_since(0)) == [event for event in line if not isinstance(event, NativeForm)]


@given(events)
def test_text_and_reasoning_are_kept_apart(said: Said) -> None:
    transcript = make_transcript(said)
    assert transcript.text == join_content(said, Token)
    assert transcript.reasoning == join_content(said, Reasoning)


def test_neighbouring_pieces_are_one_event() -> None:
    assert make_transcript([Token("a"), Token("b"), Reasoning("c"), Token("d")]).read_since(1) == [
        Token("b"),
        Reasoning("c"),
        Token("d"),
    ]


def test_a_position_past_the_end_lacks_nothing() -> None:
    assert make_transcript([Token("abc")]).read_since(7) == []


def test_events_without_text_take_no_position() -> None:
    transcript = Transcript()
    transcript.append([Token("ab"), Usage(1, 2)])
    assert transcript.position == 2


def test_a_text_without_an_outline_is_all_token() -> None:
    assert Transcript.restore("abc", "", []).read_since(1) == [Token("bc")]


def test_positions_follow_the_width_of_each_event() -> None:
    line = add_positions([Token("abc"), Usage(1, 2)], 10)
    assert [position for position, _ in line] == [13, 14]
