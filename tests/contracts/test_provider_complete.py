"""An answer that is not streamed: the same events, the same failures, and no call left open."""

from __future__ import annotations

import asyncio
import traceback
from dataclasses import replace
from time import monotonic
from typing import Any

import pytest

from chat.core.events import FinishReason, Usage
from chat.providers.base import CalledTool, Provider, ToolSchema
from tests.contracts.hearing import (
    AFTER,
    CLOSES_WITHIN,
    DROPS,
    KEY,
    PROMPT,
    REFUSALS,
    TEXT,
    TOUR,
    Make,
    complete,
    get_failure,
    hear,
)
from tests.provider_server import Call, ProviderServer, Script
from tests.provider_server.directives import NASTY

CALLS = [Call("weather", '{"city":"Zürich"}', "call_a"), Call("clock", "{}", "call_b")]


async def test_an_answer_comes_whole(provider: Provider, server: ProviderServer) -> None:
    heard = await complete(provider)
    assert heard.error is None
    assert heard.text == TEXT
    assert heard.kinds == ["Token", "Finish"]
    assert heard.finishes == ["stop"]
    assert heard.usage == server.script.usage
    assert not server.requests[0].body.get("stream")
    assert "stream_options" not in server.requests[0].body


@pytest.mark.parametrize("name", ["openai", "anthropic", "demo"], indirect=True)
async def test_a_whole_answer_says_what_the_stream_says(provider: Provider) -> None:
    streamed, whole = await hear(provider, TOUR), await complete(provider, TOUR)
    assert (whole.error, whole.text, whole.finishes) == (None, streamed.text, streamed.finishes)
    assert (whole.kinds, whole.usage) == (streamed.kinds, streamed.usage)


@pytest.mark.parametrize("name", ["demo"], indirect=True)
async def test_the_demos_whole_answer_is_in_one_piece(provider: Provider) -> None:
    heard = await complete(provider, TOUR)
    assert [type(event).__name__ for event in heard.events] == ["Token", "Finish", "Usage"]


@pytest.mark.parametrize("escape", [False, True])
async def test_a_whole_answer_keeps_its_text_exactly(provider: Provider, server: ProviderServer, escape: bool) -> None:
    server.script = Script(text=NASTY, reasoning=NASTY, escape_non_ascii=escape)
    heard = await complete(provider)
    assert (heard.text, heard.reasoning) == (NASTY, NASTY)


async def test_characters_that_no_database_can_store_are_replaced(provider: Provider, server: ProviderServer) -> None:
    server.script = Script(text="a\x00b\ud800c")
    assert (await complete(provider)).text == "a\ufffdb\ufffdc"


async def test_the_usage_of_a_whole_answer_has_every_figure(provider: Provider, server: ProviderServer) -> None:
    usage = Usage(input_tokens=1200, output_tokens=340, cached_tokens=1000, reasoning_tokens=128)
    server.script = Script(usage=usage)
    assert (await complete(provider)).usage == usage


async def test_an_answer_without_a_usage_report_has_no_usage(provider: Provider, server: ProviderServer) -> None:
    server.script = Script(text=TEXT, no_usage=True)
    heard = await complete(provider)
    assert (heard.text, heard.usage) == (TEXT, None)


@pytest.mark.parametrize("reason", ["stop", "length", "content_filter", "tool_calls"])
async def test_the_finish_reason_is_the_providers(
    name: str, provider: Provider, server: ProviderServer, reason: FinishReason
) -> None:
    is_of_calls = name == "responses" and reason == "tool_calls"  # its calls alone say that it waits for tools
    server.script = Script(text=TEXT, finish_reason=reason)
    assert (await complete(provider)).finishes == ["stop" if is_of_calls else reason]


async def test_an_empty_answer_is_a_finish_alone(provider: Provider, server: ProviderServer) -> None:
    server.script = Script(text="")
    assert (await complete(provider)).kinds == ["Finish"]


@pytest.mark.parametrize("manner", ["", "object"])
async def test_calls_come_with_their_arguments(provider: Provider, server: ProviderServer, manner: Any) -> None:
    server.script = Script(text="I look.", tool_calls=CALLS, tool_call_style=manner)
    heard = await complete(provider)
    arguments = [call.arguments.replace(" ", "") for call in heard.calls]
    assert [(call.id, call.name) for call in heard.calls] == [("call_a", "weather"), ("call_b", "clock")]
    assert [value or "{}" for value in arguments] == [call.arguments for call in CALLS]
    assert (heard.text, heard.finishes) == ("I look.", ["tool_calls"])


@pytest.mark.parametrize("reason", ["stop", ""])
async def test_calls_without_ids_get_one_each(provider: Provider, server: ProviderServer, reason: str) -> None:
    server.script = Script(text="", tool_calls=CALLS * 2, tool_call_style="no_id", finish_reason=reason)
    heard = await complete(provider)
    assert [call.name for call in heard.calls] == ["weather", "clock"] * 2
    assert len({call.id for call in heard.calls}) == 4
    assert heard.finishes == ["tool_calls"]


