"""The provider server's tool calls: the ways in which it sends them, and the histories that it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from tests.provider_server import Call, ProviderServer, Script
from tests.provider_server.openai import OpenAIWire
from tests.provider_server.script import SIGNATURE
from tests.provider_server.tool_deltas import split_tool_calls

CALLS = [Call("find", '{"a":1}', "call_a"), Call("go", "{}", "call_b")]
PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}
HEADERS = {"authorization": "Bearer sk-test", "anthropic-version": "2023-06-01"}


def make_part(index: int | None = None, id_: str = "", **function: Any) -> dict[str, Any]:
    numbered = {} if index is None else {"index": index}
    return {**numbered, **({"id": id_, "type": "function"} if id_ else {}), "function": function}


MANNERS: list[tuple[Any, list[list[dict[str, Any]]]]] = [
    (
        "",
        [
            [make_part(0, "call_a", name="find", arguments="")],
            [make_part(0, arguments='{"a":')],
            [make_part(0, arguments="1}")],
            [make_part(1, "call_b", name="go", arguments="")],
            [make_part(1, arguments="{}")],
        ],
    ),
    (
        "neither",
        [
            [make_part(name="find", arguments="")],
            [make_part(arguments='{"a":')],
            [make_part(arguments="1}")],
            [make_part(name="go", arguments="")],
            [make_part(arguments="{}")],
        ],
    ),
    (
        "split_name",
        [
            [make_part(0, "call_a", name="fi")],
            [make_part(0, name="nd")],
            [make_part(0, arguments='{"a":')],
            [make_part(0, arguments="1}")],
            [make_part(1, "call_b", name="g")],
            [make_part(1, name="o")],
            [make_part(1, arguments="{}")],
        ],
    ),
    (
        "arguments_first",
        [
            [make_part(0, "call_a", arguments='{"a":')],
            [make_part(0, arguments="1}")],
            [make_part(0, name="find")],
            [make_part(1, "call_b", arguments="{}")],
            [make_part(1, name="go")],
        ],
    ),
    (
        "repeated",
        [
            [make_part(0, "call_a", name="find", arguments="")],
            [make_part(0, "call_a", name="find", arguments='{"a":')],
            [make_part(0, "call_a", name="find", arguments="1}")],
            [make_part(1, "call_b", name="go", arguments="")],
            [make_part(1, "call_b", name="go", arguments="{}")],
        ],
    ),
    (
        "late_id",
        [
            [make_part(0, name="find")],
            [make_part(0, "call_a", arguments='{"a":')],
            [make_part(0, "call_a", arguments="1}")],
            [make_part(1, name="go")],
            [make_part(1, "call_b", arguments="{}")],
        ],
    ),
    (
        "index_zero",
        [
            [make_part(0, "call_a", name="find", arguments="")],
            [make_part(0, arguments='{"a":')],
            [make_part(0, arguments="1}")],
            [make_part(0, "call_b", name="go", arguments="")],
            [make_part(0, arguments="{}")],
        ],
    ),
    (
        "object",
        [[make_part(0, "call_a", name="find", arguments={"a": 1})], [make_part(1, "call_b", name="go", arguments={})]],
    ),
    ("at_once_bare", [[make_part(name="find", arguments='{"a":1}'), make_part(name="go", arguments="{}")]]),
]


@pytest.mark.parametrize(("manner", "deltas"), MANNERS, ids=[manner or "plain" for manner, _ in MANNERS])
def test_each_manner_of_tool_calls_sends_its_deltas(manner: Any, deltas: list[list[dict[str, Any]]]) -> None:
    assert list(split_tool_calls(Script(tool_calls=CALLS, tool_call_style=manner, chunk_size=5))) == deltas


def test_reasoning_goes_into_the_field_that_the_script_names() -> None:
    frames = OpenAIWire(Script(text="", reasoning="Hm.", reasoning_field="reasoning"), {"model": "m"}).write_frames()
    assert [frame.data for frame in frames if b'{"reasoning":"Hm."}' in frame.data]


# Histories

QUESTION = {"role": "user", "content": "Find it."}
OPENAI_CALL = {"id": "a", "type": "function", "function": {"name": "find", "arguments": "{}"}}
OPENAI_CALLS = {"role": "assistant", "content": None, "tool_calls": [OPENAI_CALL]}
OPENAI_RESULT = {"role": "tool", "tool_call_id": "a", "content": "Found."}
USE = {"type": "tool_use", "id": "a", "name": "find", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "a", "content": "Found."}
TEXT = {"type": "text", "text": "So?"}


def make_assistant_message(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def make_user_message(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


ACCEPTED = [
    pytest.param("openai", [OPENAI_CALLS, OPENAI_RESULT], id="openai"),
    pytest.param("openai", [OPENAI_CALLS, OPENAI_RESULT, QUESTION], id="openai, next question"),
    pytest.param("anthropic", [make_assistant_message(USE), make_user_message(RESULT)], id="anthropic"),
    pytest.param(
        "anthropic", [make_assistant_message(USE), make_user_message(RESULT, TEXT)], id="anthropic, next question"
    ),
]
REFUSED = [
    pytest.param("openai", [OPENAI_CALLS], id="openai, no result"),
    pytest.param("openai", [OPENAI_CALLS, QUESTION], id="openai, a question before the result"),
    pytest.param("openai", [OPENAI_RESULT], id="openai, no call"),
    pytest.param("openai", [OPENAI_CALLS, {**OPENAI_RESULT, "tool_call_id": "b"}], id="openai, another id"),
    pytest.param(
        "openai",
        [
            {**OPENAI_CALLS, "tool_calls": [{**OPENAI_CALL, "id": "a" * 41}]},
            {**OPENAI_RESULT, "tool_call_id": "a" * 41},
        ],
        id="openai, a long id",
    ),
    pytest.param(
        "openai",
        [
            {**OPENAI_CALLS, "tool_calls": [{**OPENAI_CALL, "function": {"name": "find", "arguments": "{"}}]},
            OPENAI_RESULT,
        ],
        id="openai, no JSON",
    ),
    pytest.param("anthropic", [make_assistant_message(USE)], id="anthropic, no result"),
    pytest.param(
        "anthropic",
        [make_assistant_message(USE), make_user_message(TEXT)],
        id="anthropic, a question before the result",
    ),
    pytest.param(
        "anthropic",
        [make_assistant_message(USE), make_user_message(TEXT, RESULT)],
        id="anthropic, a text before the result",
    ),
    pytest.param("anthropic", [make_user_message(RESULT)], id="anthropic, no call"),
    pytest.param(
        "anthropic",
        [
            make_assistant_message(USE),
            make_user_message(RESULT),
            make_assistant_message(USE),
            make_user_message(RESULT),
        ],
        id="anthropic, an id twice",
    ),
    pytest.param(
        "anthropic",
        [make_assistant_message({**USE, "id": "a:0"}), make_user_message({**RESULT, "tool_use_id": "a:0"})],
        id="anthropic, a foreign id",
    ),
    pytest.param(
        "anthropic",
        [
            make_assistant_message({"type": "thinking", "thinking": "Hm.", "signature": ""}, USE),
            make_user_message(RESULT),
        ],
        id="anthropic, not signed",
    ),
]


@pytest.fixture
async def server() -> AsyncIterator[ProviderServer]:
    async with ProviderServer() as server:
        yield server


async def post(server: ProviderServer, name: str, turns: list[Any], **more: Any) -> httpx2.Response:
    body = {"model": "m", "max_tokens": 9, "messages": [QUESTION, *turns], "tools": [{"name": "find"}], **more}
    async with httpx2.AsyncClient(base_url=server.url, headers=HEADERS) as client:
        return await client.post(PATHS[name], json=body)


@pytest.mark.parametrize(("name", "turns"), ACCEPTED)
async def test_a_history_with_calls_and_their_results_is_accepted(
    server: ProviderServer, name: str, turns: list[Any]
) -> None:
    assert (await post(server, name, turns)).status_code == 200


@pytest.mark.parametrize(("name", "turns"), REFUSED)
async def test_a_history_that_the_real_api_refuses_is_refused(
    server: ProviderServer, name: str, turns: list[Any]
) -> None:
    assert (await post(server, name, turns)).status_code == 400


async def test_anthropic_refuses_calls_without_tools(server: ProviderServer) -> None:
    assert (
        await post(server, "anthropic", [make_assistant_message(USE), make_user_message(RESULT)], tools=[])
    ).status_code == 400


@pytest.mark.parametrize(
    ("name", "turns"),
    [
        ("openai", [OPENAI_CALLS, OPENAI_RESULT]),
        ("anthropic", [make_assistant_message(USE), make_user_message(RESULT)]),
    ],
)
async def test_a_directive_holds_until_the_results_come(server: ProviderServer, name: str, turns: list[Any]) -> None:
    """Otherwise the tool would be called for ever."""
    question = {"role": "user", "content": "[tool]"}
    first = await post(server, name, [], messages=[question])
    second = await post(server, name, [], messages=[question, *turns])
    assert "calculator" in first.text
    assert "calculator" not in second.text
    assert [request.prompt for request in server.requests] == ["[tool]", "[tool]"]


# Answers that are not streamed


async def test_a_whole_answer_waits_at_its_gate(server: ProviderServer) -> None:
    server.script = Script(text="Hello", gate_after=0)
    asking = asyncio.create_task(post(server, "openai", []))
    recorded = await server.wait_for_requests(1)
    await server.wait_until_paused(recorded)
    assert not asking.done()
    server.release()
    assert (await asking).json()["choices"][0]["message"]["content"] == "Hello"
    assert recorded.sent_characters == 5


@pytest.mark.parametrize("name", PATHS)
async def test_a_whole_answer_may_break_off(server: ProviderServer, name: str) -> None:
    server.script = Script(drop_after=3)
    with pytest.raises(httpx2.TransportError):
        await post(server, name, [])


async def test_anthropics_whole_answer_has_its_blocks_in_order(server: ProviderServer) -> None:
    server.script = Script(
        text="Hi", reasoning="Hm.", redacted_reasoning="eA==", reasoning_between="So.", tool_calls=CALLS
    )
    blocks = (await post(server, "anthropic", [])).json()["content"]
    assert [block["type"] for block in blocks] == [
        "thinking",
        "redacted_thinking",
        "text",
        "thinking",
        "tool_use",
        "thinking",
        "tool_use",
    ]
    assert blocks[0] == {"type": "thinking", "thinking": "Hm.", "signature": SIGNATURE}
