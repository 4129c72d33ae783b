"""Each of OpenAI's models of today, through everything that a conversation does, by its own contract: nothing that is
asked is refused, no call is made twice, and the SDK's types accept every request.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)
from openai.types.responses.response_create_params import (
    ResponseCreateParamsNonStreaming,
    ResponseCreateParamsStreaming,
)

from chat.core.events import Usage
from chat.providers.adaptation_remarks import list_remarks
from chat.providers.adaptations import CONTINUE_INSTRUCTION
from chat.providers.anthropic import AnthropicProvider
from chat.providers.base import Prompt, ToolSchema, Turn, is_sign_of_life
from chat.providers.known_limits import adapt_to_limits
from chat.providers.model_table import find_capabilities
from chat.providers.openai_provider import OpenAIProvider
from tests.contracts.hearing import KEY, PATIENCE, Heard, complete, hear
from tests.provider_server import Call, ProviderServer, Script
from tests.provider_server.openai_models import find_contract
from tests.provider_server.openai_responses import MESSAGE_ID
from tests.support.sdk_types import find_complaints

MODELS = [
    "gpt-6.2-sol",
    "gpt-6.2-astra",
    "gpt-6-astra",
    "gpt-6.1-sol",
    "gpt-6.1-terra",
    "gpt-6-sol",
    "gpt-6-luna",
    "gpt-5.6-sol",
    "gpt-5.6-terra",
    "gpt-5.6-luna",
    "gpt-5.5",
    "gpt-5.4",
    "gpt-5.4-mini",
    "gpt-5.2",
    "gpt-5.1",
    "gpt-5",
    "gpt-5-mini",
    "o3",
    "o4-mini",
    "gpt-4.1",
    "gpt-4.1-mini",
    "gpt-4o",
]
TOOLS = (
    ToolSchema(
        "weather",
        "How the weather is.",
        {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
    ),
    ToolSchema(
        "clock",
        "What time it is.",
        {
            "type": "object",
            "properties": {"zone": {"type": "string"}},
            "required": ["zone"],
            "additionalProperties": False,
        },
    ),
)
SCHEMA = {"type": "object", "properties": {"sky": {"type": "string"}, "why": {"type": "string"}}, "required": ["sky"]}
TALK = (Turn("system", "Be brief."), Turn("user", "Why is the sky blue?"))
CALLS = [Call("weather", '{"city": "Rome"}', "call_a"), Call("clock", '{"zone": "CET"}', "call_b")]

PARAMS: dict[tuple[str, bool], Any] = {
    ("/v1/responses", True): ResponseCreateParamsStreaming,
    ("/v1/responses", False): ResponseCreateParamsNonStreaming,
    ("/v1/chat/completions", True): CompletionCreateParamsStreaming,
    ("/v1/chat/completions", False): CompletionCreateParamsNonStreaming,
}


@pytest.fixture
async def server() -> AsyncIterator[ProviderServer]:
    """A server that keeps its models' contracts. At the end no request was refused, and all are of the SDK's types."""
    async with ProviderServer(Script(text="Because."), api_key=KEY) as server:
        yield server
        assert all(request.sent_characters or request.script.tool_calls for request in server.requests)
        for request in server.requests:
            if request.path != "/v1/messages":
                params = PARAMS[request.path, bool(request.body.get("stream"))]
                assert list(find_complaints(request.body, params)) == []


@pytest.fixture
async def responses(server: ProviderServer) -> AsyncIterator[OpenAIProvider]:
    adapter = OpenAIProvider(api_key=KEY, base_url=server.openai_url)
    yield adapter
    await adapter.aclose()


def ask_of(model: str, *turns: Turn, api: str = "auto", **wishes: Any) -> Prompt:
    """Return a prompt as the site makes it, with what is known of the model."""
    takes = find_capabilities("openai", model)
    takes = takes if api == "auto" else replace(takes, api="chat")
    return adapt_to_limits(Prompt(model, turns or TALK, capabilities=takes, cache_key="conversation-1", **wishes))


def add_answer(prompt: Prompt, heard: Heard, *more: Turn) -> Prompt:
    """Return the prompt of the next step: with the answer, a result for each of its calls, and `more`."""
    said = Turn(
        "assistant", heard.text, calls=tuple(heard.calls), thinking=heard.thinking, native_form=heard.native_form
    )
    results = [Turn("tool", "Sunny.", call_id=call.id) for call in heard.calls]
    return replace(prompt, turns=(*prompt.turns, said, *results, *more))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("api", ["auto", "chat"])
async def test_every_model_is_asked_by_its_contract_through_a_conversation_with_tools(
    server: ProviderServer, api: Any, model: str
) -> None:
    assert find_contract(model) is not None
    provider = OpenAIProvider(api_key=KEY, base_url=server.openai_url, api=api)
    for ask in (hear, complete):
        plain = await ask(provider, ask_of(model, api=api))
        second = add_answer(ask_of(model, api=api, max_output_tokens=5), plain, Turn("user", "Why?"))
        heard = [plain, await ask(provider, second)]
        warm = ask_of(model, api=api, temperature=0.5)
        heard.append(await ask(provider, warm))
        is_taken = "temperature" in server.requests[-1].body
        assert is_taken != ("temperature" in " ".join(list_remarks(warm)))
        heard.append(await ask(provider, ask_of(model, api=api, response_schema=SCHEMA)))
        begun = (*TALK, Turn("assistant", "Be"), Turn("user", CONTINUE_INSTRUCTION))
        heard.append(await ask(provider, replace(ask_of(model, *begun, api=api), answer_so_far="Be")))
        heard += [
            await ask(provider, ask_of(model, api=api, effort=effort)) for effort in ask_of(model).capabilities.efforts
        ]
        heard += await use_tools(provider, server, ask_of(model, api=api, tools=TOOLS), ask)
        assert [each.error for each in heard] == [None] * len(heard)
    await provider.aclose()
    assert {request.path for request in server.requests} == {
        f"/v1/{'responses' if api == 'auto' else 'chat/completions'}"
    }


async def use_tools(provider: OpenAIProvider, server: ProviderServer, prompt: Prompt, ask: Any) -> list[Heard]:
    """Run a loop with two steps of calls, reasoning before each, then a later turn; return what each call brought."""
    if prompt.find_adaptation("no_tools"):
        assert "tools" in " ".join(list_remarks(prompt))
    reasoning = "Rome is warm." if prompt.capabilities.api == "responses" else ""  # OpenAI sends none at its other API
    heard: list[Heard] = []
    for step in range(2):
        calls = [replace(call, id=f"{call.id}{step}") for call in CALLS]
        server.enqueue(Script(text="I look.", reasoning=reasoning, tool_calls=calls))
        heard.append(await ask(provider, prompt))
        prompt = add_answer(prompt, heard[-1])
    heard.append(await ask(provider, prompt))
    heard.append(await ask(provider, add_answer(prompt, heard[-1], Turn("user", "And tomorrow?"))))
    is_offered = [("tools" in request.body) for request in server.requests[-4:]]
    assert all(is_offered) or prompt.find_adaptation("no_tools")
    return heard


@pytest.mark.parametrize("model", ["gpt-6.2-sol", "gpt-5.5", "o3"])
async def test_what_was_reasoned_before_a_call_goes_back_before_it_in_later_turns_too(
    server: ProviderServer, responses: OpenAIProvider, model: str
) -> None:
    prompt = ask_of(model, tools=TOOLS)
    server.enqueue(Script(text="I look.", reasoning="Rome.", reasoning_between="And when?", tool_calls=CALLS))
    first = await hear(responses, prompt)
    prompt = add_answer(prompt, first)
    second = await hear(responses, prompt)
    await hear(responses, add_answer(prompt, second, Turn("user", "And tomorrow?")))
    kinds = [[item.get("type") or item["role"] for item in request.body["input"]] for request in server.requests]
    assert kinds[1] == [
        "user", "reasoning", "message", "reasoning", "function_call", "reasoning", "function_call",
        "function_call_output", "function_call_output",
    ]  # fmt: skip
    assert kinds[2] == [*kinds[1], "assistant", "user"]
    assert server.requests[2].body["input"][: len(kinds[1])] == server.requests[1].body["input"]
    assert server.requests[2].body["input"][-2] == {
        "role": "assistant",
        "content": "Because.",
        "phase": "final_answer",
    }


async def test_what_was_reasoned_before_an_answer_goes_back_before_it_with_its_phase(
    server: ProviderServer, responses: OpenAIProvider
) -> None:
    prompt = ask_of("gpt-6.2-sol")
    server.enqueue(Script(text="Rayleigh.", reasoning="Light scatters."))
    first = await hear(responses, prompt)
    await hear(responses, add_answer(prompt, first, Turn("user", "And the sea?")))
    reasoning, message, _ = server.requests[1].body["input"][1:]
    assert (reasoning["type"], reasoning["summary"][0]["text"]) == ("reasoning", "Light scatters.")
    assert (message["phase"], message["id"]) == ("final_answer", MESSAGE_ID)
    assert message["content"] == [{"type": "output_text", "text": "Rayleigh.", "annotations": []}]


async def test_a_message_whose_reasoning_did_not_come_goes_back_without_its_id(
    server: ProviderServer, responses: OpenAIProvider
) -> None:
    """The API refuses a message's id without the reasoning that it came with."""
    prompt = ask_of("gpt-5.4", effort="none")
    first = await hear(responses, prompt)
    assert (await hear(responses, add_answer(prompt, first, Turn("user", "And the sea?")))).error is None
    message = server.requests[1].body["input"][1]
    assert message == {"role": "assistant", "content": "Because.", "phase": "final_answer"}