@pytest.mark.parametrize("ask", [hear, complete])
async def test_the_request_carries_the_parameters(
    name: str, provider: Provider, server: ProviderServer, ask: Any
) -> None:
    schema: dict[str, Any] = {"type": "object", "properties": {"sky": {"type": "string"}}}
    schema |= {"required": ["sky"], "additionalProperties": False}
    await ask(provider, replace(PROMPT, max_output_tokens=77, temperature=0.0, response_schema=schema))
    body = server.requests[0].body
    limit = body["max_output_tokens" if name == "responses" else "max_tokens"]
    assert (body["model"], limit, body["temperature"]) == ("test-model", 77, 0.0)
    expected: dict[str, Any] = {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": schema, "strict": True},
    }
    if name == "openai":
        assert body["response_format"] == expected
    elif name == "responses":
        assert body["text"] == {"format": {"type": "json_schema", **expected["json_schema"]}}
    else:
        assert [(tool["name"], tool["input_schema"]) for tool in body["tools"]] == [("answer", schema)]
        assert (body["tool_choice"]["type"], body["tool_choice"]["name"]) == ("tool", "answer")


async def test_a_long_answer_may_be_asked_for_whole(provider: Provider) -> None:
    """Anthropic's SDK refuses one that may take ten minutes, unless the client says how long it waits."""
    assert (await complete(provider, replace(PROMPT, max_output_tokens=128_000))).error is None


async def test_a_tool_without_parameters_is_sent_with_an_object(provider: Provider, server: ProviderServer) -> None:
    server.script = Script(text="", tool_calls=[Call("clock", "{}", "a")])
    heard = await complete(provider, replace(PROMPT, tools=(ToolSchema("clock", "", {"type": "object"}),)))
    assert [(call.id, call.name) for call in heard.calls] == [("a", "clock")]
    assert heard.calls[0] in (CalledTool("a", "clock", "{}"), CalledTool("a", "clock", ""))


# Failures


@pytest.mark.parametrize(("script", "code"), REFUSALS)
async def test_a_refused_request_has_its_code(
    provider: Provider, server: ProviderServer, script: Script, code: str
) -> None:
    server.script = script
    assert get_failure(await complete(provider)).code == code
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("script", "code"),
    [
        pytest.param(Script(malformed_json_after=AFTER), "upstream_error", id="malformed JSON"),
        pytest.param(Script(no_finish=True), "upstream_error", id="without an end"),
        pytest.param(Script(error_event_after=AFTER, error_type="server_error"), "upstream_error", id="error with 200"),
        pytest.param(Script(error_event_after=AFTER, error_type="rate_limit_error"), "rate_limited", id="rate limit"),
        *(pytest.param(*case.values, "upstream_error", id=case.id) for case in DROPS),
    ],
)
async def test_a_broken_answer_has_its_code(
    provider: Provider, server: ProviderServer, script: Script, code: str
) -> None:
    server.script = script
    assert get_failure(await complete(provider)).code == code
    assert len(server.requests) == 1


async def test_an_answer_beyond_the_limit_is_cut_off(make: Make, server: ProviderServer) -> None:
    server.script = Script(text="a" * 50_000_000)
    assert get_failure(await complete(make(max_line_bytes=1_000_000))).code == "upstream_error"
    server.script = Script(text="a" * 900_000)
    assert len((await complete(make(max_line_bytes=1_000_000))).text) == 900_000


async def test_the_wait_that_the_provider_asks_for_is_told(provider: Provider, server: ProviderServer) -> None:
    server.script = Script(status=429, retry_after=7)
    assert get_failure(await complete(provider)).retry_after == 7


@pytest.mark.parametrize("script", [Script(status=401, echo_key=True), Script(error_event_after=1, error_message=KEY)])
async def test_no_failure_tells_the_key(provider: Provider, server: ProviderServer, script: Script) -> None:
    server.script = script
    error = get_failure(await complete(provider))
    assert KEY not in "".join(traceback.format_exception(error))


@pytest.mark.parametrize(
    "script", [Script(delay_headers=60), Script(gate_after=0)], ids=["before the headers", "while it is made"]
)
async def test_cancelling_a_whole_answer_closes_the_upstream_connection(
    provider: Provider, server: ProviderServer, script: Script
) -> None:
    server.script = script
    asking = asyncio.create_task(complete(provider))
    request = await server.wait_for_requests(1)
    cancelled = monotonic()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await server.wait_until_closed(request) - cancelled < CLOSES_WITHIN


async def test_whole_and_streamed_answers_share_one_connection(provider: Provider, server: ProviderServer) -> None:
    for ask in (complete, hear, complete):
        assert (await ask(provider)).finishes == ["stop"]
    assert len({request.peer for request in server.requests}) == 1
