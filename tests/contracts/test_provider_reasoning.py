"""Reasoning: apart from the text, before and between tools, and sent back with its signature where that is wanted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chat.core.events import Reasoning, Signature
from chat.providers.anthropic import AnthropicProvider
from chat.providers.base import Adaptation, CalledTool, Prompt, Provider, Thinking, ToolSchema, Turn
from tests.contracts.hearing import KEY, OPENAI, PROMPT, TEXT, complete, hear
from tests.provider_server import Call, ProviderServer, Script
from tests.provider_server.script import SIGNATURE
from tests.support.odd_answers import make_chunk, write_openai_events

THOUGHT = "Think of Rayleigh. λ⁻⁴, so blue."
ASKED = replace(PROMPT, tools=(ToolSchema("clock", "What time it is.", {"type": "object", "properties": {}}),))


def list_signature_events(name: str) -> list[str]:
    """Return the events that end reasoning.

    The Responses API needs none: there the reasoning is sent back with the call or the answer that follows it.
    """
    return [] if name == "responses" else ["Signature"]


def list_ending_events(name: str) -> list[str]:
    return ["NativeForm", "Finish"] if name == "responses" else ["Finish"]


def list_call_events(name: str) -> list[str]:
    return ["ToolCall", "ToolCallExtra"] if name == "responses" else ["ToolCall"]


CALLS = [Call("clock", "{}", "call_a"), Call("clock", '{"zone": "CET"}', "call_b")]


@pytest.mark.parametrize("ask", [hear, complete])
@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
async def test_reasoning_is_kept_apart_from_the_text(
    name: str, provider: Provider, server: ProviderServer, field: Any, ask: Any
) -> None:
    server.script = Script(text=TEXT, reasoning=THOUGHT, reasoning_field=field)
    heard = await ask(provider)
    assert (heard.reasoning, heard.text) == (THOUGHT, TEXT)
    assert heard.kinds == ["Reasoning", *list_signature_events(name), "Token", *list_ending_events(name)]


@pytest.mark.parametrize("ask", [hear, complete])
async def test_reasoning_may_come_before_a_tool_call(
    name: str, provider: Provider, server: ProviderServer, ask: Any
) -> None:
    server.script = Script(text="", reasoning=THOUGHT, tool_calls=CALLS[:1])
    heard = await ask(provider, ASKED)
    assert heard.reasoning == THOUGHT
    assert heard.kinds == [
        "Reasoning",
        *list_signature_events(name),
        *list_call_events(name),
        "ToolArguments",
        "Finish",
    ]


async def test_reasoning_may_come_between_tool_calls(name: str, provider: Provider, server: ProviderServer) -> None:
    server.script = Script(text="", reasoning=THOUGHT, reasoning_between="And another.", tool_calls=CALLS)
    heard = await hear(provider, ASKED)
    # Two thoughts in a row are paragraphs where they go back encrypted; signed ones go back as they came.
    assert heard.reasoning.replace("\n\n", "") == THOUGHT + 2 * "And another."
    step = ["Reasoning", *list_signature_events(name), *list_call_events(name), "ToolArguments"]
    kinds = heard.kinds[:-2] if heard.kinds[-2] == "Signature" else heard.kinds[:-1]  # the whole, to go back as it came
    assert kinds[-2 * len(step) :] == [*step, *step]
    assert [call.id for call in heard.calls] == ["call_a", "call_b"]


@pytest.mark.parametrize("ask", [hear, complete])
@pytest.mark.parametrize("name", ["anthropic"], indirect=True)
async def test_each_block_of_anthropics_reasoning_ends_with_its_signature(
    provider: Provider, server: ProviderServer, ask: Any
) -> None:
    server.script = Script(text="", reasoning=THOUGHT, redacted_reasoning="ZW5jcnlwdGVk", tool_calls=CALLS[:1])
    heard = await ask(provider, ASKED)
    assert heard.thinking[0] == Thinking(THOUGHT, SIGNATURE)
    assert [part.text for part in heard.thinking] == [THOUGHT, ""]


@pytest.mark.parametrize("manner", ["", "no_stop"])
@pytest.mark.parametrize("ask", [hear, complete])
@pytest.mark.parametrize("name", ["anthropic"], indirect=True)
async def test_anthropics_reasoning_goes_back_as_it_came(
    provider: Provider, server: ProviderServer, ask: Any, manner: Any
) -> None:
    server.script = Script(
        text="I look.",
        reasoning=THOUGHT,
        redacted_reasoning="ZW5jcnlwdGVk",
        tool_calls=CALLS[:1],
        tool_call_style=manner,
    )
    heard = await ask(provider, ASKED)
    made = Turn("assistant", heard.text, calls=tuple(heard.calls), thinking=heard.thinking)
    result = Turn("tool", "Noon.", call_id="call_a")
    assert (await ask(provider, replace(ASKED, turns=(*ASKED.turns, made, result)))).error is None
    assert server.requests[1].body["messages"][1]["content"] == [
        {"type": "thinking", "thinking": THOUGHT, "signature": SIGNATURE},
        {"type": "redacted_thinking", "data": "ZW5jcnlwdGVk"},
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "call_a", "name": "clock", "input": {}},
    ]


@pytest.mark.parametrize("name", ["anthropic"], indirect=True)
async def test_an_answer_in_another_order_goes_back_in_one_message(provider: Provider, server: ProviderServer) -> None:
    turns = (
        Turn("assistant", "First.", thinking=(Thinking("a", SIGNATURE),)),
        Turn("assistant", "", calls=(CalledTool("c", "clock", ""),), thinking=(Thinking("", SIGNATURE),)),
        Turn("tool", "Noon.", call_id="c"),
    )
    assert (await hear(provider, replace(ASKED, turns=(*ASKED.turns, *turns)))).error is None
    assert [block["type"] for block in server.requests[0].body["messages"][1]["content"]] == [
        "thinking",
        "text",
        "thinking",
        "tool_use",
    ]


@pytest.mark.parametrize("ask", [hear, complete])
@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
@pytest.mark.parametrize("name", ["openai"], indirect=True)
async def test_a_compatible_servers_reasoning_goes_back_under_the_name_it_came_by(
    provider: Provider, server: ProviderServer, field: Any, ask: Any
) -> None:
    server.script = Script(text="", reasoning=THOUGHT, reasoning_field=field, tool_calls=CALLS[:1])
    heard = await ask(provider, ASKED)
    made = Turn("assistant", heard.text, calls=tuple(heard.calls), thinking=heard.thinking)
    await ask(provider, replace(ASKED, turns=(*ASKED.turns, made, Turn("tool", "Noon.", call_id="call_a"))))
    sent = server.requests[1].body["messages"][2]
    assert {name: sent[name] for name in sent.keys() & {"reasoning", "reasoning_content"}} == {field: THOUGHT}


@pytest.mark.parametrize("name", ["openai"], indirect=True)
async def test_details_with_other_ids_are_other_blocks(provider: Provider, server: ProviderServer) -> None:
    """A stream of OpenRouter's may number all of them 0 (OpenRouterTeam/ai-sdk-provider#519)."""
    blocks = [
        {"type": "reasoning.encrypted", "id": f"tool_{data}", "index": 0, "data": data, "format": "google-gemini-v1"}
        for data in ("YQ==", "Yg==")
    ]
    call = {"index": 0, "id": "call_a", "function": {"name": "clock", "arguments": "{}"}}
    members = [*({"reasoning_details": [block]} for block in blocks), {"tool_calls": [call]}]
    chunks = [{"choices": [{"index": 0, "delta": delta}]} for delta in members]
    server.script = Script(raw=write_openai_events(*chunks, make_chunk(reason="tool_calls")))
    heard = await hear(provider, ASKED)
    made = Turn("assistant", heard.text, calls=tuple(heard.calls), thinking=heard.thinking)
    await hear(provider, replace(ASKED, turns=(*ASKED.turns, made, Turn("tool", "Noon.", call_id="call_a"))))
    assert server.requests[1].body["messages"][2]["reasoning_details"] == blocks