async def test_reasoning_that_nothing_followed_does_not_go_back(
    server: ProviderServer, responses: OpenAIProvider
) -> None:
    """The API refuses a reasoning item without the item that it led to, as a stream leaves it that broke off."""
    prompt = ask_of("gpt-6.2-sol")
    server.enqueue(Script(text="Rayleigh.", reasoning="Light scatters."))
    first = await hear(responses, prompt)
    kept = json.loads(first.native_form)
    items = kept["members"]["items"]
    items.append(next(item for item in items if item["type"] == "reasoning") | {"id": "rs_last"})
    asked = add_answer(prompt, first, Turn("user", "And the sea?"))
    *before, answer, further = asked.turns
    broken_off = replace(answer, native_form=json.dumps(kept))
    assert (await hear(responses, replace(asked, turns=(*before, broken_off, further)))).error is None
    sent = [item.get("type") or item["role"] for item in server.requests[1].body["input"]]
    assert sent == ["user", "reasoning", "message", "user"]


async def test_an_altered_or_foreign_reasoning_is_refused_by_the_server_and_never_sent_by_us(
    server: ProviderServer, responses: OpenAIProvider
) -> None:
    prompt = ask_of("gpt-6.2-sol", tools=TOOLS)
    server.enqueue(Script(text="", reasoning="Rome.", tool_calls=CALLS[:1]))
    prompt = add_answer(prompt, await hear(responses, prompt))
    assert "reasoning" in str(prompt.turns)
    await hear(responses, replace(prompt, model="gpt-5.5", capabilities=find_capabilities("openai", "gpt-5.5")))
    assert "encrypted_content" not in server.requests[-1].body["input"][1]
    assert [item.get("type") for item in server.requests[-1].body["input"]] == [
        None,
        "function_call",
        "function_call_output",
    ]
    async with ProviderServer(Script(text="Because."), api_key=KEY) as another:
        elsewhere = OpenAIProvider(api_key=KEY, base_url=another.openai_url)
        assert (await hear(elsewhere, prompt)).error is None
        assert "gAAAAA" not in str(another.requests[0].body)
        await elsewhere.aclose()


