"""Streams as servers send them that CASES.md does not name: read for their text, reasoning, calls, figures and end."""

# ruff: noqa: E501 - a row is one stream
from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from chat.core.events import Usage
from chat.providers.base import CalledTool, Provider, ToolSchema, Turn
from tests.contracts.hearing import PROMPT, Heard, hear
from tests.provider_server import ProviderServer, Script
from tests.support.odd_answers import make_chunk, open_answer, write_anthropic_events, write_openai_events

ASKED = replace(PROMPT, tools=(ToolSchema("clock", "The time", {"type": "object"}),))
Row = tuple[str, dict[str, Any]]


def make_delta(**members: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": members, "finish_reason": None}]}


def make_reasoning_block(kind: str, **members: Any) -> list[dict[str, Any]]:
    """`reasoning_details` of one block."""
    return [{"type": f"reasoning.{kind}", **members, "index": 0}]


STOP = make_chunk(reason="stop")
OPENAI: dict[str, Row] = {
    "details with signature": (
        write_openai_events(
            make_delta(reasoning="H", reasoning_details=make_reasoning_block("text", text="H")),
            make_delta(
                reasoning="m.",
                reasoning_details=make_reasoning_block("text", text="m.", signature="abc"),
            ),
            make_chunk("Hi."),
            STOP,
        ),
        {"text": "Hi.", "reasoning": "Hm."},
    ),
    "vllm continuous usage": (
        write_openai_events(
            make_delta(role="assistant", content="")
            | {"usage": {"prompt_tokens": 20, "total_tokens": 20, "completion_tokens": 0}},
            make_chunk("Hi.") | {"usage": {"prompt_tokens": 20, "total_tokens": 22, "completion_tokens": 2}},
            STOP | {"usage": {"prompt_tokens": 20, "total_tokens": 23, "completion_tokens": 3}},
            {"choices": [], "usage": {"prompt_tokens": 20, "total_tokens": 23, "completion_tokens": 3}},
        ),
        {"text": "Hi.", "usage": Usage(20, 3)},
    ),
    "vllm stop_reason int": (
        write_openai_events(
            {"choices": [{"index": 0, "delta": {"content": "Hi."}, "finish_reason": "stop", "stop_reason": 151643}]}
        ),
        {"text": "Hi.", "fin": ["stop"]},
    ),
    "azure filters": (
        write_openai_events(
            {
                "choices": [],
                "created": 0,
                "id": "",
                "model": "",
                "object": "",
                "prompt_filter_results": [
                    {"prompt_index": 0, "content_filter_results": {"hate": {"filtered": False, "severity": "safe"}}}
                ],
            },
            make_chunk("Hi."),
            {
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": None,
                        "content_filter_offsets": {"check_offset": 1, "start_offset": 1, "end_offset": 3},
                        "content_filter_results": {},
                    }
                ]
            },
            {
                "choices": [
                    {
                        "index": 0,
                        "delta": {},
                        "content_filter_result": {
                            "error": {"code": "content_filter_error", "message": "The contents are not filtered"}
                        },
                        "finish_reason": None,
                    }
                ]
            },
            STOP,
        ),
        {"text": "Hi.", "fin": ["stop"]},
    ),
    "openrouter comment and mid error": (
        ": OPENROUTER PROCESSING\n\n"
        + write_openai_events(
            make_chunk("Half"),
            {
                "id": "gen",
                "object": "chat.completion.chunk",
                "error": {"code": "server_error", "message": "Provider disconnected"},
                "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}],
            },
            done=False,
        ),
        {"text": "Half", "err": "upstream_error"},
    ),
    "ollama bare line error": (
        write_openai_events(make_chunk("Half"), done=False)
        + '{"error":"an error was encountered while running the model: unexpected EOF"}\n',
        {"text": "Half", "err": "upstream_error"},
    ),
    "ollama bare line context": (
        write_openai_events(done=False)
        + ': x\n\n{"error":"prompt is too long: the input length exceeds the context length"}\n\n',
        {"text": "", "err": "context_length"},
    ),
    **{
        name: (write_openai_events(thought, make_chunk("Hi."), STOP), {"text": "Hi.", "reasoning": "Hm."})
        for name, thought in {
            "reasoning and details": make_delta(
                reasoning="Hm.", reasoning_details=make_reasoning_block("text", text="Hm.")
            ),
            "reasoning_details alone": make_delta(
                content="", reasoning_details=make_reasoning_block("text", text="Hm.")
            ),
            "reasoning_details summary": make_delta(
                content="", reasoning_details=make_reasoning_block("summary", summary="Hm.")
            ),
            "reasoning_text field": make_delta(reasoning_text="Hm."),
            "thinking field": make_delta(thinking="Hm."),
            "reasoning object": make_delta(reasoning={"content": "Hm."}),
        }.items()
    },
    "gemini thought flag": (
        write_openai_events(
            make_delta(content="<thought>Hm.", extra_content={"google": {"thought": True}}),
            make_delta(content="</thought>Hi."),
            STOP,
        ),
        {"text": "Hi.", "reasoning": "Hm."},
    ),
    "perplexity cumulative message": (
        write_openai_events(
            {
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": "Hello"},
                        "delta": {"role": "assistant", "content": "Hello"},
                    }
                ],
                "citations": ["https://a"],
            },
            {
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": "Hello world"},
                        "delta": {"content": " world"},
                    }
                ]
            },
            {
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": "stop",
                        "message": {"role": "assistant", "content": "Hello world"},
                        "delta": {"content": ""},
                    }
                ]
            },
        ),
        {"text": "Hello world\n\nSources:\n\n- [a](<https://a>)"},
    ),
    "legacy text": (
        write_openai_events(
            {"object": "text_completion", "choices": [{"text": "Hi", "index": 0, "finish_reason": None}]},
            {"choices": [{"text": ".", "index": 0, "finish_reason": "stop"}]},
        ),
        {"text": "Hi."},
    ),
    "legacy function_call": (
        write_openai_events(
            make_delta(content=None, function_call={"name": "clock", "arguments": ""}),
            make_delta(function_call={"arguments": '{"zone"'}),
            make_delta(function_call={"arguments": ':"CET"}'}),
            make_chunk(reason="function_call"),
        ),
        {"text": "", "fin": ["tool_calls"], "calls": [("clock", '{"zone":"CET"}')]},
    ),
    "done without blank line": (
        write_openai_events(make_chunk("Hi."), STOP, done=False) + "data: [DONE]",
        {"text": "Hi."},
    ),
    "stop without blank line": (
        write_openai_events(make_chunk("Hi."), done=False) + "data: " + json.dumps(STOP),
        {"text": "Hi.", "fin": ["stop"]},
    ),
    "cr only": (write_openai_events(make_chunk("Hi."), STOP).replace("\n", "\r"), {"text": "Hi."}),
    "bom no space": (
        "\ufeff" + write_openai_events(make_chunk("Hi."), STOP).replace("data: ", "data:"),
        {"text": "Hi."},
    ),
    "single newlines": (
        write_openai_events(make_chunk("Hi"), make_chunk("."), STOP).replace("\n\n", "\n"),
        {"text": "Hi."},
    ),
    "ndjson": ("".join(json.dumps(x) + "\n" for x in (make_chunk("Hi"), make_chunk("."), STOP)), {"text": "Hi."}),
    "message in single event": (
        write_openai_events(
            {
                "object": "chat.completion",
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": "Hi.", "reasoning_content": "Hm."},
                        "finish_reason": "stop",
                    }
                ],
                "usage": {"prompt_tokens": 3, "completion_tokens": 2},
            }
        ),
        {"text": "Hi.", "reasoning": "Hm.", "usage": Usage(3, 2)},
    ),
    "success code top": (
        write_openai_events(
            {"code": 0, "msg": "success"},
            make_chunk("Hi.") | {"code": 0, "msg": "success", "error": {"code": 0, "message": ""}},
            STOP | {"error": {"code": None, "message": None, "type": None}},
        ),
        {"text": "Hi.", "fin": ["stop"]},
    ),
    "minimax ok base_resp": (
        write_openai_events(
            make_chunk("Hi.") | {"base_resp": {"status_code": 0, "status_msg": ""}},
            STOP | {"base_resp": {"status_code": 0, "status_msg": ""}},
        ),
        {"text": "Hi.", "fin": ["stop"]},
    ),
    "minimax error base_resp": (
        write_openai_events(
            {"choices": None, "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}
        ),
        {"text": "", "err": "provider_budget"},
    ),
    "minimax error empty choices": (
        write_openai_events(
            {"choices": [], "base_resp": {"status_code": 1002, "status_msg": "rate limit exceeded(RPM)"}}
        ),
        {"text": "", "err": "rate_limited"},
    ),
    "minimax final chunk whole message": (
        write_openai_events(
            make_chunk("Hel"),
            make_chunk("lo."),
            {
                "object": "chat.completion",
                "choices": [
                    {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello."}}
                ],
                "usage": {"total_tokens": 9, "prompt_tokens": 3, "completion_tokens": 6},
            },
        ),
        {"text": "Hello.", "usage": Usage(3, 6)},
    ),
    "delta and message both null": (
        write_openai_events({"choices": [{"index": 0, "delta": None, "message": None}]}, make_chunk("Hi."), STOP),
        {"text": "Hi."},
    ),
    "html in stream": (
        write_openai_events(make_chunk("Half"), done=False)
        + "<html><head><title>504 Gateway Time-out</title></head></html>\n",
        {"text": "Half", "err": "upstream_error"},
    ),
    "usage strings floats mixed": (
        write_openai_events(
            make_chunk("Hi."),
            STOP,
            {"choices": [], "usage": {"prompt_tokens": "20", "completion_tokens": 9.0, "total_tokens": "29"}},
        ),
        {"text": "Hi.", "usage": Usage(20, 9)},
    ),
    "usage list": (
        write_openai_events(
            make_chunk("Hi."), STOP, {"choices": [], "usage": [{"prompt_tokens": 20, "completion_tokens": 9}]}
        ),
        {"text": "Hi."},
    ),
    "usage per chunk delta (not cumulative)": (
        write_openai_events(
            make_chunk("Hi.", usage={"prompt_tokens": 20, "completion_tokens": 1}),
            make_chunk(" Yo.", usage={"prompt_tokens": 20, "completion_tokens": 2}),
            STOP | {"usage": {"prompt_tokens": 20, "completion_tokens": 3}},
        ),
        {"text": "Hi. Yo.", "usage": Usage(20, 3)},
    ),
    "ollama native timings": (
        write_openai_events(make_chunk("Hi."), STOP | {"timings": {"prompt_n": 20, "predicted_n": 9}}),
        {"text": "Hi."},
    ),
    "gemini usage candidates": (
        write_openai_events(
            make_chunk("Hi."),
            STOP,
            {"choices": [], "usage": {"prompt_tokens": 20, "completion_tokens": 9, "total_tokens": 100}},
        ),
        {"text": "Hi.", "usage": Usage(20, 80, estimated=True)},
    ),
    "usage null completion": (
        write_openai_events(
            make_chunk("12345678"),
            STOP,
            {"choices": [], "usage": {"prompt_tokens": 20, "completion_tokens": None, "total_tokens": 20}},
        ),
        {"text": "12345678", "usage": Usage(20, 2, estimated=True)},
    ),
    "anthropic cache in openai": (
        write_openai_events(
            make_chunk("Hi."),
            STOP,
            {
                "choices": [],
                "usage": {
                    "prompt_tokens": 592,
                    "completion_tokens": 9,
                    "cache_read_input_tokens": 100,
                    "cache_creation_input_tokens": 20,
                    "prompt_tokens_details": {"cached_tokens": 100},
                },
            },
        ),
        {"text": "Hi.", "usage": Usage(592, 9, cached_tokens=100, written_tokens=20)},
    ),
    "litellm cache_creation in details": (
        write_openai_events(
            make_chunk("Hi."),
            STOP,
            {
                "choices": [],
                "usage": {
                    "prompt_tokens": 592,
                    "completion_tokens": 9,
                    "prompt_tokens_details": {"cached_tokens": 100, "cache_creation_tokens": 20},
                },
            },
        ),
        {"text": "Hi.", "usage": Usage(592, 9, cached_tokens=100, written_tokens=20)},
    ),
    "qwen cached": (
        write_openai_events(
            make_chunk("Hi."),
            STOP,
            {
                "choices": [],
                "usage": {
                    "prompt_tokens": 20,
                    "completion_tokens": 9,
                    "prompt_tokens_details": {"cached_tokens": 4},
                    "completion_tokens_details": {"text_tokens": 9},
                },
            },
        ),
        {"text": "Hi.", "usage": Usage(20, 9, cached_tokens=4)},
    ),
    "reasoning more than output no total": (
        write_openai_events(
            make_delta(reasoning="x" * 40),
            make_chunk("Hi."),
            STOP,
            {
                "choices": [],
                "usage": {
                    "prompt_tokens": 20,
                    "completion_tokens": 2,
                    "completion_tokens_details": {"reasoning_tokens": 10},
                },
            },
        ),
        {"text": "Hi.", "usage": Usage(20, 12, reasoning_tokens=10, estimated=True)},
    ),
    "finish in wrapper": (
        write_openai_events(
            make_chunk("Hi."), {"choices": [{"index": 0, "delta": {}, "finish_reason": {"type": "stop"}}]}
        ),
        {"text": "Hi.", "err": "upstream_error"},
    ),
    "finish_reason uppercase tool": (
        write_openai_events(
            make_delta(tool_calls=[{"index": 0, "id": "a", "function": {"name": "clock", "arguments": "{}"}}]),
            make_chunk(reason="TOOL_CALLS"),
        ),
        {"text": "", "fin": ["tool_calls"], "calls": [("clock", "{}")]},
    ),
    "tool call args null then object": (
        write_openai_events(
            make_delta(tool_calls=[{"index": 0, "id": "a", "function": {"name": "clock", "arguments": None}}]),
            make_delta(tool_calls=[{"index": 0, "id": None, "function": {"name": None, "arguments": {"zone": "CET"}}}]),
            STOP,
        ),
        {"text": "", "fin": ["tool_calls"], "calls": [("clock", '{"zone": "CET"}')]},
    ),
    "tool index 1 first": (
        write_openai_events(
            make_delta(tool_calls=[{"index": 1, "id": "a", "function": {"name": "clock", "arguments": "{}"}}]),
            make_chunk(reason="tool_calls"),
        ),
        {"text": "", "fin": ["tool_calls"], "calls": [("clock", "{}")]},
    ),
    "text after tool": (
        write_openai_events(
            make_delta(tool_calls=[{"index": 0, "id": "a", "function": {"name": "clock", "arguments": "{}"}}]),
            make_chunk("And."),
            make_chunk(reason="tool_calls"),
        ),
        {"text": "And.", "fin": ["tool_calls"]},
    ),
    "content bool": (write_openai_events(make_chunk(True), make_chunk("Hi."), STOP), {"text": "Hi."}),
    "content int": (
        write_openai_events(make_chunk("There are "), make_chunk(3), make_chunk(" of them."), STOP),
        {"text": "There are 3 of them."},
    ),
    "content nested text parts": (
        write_openai_events(
            make_chunk([{"type": "output_text", "text": "Hi", "annotations": []}]),
            make_chunk([{"type": "text", "text": {"value": "."}}]),
            STOP,
        ),
        {"text": "Hi."},
    ),
    "content part unknown types": (
        write_openai_events(
            make_chunk(
                [
                    {"type": "image_url", "image_url": {"url": "x"}},
                    {"type": "text", "text": "Hi."},
                    {"type": "citation", "text": "[1]"},
                ]
            ),
            STOP,
        ),
        {"text": "Hi."},
    ),
    "thinking then string same delta": (
        write_openai_events(
            make_chunk([{"type": "thinking", "thinking": "Hm.", "signature": "s"}, {"type": "text", "text": "Hi."}]),
            STOP,
        ),
        {"text": "Hi.", "reasoning": "Hm."},
    ),
    "think tag split": (
        write_openai_events(
            make_chunk("<th"), make_chunk("ink>\nHm"), make_chunk(".</thi"), make_chunk("nk>\n\nHi."), STOP
        ),
        {"text": "Hi.", "reasoning": "Hm."},
    ),
    "reasoning tag": (
        write_openai_events(make_chunk("<reasoning>Hm.</reasoning>Hi."), STOP),
        {"text": "Hi.", "reasoning": "Hm."},
    ),
    "kimi-vl think": (
        write_openai_events(make_chunk("◁think▷Hm.◁/think▷Hi."), STOP),
        {"text": "Hi.", "reasoning": "Hm."},
    ),
    "begin_of_thought": (
        write_openai_events(make_chunk("<|begin_of_thought|>Hm.<|end_of_thought|>Hi."), STOP),
        {"text": "Hi.", "reasoning": "Hm."},
    ),
    "harmony": (
        write_openai_events(
            make_chunk("<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Hi."), STOP
        ),
        {"text": "Hi.", "reasoning": "Hm."},
    ),
    "magistral": (write_openai_events(make_chunk("[THINK]Hm.[/THINK]Hi."), STOP), {"text": "Hi.", "reasoning": "Hm."}),
    "seed cot": (
        write_openai_events(make_chunk("<seed:think>Hm.</seed:think>Hi."), STOP),
        {"text": "Hi.", "reasoning": "Hm."},
    ),
    "ernie": (write_openai_events(make_chunk("<think>\n\n</think>\n\nHi."), STOP), {"text": "Hi.", "reasoning": ""}),
    "answer tags": (
        write_openai_events(make_chunk("<think>Hm.</think><answer>Hi.</answer>"), STOP),
        {"text": "<answer>Hi.</answer>", "reasoning": "Hm."},
    ),
    "gemma4 channel": (
        write_openai_events(make_chunk("<|channel>thought\nHm.<channel|>Hi."), STOP),
        {"text": "Hi.", "reasoning": "Hm."},
    ),
    "nul": (write_openai_events(make_chunk("a\u0000b"), STOP), {"text": None}),
    "queue notice": (
        write_openai_events(
            {"object": "queue", "position": 3, "message": "You are in the queue"}, make_chunk("Hi."), STOP
        ),
        {"text": "Hi.", "fin": ["stop"]},
    ),
    "statusCode 429": (
        write_openai_events({"statusCode": 429, "message": "Rate limit is exceeded."}),
        {"text": "", "err": "rate_limited"},
    ),
    "error as json string": (
        'data: "{\\"error\\":{\\"message\\":\\"prompt is too long\\"}}"\n\n',
        {"text": "", "err": "upstream_error"},
    ),
    "event completion end": (
        "event: completion\n" + write_openai_events(make_chunk("Hi."), STOP, done=False) + "event: done\ndata: \n\n",
        {"text": "Hi.", "fin": ["stop"]},
    ),
    "done lower json": (
        write_openai_events(make_chunk("Hi."), STOP, done=False) + 'data: {"done": true}\n\n',
        {"text": "Hi."},
    ),
    "eof after stop then no done": (
        write_openai_events(make_chunk("Hi."), STOP, done=False),
        {"text": "Hi.", "fin": ["stop"]},
    ),
    "finish empty answer": (write_openai_events(STOP), {"text": "", "fin": ["stop"]}),
    "refusal field": (
        write_openai_events(make_delta(refusal="I cannot"), make_delta(refusal=" do that."), STOP),
        {"text": "I cannot do that."},
    ),
    "annotations delta": (
        write_openai_events(
            make_chunk("Hi."),
            make_delta(annotations=[{"type": "url_citation", "url_citation": {"url": "https://a", "title": "A"}}]),
            STOP,
        ),
        {"text": "Hi.\n\nSources:\n\n- [A](<https://a>)", "fin": ["stop"]},
    ),
    "retry field": ("retry: 100\n" + write_openai_events(make_chunk("Hi."), STOP), {"text": "Hi."}),
    "huge index": (
        write_openai_events({"choices": [{"index": 99999999999999999999, "delta": {"content": "Hi."}}]}, STOP),
        {"text": "Hi."},
    ),
    "finish reason with space": (
        write_openai_events(make_chunk("Hi."), make_chunk(reason=" stop ")),
        {"text": "Hi.", "fin": ["stop"]},
    ),
    "finish null string": (
        write_openai_events(make_chunk("Hi.", "null"), make_chunk(reason="stop")),
        {"text": "Hi.", "fin": ["stop"]},
    ),
    "finish MALFORMED_RESPONSE": (
        write_openai_events(make_chunk("Hi."), make_chunk(reason="MALFORMED_RESPONSE")),
        {"text": "Hi.", "err": "upstream_error"},
    ),
    "finish_details": (
        write_openai_events(
            make_chunk("Hi."),
            {
                "choices": [
                    {
                        "index": 0,
                        "delta": {},
                        "finish_details": {"type": "stop", "stop": "<|fim|>"},
                        "finish_reason": "stop",
                    }
                ]
            },
        ),
        {"text": "Hi.", "fin": ["stop"]},
    ),
    "native_finish_reason": (
        write_openai_events(
            make_chunk("Hi."),
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "native_finish_reason": "MAX_TOKENS"}]},
        ),
        {"text": "Hi."},
    ),
}