async def test_what_nobody_or_another_provider_signed_is_left_out(
    name: str, provider: Provider, server: ProviderServer
) -> None:
    foreign = {"openai": SIGNATURE, "responses": SIGNATURE, "anthropic": "field:reasoning_content"}[name]
    thinking = (Thinking("Unsigned.", ""), Thinking("Foreign.", foreign))
    turns = (*PROMPT.turns, Turn("assistant", "Because.", thinking=thinking), Turn("user", "Why?"))
    assert (await hear(provider, replace(PROMPT, turns=turns))).error is None
    body = server.requests[0].body
    assert (body.get("messages") or body["input"])[-2] == {"role": "assistant", "content": "Because."}


@pytest.mark.parametrize("name", ["anthropic"], indirect=True)
async def test_reasoning_without_a_signature_has_none(provider: Provider, server: ProviderServer) -> None:
    server.script = Script(text=TEXT, reasoning=THOUGHT, signature="")
    heard = await hear(provider)
    assert not any(isinstance(event, Signature) for event in heard.events)


async def test_anthropic_is_asked_to_think_when_the_site_says_so(server: ProviderServer) -> None:
    adapter = AnthropicProvider(api_key=KEY, base_url=server.anthropic_url, thinking_tokens=2_000)
    server.script = Script(text="42", reasoning="Twice 21.")
    events = await adapter.complete(
        Prompt("messages-test", (Turn("user", "Twice 21?"),), max_output_tokens=100, temperature=0.5)
    )
    await adapter.complete(Prompt("messages-test", (Turn("user", "?"),), tools=ASKED.tools, tool_choice="clock"))
    await adapter.aclose()
    thinking, forced = (request.body for request in server.requests)
    assert thinking["thinking"] == {"type": "enabled", "budget_tokens": 2_000}
    assert thinking["max_tokens"] == 2_100
    assert "temperature" not in thinking
    assert "thinking" not in forced
    assert Reasoning("Twice 21.") in events


