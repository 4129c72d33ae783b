"""Tool calls: told as they are made, however sloppily a server sends them, and sent back with their results."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from chat.core.events import Finish, ProviderEvent, ToolArguments, ToolCall
from chat.providers.base import CalledTool, Prompt, Provider, ToolSchema, Turn
from tests.contracts.hearing import PATIENCE, PROMPT, TEXT, Heard, complete, hear
from tests.provider_server import Call, ProviderServer, Script

WEATHER = ToolSchema(
    "weather",
    "How the weather is.",
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
CLOCK = ToolSchema("clock", "What time it is.", {"type": "object", "properties": {}})
TOOLS = (WEATHER, CLOCK, ToolSchema("weather_map", "A map.", {"type": "object", "properties": {}}))
ASKED = replace(PROMPT, tools=TOOLS)

CALLS = [
    Call("weather", '{"city": "Zürich", "days": 3}', "call_a"),
    Call("clock", "{}", "call_b"),
    Call("weather", '{"city": "Rome"}', "call_c"),
]
MADE = [CalledTool(call.id, call.name, call.arguments) for call in CALLS]

# The manners that keep the ids, and those that lose them on the way.
WITH_IDS = [
    "",
    "no_index",
    "split_name",
    "arguments_first",
    "repeated",
    "index_zero",
    "whole",
    "object",
    "at_once",
    "no_stop",
]
WITHOUT_IDS = ["no_id", "neither", "late_id", "late_id_no_index", "index_zero_no_id", "bare", "at_once_bare"]


def list_calls(heard: Heard) -> list[tuple[str, str]]:
    return [(call.name, call.arguments) for call in heard.calls]


def add_results(prompt: Prompt, heard: Heard, *results: str) -> Prompt:
    """Return the prompt of the next step: what was heard, and the results of its calls, are added."""
    made = Turn("assistant", heard.text, calls=tuple(heard.calls), thinking=heard.thinking)
    turns = [Turn("tool", result, call_id=call.id) for call, result in zip(heard.calls, results, strict=True)]
    return replace(prompt, turns=(*prompt.turns, made, *turns))


def find_results(name: str, body: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the id and the content of each result in the request, in its order."""
    if name == "openai":
        return [(turn["tool_call_id"], turn["content"]) for turn in body["messages"] if turn["role"] == "tool"]
    if name == "responses":
        outputs = [item for item in body["input"] if item.get("type") == "function_call_output"]
        return [(item["call_id"], item["output"]) for item in outputs]
    blocks = [block for turn in body["messages"] if isinstance(turn["content"], list) for block in turn["content"]]
    return [(block["tool_use_id"], block["content"]) for block in blocks if block["type"] == "tool_result"]


# What is told


async def test_calls_are_told_with_the_pieces_of_their_arguments(provider: Provider, server: ProviderServer) -> None:
    server.script = Script(text="Let me look.", tool_calls=CALLS, chunk_size=5)
    heard = await hear(provider, ASKED)
    assert heard.calls == MADE
    assert (heard.text, heard.finishes) == ("Let me look.", ["tool_calls"])


async def test_a_call_begins_before_its_arguments(provider: Provider, server: ProviderServer) -> None:
    server.script = Script(text="", tool_calls=CALLS[:1])
    assert (await hear(provider, ASKED)).kinds == ["ToolCall", "ToolArguments", "Finish"]


@pytest.mark.parametrize("tools", [TOOLS, ()], ids=["of a known tool", "of an unknown tool"])
@pytest.mark.parametrize("manner", WITH_IDS)
@pytest.mark.parametrize("http_chunk_size", [0, 3])
async def test_calls_are_exact_however_they_are_sent(
    provider: Provider, server: ProviderServer, manner: Any, tools: tuple[ToolSchema, ...], http_chunk_size: int
) -> None:
    server.script = Script(
        text=TEXT,
        tool_calls=CALLS,
        tool_call_style=manner,
        chunk_size=5,
        http_chunk_size=http_chunk_size,
        gather_writes=not http_chunk_size,
    )
    heard = await hear(provider, replace(ASKED, tools=tools))
    assert heard.calls == MADE
    assert (heard.text, heard.finishes) == (TEXT, ["tool_calls"])


