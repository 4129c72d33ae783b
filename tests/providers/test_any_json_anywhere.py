"""Whatever JSON stands in any place of what a server sends: never a wrong "complete", never lost text, never an exact
figure that was not sent. And however the bytes are cut, the events are the same.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.core.errors import ChatError
from chat.core.events import Finish, ProviderEvent, Usage
from chat.providers.endings import read_ending
from tests.provider_server import Call, Script
from tests.support.any_json import ODD, collect_text, decode, find_value, list_paths, replace_value, summarise_events
from tests.support.examples import try_examples
from tests.support.wire_formats import WIRE_FORMATS, Path, WireFormat

TEXT = "Blue light is scattered more than red: λ⁻⁴, twice."
REASONING = "Rayleigh."
ARGUMENTS = '{"zone": "CET"}'
SCRIPT = Script(
    text=TEXT,
    reasoning=REASONING,
    chunk_size=9,
    tool_calls=[Call("clock", ARGUMENTS, "call_a")],
    usage=Usage(1201, 343, cached_tokens=1003, reasoning_tokens=127),
)

in_every_format = pytest.mark.parametrize("wire", WIRE_FORMATS, ids=lambda wire: wire.name)

EVENTS = {wire: wire.record(SCRIPT) for wire in WIRE_FORMATS}
BODIES = {wire: wire.write_body(SCRIPT) for wire in WIRE_FORMATS}


def list_places(wire: WireFormat) -> list[tuple[int, Path]]:
    """Return each place in each event of the whole answer."""
    events = enumerate(EVENTS[wire])
    return [(number, path) for number, event in events if not isinstance(event, str) for path in list_paths(event)]


PLACES = {wire: list_places(wire) for wire in WIRE_FORMATS}


# The words and places by which the formats tell the end of this answer. In a response only its own status counts, not
# those of its items.
END_WORDS = (SCRIPT.sent_finish_reason, "end_turn", "tool_use", "completed")
END_PLACES = (
    ("choices", 0, "finish_reason"),
    ("delta", "stop_reason"),
    ("stop_reason",),
    ("response", "status"),
    ("status",),
)


@in_every_format
@pytest.mark.parametrize("named", [True, False], ids=["named", "unnamed"])
def test_the_unchanged_answer_is_read_whole(wire: WireFormat, named: bool) -> None:
    events = EVENTS[wire]
    found, failure = decode(wire.make_decoder(), [wire.write(events, wire.list_names(events) if named else None)])
    assert failure is None
    assert summarise_events(found) == (TEXT, REASONING, ["clock"], ARGUMENTS, [SCRIPT.usage], [Finish("tool_calls")])


@in_every_format
@try_examples(700)
@given(st.data())
def test_any_json_in_any_place_raises_no_foreign_error(wire: WireFormat, data: st.DataObject) -> None:
    events = EVENTS[wire]
    number, path = data.draw(st.sampled_from(PLACES[wire]))
    odd = data.draw(ODD)
    changed = [*events[:number], replace_value(events[number], path, odd), *events[number + 1 :]]
    names = wire.list_names(events) if data.draw(st.booleans()) or path == ("type",) else None
    found, failure = decode(wire.make_decoder(), [wire.write(changed, names)])
    check_text(wire, number, path, odd, found, failure)
    check_end(events[number], path, odd, found, failure)
    check_figures(path, odd, found)


def check_text(
    wire: WireFormat, number: int, path: Path, odd: Any, found: list[ProviderEvent], failure: ChatError | None
) -> None:
    """Check that the text of all events but the changed one is there, and its text too if that was not touched."""
    before, own, after = (
        "".join(map(wire.read_own_text, events if isinstance(events, list) else [events]))
        for events in (EVENTS[wire][:number], EVENTS[wire][number], EVENTS[wire][number + 1 :])
    )
    text = collect_text(found)
    assert text.startswith(before)
    if "error" in path or (failure is not None and "in the stream" in failure.detail):
        return
    assert text.endswith(after)
    if not wire.is_deciding_text(path):
        assert text == before + own + after
    else:
        # Nothing comes twice.
        assert len(text) <= len(TEXT) + len(str(odd)) * 2


def check_end(event: Any, path: Path, odd: Any, found: list[ProviderEvent], failure: ChatError | None) -> None:
    """Check that there is one end, and a good one only if the word for it is unchanged or stands for a good end."""
    finishes = [event for event in found if isinstance(event, Finish)]
    assert len(finishes) + (failure is not None) == 1
    if finishes and path in END_PLACES and find_value(event, path) in END_WORDS:
        ending = read_ending(odd)
        assert ending is None or ending.reason is not None


def check_figures(path: Path, odd: Any, found: list[ProviderEvent]) -> None:
    """Check that each exact figure was sent, or is the sum of figures that were."""
    usage = next((event for event in reversed(found) if isinstance(event, Usage)), None)
    if usage is None or usage.estimated or not any(isinstance(event, Finish) for event in found):
        return
    was = SCRIPT.usage
    number = odd if isinstance(odd, int | float) and not isinstance(odd, bool) else None
    if isinstance(odd, str) and odd.strip().isdecimal():
        number = int(odd.strip())
    plausible = {was.input_tokens, was.input_tokens - was.cached_tokens, was.output_tokens, was.cached_tokens}
    plausible |= {was.reasoning_tokens, 0, was.output_tokens + was.reasoning_tokens}
    for figure in (usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.reasoning_tokens):
        reasons = (figure in plausible, number is not None and figure == number)
        sums = number is not None and figure - number in plausible
        assert any((*reasons, sums)), (usage, path, odd)
    assert usage.output_tokens > 0
    assert usage.input_tokens > 0


@in_every_format
@try_examples(300)
@given(st.data())
def test_any_json_in_any_place_of_a_whole_body_raises_no_foreign_error(wire: WireFormat, data: st.DataObject) -> None:
    """The body of a server that does not stream."""
    path = data.draw(st.sampled_from(list(list_paths(BODIES[wire]))))
    odd = data.draw(ODD)
    body = json.dumps(replace_value(BODIES[wire], path, odd)).encode("utf-8", "surrogatepass")
    try:
        found = wire.make_decoder().read_whole(body)
    except ChatError:
        return
    check_end(BODIES[wire], path, odd, found, None)
    check_figures(path, odd, found)
    if path[0] not in ("choices", "content", "output"):
        assert collect_text(found) == TEXT
    else:
        assert len(collect_text(found)) <= len(TEXT) + len(str(odd)) * 2


KNOWN_WORDS = ("stop", "STOP", "length", "sensitive", "error", "tool_calls")
# Every word for a good end, in any format, has one of these letters, so no text without them is one.
UNKNOWN_WORDS = st.text(st.characters(exclude_characters="eEoOiI"), min_size=1, max_size=30)


@in_every_format
@try_examples(150)
@given(UNKNOWN_WORDS | st.sampled_from(KNOWN_WORDS))
def test_any_finish_reason_is_read_without_a_foreign_error(wire: WireFormat, word: str) -> None:
    events = json.loads(
        json.dumps(wire.record(Script(text=TEXT, finish_reason="the_word"))).replace('"the_word"', json.dumps(word))
    )
    found, failure = decode(wire.make_decoder(), [wire.write(events)])
    assert collect_text(found) == TEXT
    ending = read_ending(word)
    finishes = [event.reason for event in found if isinstance(event, Finish)]
    if word not in KNOWN_WORDS:
        assert not finishes
    if ending is None or ending.reason is None:
        assert failure is not None
        assert (failure.code, finishes) == ("upstream_error", [])
    else:
        assert (failure, finishes) == (None, [ending.reason])


FIGURES = st.one_of(st.none(), st.integers(-5, 500), ODD)


@in_every_format
@try_examples(250)
@given(st.data())
def test_any_usage_reports_in_any_order_are_read(wire: WireFormat, data: st.DataObject) -> None:
    """No figure shrinks, an exact one was sent as it is or is the sum of some that were, and the text is whole."""
    figures = st.dictionaries(st.sampled_from(wire.figures), FIGURES, max_size=5)
    reports = data.draw(st.lists(figures, max_size=4))
    events = wire.record(Script(text=TEXT, no_usage=True, chunk_size=9))
    for report in reports:
        events.insert(data.draw(st.integers(0, len(events) - 1)), wire.report(report))
    if (last := data.draw(st.none() | figures)) is not None and "response" in events[-1]:
        events[-1]["response"]["usage"] = last
        reports.append(last)
    found, failure = decode(wire.make_decoder(), [wire.write(events, wire.list_names(events))])
    assert (failure, collect_text(found)) == (None, TEXT)
    usages = [event for event in found if isinstance(event, Usage)]
    if not usages:
        return
    last_usage = usages[-1]
    assert last_usage.cached_tokens <= last_usage.input_tokens
    assert last_usage.reasoning_tokens <= last_usage.output_tokens
    assert min(last_usage.input_tokens, last_usage.output_tokens) > 0
    assert max(last_usage.input_tokens, last_usage.output_tokens) < 2**31
    if not last_usage.estimated:
        counts = {count for report in reports for count in map(count_in, report.values()) if count is not None}
        sums = {0} | counts | {a + b for a in counts for b in counts}
        sums |= {a + b for a in sums for b in counts}
        assert {
            last_usage.input_tokens,
            last_usage.output_tokens,
            last_usage.cached_tokens,
            last_usage.reasoning_tokens,
        } <= sums


def count_in(value: object) -> float | None:
    """Return the number that was sent, as a number or as a string of digits."""
    if isinstance(value, str):
        return int(value.strip()) if value.strip().isdecimal() else None
    return value if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 else None


@in_every_format
@try_examples(120)
@given(st.data())
def test_any_cut_of_the_bytes_gives_the_same_answer(wire: WireFormat, data: st.DataObject) -> None:
    events = EVENTS[wire]
    number, path = data.draw(st.sampled_from(PLACES[wire]))
    raw = wire.write([*events[:number], replace_value(events[number], path, data.draw(ODD)), *events[number + 1 :]])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=12)))
    reads = [raw[start:end] for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True) if raw[start:end]]
    whole, failure = decode(wire.make_decoder(), [raw])
    cut, cut_failure = decode(wire.make_decoder(), reads)
    assert summarise_events(cut) == summarise_events(whole)
    assert str(cut_failure) == str(failure)


# The event by which each format says how the answer ended. It may stand for the end marker: a stream that is cut after
# it is complete.
LAST_WORDS = {
    "openai": b'"finish_reason": "tool_calls"',
    "anthropic": b'"message_stop"',
    "responses": b'"response.completed"',
}


@in_every_format
def test_a_stream_that_is_cut_anywhere_is_never_complete_before_its_end(wire: WireFormat) -> None:
    raw = wire.write(EVENTS[wire])
    end = raw.index(b"\n\n", raw.index(LAST_WORDS[wire.name]))
    for cut in range(0, len(raw), 7):
        found, failure = decode(wire.make_decoder(), [raw[:cut]])
        assert any(isinstance(event, Finish) for event in found) == (cut >= end)
        assert (failure is None) == (cut >= end)
        assert TEXT.startswith(collect_text(found))
