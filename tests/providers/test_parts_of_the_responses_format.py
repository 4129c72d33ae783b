"""Streams of the Responses API from servers that keep to a part of the format only."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chat.core.events import Finish, Reasoning
from chat.providers.base import Prompt, Turn
from chat.providers.openai_responses_decoder import ResponsesDecoder
from tests.support.any_json import collect_text, decode, summarise_events


def make_decoder() -> ResponsesDecoder:
    return ResponsesDecoder(1_000_000, Prompt("m", (Turn("user", "Why is the sky blue?"),)), "m at home")


MESSAGE = {"type": "message", "id": "msg_1", "content": [{"type": "output_text", "text": "Hi."}]}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "clock", "arguments": "{}"}
REASONED = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]}
COMPLETED = {"type": "response.completed", "response": {"status": "completed", "output": [REASONED, MESSAGE, CALL]}}
DELTA = {"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 1, "delta": "Hi."}
REFUSAL = {"type": "response.refusal.delta", "item_id": "msg_1", "output_index": 1, "delta": "Hi."}


def make_done_event(item: dict[str, Any], place: int) -> dict[str, Any]:
    return {"type": "response.output_item.done", "output_index": place, "item": item}


def make_added_event(item: dict[str, Any], place: int) -> dict[str, Any]:
    return {"type": "response.output_item.added", "output_index": place, "item": {**item, "arguments": ""}}


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([COMPLETED], id="the end alone"),
        pytest.param(
            [make_done_event(REASONED, 0), make_done_event(MESSAGE, 1), make_done_event(CALL, 2), COMPLETED],
            id="whole items",
        ),
        pytest.param(
            [make_done_event(REASONED, 0), DELTA, make_done_event(MESSAGE, 1), make_done_event(CALL, 2), COMPLETED],
            id="text in deltas",
        ),
        pytest.param([make_done_event(REASONED, 0), REFUSAL, make_done_event(CALL, 2), COMPLETED], id="a refusal"),
        pytest.param(
            [
                make_done_event(REASONED, 0),
                DELTA,
                make_added_event(CALL, 2),
                make_done_event(CALL, 2),
                make_done_event(MESSAGE, 1),
                COMPLETED,
            ],
            id="the message ends after the call",
        ),
        pytest.param(
            [
                make_done_event(REASONED, 0),
                {**DELTA, "item_id": "msg_other"},
                make_done_event(MESSAGE, 1),
                make_done_event(CALL, 2),
                COMPLETED,
            ],
            id="another id in the deltas",
        ),
        pytest.param(
            [{"type": "response.of_tomorrow", "error": "?"}, COMPLETED, {"type": "error", "code": "late"}],
            id="unknown events, and one after the end",
        ),
    ],
)
def test_an_answer_is_taken_from_wherever_it_stands_once(events: list[Any]) -> None:
    found, failure = decode(make_decoder(), ["".join(f"data: {json.dumps(event)}\n\n" for event in events).encode()])
    assert failure is None
    text, reasoning, names, arguments, _, finishes = summarise_events(found)
    assert (text, reasoning, names, arguments) == ("Hi.", "Hm.", ["clock"], "{}")
    assert finishes == [Finish("tool_calls")]


@pytest.mark.parametrize(
    ("response", "code"),
    [
        ({"status": "failed", "error": {"code": "rate_limit_exceeded", "message": "slow down"}}, "rate_limited"),
        ({"status": "failed", "error": {"code": "server_error", "message": "broken"}}, "upstream_error"),
        ({"status": "failed", "error": {"code": "bio_policy", "message": "no"}}, "content_filter"),
        ({"status": "failed", "error": {"code": "invalid_prompt", "message": "no"}}, "bad_request"),
        ({"status": "failed", "error": None}, "upstream_error"),
        (None, "upstream_error"),
    ],
)
@pytest.mark.parametrize("kind", ["response.failed", "error"])
def test_a_failure_has_its_code_and_keeps_the_text(response: Any, code: str, kind: str) -> None:
    error = {"code": "server_error", "message": "broken", **((response or {}).get("error") or {})}
    event = {"type": kind, "response": response} if kind != "error" else {"type": "error", **error, "param": None}
    found, failure = decode(make_decoder(), [f"data: {json.dumps(DELTA)}\n\ndata: {json.dumps(event)}\n\n".encode()])
    assert failure is not None
    assert (failure.code, collect_text(found)) == (code, "Hi.")
    assert failure.may_pass or code != "upstream_error"


@pytest.mark.parametrize("parts", [["One.", "Two."], ["One."]])
def test_the_parts_of_a_summary_are_paragraphs(parts: list[str]) -> None:
    deltas = [
        {"type": "response.reasoning_summary_text.delta", "item_id": "rs_1", "summary_index": number, "delta": piece}
        for number, part in enumerate(parts)
        for piece in (part[:2], part[2:])
    ]
    found, _ = decode(
        make_decoder(), ["".join(f"data: {json.dumps(event)}\n\n" for event in [*deltas, COMPLETED]).encode()]
    )
    assert collect_text(found, Reasoning) == "\n\n".join(parts)


def make_thought(item_id: str, place: int, piece: str) -> dict[str, Any]:
    kind = "response.reasoning_summary_text.delta"
    return {"type": kind, "item_id": item_id, "output_index": place, "summary_index": 0, "delta": piece}


def make_whole_thought(item_id: str, place: int, text: str) -> dict[str, Any]:
    item = {"type": "reasoning", "id": item_id, "summary": [{"type": "summary_text", "text": text}]}
    return {"type": "response.output_item.done", "output_index": place, "item": item}


@pytest.mark.parametrize(
    ("events", "reasoning"),
    [
        ([make_thought("a", 0, "**A"), make_thought("a", 0, "**"), make_thought("b", 2, "**B**")], "**A**\n\n**B**"),
        ([make_whole_thought("a", 0, "**A**"), make_whole_thought("b", 2, "**B**")], "**A**\n\n**B**"),
        ([make_thought("a", 0, "**A**"), make_whole_thought("b", 2, "**B**")], "**A**\n\n**B**"),
        ([make_thought("a", 0, "**A"), make_thought("another", 0, "**")], "**A**"),
    ],
    ids=["in pieces", "whole", "either", "one whose id changes"],
)
def test_what_is_thought_after_a_search_is_a_paragraph(events: list[Any], reasoning: str) -> None:
    search = {"type": "response.output_item.done", "output_index": 1, "item": {"type": "web_search_call", "id": "ws"}}
    sent = [events[0], *([search] if len(events) == 2 else []), *events[1:], {**DELTA, "output_index": 3}, COMPLETED]
    found, failure = decode(make_decoder(), ["".join(f"data: {json.dumps(event)}\n\n" for event in sent).encode()])
    assert failure is None
    assert summarise_events(found)[:2] == ("Hi.", reasoning)


def test_a_part_that_is_reasoning_is_not_shown_as_the_answer() -> None:
    part = {"type": "reasoning_text", "text": "Hm."}
    sent = [{"type": "response.content_part.done", "item_id": "rs", "output_index": 0, "part": part}, DELTA, COMPLETED]
    found, failure = decode(make_decoder(), ["".join(f"data: {json.dumps(event)}\n\n" for event in sent).encode()])
    assert failure is None
    assert summarise_events(found)[:2] == ("Hi.", "Hm.")