@OPENAI
async def test_reasoning_details_go_back_with_the_call_as_they_came(provider: Provider, server: ProviderServer) -> None:
    first = {"type": "reasoning.text", "text": "H", "index": 0, "format": "x"}
    pieces = [first, {"type": "reasoning.text", "text": "m.", "signature": "abc", "index": 0}]
    secret = {"type": "reasoning.encrypted", "data": "Zm9v", "id": "c1", "index": 1}
    call = {"index": 0, "id": "c1", "function": {"name": "clock", "arguments": "{}"}}
    members = [*({"reasoning_details": [block]} for block in (*pieces, secret)), {"tool_calls": [call]}]
    deltas = [{"choices": [{"index": 0, "delta": each, "finish_reason": None}]} for each in members]
    server.script = Script(raw=write_openai_events(*deltas, make_chunk(reason="tool_calls")))
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


@pytest.mark.parametrize("name", ["openai", "anthropic"], indirect=True)
async def test_a_server_that_wants_reasoning_in_each_turn_has_what_is_known_of_it_or_a_blank(
    name: str, provider: Provider, server: ProviderServer
) -> None:
    signature = {"openai": "field:reasoning_content", "anthropic": SIGNATURE}[name]
    turns = (
        Turn("assistant", "One."),
        Turn("user", "?"),
        Turn("assistant", "Two.", calls=(CalledTool("c", "clock", ""),), thinking=(Thinking("Unsigned.", ""),)),
        Turn("tool", "Noon.", call_id="c"),
        Turn("assistant", "Three.", calls=(CalledTool("d", "clock", ""),), thinking=(Thinking("Signed.", signature),)),
        Turn("tool", "Noon.", call_id="d"),
    )
    asked = replace(
        ASKED,
        model="deepseek-v4-pro",  # which signs nothing in Anthropic's format
        turns=(*ASKED.turns, *turns),
        adaptations=(Adaptation("reasoning_back"),),
    )
    assert (await hear(provider, asked)).error is None
    sent = [message for message in server.requests[0].body["messages"] if message["role"] == "assistant"]
    if name == "openai":
        assert [message.get("reasoning_content") for message in sent] == [" ", "Unsigned.", "Signed."]
    else:
        assert [message["content"][0] for message in sent] == [
            {"type": "thinking", "thinking": " ", "signature": ""},
            {"type": "thinking", "thinking": "Unsigned.", "signature": ""},
            {"type": "thinking", "thinking": "Signed.", "signature": SIGNATURE},
        ]
