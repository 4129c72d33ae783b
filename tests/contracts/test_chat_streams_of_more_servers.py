"""Streams of Chat Completions that CASES.md does not name: read for their text, reasoning, calls, figures and end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chat.core.events import Usage
from chat.providers.base import Provider
from tests.contracts.hearing import OPENAI
from tests.contracts.streams import Row, check_stream
from tests.provider_server import ProviderServer
from tests.support.odd_answers import make_chunk, write_openai_events


def make_delta(**members: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": members, "finish_reason": None}]}


def make_reasoning_block(kind: str, **members: Any) -> list[dict[str, Any]]:
    """Return the `reasoning_details` of one block."""
    return [{"type": f"reasoning.{kind}", **members, "index": 0}]


STOP = make_chunk(reason="stop")
ROWS: dict[str, Row] = {
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
    **{
        f"openrouter error in the choice, {reason}": (
            write_openai_events(
                make_chunk("Half"),
                {
                    "choices": [
                        {
                            "index": 0,
                            "delta": {"content": ""},
                            "finish_reason": reason,
                            "error": {"code": 429, "message": "Rate limited by the provider"},
                        }
                    ]
                },
            ),
            {"text": "Half", "err": "rate_limited", "fin": []},
        )
        for reason in ("error", "stop", None)
    },
    "openrouter error with its code beside the word error": (
        write_openai_events(make_chunk("Half"), make_chunk("", "error", error={"code": 429, "message": "slow"})),
        {"text": "Half", "err": "rate_limited"},
    ),
    "an error beside the word stop": (
        write_openai_events(make_chunk("Half"), make_chunk("", "stop", error={"code": 502, "message": "gone"})),
        {"text": "Half", "err": "upstream_error", "fin": []},
    ),
    "groq error in its own part": (
        write_openai_events(
            make_chunk("Half"),
            make_chunk(reason="stop", x_groq={"id": "req_1", "error": "over_capacity", "usage": {"prompt_tokens": 3}}),
        ),
        {"text": "Half", "err": "upstream_error", "fin": []},
    ),
    "llama.cpp error field in the place of the answer": (
        'error: {"code":400,"message":"the request exceeds the available context size. try increasing the context '
        'size or enable context shift","type":"invalid_request_error"}\n\ndata: [DONE]\n\n',
        {"text": "", "err": "context_length"},
    ),
    "llama.cpp error field after text": (
        write_openai_events(make_chunk("Half"), done=False)
        + 'error: {"code":500,"message":"context size exceeded","type":"server_error"}\n\n',
        {"text": "Half", "err": "context_length"},
    ),
    "a list with an error on a bare line": (
        write_openai_events(make_chunk("Half"), done=False)
        + '[{"error":{"code":429,"message":"slow","status":"RESOURCE_EXHAUSTED"}}]\n',
        {"text": "Half", "err": "rate_limited"},
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
    **{
        f"{name} beside text": (
            write_openai_events(make_delta(content="Hi.", **{name: "Hm."}), STOP),
            {"text": "Hi.", "reasoning": "Hm."},
        )
        for name in ("reasoning_content", "reasoning", "reasoning_text", "thinking")
    },
    **{
        f"a whole message with {name} beside text": (
            json.dumps({"choices": [{"message": {"content": "Hi.", name: value}, "finish_reason": "stop"}]}),
            {"text": "Hi.", **wanted},
        )
        for name, value, wanted in (
            ("reasoning_text", "Hm.", {"reasoning": "Hm."}),  # Copilot
            (
                "function_call",
                {"name": "clock", "arguments": "{}"},
                {"calls": [("clock", "{}")], "fin": ["tool_calls"]},
            ),
        )
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


@OPENAI
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
async def test_a_stream_is_read_for_what_it_says(row: Row, provider: Provider, server: ProviderServer) -> None:
    await check_stream(provider, server, row)
