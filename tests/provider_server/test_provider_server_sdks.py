"""The providers' own SDKs understand what the provider server writes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from time import monotonic

import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

from chat.core.events import Usage
from tests.provider_server import Call, ProviderServer, Script
from tests.provider_server.directives import NASTY
from tests.provider_server.script import STAMP_WIDTH

USAGE = Usage(input_tokens=9, output_tokens=5, cached_tokens=4, reasoning_tokens=2)


@pytest.fixture
async def openai(provider: ProviderServer) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(api_key="sk-test", base_url=provider.openai_url, max_retries=0) as client:
        yield client


@pytest.fixture
async def anthropic(provider: ProviderServer) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(api_key="sk-test", base_url=provider.anthropic_url, max_retries=0) as client:
        yield client


FULL = Script(
    text=NASTY, reasoning="Hm, λ⁻⁴.", tool_calls=[Call("f", '{"a": 1}', "call_a")], usage=USAGE, http_chunk_size=97
)


async def test_openais_sdk_puts_the_answer_together(openai: AsyncOpenAI, provider: ProviderServer) -> None:
    provider.script = FULL
    text, arguments, reasons, usage = "", "", [], None
    stream = await openai.chat.completions.create(
        model="m",
        messages=[{"role": "user", "content": "Why?"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    async for chunk in stream:
        usage = chunk.usage or usage
        for one in chunk.choices:
            text += one.delta.content or ""
            reasons.append(one.finish_reason)
            for call in one.delta.tool_calls or ():
                arguments += (call.function and call.function.arguments) or ""
    assert (text, arguments) == (NASTY, '{"a": 1}')
    assert [reason for reason in reasons if reason] == ["tool_calls"]
    assert usage is not None
    assert usage.prompt_tokens_details is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.prompt_tokens_details.cached_tokens) == (9, 5, 4)


async def test_openais_sdk_puts_a_response_together(openai: AsyncOpenAI, provider: ProviderServer) -> None:
    provider.script = FULL
    async with openai.responses.stream(model="m", input="Why?") as stream:
        deltas = "".join([event.delta async for event in stream if event.type == "response.output_text.delta"])
        response = await stream.get_final_response()
    assert (deltas, response.output_text) == (NASTY, NASTY)
    assert [item.type for item in response.output] == ["reasoning", "message", "function_call"]
    call = response.output[-1]
    assert call.type == "function_call"
    assert (call.call_id, call.name, call.arguments) == ("call_a", "f", '{"a": 1}')
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.input_tokens_details.cached_tokens) == (9, 4)


@pytest.mark.parametrize(("reason", "status"), [("stop", "completed"), ("length", "incomplete")])
async def test_openais_sdk_reads_a_response_that_is_not_streamed(
    openai: AsyncOpenAI, provider: ProviderServer, reason: str, status: str
) -> None:
    provider.script = Script(text=NASTY, finish_reason=reason)
    response = await openai.responses.create(model="m", input="Why?")
    assert (response.output_text, response.status) == (NASTY, status)


async def test_anthropics_sdk_puts_the_answer_together(anthropic: AsyncAnthropic, provider: ProviderServer) -> None:
    provider.script = FULL
    async with anthropic.messages.stream(
        model="m", max_tokens=9, messages=[{"role": "user", "content": "Why?"}]
    ) as stream:
        message = await stream.get_final_message()
    thinking, text, tool = message.content
    assert (thinking.type, text.type, tool.type) == ("thinking", "text", "tool_use")
    assert thinking.type == "thinking"
    assert thinking.thinking == "Hm, λ⁻⁴."
    assert text.type == "text"
    assert text.text == NASTY
    assert tool.type == "tool_use"
    assert (tool.id, tool.name, tool.input) == ("call_a", "f", {"a": 1})
    assert message.stop_reason == "tool_use"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (5, 5)


async def test_openais_sdk_reads_the_answer_that_is_not_streamed(openai: AsyncOpenAI, provider: ProviderServer) -> None:
    provider.script = FULL
    completion = await openai.chat.completions.create(model="m", messages=[{"role": "user", "content": "Why?"}])
    assert completion.choices[0].message.content == NASTY
    assert completion.usage is not None
    assert completion.usage.total_tokens == 14


async def test_anthropics_sdk_reads_the_answer_that_is_not_streamed(
    anthropic: AsyncAnthropic, provider: ProviderServer
) -> None:
    provider.script = Script(text=NASTY, finish_reason="length")
    message = await anthropic.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "Why?"}])
    assert message.content[0].type == "text"
    assert message.content[0].text == NASTY
    assert message.stop_reason == "max_tokens"


async def test_the_sdks_can_list_its_models(openai: AsyncOpenAI, anthropic: AsyncAnthropic) -> None:
    assert [model.id async for model in openai.models.list()] == ["gpt-test", "messages-test"]
    assert [model.id async for model in anthropic.models.list()] == ["gpt-test", "messages-test"]


async def test_a_stamped_delta_says_when_it_was_sent(openai: AsyncOpenAI, provider: ProviderServer) -> None:
    provider.script = Script(text="abc", chunk_size=1, timestamped=True)
    started = monotonic()
    stream = await openai.chat.completions.create(
        model="m", messages=[{"role": "user", "content": "Why?"}], stream=True
    )
    stamps = [one.delta.content async for chunk in stream for one in chunk.choices if one.delta.content]
    assert [len(stamp) for stamp in stamps] == [STAMP_WIDTH] * 3
    assert started < float(stamps[0]) <= float(stamps[1]) <= float(stamps[2]) < monotonic()