def make_text_event(text: str, i: int = 0) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": i, "delta": {"type": "text_delta", "text": text}}


def make_end_events(reason: str = "end_turn", **u: Any) -> list[dict[str, Any]]:
    return [
        {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 2, **u}},
        {"type": "message_stop"},
    ]


ANTHROPIC: dict[str, Row] = {
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
    "openai chunks": (write_openai_events(make_chunk("Hi."), STOP), {"err": "upstream_error"}),
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


def make_text_piece(t: Any, **k: Any) -> dict[str, Any]:
    return {"type": "response.output_text.delta", "item_id": "m", "output_index": 0, "delta": t, **k}


def make_completed_event(**r: Any) -> dict[str, Any]:
    return {
        "type": "response.completed",
        "response": {"status": "completed", "usage": {"input_tokens": 3, "output_tokens": 2}, **r},
    }


RESPONSES: dict[str, Row] = {
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
    "chat chunks": (write_openai_events(make_chunk("Hi."), STOP), {"err": "upstream_error"}),
    "cr": (write_anthropic_events(make_text_piece("Hi."), make_completed_event()).replace("\n", "\r"), {"text": "Hi."}),
    "no final blank": (
        write_anthropic_events(make_text_piece("Hi."), make_completed_event()).rstrip("\n"),
        {"text": "Hi."},
    ),
}

ROWS = {"openai": OPENAI, "anthropic": ANTHROPIC, "responses": RESPONSES}
CASES = [pytest.param(name, row, id=f"{name}: {row}") for name, rows in ROWS.items() for row in rows]


def read(heard: Heard, wanted: dict[str, Any]) -> dict[str, Any]:
    """What was heard, as far as a row says what it should be."""
    found = {
        "err": heard.error.code if heard.error else None,
        "text": heard.text,
        "reasoning": heard.reasoning,
        "fin": heard.finishes,
        "usage": heard.usage,
        "calls": [(call.name, call.arguments) for call in heard.calls],
    }
    return {member: value for member, value in found.items() if member in wanted}


@pytest.mark.parametrize(("name", "row"), CASES, indirect=["name"])
async def test_a_stream_is_read_for_what_it_says(
    name: str, row: str, provider: Provider, server: ProviderServer
) -> None:
    raw, wanted = ROWS[name][row]
    server.script = Script(raw=raw)
    heard = await hear(provider, ASKED)
    wanted = {"err": None, **{member: value for member, value in wanted.items() if value is not None}}
    assert read(heard, wanted) == wanted


@pytest.mark.parametrize("name", ["openai"], indirect=True)
async def test_reasoning_details_go_back_with_the_call_as_they_came(provider: Provider, server: ProviderServer) -> None:
    first = {"type": "reasoning.text", "text": "H", "index": 0, "format": "x"}
    pieces = [first, {"type": "reasoning.text", "text": "m.", "signature": "abc", "index": 0}]
    secret = {"type": "reasoning.encrypted", "data": "Zm9v", "id": "c1", "index": 1}
    call = {"index": 0, "id": "c1", "function": {"name": "clock", "arguments": "{}"}}
    deltas = [make_delta(reasoning_details=[block]) for block in (*pieces, secret)]
    server.script = Script(
        raw=write_openai_events(*deltas, make_delta(tool_calls=[call]), make_chunk(reason="tool_calls"))
    )
    heard = await hear(provider, ASKED)
    assert (heard.reasoning, [made.name for made in heard.calls]) == ("Hm.", ["clock"])
    made = Turn("assistant", "", calls=(CalledTool("c1", "clock", "{}"),), thinking=heard.thinking)
    turns = (*PROMPT.turns, made, Turn("tool", "Noon.", call_id="c1"))
    server.script = Script(text="It is noon.")
    await hear(provider, replace(ASKED, turns=turns))
    await hear(provider, replace(ASKED, turns=turns, model="another"))
    said, elsewhere = (request.body["messages"][2] for request in server.requests[1:])
    assert said["reasoning_details"] == [{**first, "text": "Hm.", "signature": "abc"}, secret]
    assert "reasoning_details" not in elsewhere
