"""Every Claude model is asked for nothing that it refuses, by the strict server of our own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming, MessageCreateParamsStreaming

from chat.core.events import Remark, Usage
from chat.providers.adaptation_remarks import list_remarks
from chat.providers.adaptations import CONTINUE_INSTRUCTION
from chat.providers.anthropic import AnthropicProvider
from chat.providers.base import Prompt, ToolSchema, Turn
from chat.providers.known_limits import adapt_to_limits
from chat.providers.model_table import find_capabilities
from tests.contracts.hearing import KEY, Heard, complete, hear
from tests.provider_server import Call, ProviderServer, Script
from tests.provider_server.anthropic_contracts import CONTRACTS, sign_thought
from tests.support.sdk_types import find_complaints

CLOCK = ToolSchema("clock", "What time it is.", {"type": "object", "properties": {"zone": {"type": "string"}}})
SCHEMA = {"type": "object", "properties": {"sky": {"type": "string", "maxLength": 10}}, "required": ["sky"]}
THOUGHT = "Rayleigh."

MODELS = pytest.mark.parametrize("model", CONTRACTS)


@pytest.fixture
async def claude(server: ProviderServer) -> AsyncIterator[AnthropicProvider]:
    adapter = AnthropicProvider(api_key=KEY, base_url=server.anthropic_url)
    yield adapter
    await adapter.aclose()
    for request in server.requests:
        assert_typed(request.body)


def make_prompt(model: str, *turns: Turn, **wishes: Any) -> Prompt:
    turns = turns or (Turn("system", "Be brief."), Turn("user", "Why is the sky blue?"))
    return adapt_to_limits(Prompt(model, turns, capabilities=find_capabilities("anthropic", model), **wishes))


def assert_typed(body: dict[str, Any]) -> None:
    """Assert that the SDK's own types take a request. They leave out the temperature, which older models still take."""
    kind = MessageCreateParamsStreaming if body.get("stream") else MessageCreateParamsNonStreaming
    sent = {name: value for name, value in body.items() if name != "temperature"}
    assert list(find_complaints(sent, kind)) == []


async def hear_whole(provider: AnthropicProvider, prompt: Prompt) -> Heard:
    heard = await hear(provider, prompt)
    assert heard.error is None, heard.error.detail
    return heard


@MODELS
@pytest.mark.parametrize("ask", [hear, complete])
async def test_a_plain_question_and_a_second_turn(
    claude: AnthropicProvider, server: ProviderServer, model: str, ask: Any
) -> None:
    first = await ask(claude, make_prompt(model))
    turns = (Turn("user", "Why is the sky blue?"), Turn("assistant", first.text), Turn("user", "And the sea?"))
    assert (first.error, (await ask(claude, make_prompt(model, *turns))).error) == (None, None)
    for request in server.requests:
        assert request.body["max_tokens"] == CONTRACTS[model].longest
        assert request.body["cache_control"] == {"type": "ephemeral"}


@MODELS
async def test_a_tool_loop_sends_thoughts_back_as_they_came(
    claude: AnthropicProvider, server: ProviderServer, model: str
) -> None:
    server.script = Script(
        text="I look. ",
        reasoning=THOUGHT,
        reasoning_between="And again.",
        tool_calls=[Call("clock", '{"zone": "CET"}', "call_a"), Call("clock", "{}", "call_b")],
    )
    prompt = make_prompt(model, tools=(CLOCK,))
    heard = await hear_whole(claude, prompt)
    made = Turn("assistant", heard.text, calls=tuple(heard.calls), thinking=heard.thinking)
    results = [Turn("tool", "Noon.", call_id=call.id) for call in heard.calls]
    server.script = Script(text="Noon.")
    assert (await hear_whole(claude, replace(prompt, turns=(*prompt.turns, made, *results)))).text == "Noon."
    sent = server.requests[1].body["messages"][1]["content"]
    kinds = ["thinking", "text", "thinking", "tool_use", "thinking", "tool_use"]
    assert [block["type"] for block in sent] == kinds
    assert sent[0] == {"type": "thinking", "thinking": THOUGHT, "signature": sign_thought(model, THOUGHT)}
    assert [block["input"] for block in sent if block["type"] == "tool_use"] == [{"zone": "CET"}, {}]