async def test_a_conversation_changes_its_model_in_the_middle_and_comes_back(
    server: ProviderServer, responses: OpenAIProvider
) -> None:
    claude = AnthropicProvider(api_key=KEY, base_url=server.anthropic_url)
    turns: tuple[Turn, ...] = TALK
    route: list[tuple[str, Any]] = [
        ("gpt-6.2-sol", responses),
        ("messages-test", claude),
        ("gpt-5.6-terra", responses),
        ("gpt-4.1", responses),
        ("messages-test", claude),
        ("gpt-6.2-sol", responses),
    ]
    for number, (model, adapter) in enumerate(route):
        provider_name = "anthropic" if adapter is claude else "openai"
        takes = find_capabilities(provider_name, model)
        prompt = adapt_to_limits(Prompt(model, turns, capabilities=takes, tools=TOOLS))
        calls = [replace(call, id=f"{call.id}{number}") for call in CALLS]
        server.enqueue(Script(text="I look.", reasoning=f"Thought {number}.", tool_calls=calls))
        first = await hear(adapter, prompt)
        prompt = add_answer(prompt, first)
        last = await hear(adapter, prompt)
        assert (first.error, last.error) == (None, None)
        turns = add_answer(prompt, last, Turn("user", "And then?")).turns
    await claude.aclose()
    own = [item for item in server.requests[-1].body["input"] if item.get("type") == "reasoning"]
    assert [item["summary"][0]["text"] for item in own] == ["Thought 0.", "Thought 5."]
    assert [item["phase"] for item in server.requests[-1].body["input"] if "phase" in item] == [
        "commentary",
        "final_answer",
        "commentary",
    ]


