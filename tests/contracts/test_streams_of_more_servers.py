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
from tests.support.odd_answers import chunk, messages, open_answer, sse

ASKED = replace(PROMPT, tools=(ToolSchema("clock", "The time", {"type": "object"}),))
Row = tuple[str, dict[str, Any]]


def delta(**members: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": members, "finish_reason": None}]}


def block(kind: str, **members: Any) -> list[dict[str, Any]]:
    """`reasoning_details` of one block."""
    return [{"type": f"reasoning.{kind}", **members, "index": 0}]


STOP = chunk(reason="stop")
OPENAI: dict[str, Row] = {
    "details with signature": (
        sse(
            delta(reasoning="H", reasoning_details=block("text", text="H")),
            delta(
                reasoning="m.",
                reasoning_details=block("text", text="m.", signature="abc"),
            ),
            chunk("Hi."),
            STOP,
        ),
        {"text": "Hi.", "reasoning": "Hm."},
    ),
    "vllm continuous usage": (
        sse(
            delta(role="assistant", content="")
            | {"usage": {"prompt_tokens": 20, "total_tokens": 20, "completion_tokens": 0}},
            chunk("Hi.") | {"usage": {"prompt_tokens": 20, "total_tokens": 22, "completion_tokens": 2}},
            STOP | {"usage": {"prompt_tokens": 20, "total_tokens": 23, "completion_tokens": 3}},
            {"choices": [], "usage": {"prompt_tokens": 20, "total_tokens": 23, "completion_tokens": 3}},
        ),
        {"text": "Hi.", "usage": Usage(20, 3)},
    ),
    "vllm stop_reason int": (
        sse({"choices": [{"index": 0, "delta": {"content": "Hi."}, "finish_reason": "stop", "stop_reason": 151643}]}),
        {"text": "Hi.", "fin": ["stop"]},
    ),
    "azure filters": (
        sse(
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
            chunk("Hi."),
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
        + sse(
            chunk("Half"),
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
        sse(chunk("Half"), done=False)
        + '{"error":"an error was encountered while running the model: unexpected EOF"}\n',
        {"text": "Half", "err": "upstream_error"},
    ),
    "ollama bare line context": (
        sse(done=False) + ': x\n\n{"error":"prompt is too long: the input length exceeds the context length"}\n\n',
        {"text": "", "err": "context_length"},
    ),
    **{
        name: (sse(thought, chunk("Hi."), STOP), {"text": "Hi.", "reasoning": "Hm."})
        for name, thought in {
            "reasoning and details": delta(reasoning="Hm.", reasoning_details=block("text", text="Hm.")),
            "reasoning_details alone": delta(content="", reasoning_details=block("text", text="Hm.")),
            "reasoning_details summary": delta(content="", reasoning_details=block("summary", summary="Hm.")),
            "reasoning_text field": delta(reasoning_text="Hm."),
            "thinking field": delta(thinking="Hm."),
            "reasoning object": delta(reasoning={"content": "Hm."}),
        }.items()
    },
    "gemini thought flag": (
        sse(
            delta(content="<thought>Hm.", extra_content={"google": {"thought": True}}),
            delta(content="</thought>Hi."),
            STOP,
        ),
        {"text": "Hi.", "reasoning": "Hm."},
    ),
    "perplexity cumulative message": (
        sse(
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
        sse(
            {"object": "text_completion", "choices": [{"text": "Hi", "index": 0, "finish_reason": None}]},
            {"choices": [{"text": ".", "index": 0, "finish_reason": "stop"}]},
        ),
        {"text": "Hi."},
    ),
    "legacy function_call": (
        sse(
            delta(content=None, function_call={"name": "clock", "arguments": ""}),
            delta(function_call={"arguments": '{"zone"'}),
            delta(function_call={"arguments": ':"CET"}'}),
            chunk(reason="function_call"),
        ),
        {"text": "", "fin": ["tool_calls"], "calls": [("clock", '{"zone":"CET"}')]},
    ),
    "done without blank line": (sse(chunk("Hi."), STOP, done=False) + "data: [DONE]", {"text": "Hi."}),
    "stop without blank line": (
        sse(chunk("Hi."), done=False) + "data: " + json.dumps(STOP),
        {"text": "Hi.", "fin": ["stop"]},
    ),
    "cr only": (sse(chunk("Hi."), STOP).replace("\n", "\r"), {"text": "Hi."}),
    "bom no space": ("\ufeff" + sse(chunk("Hi."), STOP).replace("data: ", "data:"), {"text": "Hi."}),
    "single newlines": (sse(chunk("Hi"), chunk("."), STOP).replace("\n\n", "\n"), {"text": "Hi."}),
    "ndjson": ("".join(json.dumps(x) + "\n" for x in (chunk("Hi"), chunk("."), STOP)), {"text": "Hi."}),
    "message in single event": (
        sse(
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
        sse(
            {"code": 0, "msg": "success"},
            chunk("Hi.") | {"code": 0, "msg": "success", "error": {"code": 0, "message": ""}},
            STOP | {"error": {"code": None, "message": None, "type": None}},
        ),
        {"text": "Hi.", "fin": ["stop"]},
    ),
    "minimax ok base_resp": (
        sse(
            chunk("Hi.") | {"base_resp": {"status_code": 0, "status_msg": ""}},
            STOP | {"base_resp": {"status_code": 0, "status_msg": ""}},
        ),
        {"text": "Hi.", "fin": ["stop"]},
    ),
    "minimax error base_resp": (
        sse({"choices": None, "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}),
        {"text": "", "err": "provider_budget"},
    ),
    "minimax error empty choices": (
        sse({"choices": [], "base_resp": {"status_code": 1002, "status_msg": "rate limit exceeded(RPM)"}}),
        {"text": "", "err": "rate_limited"},
    ),
    "minimax final chunk whole message": (
        sse(
            chunk("Hel"),
            chunk("lo."),
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
        sse({"choices": [{"index": 0, "delta": None, "message": None}]}, chunk("Hi."), STOP),
        {"text": "Hi."},
    ),
    "html in stream": (
        sse(chunk("Half"), done=False) + "<html><head><title>504 Gateway Time-out</title></head></html>\n",
        {"text": "Half", "err": "upstream_error"},
    ),
    "usage strings floats mixed": (
        sse(
            chunk("Hi."),
            STOP,
            {"choices": [], "usage": {"prompt_tokens": "20", "completion_tokens": 9.0, "total_tokens": "29"}},
        ),
        {"text": "Hi.", "usage": Usage(20, 9)},
    ),
    "usage list": (
        sse(chunk("Hi."), STOP, {"choices": [], "usage": [{"prompt_tokens": 20, "completion_tokens": 9}]}),
        {"text": "Hi."},
    ),
    "usage per chunk delta (not cumulative)": (
        sse(
            chunk("Hi.", usage={"prompt_tokens": 20, "completion_tokens": 1}),
            chunk(" Yo.", usage={"prompt_tokens": 20, "completion_tokens": 2}),
            STOP | {"usage": {"prompt_tokens": 20, "completion_tokens": 3}},
        ),
        {"text": "Hi. Yo.", "usage": Usage(20, 3)},
    ),
    "ollama native timings": (
        sse(chunk("Hi."), STOP | {"timings": {"prompt_n": 20, "predicted_n": 9}}),
        {"text": "Hi."},
    ),
    "gemini usage candidates": (
        sse(
            chunk("Hi."),
            STOP,
            {"choices": [], "usage": {"prompt_tokens": 20, "completion_tokens": 9, "total_tokens": 100}},
        ),
        {"text": "Hi.", "usage": Usage(20, 80, estimated=True)},
    ),
    "usage null completion": (
        sse(
            chunk("12345678"),
            STOP,
            {"choices": [], "usage": {"prompt_tokens": 20, "completion_tokens": None, "total_tokens": 20}},
        ),
        {"text": "12345678", "usage": Usage(20, 2, estimated=True)},
    ),
    "anthropic cache in openai": (
        sse(
            chunk("Hi."),
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
        sse(
            chunk("Hi."),
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
        sse(
            chunk("Hi."),
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
        sse(
            delta(reasoning="x" * 40),
            chunk("Hi."),
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
        sse(chunk("Hi."), {"choices": [{"index": 0, "delta": {}, "finish_reason": {"type": "stop"}}]}),
        {"text": "Hi.", "err": "upstream_error"},
    ),
    "finish_reason uppercase tool": (
        sse(
            delta(tool_calls=[{"index": 0, "id": "a", "function": {"name": "clock", "arguments": "{}"}}]),
            chunk(reason="TOOL_CALLS"),
        ),
        {"text": "", "fin": ["tool_calls"], "calls": [("clock", "{}")]},
    ),
    "tool call args null then object": (
        sse(
            delta(tool_calls=[{"index": 0, "id": "a", "function": {"name": "clock", "arguments": None}}]),
            delta(tool_calls=[{"index": 0, "id": None, "function": {"name": None, "arguments": {"zone": "CET"}}}]),
            STOP,
        ),
        {"text": "", "fin": ["tool_calls"], "calls": [("clock", '{"zone": "CET"}')]},
    ),
    "tool index 1 first": (
        sse(
            delta(tool_calls=[{"index": 1, "id": "a", "function": {"name": "clock", "arguments": "{}"}}]),
            chunk(reason="tool_calls"),
        ),
        {"text": "", "fin": ["tool_calls"], "calls": [("clock", "{}")]},
    ),
    "text after tool": (
        sse(
            delta(tool_calls=[{"index": 0, "id": "a", "function": {"name": "clock", "arguments": "{}"}}]),
            chunk("And."),
            chunk(reason="tool_calls"),
        ),
        {"text": "And.", "fin": ["tool_calls"]},
    ),
    "content bool": (sse(chunk(True), chunk("Hi."), STOP), {"text": "Hi."}),
    "content int": (sse(chunk("There are "), chunk(3), chunk(" of them."), STOP), {"text": "There are 3 of them."}),
    "content nested text parts": (
        sse(
            chunk([{"type": "output_text", "text": "Hi", "annotations": []}]),
            chunk([{"type": "text", "text": {"value": "."}}]),
            STOP,
        ),
        {"text": "Hi."},
    ),
    "content part unknown types": (
        sse(
            chunk(
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
        sse(chunk([{"type": "thinking", "thinking": "Hm.", "signature": "s"}, {"type": "text", "text": "Hi."}]), STOP),
        {"text": "Hi.", "reasoning": "Hm."},
    ),
    "think tag split": (
        sse(chunk("<th"), chunk("ink>\nHm"), chunk(".</thi"), chunk("nk>\n\nHi."), STOP),
        {"text": "Hi.", "reasoning": "Hm."},
    ),
    "reasoning tag": (sse(chunk("<reasoning>Hm.</reasoning>Hi."), STOP), {"text": "Hi.", "reasoning": "Hm."}),
    "kimi-vl think": (sse(chunk("◁think▷Hm.◁/think▷Hi."), STOP), {"text": "Hi.", "reasoning": "Hm."}),
    "begin_of_thought": (
        sse(chunk("<|begin_of_thought|>Hm.<|end_of_thought|>Hi."), STOP),
        {"text": "Hi.", "reasoning": "Hm."},
    ),
    "harmony": (
        sse(chunk("<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Hi."), STOP),
        {"text": "Hi.", "reasoning": "Hm."},
    ),
    "magistral": (sse(chunk("[THINK]Hm.[/THINK]Hi."), STOP), {"text": "Hi.", "reasoning": "Hm."}),
    "seed cot": (sse(chunk("<seed:think>Hm.</seed:think>Hi."), STOP), {"text": "Hi.", "reasoning": "Hm."}),
    "ernie": (sse(chunk("<think>\n\n</think>\n\nHi."), STOP), {"text": "Hi.", "reasoning": ""}),
    "answer tags": (
        sse(chunk("<think>Hm.</think><answer>Hi.</answer>"), STOP),
        {"text": "<answer>Hi.</answer>", "reasoning": "Hm."},
    ),
    "gemma4 channel": (sse(chunk("<|channel>thought\nHm.<channel|>Hi."), STOP), {"text": "Hi.", "reasoning": "Hm."}),
    "nul": (sse(chunk("a\u0000b"), STOP), {"text": None}),
    "queue notice": (
        sse({"object": "queue", "position": 3, "message": "You are in the queue"}, chunk("Hi."), STOP),
        {"text": "Hi.", "fin": ["stop"]},
    ),
    "statusCode 429": (
        sse({"statusCode": 429, "message": "Rate limit is exceeded."}),
        {"text": "", "err": "rate_limited"},
    ),
    "error as json string": (
        'data: "{\\"error\\":{\\"message\\":\\"prompt is too long\\"}}"\n\n',
        {"text": "", "err": "upstream_error"},
    ),
    "event completion end": (
        "event: completion\n" + sse(chunk("Hi."), STOP, done=False) + "event: done\ndata: \n\n",
        {"text": "Hi.", "fin": ["stop"]},
    ),
    "done lower json": (sse(chunk("Hi."), STOP, done=False) + 'data: {"done": true}\n\n', {"text": "Hi."}),
    "eof after stop then no done": (sse(chunk("Hi."), STOP, done=False), {"text": "Hi.", "fin": ["stop"]}),
    "finish empty answer": (sse(STOP), {"text": "", "fin": ["stop"]}),
    "refusal field": (sse(delta(refusal="I cannot"), delta(refusal=" do that."), STOP), {"text": "I cannot do that."}),
    "annotations delta": (
        sse(
            chunk("Hi."),
            delta(annotations=[{"type": "url_citation", "url_citation": {"url": "https://a", "title": "A"}}]),
            STOP,
        ),
        {"text": "Hi.\n\nSources:\n\n- [A](<https://a>)", "fin": ["stop"]},
    ),
    "retry field": ("retry: 100\n" + sse(chunk("Hi."), STOP), {"text": "Hi."}),
    "huge index": (
        sse({"choices": [{"index": 99999999999999999999, "delta": {"content": "Hi."}}]}, STOP),
        {"text": "Hi."},
    ),
    "finish reason with space": (sse(chunk("Hi."), chunk(reason=" stop ")), {"text": "Hi.", "fin": ["stop"]}),
    "finish null string": (sse(chunk("Hi.", "null"), chunk(reason="stop")), {"text": "Hi.", "fin": ["stop"]}),
    "finish MALFORMED_RESPONSE": (
        sse(chunk("Hi."), chunk(reason="MALFORMED_RESPONSE")),
        {"text": "Hi.", "err": "upstream_error"},
    ),
    "finish_details": (
        sse(
            chunk("Hi."),
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
        sse(
            chunk("Hi."),
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "native_finish_reason": "MAX_TOKENS"}]},
        ),
        {"text": "Hi."},
    ),
}


def text_of(text: str, i: int = 0) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": i, "delta": {"type": "text_delta", "text": text}}


def ended(reason: str = "end_turn", **u: Any) -> list[dict[str, Any]]:
    return [
        {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 2, **u}},
        {"type": "message_stop"},
    ]


ANTHROPIC: dict[str, Row] = {
    "text in start": (
        messages(
            open_answer(),
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "Hi"}},
            text_of("."),
            *ended(),
        ),
        {"text": "Hi."},
    ),
    "duplicate start": (
        messages(open_answer(input_tokens=3), open_answer(input_tokens=3), text_of("Hi."), *ended()),
        {"text": "Hi.", "usage": Usage(3, 2)},
    ),
    "vertex_event": (
        'event: vertex_event\ndata: {"type":"vertex_event","usage":{}}\n\n'
        + messages(open_answer(), text_of("Hi."), *ended()),
        {"text": "Hi."},
    ),
    "done after stop": (messages(open_answer(), text_of("Hi."), *ended()) + "data: [DONE]\n\n", {"text": "Hi."}),
    "eof after message_delta": (
        messages(open_answer(), text_of("Hi."), ended()[0]),
        {"text": "Hi.", "err": "upstream_error"},
    ),
    "timeout_error": (
        messages(
            open_answer(),
            text_of("Hi."),
            {"type": "error", "error": {"details": None, "type": "timeout_error", "message": "Request timed out"}},
        ),
        {"text": "Hi.", "err": "timeout"},
    ),
    "billing": (
        messages(
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
        messages({"type": "error", "error": {"type": "rate_limit_error", "message": "x"}, "request_id": "r"}),
        {"text": "", "err": "rate_limited"},
    ),
    "too large": (
        messages(
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
        messages(open_answer(), text_of("Hi."), *ended("compaction")),
        {"text": "Hi.", "err": "upstream_error"},
    ),
    "stop stop (vllm)": (messages(open_answer(), text_of("Hi."), *ended("stop")), {"text": "Hi.", "fin": ["stop"]}),
    "stop length": (messages(open_answer(), text_of("Hi."), *ended("length")), {"text": "Hi.", "fin": ["length"]}),
    "usage in stop": (
        messages(
            open_answer(input_tokens=0, output_tokens=0),
            text_of("Hi."),
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
        messages(
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
            text_of("Hi."),
            *ended(),
        ),
        {"text": "Hi."},
    ),
    "text as parts": (
        messages(
            open_answer(),
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": [{"type": "text", "text": "Hi."}]},
            },
            *ended(),
        ),
        {"text": "Hi."},
    ),
    "thinking between": (
        messages(
            open_answer(),
            {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm."}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "s"}},
            {"type": "content_block_stop", "index": 0},
            text_of("Hi.", 1),
            *ended(),
        ),
        {"text": "Hi.", "reasoning": "Hm."},
    ),
    "tool input in start, string": (
        messages(
            open_answer(),
            {
                "type": "content_block_start",
                "index": 0,
                "content_block": {"type": "tool_use", "id": "t", "name": "clock", "input": '{"zone": "CET"}'},
            },
            *ended("tool_use"),
        ),
        {"text": "", "calls": [("clock", '{"zone": "CET"}')]},
    ),
    "tool input in start and delta": (
        messages(
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
            *ended("tool_use"),
        ),
        {"text": "", "calls": [("clock", '{"zone": "CET"}')]},
    ),
    "unknown delta type": (
        messages(
            open_answer(),
            text_of("Hi"),
            {"type": "content_block_delta", "index": 0, "delta": {"type": "compaction_delta", "content": "x"}},
            text_of("."),
            *ended(),
        ),
        {"text": "Hi."},
    ),
    "unknown block": (
        messages(
            open_answer(),
            {"type": "content_block_start", "index": 0, "content_block": {"type": "fallback", "text": "no"}},
            text_of("Hi.", 1),
            *ended(),
        ),
        {"text": "Hi."},
    ),
    "usage strings": (
        messages(open_answer(input_tokens="30"), text_of("Hi."), *ended(output_tokens="4")),
        {"text": "Hi.", "usage": Usage(30, 4)},
    ),
    "openai chunks": (sse(chunk("Hi."), STOP), {"err": "upstream_error"}),
    "single newlines": (messages(open_answer(), text_of("Hi."), *ended()).replace("\n\n", "\n"), {"text": "Hi."}),
    "no event names": (
        "".join(
            x for x in messages(open_answer(), text_of("Hi."), *ended()).splitlines(True) if not x.startswith("event:")
        ),
        {"text": "Hi."},
    ),
    "cr": (messages(open_answer(), text_of("Hi."), *ended()).replace("\n", "\r"), {"text": "Hi."}),
    "no final blank": (
        messages(open_answer(), text_of("Hi."), *ended()).rstrip("\n"),
        {"text": "Hi.", "fin": ["stop"]},
    ),
    "refusal details": (
        messages(
            open_answer(),
            text_of("Hi."),
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


def piece(t: Any, **k: Any) -> dict[str, Any]:
    return {"type": "response.output_text.delta", "item_id": "m", "output_index": 0, "delta": t, **k}


def completed(**r: Any) -> dict[str, Any]:
    return {
        "type": "response.completed",
        "response": {"status": "completed", "usage": {"input_tokens": 3, "output_tokens": 2}, **r},
    }


RESPONSES: dict[str, Row] = {
    "done marker": (messages(piece("Hi."), completed()) + "data: [DONE]\n\n", {"text": "Hi.", "usage": Usage(3, 2)}),
    "incomplete null reason": (
        messages(piece("Hi."), completed(incomplete_details={"reason": None})),
        {"text": "Hi.", "fin": ["stop"]},
    ),
    "completed but incomplete status": (
        messages(piece("Hi."), completed(status="incomplete", incomplete_details={"reason": "max_output_tokens"})),
        {"text": "Hi.", "fin": ["length"]},
    ),
    "incomplete length": (
        messages(
            piece("Hi."),
            {
                "type": "response.incomplete",
                "response": {"status": "incomplete", "incomplete_details": {"reason": "length"}},
            },
        ),
        {"text": "Hi.", "fin": ["length"]},
    ),
    "incomplete max_tool_calls": (
        messages(
            piece("Hi."),
            {
                "type": "response.incomplete",
                "response": {"status": "incomplete", "incomplete_details": {"reason": "max_tool_calls"}},
            },
        ),
        {"text": "Hi.", "err": "upstream_error"},
    ),
    "failed context": (
        messages(
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
        messages(
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
        messages(
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
        messages(
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
        messages(
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
        messages(
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
        messages(piece("Hi."), completed(usage={"prompt_tokens": 30, "completion_tokens": 4, "total_tokens": 34})),
        {"text": "Hi.", "usage": Usage(30, 4)},
    ),
    "completed no response": (messages(piece("Hi."), {"type": "response.completed"}), {"text": "Hi.", "fin": ["stop"]}),
    "text done only": (
        messages({"type": "response.output_text.done", "item_id": "m", "output_index": 0, "text": "Hi."}, completed()),
        {"text": "Hi."},
    ),
    "content_part done only": (
        messages(
            {
                "type": "response.content_part.done",
                "item_id": "m",
                "output_index": 0,
                "part": {"type": "output_text", "text": "Hi."},
            },
            completed(),
        ),
        {"text": "Hi."},
    ),
    "delta list": (messages(piece([{"type": "output_text", "text": "Hi."}]), completed()), {"text": "Hi."}),
    "reasoning_text": (
        messages(
            {"type": "response.reasoning_text.delta", "item_id": "r", "output_index": 0, "delta": "Hm."},
            piece("Hi.", output_index=1),
            completed(),
        ),
        {"text": "Hi.", "reasoning": "Hm."},
    ),
    "reasoning.delta (vllm old)": (
        messages(
            {"type": "response.reasoning.delta", "item_id": "r", "output_index": 0, "delta": "Hm."},
            piece("Hi.", output_index=1),
            completed(),
        ),
        {"text": "Hi.", "reasoning": "Hm."},
    ),
    "inline think": (messages(piece("<think>Hm.</think>Hi."), completed()), {"text": "Hi.", "reasoning": "Hm."}),
    "queued/in_progress": (
        messages(
            {"type": "response.queued", "response": {"status": "queued"}},
            {"type": "response.in_progress", "response": {"status": "in_progress"}},
            piece("Hi."),
            completed(),
        ),
        {"text": "Hi."},
    ),
    "keepalive event": (
        messages(piece("Hi."), {"type": "keepalive", "sequence_number": 9}, completed()),
        {"text": "Hi."},
    ),
    "mcp call item": (
        messages(
            {"type": "response.output_item.added", "output_index": 0, "item": {"type": "mcp_call", "id": "x"}},
            piece("Hi.", output_index=1),
            completed(),
        ),
        {"text": "Hi."},
    ),
    "custom_tool_call": (
        messages(
            {
                "type": "response.output_item.done",
                "output_index": 0,
                "item": {"type": "custom_tool_call", "call_id": "a", "name": "clock", "input": "now"},
            },
            completed(),
        ),
        {},
    ),
    "status cancelled": (
        messages(piece("Hi."), completed(status="cancelled")),
        {"text": "Hi.", "err": "upstream_error"},
    ),
    "eof": (messages(piece("Hi.")), {"text": "Hi.", "err": "upstream_error"}),
    "done marker instead of completed": (
        messages(piece("Hi.")) + "data: [DONE]\n\n",
        {"text": "Hi.", "err": "upstream_error"},
    ),
    "error null on completed": (messages(piece("Hi."), completed(error=None)), {"text": "Hi.", "fin": ["stop"]}),
    "error empty object": (
        messages(piece("Hi."), completed(error={"code": None, "message": None})),
        {"text": "Hi.", "fin": ["stop"]},
    ),
    "chat chunks": (sse(chunk("Hi."), STOP), {"err": "upstream_error"}),
    "cr": (messages(piece("Hi."), completed()).replace("\n", "\r"), {"text": "Hi."}),
    "no final blank": (messages(piece("Hi."), completed()).rstrip("\n"), {"text": "Hi."}),
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
    deltas = [delta(reasoning_details=[block]) for block in (*pieces, secret)]
    server.script = Script(raw=sse(*deltas, delta(tool_calls=[call]), chunk(reason="tool_calls")))
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