@MODELS
async def test_a_temperature_is_sent_or_spoken_of(
    claude: AnthropicProvider, server: ProviderServer, model: str
) -> None:
    prompt = make_prompt(model, temperature=0.5)
    await hear_whole(claude, prompt)
    is_taken = CONTRACTS[model].sampling
    assert server.requests[0].body.get("temperature") == (0.5 if is_taken else None)
    assert any("temperature" in sentence for sentence in list_remarks(prompt)) is not is_taken


@MODELS
async def test_a_schema_is_given_to_the_api(claude: AnthropicProvider, server: ProviderServer, model: str) -> None:
    server.script = Script(text='{"sky": "blue"}')
    assert (await hear_whole(claude, make_prompt(model, response_schema=SCHEMA))).text == '{"sky": "blue"}'
    body = server.requests[0].body
    sent = body["output_config"]["format"]["schema"]
    assert sent["additionalProperties"] is False
    assert "maxLength: 10" in sent["properties"]["sky"]["description"]
    assert "tools" not in body


@MODELS
async def test_an_answer_that_was_cut_goes_on(claude: AnthropicProvider, server: ProviderServer, model: str) -> None:
    turns = (Turn("user", "Count"), Turn("assistant", "One two "))
    await hear_whole(claude, make_prompt(model, *turns, answer_so_far="One two "))
    last = server.requests[0].body["messages"][-1]
    assert last["role"] == ("assistant" if CONTRACTS[model].prefill else "user")
    assert (CONTINUE_INSTRUCTION in str(last)) is not CONTRACTS[model].prefill


@MODELS
async def test_every_effort_is_taken_and_others_become_the_nearest(
    claude: AnthropicProvider, server: ProviderServer, model: str
) -> None:
    for effort in ("none", "low", "medium", "high", "xhigh", "max"):
        prompt = make_prompt(model, effort=effort)
        await hear_whole(claude, prompt)
        sent = server.requests[-1].body.get("output_config", {}).get("effort")
        efforts = CONTRACTS[model].efforts
        assert (sent == effort) is (effort in efforts)
        assert bool(list_remarks(prompt)) is (effort not in efforts)
        assert (sent is None) is (not efforts)


@MODELS
@pytest.mark.parametrize("effort", ["", "max"])
async def test_a_tool_is_forced_where_that_can_be(
    claude: AnthropicProvider, server: ProviderServer, model: str, effort: str
) -> None:
    prompt = make_prompt(model, tools=(CLOCK,), tool_choice="clock", effort=effort)
    await hear_whole(claude, prompt)
    assert ("tool_choice" in server.requests[0].body) is CONTRACTS[model].forced
    assert any("made to use a tool" in sentence for sentence in list_remarks(prompt)) is not CONTRACTS[model].forced


NOT_TO_THINK = {
    "claude-opus-5-5": {"type": "adaptive", "display": "summarized"},  # it cannot be asked: by the least effort alone
    "claude-sonnet-5-5": {"type": "between_tools"},
    "claude-haiku-5-5": {"type": "disabled"},
    "claude-opus-5": {"type": "disabled"},
    "claude-opus-4-7": {"type": "disabled"},
    "claude-opus-4-6": None,  # these do not think unless they are asked to
    "claude-haiku-4-5": None,
}


@pytest.mark.parametrize("model", NOT_TO_THINK)
async def test_a_prompt_without_thinking_asks_each_model_in_its_way(
    claude: AnthropicProvider, server: ProviderServer, model: str
) -> None:
    await hear_whole(claude, make_prompt(model, effort="none"))
    assert server.requests[0].body.get("thinking") == NOT_TO_THINK[model]


@MODELS
async def test_no_more_is_asked_for_than_the_model_writes(
    claude: AnthropicProvider, server: ProviderServer, model: str
) -> None:
    prompt = make_prompt(model, max_output_tokens=900_000)
    await hear_whole(claude, prompt)
    assert server.requests[0].body["max_tokens"] == CONTRACTS[model].longest
    assert "at most" in list_remarks(prompt)[0]
    await hear_whole(claude, make_prompt(model, max_output_tokens=40, effort="none"))
    least = 40 if len(CONTRACTS[model].thinking) > 1 else 1_024  # it can be asked not to think
    assert server.requests[1].body["max_tokens"] >= least