@pytest.mark.parametrize("tools", [TOOLS, ()], ids=["of a known tool", "of an unknown tool"])
@pytest.mark.parametrize("manner", WITHOUT_IDS)
async def test_calls_without_ids_get_one_each(
    provider: Provider, server: ProviderServer, manner: Any, tools: tuple[ToolSchema, ...]
) -> None:
    server.script = Script(text=TEXT, tool_calls=CALLS, tool_call_style=manner, chunk_size=5)
    heard = await hear(provider, replace(ASKED, tools=tools))
    assert list_calls(heard) == [(call.name, call.arguments) for call in CALLS]
    assert len({call.id for call in heard.calls}) == len(CALLS)
    assert all(call.id for call in heard.calls)


@pytest.mark.parametrize("ask", [hear, complete])
@pytest.mark.parametrize("name", ["openai"], indirect=True)
async def test_calls_in_one_delta_are_told_apart_though_they_have_nothing_but_names(
    provider: Provider, server: ProviderServer, ask: Any
) -> None:
    calls = [Call("nothing", ""), Call("here", "")]
    server.script = Script(text="", tool_calls=calls, tool_call_style="at_once_bare")
    assert list_calls(await ask(provider, ASKED)) == [("nothing", ""), ("here", "")]


async def test_ids_made_up_in_two_steps_differ(provider: Provider, server: ProviderServer) -> None:
    server.script = Script(tool_calls=CALLS, tool_call_style="no_id")
    steps = [await hear(provider, ASKED) for _ in range(2)]
    assert len({call.id for heard in steps for call in heard.calls}) == 2 * len(CALLS)


@pytest.mark.parametrize("ask", [hear, complete])
async def test_calls_with_one_id_are_told_apart(provider: Provider, server: ProviderServer, ask: Any) -> None:
    server.script = Script(text="", tool_calls=[replace(call, id="call_1") for call in CALLS])
    heard = await ask(provider, ASKED)
    assert list_calls(heard) == [(call.name, call.arguments) for call in CALLS]
    assert len({call.id for call in heard.calls}) == len(CALLS)


async def test_an_id_of_an_earlier_step_is_not_used_again(provider: Provider, server: ProviderServer) -> None:
    server.script = Script(text="", tool_calls=CALLS[:1])
    first = await hear(provider, ASKED)
    second = await hear(provider, add_results(ASKED, first, "Sunny."))
    assert second.error is None
    assert second.calls[0].id != first.calls[0].id


async def test_a_known_tools_name_is_told_before_its_first_argument_comes(
    provider: Provider, server: ProviderServer
) -> None:
    server.script = Script(text="", tool_calls=[Call("clock", "{}", "a")], delay_between=PATIENCE)
    async with asyncio.timeout(PATIENCE / 2), aclosing(provider.stream(ASKED)) as batches:
        told: list[ProviderEvent] = []
        while ToolCall("a", "clock") not in told:
            told += await anext(batches)
    assert not any(isinstance(event, ToolArguments) for event in told)


@pytest.mark.parametrize("manner", ["", "split_name"])
async def test_a_name_that_begins_like_another_is_whole(
    provider: Provider, server: ProviderServer, manner: Any
) -> None:
    tools = (ToolSchema("se", "", {}), ToolSchema("sea", "", {}), ToolSchema("search", "", {}))
    server.script = Script(
        text="", tool_calls=[Call("search", "{}", "a"), Call("se", "{}", "b")], tool_call_style=manner
    )
    heard = await hear(provider, replace(PROMPT, tools=tools))
    assert [call.name for call in heard.calls] == ["search", "se"]


async def test_a_call_without_arguments_is_told(provider: Provider, server: ProviderServer) -> None:
    server.script = Script(text="", tool_calls=[Call("weather", "", "a"), Call("unknown", "", "b")])
    assert list_calls(await hear(provider, ASKED)) in (
        [("weather", ""), ("unknown", "")],
        [("weather", "{}"), ("unknown", "{}")],
    )