async def test_a_model_that_thinks_for_minutes_sends_signs_of_life(
    server: ProviderServer, responses: OpenAIProvider
) -> None:
    server.script = Script(text="Because.", reasoning="Rayleigh. ", gate_after=0, ping_interval=0.01)
    signs = 0
    async with asyncio.timeout(PATIENCE), aclosing(responses.stream(ask_of("gpt-6.2-sol"))) as batches:
        async for batch in batches:
            signs += is_sign_of_life(batch)
            if signs == 5:
                server.release()
    assert signs >= 5


# Caching, and the invoice


def make_rounds(prompt: Prompt) -> Iterator[tuple[Prompt, str]]:
    """Yield twenty prompts with the same beginning, which is long enough to be cached, each with its question."""
    system = Turn("system", "You know everything about the weather of every town in Italy. " * 120)
    for number in range(20):
        question = Turn("user", f"How is it in town {number}, and how will it be tomorrow? " * 3)
        yield replace(prompt, turns=(system, question)), question.content


@pytest.mark.parametrize("model", ["gpt-6.2-sol", "gpt-5.5", "gpt-4.1"])
async def test_twenty_turns_are_read_from_cache_and_the_figures_are_those_of_the_invoice(
    server: ProviderServer, responses: OpenAIProvider, model: str
) -> None:
    server.script = Script(text="Sunny, with a little wind in the evening. " * 3, reasoning="Hm.", counts_tokens=True)
    prompt = ask_of(model, tools=TOOLS)
    turns: tuple[Turn, ...] = ()
    usages: list[Usage] = []
    for number, (begun, question) in enumerate(make_rounds(prompt)):
        turns = (*(turns or begun.turns[:1]), Turn("user", question))
        if number % 5 == 0:
            server.enqueue(replace(server.script, text="", tool_calls=[replace(CALLS[0], id=f"call_{number}")]))
            heard = await hear(responses, replace(prompt, turns=turns))
            turns = add_answer(replace(prompt, turns=turns), heard).turns
            usages += [heard.usage] if heard.usage else []
        heard = await hear(responses, replace(prompt, turns=turns))
        turns = add_answer(replace(prompt, turns=turns), heard).turns
        usages += [heard.usage] if heard.usage else []
    assert usages == server.prompt_cache.invoice
    assert sum(usage.cached_tokens for usage in usages) >= 0.9 * sum(usage.input_tokens for usage in usages)
    assert any(usage.written_tokens for usage in usages) == (model == "gpt-6.2-sol")


async def test_another_conversation_has_a_cache_of_its_own(server: ProviderServer, responses: OpenAIProvider) -> None:
    await hear(responses, ask_of("gpt-6.2-sol"))
    await hear(responses, replace(ask_of("gpt-6.2-sol"), cache_key="conversation-2"))
    keys = [request.body["prompt_cache_key"] for request in server.requests]
    assert keys == ["conversation-1", "conversation-2"]
