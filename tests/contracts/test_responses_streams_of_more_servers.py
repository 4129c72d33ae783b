"""Streams of the Responses API that CASES.md does not name: read for their text, calls, figures and end."""

from __future__ import annotations

from typing import Any

import pytest

from chat.core.events import Usage
from chat.providers.base import Provider
from tests.contracts.streams import Row, check_stream
from tests.provider_server import ProviderServer
from tests.support.odd_answers import make_chunk, write_anthropic_events, write_openai_events


def make_text_piece(t: Any, **k: Any) -> dict[str, Any]:
    return {"type": "response.output_text.delta", "item_id": "m", "output_index": 0, "delta": t, **k}


def make_completed_event(**r: Any) -> dict[str, Any]:
    return {
        "type": "response.completed",
        "response": {"status": "completed", "usage": {"input_tokens": 3, "output_tokens": 2}, **r},
    }


ROWS: dict[str, Row] = {
    "done marker": (
        write_anthropic_events(make_text_piece("Hi."), make_completed_event()) + "data: [DONE]\n\n",
        {"text": "Hi.", "usage": Usage(3, 2)},
    ),
    "incomplete null reason": (
        write_anthropic_events(make_text_piece("Hi."), make_completed_event(incomplete_details={"reason": None})),
        {"text": "Hi.", "fin": ["stop"]},
    ),
    "completed but incomplete status": (
        write_anthropic_events(
            make_text_piece("Hi."),
            make_completed_event(status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
        ),
        {"text": "Hi.", "fin": ["length"]},
    ),
    "incomplete length": (
        write_anthropic_events(
            make_text_piece("Hi."),
            {
                "type": "response.incomplete",
                "response": {"status": "incomplete", "incomplete_details": {"reason": "length"}},
            },
        ),
        {"text": "Hi.", "fin": ["length"]},
    ),
    "incomplete max_tool_calls": (
        write_anthropic_events(
            make_text_piece("Hi."),
            {
                "type": "response.incomplete",
                "response": {"status": "incomplete", "incomplete_details": {"reason": "max_tool_calls"}},
            },
        ),
        {"text": "Hi.", "err": "upstream_error"},
    ),
    "failed context": (
        write_anthropic_events(
            {
                "type": "response.failed",
                "response": {
                    "status": "failed",
                    "error": {
                        "code": "context_length_exceeded",
                        "message": "Your input exceeds the context window of this model.",
                    },
                },
            }
        ),
        {"err": "context_length"},
    ),
    "failed quota": (
        write_anthropic_events(
            {
                "type": "response.failed",
                "response": {
                    "status": "failed",
                    "error": {"code": "insufficient_quota", "message": "You exceeded your current quota"},
                },
            }
        ),
        {"err": "provider_budget"},
    ),
    "failed rate": (
        write_anthropic_events(
            {
                "type": "response.failed",
                "response": {
                    "status": "failed",
                    "error": {"code": "rate_limit_exceeded", "message": "Rate limit reached. Please try again in 1s."},
                },
            }
        ),
        {"err": "rate_limited"},
    ),
    "failed cyber": (
        write_anthropic_events(
            {
                "type": "response.failed",
                "response": {
                    "status": "failed",
                    "error": {
                        "code": "cyber_policy",
                        "message": "This request has been flagged for possible cybersecurity risk.",
                    },
                },
            }
        ),
        {"err": "content_filter"},
    ),
    "nested error event": (
        write_anthropic_events(
            {
                "type": "error",
                "error": {
                    "type": "invalid_request_error",
                    "code": "context_length_exceeded",
                    "message": "Your input exceeds the context window",
                },
                "sequence_number": 2,
            }
        ),
        {"err": "context_length"},
    ),
    "error event flat": (
        write_anthropic_events(
            {
                "type": "error",
                "code": "server_error",
                "message": "The server had an error",
                "param": None,
                "sequence_number": 3,
            }
        ),
        {"err": "upstream_error"},
    ),
    "response.error": (
        write_anthropic_events(
            make_text_piece("Half"),
            {"type": "response.error", "error": {"code": "rate_limit_exceeded", "message": "slow"}},
        ),
        {"text": "Half", "err": "rate_limited"},
    ),
    "perplexity error beside the response": (
        write_anthropic_events(
            {"type": "response.failed", "error": {"code": "context_length_exceeded", "message": "long"}}
        ),
        {"err": "context_length"},
    ),
    "openrouter content_part.delta and done": (
        write_anthropic_events(
            {"type": "response.content_part.delta", "output_index": 0, "content_index": 0, "delta": "Hi."},
            make_completed_event() | {"type": "response.done"},
        )
        + "data: [DONE]\n\n",
        {"text": "Hi.", "fin": ["stop"], "usage": Usage(3, 2)},
    ),
    **{
        f"a message in the whole response alone, after {name}": (
            write_anthropic_events(
                event,
                make_completed_event(
                    output=[
                        {"type": "message", "id": "m", "content": [{"type": "output_text", "text": "Hi."}]},
                        {"type": "function_call", "id": "f", "call_id": "c", "name": "clock", "arguments": "{}"},
                    ]
                ),
            ),
            {"text": "Hi.", "calls": [("clock", "{}")], "fin": ["tool_calls"]},
        )
        for name, event in {
            "a search": {"type": "response.output_item.done", "output_index": 0, "item": {"type": "web_search_call"}},
            "reasoning": {"type": "response.reasoning_text.delta", "item_id": "r", "output_index": 0, "delta": "Hm."},
        }.items()
    },
    "a call in the whole response alone, after text": (
        write_anthropic_events(
            make_text_piece("Hi."),
            make_completed_event(
                output=[
                    {"type": "message", "id": "another", "content": [{"type": "output_text", "text": "Hi."}]},
                    {"type": "function_call", "id": "f", "call_id": "c", "name": "clock", "arguments": "{}"},
                ]
            ),
        ),
        {"text": "Hi.", "calls": [("clock", "{}")], "fin": ["tool_calls"]},
    ),
    "chat style usage": (
        write_anthropic_events(
            make_text_piece("Hi."),
            make_completed_event(usage={"prompt_tokens": 30, "completion_tokens": 4, "total_tokens": 34}),
        ),
        {"text": "Hi.", "usage": Usage(30, 4)},
    ),
    "completed no response": (
        write_anthropic_events(make_text_piece("Hi."), {"type": "response.completed"}),
        {"text": "Hi.", "fin": ["stop"]},
    ),
    "text done only": (
        write_anthropic_events(
            {"type": "response.output_text.done", "item_id": "m", "output_index": 0, "text": "Hi."},
            make_completed_event(),
        ),
        {"text": "Hi."},
    ),
    "content_part done only": (
        write_anthropic_events(
            {
                "type": "response.content_part.done",
                "item_id": "m",
                "output_index": 0,
                "part": {"type": "output_text", "text": "Hi."},
            },
            make_completed_event(),
        ),
        {"text": "Hi."},
    ),
    "delta list": (
        write_anthropic_events(make_text_piece([{"type": "output_text", "text": "Hi."}]), make_completed_event()),
        {"text": "Hi."},
    ),
    "reasoning_text": (
        write_anthropic_events(
            {"type": "response.reasoning_text.delta", "item_id": "r", "output_index": 0, "delta": "Hm."},
            make_text_piece("Hi.", output_index=1),
            make_completed_event(),
        ),
        {"text": "Hi.", "reasoning": "Hm."},
    ),
    "reasoning.delta (vllm old)": (
        write_anthropic_events(
            {"type": "response.reasoning.delta", "item_id": "r", "output_index": 0, "delta": "Hm."},
            make_text_piece("Hi.", output_index=1),
            make_completed_event(),
        ),
        {"text": "Hi.", "reasoning": "Hm."},
    ),
    "inline think": (
        write_anthropic_events(make_text_piece("<think>Hm.</think>Hi."), make_completed_event()),
        {"text": "Hi.", "reasoning": "Hm."},
    ),
    "queued/in_progress": (
        write_anthropic_events(
            {"type": "response.queued", "response": {"status": "queued"}},
            {"type": "response.in_progress", "response": {"status": "in_progress"}},
            make_text_piece("Hi."),
            make_completed_event(),
        ),
        {"text": "Hi."},
    ),
    "keepalive event": (
        write_anthropic_events(
            make_text_piece("Hi."), {"type": "keepalive", "sequence_number": 9}, make_completed_event()
        ),
        {"text": "Hi."},
    ),
    "mcp call item": (
        write_anthropic_events(
            {"type": "response.output_item.added", "output_index": 0, "item": {"type": "mcp_call", "id": "x"}},
            make_text_piece("Hi.", output_index=1),
            make_completed_event(),
        ),
        {"text": "Hi."},
    ),
    "custom_tool_call": (
        write_anthropic_events(
            {
                "type": "response.output_item.done",
                "output_index": 0,
                "item": {"type": "custom_tool_call", "call_id": "a", "name": "clock", "input": "now"},
            },
            make_completed_event(),
        ),
        {},
    ),
    "status cancelled": (
        write_anthropic_events(make_text_piece("Hi."), make_completed_event(status="cancelled")),
        {"text": "Hi.", "err": "upstream_error"},
    ),
    "eof": (write_anthropic_events(make_text_piece("Hi.")), {"text": "Hi.", "err": "upstream_error"}),
    "done marker instead of completed": (
        write_anthropic_events(make_text_piece("Hi.")) + "data: [DONE]\n\n",
        {"text": "Hi.", "err": "upstream_error"},
    ),
    "error null on completed": (
        write_anthropic_events(make_text_piece("Hi."), make_completed_event(error=None)),
        {"text": "Hi.", "fin": ["stop"]},
    ),
    "error empty object": (
        write_anthropic_events(make_text_piece("Hi."), make_completed_event(error={"code": None, "message": None})),
        {"text": "Hi.", "fin": ["stop"]},
    ),
    "chat chunks": (write_openai_events(make_chunk("Hi."), make_chunk(reason="stop")), {"err": "upstream_error"}),
    "cr": (write_anthropic_events(make_text_piece("Hi."), make_completed_event()).replace("\n", "\r"), {"text": "Hi."}),
    "no final blank": (
        write_anthropic_events(make_text_piece("Hi."), make_completed_event()).rstrip("\n"),
        {"text": "Hi."},
    ),
}


@pytest.mark.parametrize("name", ["responses"], indirect=True)
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
async def test_a_stream_is_read_for_what_it_says(row: Row, provider: Provider, server: ProviderServer) -> None:
    await check_stream(provider, server, row)