async def test_a_call_without_a_name_is_told_without_one(provider: Provider, server: ProviderServer) -> None:
    server.script = Script(text="", tool_calls=[Call("", '{"city": "Rome"}', "a")])
    assert (await hear(provider, ASKED)).calls == [CalledTool("a", "", '{"city": "Rome"}')]


@pytest.mark.parametrize("reason", ["stop", "end_turn", "function_call"])
async def test_an_answer_that_stops_with_calls_waits_for_tools(
    provider: Provider, server: ProviderServer, reason: str
) -> None:
    server.script = Script(text="", tool_calls=CALLS, finish_reason=reason)
    assert (await hear(provider, ASKED)).finishes == ["tool_calls"]


async def test_an_answer_that_was_cut_short_in_a_call_says_so(provider: Provider, server: ProviderServer) -> None:
    server.script = Script(text="", tool_calls=[Call("weather", '{"city": "Ro')], finish_reason="length")
    heard = await hear(provider, ASKED)
    assert (list_calls(heard), heard.finishes) == ([("weather", '{"city": "Ro')], ["length"])


async def test_the_finish_is_the_end_of_what_is_told(provider: Provider, server: ProviderServer) -> None:
    server.script = Script(text="", tool_calls=[Call("unknown", "")])
    heard = await hear(provider, ASKED)
    assert list_calls(heard)[0][0] == "unknown"
    assert heard.kinds[-1] == "Finish"


# What is sent


async def test_the_request_carries_the_tools(name: str, provider: Provider, server: ProviderServer) -> None:
    await hear(provider, ASKED)
    sent = server.requests[0].body["tools"]
    if name == "openai":
        assert {tool["type"] for tool in sent} == {"function"}
        sent = [tool["function"] for tool in sent]
    schemas = [tool["input_schema" if name == "anthropic" else "parameters"] for tool in sent]
    assert [(tool["name"], tool["description"]) for tool in sent] == [(tool.name, tool.description) for tool in TOOLS]
    assert schemas == [tool.parameters for tool in TOOLS]
    assert "tool_choice" not in server.requests[0].body


async def test_one_tool_can_be_forced(name: str, provider: Provider, server: ProviderServer) -> None:
    await hear(provider, replace(ASKED, tool_choice="clock"))
    assert (
        server.requests[0].body["tool_choice"]
        == {
            "openai": {"type": "function", "function": {"name": "clock"}},
            "responses": {"type": "function", "name": "clock"},
            "anthropic": {"type": "tool", "name": "clock", "disable_parallel_tool_use": True},
        }[name]
    )


async def test_a_prompt_without_tools_says_nothing_of_them(provider: Provider, server: ProviderServer) -> None:
    await hear(provider)
    assert not {"tools", "tool_choice", "response_format", "text", "temperature"} & server.requests[0].body.keys()


@pytest.mark.parametrize("ask", [hear, complete])
async def test_three_steps_of_parallel_calls_are_accepted_with_their_results(
    name: str, provider: Provider, server: ProviderServer, ask: Any
) -> None:
    steps = [[replace(call, id=f"{call.id}_{step}") for call in CALLS] for step in range(3)]
    server.enqueue(*(Script(text=f"Step {step}. ", tool_calls=calls) for step, calls in enumerate(steps)))
    prompt = ASKED
    for step in range(3):
        heard = await ask(provider, prompt)
        assert heard.error is None
        prompt = add_results(prompt, heard, *(f"result {step} {place}" for place in range(3)))
    last = await ask(provider, prompt)
    assert (last.error, last.text) == (None, TEXT)
    assert find_results(name, server.requests[-1].body) == [
        (f"{call.id}_{step}", f"result {step} {place}") for step in range(3) for place, call in enumerate(CALLS)
    ]


