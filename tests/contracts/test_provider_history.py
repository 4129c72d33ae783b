"""What a provider sent goes back to it as it came, and neighbours of one role are joined."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from chat.providers.base import CalledTool, Provider, Turn
from tests.contracts.hearing import ANTHROPIC, OPENAI, PROMPT, complete, hear
from tests.provider_server import ProviderServer, Script
from tests.support.odd_answers import end_message, make_chunk, open_answer, write_anthropic_events, write_openai_events


@OPENAI
@pytest.mark.parametrize("ask", [hear, complete])
async def test_what_came_with_a_call_goes_back_with_it_unread(
    provider: Provider, server: ProviderServer, ask: Any
) -> None:
    signature = {"google": {"thought_signature": "CvwBAb4+9vt/Zg==", "parts": [1, None, {"a": "é\u0000"}]}}
    call = {
        "index": 0,
        "id": "c1",
        "type": "function",
        "function": {"name": "clock", "arguments": '{"zone": "CET"}', "provider_specific": {"x": 1}},
        "extra_content": signature,
        "unknown": [True],
    }
    body = {"choices": [{"message": {"content": None, "tool_calls": [call]}, "finish_reason": "tool_calls"}]}
    delta = {"choices": [{"delta": {"tool_calls": [call]}}]}
    server.script = Script(
        raw=json.dumps(body) if ask is complete else write_openai_events(delta, make_chunk(reason="stop"))
    )
    heard = await ask(provider)
    assert heard.finishes == ["tool_calls"]
    made = Turn("assistant", "", calls=tuple(heard.calls))
    turns = (*PROMPT.turns, made, Turn("tool", "Noon.", call_id="c1"))
    server.script = Script(text="It is noon.")
    assert (await ask(provider, replace(PROMPT, turns=turns))).error is None
    assert server.requests[1].body["messages"][2]["tool_calls"] == [
        {name: value for name, value in call.items() if name != "index"}
    ]
    # Another model would refuse it.
    await ask(provider, replace(PROMPT, model="another", turns=turns))
    assert server.requests[2].body["messages"][2]["tool_calls"] == [
        {"id": "c1", "type": "function", "function": {"name": "clock", "arguments": '{"zone": "CET"}'}}
    ]


@OPENAI
async def test_what_comes_in_a_later_delta_of_a_call_goes_back_too(provider: Provider, server: ProviderServer) -> None:
    deltas = [
        {"index": 0, "id": "c1", "function": {"name": "clock", "arguments": ""}, "extra_content": {"google": {"a": 1}}},
        {"index": 1, "id": "c2", "function": {"name": "clock", "arguments": "{}"}},
        {"index": 0, "function": {"arguments": "{}"}, "extra_content": {"google": {"b": 2}}},
    ]
    server.script = Script(
        raw=write_openai_events(
            *({"choices": [{"delta": {"tool_calls": [each]}}]} for each in deltas), make_chunk(reason="stop")
        )
    )
    heard = await hear(provider)
    results = [Turn("tool", "Noon.", call_id=call.id) for call in heard.calls]
    server.script = Script()
    await hear(
        provider, replace(PROMPT, turns=(*PROMPT.turns, Turn("assistant", "", calls=tuple(heard.calls)), *results))
    )
    first, second = server.requests[1].body["messages"][2]["tool_calls"]
    assert first["extra_content"] == {"google": {"a": 1, "b": 2}}
    assert "extra_content" not in second


@ANTHROPIC
async def test_what_came_with_an_anthropic_call_goes_back_too(provider: Provider, server: ProviderServer) -> None:
    block = {
        "type": "tool_use",
        "id": "t1",
        "name": "clock",
        "input": {},
        "caller": {"type": "direct"},
        "signature": "s",
    }
    start = {"type": "content_block_start", "index": 0, "content_block": block}
    server.script = Script(raw=write_anthropic_events(open_answer(), start, *end_message("tool_use")))
    heard = await hear(provider)
    server.script = Script()
    turns = (*PROMPT.turns, Turn("assistant", "", calls=tuple(heard.calls)), Turn("tool", "Noon.", call_id="t1"))
    assert (await hear(provider, replace(PROMPT, turns=turns))).error is None
    assert server.requests[1].body["messages"][1]["content"] == [block]


@pytest.mark.parametrize("ask", [hear, complete])
async def test_neighbours_of_one_role_are_joined(
    name: str, provider: Provider, server: ProviderServer, ask: Any
) -> None:
    call = CalledTool("c1", "clock", "{}")
    turns = (
        Turn("system", "Be brief."),
        Turn("user", "One?"),
        Turn("assistant", ""),
        Turn("user", "Two?"),
        Turn("system", "Be kind."),
        Turn("user", "Three?"),
        Turn("assistant", "Yes."),
        Turn("assistant", "And no.", calls=(call,)),
        Turn("tool", "Noon.", call_id="c1"),
        Turn("user", "Four?"),
    )
    server.script = Script(text="Hi.")
    assert (await ask(provider, replace(PROMPT, turns=turns))).error is None
    if name == "responses":
        assert server.requests[0].body["instructions"] == "Be brief.\n\nBe kind."
        assert server.requests[0].body["input"] == [
            {"role": "user", "content": "One?\n\nTwo?\n\nThree?"},
            {"role": "assistant", "content": "Yes."},
            {"role": "assistant", "content": "And no."},
            {"type": "function_call", "call_id": "c1", "name": "clock", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "Noon."},
            {"role": "user", "content": "Four?"},
        ]
        return
    sent = server.requests[0].body["messages"]
    if name == "openai":
        called = {"id": "c1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
        assert sent == [
            {"role": "system", "content": "Be brief.\n\nBe kind."},
            {"role": "user", "content": "One?\n\nTwo?\n\nThree?"},
            {"role": "assistant", "content": "Yes.\n\nAnd no.", "tool_calls": [called]},
            {"role": "tool", "tool_call_id": "c1", "content": "Noon."},
            {"role": "user", "content": "Four?"},
        ]
    else:
        assert [turn["role"] for turn in sent] == ["user", "assistant", "user"]
        assert server.requests[0].body["system"] == "Be brief.\n\nBe kind."
