"""Streams of the Messages API that CASES.md does not name: read for their text, calls, figures and end."""

# ruff: noqa: E501 - a row is one stream
from __future__ import annotations

from typing import Any

import pytest

from chat.core.events import Usage
from chat.providers.base import Provider
from tests.contracts.hearing import ANTHROPIC
from tests.contracts.streams import Row, check_stream
from tests.provider_server import ProviderServer
from tests.support.odd_answers import make_chunk, open_answer, write_anthropic_events, write_openai_events


def make_text_event(text: str, i: int = 0) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": i, "delta": {"type": "text_delta", "text": text}}


def make_end_events(reason: str = "end_turn", **u: Any) -> list[dict[str, Any]]:
    return [
        {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 2, **u}},
        {"type": "message_stop"},
    ]


def make_call_event(i: int) -> dict[str, Any]:
    block = {"type": "tool_use", "id": f"toolu_{i}", "name": "clock", "input": {}}
    return {"type": "content_block_start", "index": i, "content_block": block}


def make_arguments_event(piece: str, i: int) -> dict[str, Any]:
    delta = {"type": "input_json_delta", "partial_json": piece}
    return {"type": "content_block_delta", "index": i, "delta": delta}


ROWS: dict[str, Row] = {
    "calls begun before their arguments": (
        write_anthropic_events(
            open_answer(),
            make_call_event(0),
            make_call_event(1),
            make_arguments_event('{"a":', 0),
            make_arguments_event('{"b":2}', 1),
            make_arguments_event("1}", 0),
            *make_end_events("tool_use"),
        ),
        {"calls": [("clock", '{"a":1}'), ("clock", '{"b":2}')]},
    ),
    "arguments after the block's end": (
        write_anthropic_events(
            open_answer(),
            make_call_event(0),
            {"type": "content_block_stop", "index": 0},
            make_call_event(1),
            make_arguments_event('{"a":1}', 0),
            {"type": "content_block_stop", "index": 1},
            *make_end_events("tool_use"),
        ),
        {"calls": [("clock", '{"a":1}'), ("clock", "{}")]},
    ),
    "text in start": (
        write_anthropic_events(
            open_answer(),
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "Hi"}},
            make_text_event("."),
            *make_end_events(),
        ),
        {"text": "Hi."},
    ),
    "duplicate start": (
        write_anthropic_events(
            open_answer(input_tokens=3), open_answer(input_tokens=3), make_text_event("Hi."), *make_end_events()
        ),
        {"text": "Hi.", "usage": Usage(3, 2)},
    ),
    "vertex_event": (
        'event: vertex_event\ndata: {"type":"vertex_event","usage":{}}\n\n'
        + write_anthropic_events(open_answer(), make_text_event("Hi."), *make_end_events()),
        {"text": "Hi."},
    ),
    "done after stop": (
        write_anthropic_events(open_answer(), make_text_event("Hi."), *make_end_events()) + "data: [DONE]\n\n",
        {"text": "Hi."},
    ),
    "eof after message_delta": (
        write_anthropic_events(open_answer(), make_text_event("Hi."), make_end_events()[0]),
        {"text": "Hi.", "err": "upstream_error"},
    ),
    "timeout_error": (
        write_anthropic_events(
            open_answer(),
            make_text_event("Hi."),
            {"type": "error", "error": {"details": None, "type": "timeout_error", "message": "Request timed out"}},
        ),
        {"text": "Hi.", "err": "timeout"},
    ),
    "billing": (
        write_anthropic_events(
            {
                "type": "error",
                "error": {
                    "type": "billing_error",
                    "message": "Your credit balance is too low to access the Anthropic API.",
                },
            }
        ),
        {"text": "", "err": "provider_budget"},
    ),
    "rate": (
        write_anthropic_events(
            {"type": "error", "error": {"type": "rate_limit_error", "message": "x"}, "request_id": "r"}
        ),
        {"text": "", "err": "rate_limited"},
    ),
    "too large": (
        write_anthropic_events(
            {
                "type": "error",
                "error": {
                    "type": "invalid_request_error",
                    "message": "prompt is too long: 210000 tokens > 200000 maximum",
                },
            }
        ),
        {"text": "", "err": "context_length"},
    ),
    "openai error in anthropic": (
        'data: {"error":{"message":"context length exceeded","type":"invalid_request_error","code":"context_length_exceeded"}}\n\n',
        {"text": "", "err": "context_length"},
    ),
    "stop reason compaction": (
        write_anthropic_events(open_answer(), make_text_event("Hi."), *make_end_events("compaction")),
        {"text": "Hi.", "err": "upstream_error"},
    ),
    "stop stop (vllm)": (
        write_anthropic_events(open_answer(), make_text_event("Hi."), *make_end_events("stop")),
        {"text": "Hi.", "fin": ["stop"]},
    ),
    "stop length": (
        write_anthropic_events(open_answer(), make_text_event("Hi."), *make_end_events("length")),
        {"text": "Hi.", "fin": ["length"]},
    ),
    "usage in stop": (
        write_anthropic_events(
            open_answer(input_tokens=0, output_tokens=0),
            make_text_event("Hi."),
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
            {
                "type": "message_stop",
                "usage": {"input_tokens": 30, "output_tokens": 4},
                "amazon-bedrock-invocationMetrics": {"inputTokenCount": 30, "outputTokenCount": 4},
            },
        ),
        {"text": "Hi.", "usage": Usage(30, 4)},
    ),
    "stop_reason in start null": (
        write_anthropic_events(
            {
                "type": "message_start",
                "message": {
                    "id": "m",
                    "type": "message",
                    "role": "assistant",
                    "content": [],
                    "stop_reason": None,
                    "usage": {"input_tokens": 3},
                },
            },
            make_text_event("Hi."),
            *make_end_events(),
        ),
        {"text": "Hi."},
    ),
    "text as parts": (
        write_anthropic_events(
            open_answer(),
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": [{"type": "text", "text": "Hi."}]},
            },
            *make_end_events(),
        ),
        {"text": "Hi."},
    ),
    "thinking between": (
        write_anthropic_events(
            open_answer(),
            {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm."}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "s"}},
            {"type": "content_block_stop", "index": 0},
            make_text_event("Hi.", 1),
            *make_end_events(),
        ),
        {"text": "Hi.", "reasoning": "Hm."},
    ),
    "tool input in start, string": (
        write_anthropic_events(
            open_answer(),
            {
                "type": "content_block_start",
                "index": 0,
                "content_block": {"type": "tool_use", "id": "t", "name": "clock", "input": '{"zone": "CET"}'},
            },
            *make_end_events("tool_use"),
        ),
        {"text": "", "calls": [("clock", '{"zone": "CET"}')]},
    ),
    "tool input in start and delta": (
        write_anthropic_events(
            open_answer(),
            {
                "type": "content_block_start",
                "index": 0,
                "content_block": {"type": "tool_use", "id": "t", "name": "clock", "input": {}},
            },
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "input_json_delta", "partial_json": '{"zone": "CET"}'},
            },
            *make_end_events("tool_use"),
        ),
        {"text": "", "calls": [("clock", '{"zone": "CET"}')]},
    ),
    "unknown delta type": (
        write_anthropic_events(
            open_answer(),
            make_text_event("Hi"),
            {"type": "content_block_delta", "index": 0, "delta": {"type": "compaction_delta", "content": "x"}},
            make_text_event("."),
            *make_end_events(),
        ),
        {"text": "Hi."},
    ),
    "unknown block": (
        write_anthropic_events(
            open_answer(),
            {"type": "content_block_start", "index": 0, "content_block": {"type": "fallback", "text": "no"}},
            make_text_event("Hi.", 1),
            *make_end_events(),
        ),
        {"text": "Hi."},
    ),
    "usage strings": (
        write_anthropic_events(
            open_answer(input_tokens="30"), make_text_event("Hi."), *make_end_events(output_tokens="4")
        ),
        {"text": "Hi.", "usage": Usage(30, 4)},
    ),
    "openai chunks": (write_openai_events(make_chunk("Hi."), make_chunk(reason="stop")), {"err": "upstream_error"}),
    "single newlines": (
        write_anthropic_events(open_answer(), make_text_event("Hi."), *make_end_events()).replace("\n\n", "\n"),
        {"text": "Hi."},
    ),
    "no event names": (
        "".join(
            x
            for x in write_anthropic_events(open_answer(), make_text_event("Hi."), *make_end_events()).splitlines(True)
            if not x.startswith("event:")
        ),
        {"text": "Hi."},
    ),
    "cr": (
        write_anthropic_events(open_answer(), make_text_event("Hi."), *make_end_events()).replace("\n", "\r"),
        {"text": "Hi."},
    ),
    "no final blank": (
        write_anthropic_events(open_answer(), make_text_event("Hi."), *make_end_events()).rstrip("\n"),
        {"text": "Hi.", "fin": ["stop"]},
    ),
    "refusal details": (
        write_anthropic_events(
            open_answer(),
            make_text_event("Hi."),
            {
                "type": "message_delta",
                "delta": {"stop_reason": "refusal", "stop_details": {"category": "unknown_kind"}},
                "usage": {"output_tokens": 2},
            },
            {"type": "message_stop"},
        ),
        {"text": "Hi.", "fin": ["content_filter"]},
    ),
}


@ANTHROPIC
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
async def test_a_stream_is_read_for_what_it_says(row: Row, provider: Provider, server: ProviderServer) -> None:
    await check_stream(provider, server, row)