@pytest.mark.parametrize("name", ["anthropic"], indirect=True)
async def test_anthropic_gets_all_results_in_one_user_message_and_the_next_question_after_them(
    provider: Provider, server: ProviderServer
) -> None:
    turns = (
        Turn("user", "How is it?"),
        Turn(
            "assistant", "I look.", calls=(CalledTool("a", "weather", '{"city": "Rome"}'), CalledTool("b", "clock", ""))
        ),
        Turn("tool", "Sunny.", call_id="a"),
        Turn("tool", "The clock stands still.", call_id="b", ok=False),
        Turn("user", "And now?"),
    )
    assert (await hear(provider, replace(ASKED, turns=turns))).error is None
    question, made, results = server.requests[0].body["messages"]
    assert question == {"role": "user", "content": "How is it?"}
    assert made["content"] == [
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "a", "name": "weather", "input": {"city": "Rome"}},
        {"type": "tool_use", "id": "b", "name": "clock", "input": {}},
    ]
    assert results["content"] == [
        {"type": "tool_result", "tool_use_id": "a", "content": "Sunny.", "is_error": False},
        {"type": "tool_result", "tool_use_id": "b", "content": "The clock stands still.", "is_error": True},
        {"type": "text", "text": "And now?"},
    ]


@pytest.mark.parametrize("name", ["openai"], indirect=True)
async def test_openai_gets_a_message_for_each_result(provider: Provider, server: ProviderServer) -> None:
    turns = (
        Turn("user", "How is it?"),
        Turn("assistant", "", calls=(CalledTool("a", "weather", '{"city":  "Rome"}'), CalledTool("b", "clock", ""))),
        Turn("tool", "Sunny.", call_id="a"),
        Turn("tool", "The clock stands still.", call_id="b", ok=False),
    )
    assert (await hear(provider, replace(ASKED, turns=turns))).error is None
    assert server.requests[0].body["messages"][1:] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "weather", "arguments": '{"city":  "Rome"}'}},
                {"id": "b", "type": "function", "function": {"name": "clock", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "a", "content": "Sunny."},
        {"role": "tool", "tool_call_id": "b", "content": "The clock stands still."},
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param('{"city": "Ro', id="cut short"),
        pytest.param("[1]", id="a list"),
        pytest.param("42", id="a number"),
        pytest.param("\x00", id="NUL"),
        pytest.param('{"a": NaN}', id="NaN"),
        pytest.param("[" * 100_000, id="deep"),
        pytest.param('{"a":"\\ud800"}', id="half a pair, escaped"),
        pytest.param('{"a":"\ud800"}', id="half a pair"),
    ],
)
async def test_arguments_that_are_no_object_go_back_inside_one(
    provider: Provider, server: ProviderServer, arguments: str
) -> None:
    heard = Heard([ToolCall("a", "weather"), ToolArguments("a", arguments), Finish("tool_calls")])
    assert (await hear(provider, add_results(ASKED, heard, "No JSON."))).error is None
    assert "INVALID_JSON" in str(server.requests[0].body)


@pytest.mark.parametrize("call_id", ["functions.weather:0", "chatcmpl-tool-" + "0" * 32, "id with spaces", "é"])
async def test_ids_that_another_provider_made_are_accepted(
    name: str, provider: Provider, server: ProviderServer, call_id: str
) -> None:
    heard = Heard([ToolCall(call_id, "weather"), ToolArguments(call_id, "{}"), Finish("tool_calls")])
    assert (await hear(provider, add_results(ASKED, heard, "Sunny."))).error is None
    assert [content for _, content in find_results(name, server.requests[0].body)] == ["Sunny."]


async def test_a_history_with_calls_is_accepted_when_there_are_no_tools_any_more(
    provider: Provider, server: ProviderServer
) -> None:
    heard = Heard([ToolCall("a", "weather"), Finish("tool_calls")])
    assert (await hear(provider, add_results(PROMPT, heard, "Sunny."))).error is None


def test_the_size_of_a_prompt_counts_what_the_calls_say() -> None:
    turns = (Turn("assistant", "12345", calls=(CalledTool("a", "weather", "678"), CalledTool("b", "clock", "90"))),)
    assert Prompt("m", turns).size == 10