@MODELS
async def test_a_budget_is_given_only_to_models_that_have_nothing_else(server: ProviderServer, model: str) -> None:
    adapter = AnthropicProvider(api_key=KEY, base_url=server.anthropic_url, thinking_tokens=2_000)
    server.script = Script(reasoning=THOUGHT)
    heard = await hear(adapter, make_prompt(model))
    await adapter.aclose()
    assert (heard.error, heard.reasoning) == (None, THOUGHT)
    kinds = CONTRACTS[model].thinking
    thinking = server.requests[0].body["thinking"]
    if "adaptive" in kinds:
        assert thinking == {"type": "adaptive", "display": "summarized"}
    else:
        assert thinking == {"type": "enabled", "budget_tokens": 2_000}


async def test_a_budget_for_thoughts_goes_with_no_temperature(server: ProviderServer) -> None:
    provider = AnthropicProvider(api_key=KEY, base_url=server.anthropic_url, thinking_tokens=2_048)
    await hear_whole(provider, make_prompt("claude-haiku-4-5", temperature=0.5))
    assert "temperature" not in server.requests[0].body
    await provider.aclose()


@MODELS
async def test_another_models_thoughts_and_calls_are_left_out_or_taken(
    claude: AnthropicProvider, server: ProviderServer, model: str
) -> None:
    other = next(name for name in CONTRACTS if name != model)
    server.script = Script(
        text="I look. ", reasoning=THOUGHT, reasoning_between="Hm.", tool_calls=[Call("clock", "{}")]
    )
    heard = await hear_whole(claude, make_prompt(other, tools=(CLOCK,)))
    made = Turn("assistant", heard.text, calls=tuple(heard.calls), thinking=heard.thinking)
    result = Turn("tool", "Noon.", call_id=heard.calls[0].id)
    question = Turn("user", "And now?")
    turns = (Turn("user", "What time is it?"), made, result, Turn("assistant", "Noon."), question)
    server.script = Script()
    await hear_whole(claude, make_prompt(model, *turns, tools=(CLOCK,)))
    assert "thinking" not in json.dumps(server.requests[1].body["messages"])


@MODELS
async def test_twenty_turns_are_mostly_read_from_the_cache_and_the_figures_equal_the_invoice(
    claude: AnthropicProvider, server: ProviderServer, model: str
) -> None:
    turns = [Turn("system", "Be brief. " * 2_000)]
    total = Usage(0, 0)
    for number in range(20):
        turns.append(Turn("user", f"Question {number}: why is the sky blue?"))
        heard = await hear_whole(claude, make_prompt(model, *turns, tools=(CLOCK,)))
        assert heard.usage is not None
        total += heard.usage
        turns.append(Turn("assistant", heard.text))
    assert total == server.strict.invoice[model]
    assert total.cached_tokens >= 0.9 * total.input_tokens
    assert total.written_tokens
    assert not total.estimated


async def test_a_signature_of_another_hand_is_refused_by_the_strict_server(
    claude: AnthropicProvider, server: ProviderServer
) -> None:
    """The server's own strictness: without it the tests above would hold for nothing."""
    body = {
        "model": "claude-opus-5-5",
        "max_tokens": 10,
        "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}],
    }
    strict = server.strict
    refused = [
        body,
        body | {"messages": body["messages"][:1], "temperature": 0.5},  # type: ignore[index]
        body | {"messages": body["messages"][:1], "thinking": {"type": "disabled"}},  # type: ignore[index]
        body | {"messages": body["messages"][:1], "thinking": {"type": "enabled", "budget_tokens": 5}},  # type: ignore[index]
        body | {"messages": body["messages"][:1], "tool_choice": {"type": "any"}},  # type: ignore[index]
        body | {"messages": body["messages"][:1], "max_tokens": 128_001},  # type: ignore[index]
        body | {"messages": body["messages"][:1], "colour": "red"},  # type: ignore[index]
    ]
    assert all(strict.find_complaint(request) for request in refused)
    assert strict.find_complaint(body | {"messages": body["messages"][:1]}) is None  # type: ignore[index]


# What a call brings besides text and calls


def stream(*events: dict[str, Any]) -> str:
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)


def make_blocks(*contents: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for index, content in enumerate(contents):
        deltas = content.pop("deltas", [])
        yield {"type": "content_block_start", "index": index, "content_block": content}
        yield from ({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas)
        yield {"type": "content_block_stop", "index": index}


def make_ending(reason: str, **details: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    delta = {"stop_reason": reason, **details}
    usage = {"output_tokens": 9, "server_tool_use": {"web_search_requests": 2}}
    return {"type": "message_delta", "delta": delta, "usage": usage}, {"type": "message_stop"}


START = {"type": "message_start", "message": {"usage": {"input_tokens": 7, "output_tokens": 1}, "content": []}}
SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
QUERY = [{"type": "input_json_delta", "partial_json": '{"query": "sky"}'}]
FOUND = {
    "type": "web_search_tool_result",
    "tool_use_id": "srvtoolu_1",
    "content": [{"type": "web_search_result", "title": "Sky", "url": "https://x.org", "encrypted_content": "abc"}],
}
CITED = {
    "type": "web_search_result_location",
    "cited_text": "It scatters.",
    "encrypted_index": "xyz",
    "title": "Sky",
    "url": "https://x.org",
}


async def test_a_paused_turn_goes_back_as_it_came(claude: AnthropicProvider, server: ProviderServer) -> None:
    text = {"type": "text", "text": "", "deltas": [{"type": "text_delta", "text": "I search."}]}
    parts = make_blocks(text, {**SEARCH, "deltas": QUERY}, dict(FOUND))
    server.enqueue(Script(raw=stream(START, *parts, *make_ending("pause_turn"))))
    prompt = make_prompt("claude-sonnet-5-5")
    heard = await hear_whole(claude, prompt)
    assert (heard.text, heard.finishes) == ("I search.", ["pause"])
    assert heard.usage is not None
    assert heard.usage.searches == 2
    made = Turn("assistant", heard.text, thinking=heard.thinking)
    server.script = Script(text="Blue.")
    goes_on = await hear_whole(claude, replace(prompt, turns=(*prompt.turns, made)))
    assert goes_on.text == "\n\nBlue.", "what comes after a search is a paragraph of its own"
    assert server.requests[1].body["messages"][-1]["content"] == [
        {"type": "text", "text": "I search."},
        {**SEARCH, "input": {"query": "sky"}},
        FOUND,
    ]


async def test_citations_go_back_with_their_text(claude: AnthropicProvider, server: ProviderServer) -> None:
    cited = {
        "type": "text",
        "text": "",
        "citations": [],
        "deltas": [{"type": "text_delta", "text": "It scatters."}, {"type": "citations_delta", "citation": CITED}],
    }
    call = {"type": "tool_use", "id": "toolu_1", "name": "clock", "input": {}}
    parts = make_blocks({**SEARCH, "deltas": QUERY}, dict(FOUND), cited, call)
    server.enqueue(Script(raw=stream(START, *parts, *make_ending("tool_use"))))
    prompt = make_prompt("claude-sonnet-5-5", tools=(CLOCK,))
    heard = await hear_whole(claude, prompt)
    assert (heard.text, [call.id for call in heard.calls]) == ("It scatters.", ["toolu_1"])
    made = Turn("assistant", heard.text, calls=tuple(heard.calls), thinking=heard.thinking)
    await hear_whole(claude, replace(prompt, turns=(*prompt.turns, made, Turn("tool", "Noon.", call_id="toolu_1"))))
    assert server.requests[1].body["messages"][1]["content"] == [
        {**SEARCH, "input": {"query": "sky"}},
        FOUND,
        {"type": "text", "text": "It scatters.", "citations": [CITED]},
        {"type": "tool_use", "id": "toolu_1", "name": "clock", "input": {}},
    ]


@pytest.mark.parametrize(
    ("category", "words"),
    [
        ("cyber", "attack"),
        ("bio", "biological"),
        ("frontier_llm", "competing"),
        ("reasoning_extraction", "reasoning"),
        ("general_harms", "harm"),
        (None, ""),
        ("of-2027", ""),
    ],
)
async def test_a_refusal_says_its_category_in_a_sentence(
    claude: AnthropicProvider, server: ProviderServer, category: str | None, words: str
) -> None:
    details = {"type": "refusal", "category": category, "explanation": None}
    server.enqueue(Script(raw=stream(START, *make_ending("refusal", stop_details=details))))
    heard = await hear_whole(claude, make_prompt("claude-sonnet-5-5"))
    assert heard.finishes == ["content_filter"]
    sentences = [event.message for event in heard.events if isinstance(event, Remark)]
    assert len(sentences) == bool(words)
    assert words in "".join(sentences)


async def test_a_full_window_ends_as_a_limit_does(claude: AnthropicProvider, server: ProviderServer) -> None:
    server.script = Script(finish_reason="model_context_window_exceeded")
    assert (await hear_whole(claude, make_prompt("claude-sonnet-5-5"))).finishes == ["length"]
