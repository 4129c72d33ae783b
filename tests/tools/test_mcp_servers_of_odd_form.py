"""MCP servers as they are: what is not as the specification has it costs neither other tools nor a tool's result."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcp import types as wire
from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCResponse

from chat.tools.base import Context
from chat.tools.mcp_messages import MendedStream, mend_result
from chat.tools.mcp_results import make_outcome
from chat.tools.toolbox import Toolbox
from tests.support.any_json import ODD
from tests.support.examples import try_examples
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
START = 60.0
OBJECT = {"type": "object", "properties": {}}
PLAIN = {"name": "plain", "inputSchema": OBJECT}
HELLO = {"type": "text", "text": "hello"}


@asynccontextmanager
async def connect(**script: Any) -> AsyncIterator[Toolbox]:
    """Return a toolbox with the tools of a server that answers as it is told."""
    script = {name.replace("_", "/"): value for name, value in script.items()}
    arguments = ["-m", "tests.support.odd_mcp_server", json.dumps(script)]
    tools = Toolbox([], {"odd": {"command": sys.executable, "args": arguments, "env": {"PYTHONPATH": str(ROOT)}}})
    try:
        await tools.prepare(START)
        yield tools
    finally:
        await tools.aclose()


TOOLS: dict[str, dict[str, Any]] = {
    "an empty object as a list, as PHP writes it": {"inputSchema": {"type": "object", "properties": []}},
    "a schema that is such a list": {"inputSchema": []},
    "a schema without a type": {"inputSchema": {}},
    "no schema": {},
    "null for a schema": {"inputSchema": None},
    "an object without properties": {"inputSchema": {"type": "object"}},
    "annotations and meta data as lists": {"inputSchema": OBJECT, "annotations": [], "_meta": []},
    "an annotation that is none": {"inputSchema": OBJECT, "annotations": {"readOnlyHint": "perhaps"}},
    "an icon without an address": {"inputSchema": OBJECT, "icons": [{"src": 1}]},
    "an output schema without a type": {"inputSchema": OBJECT, "outputSchema": {"$id": "some.result"}},
    "an output schema that is a list": {"inputSchema": OBJECT, "outputSchema": []},
    "null for a description": {"inputSchema": OBJECT, "description": None},
}


@pytest.mark.parametrize("members", TOOLS.values(), ids=TOOLS)
async def test_a_tool_of_odd_form_is_offered_beside_the_others(members: dict[str, Any]) -> None:
    async with connect(tools_list=[{"tools": [PLAIN, {"name": "odd", **members}]}]) as tools:
        plain, odd = tools.list_schemas()
        assert (plain.name, odd.name, odd.parameters) == ("odd__plain", "odd__odd", OBJECT)


async def test_an_odd_schema_costs_no_other_tool() -> None:
    choices = [{"properties": {"x": {"anyOf": {"type": "string"}}}}, {"properties": {"x": {"type": "string"}}}]
    async with connect(tools_list=[{"tools": [PLAIN, {"name": "odd", "inputSchema": {"anyOf": choices}}]}]) as tools:
        assert [schema.name for schema in tools.list_schemas()] == ["odd__plain", "odd__odd"]


@pytest.mark.parametrize("cursor", [2, {}, None])
async def test_a_next_page_without_a_proper_name_costs_no_page(cursor: Any) -> None:
    async with connect(tools_list=[{"tools": [PLAIN], "nextCursor": cursor}]) as tools:
        assert [schema.name for schema in tools.list_schemas()] == ["odd__plain"]


def build_nested_json(depth: int) -> Any:
    """Return more levels of JSON than Python's stack takes."""
    value: Any = {}
    for _ in range(depth):
        value = {"items": value}
    return value


def test_a_schema_that_nothing_can_be_made_of_costs_its_tool_alone(caplog: pytest.LogCaptureFixture) -> None:
    mended = mend_result({"tools": [PLAIN, {"name": "deep", "inputSchema": build_nested_json(5_000)}]})
    assert [tool["name"] for tool in mended["tools"]] == ["plain"]
    (line,) = caplog.messages
    assert "'deep'" in line


async def test_a_message_that_cannot_be_mended_is_taken_as_it_came() -> None:
    sending, receiving = anyio.create_memory_object_stream[Any](1)
    result = {"content": [[build_nested_json(5_000)]]}
    await sending.send(SessionMessage(JSONRPCResponse(jsonrpc="2.0", id=1, result=result)))
    async with sending, MendedStream(receiving) as stream:
        message = await stream.receive()
    assert isinstance(message, SessionMessage)
    assert isinstance(message.message, JSONRPCResponse)
    assert list(message.message.result) == ["content"]


MEMBERS = st.sampled_from(
    [
        "tools",
        "name",
        "inputSchema",
        "description",
        "nextCursor",
        "_meta",
        "content",
        "structuredContent",
        "isError",
        "type",
        "text",
        "image",
        "resource",
        "resource_link",
        "uri",
        "data",
        "mimeType",
        "blob",
    ]
)
ODD_MEMBERS = st.recursive(
    ODD | MEMBERS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(MEMBERS, inner, max_size=4),
    max_leaves=15,
)


@settings(try_examples(100), suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(MEMBERS, ODD_MEMBERS), ODD_MEMBERS)
def test_any_json_is_a_list_of_tools_and_a_result(members: dict[str, Any], odd: Any) -> None:
    tools = [PLAIN, odd, {"name": "odd", "inputSchema": odd}]
    listed = wire.ListToolsResult.model_validate(mend_result({**members, "tools": tools}))
    assert {"plain", "odd"} <= {tool.name for tool in listed.tools}
    wire.ListToolsResult.model_validate(mend_result({"tools": odd, "nextCursor": odd, "_meta": odd}))
    for content in ({"content": odd}, {"structuredContent": odd}):
        members.pop("tools", None)
        result = mend_result({**members, **content})
        make_outcome(wire.CallToolResult.model_validate(result))


def test_a_result_that_names_its_tools_too_is_a_result() -> None:
    result = mend_result({"content": [{"type": "new", "text": "Done."}], "tools": None})
    assert make_outcome(wire.CallToolResult.model_validate(result)).content == "Done."


async def test_what_is_no_tool_is_left_out() -> None:
    async with connect(tools_list=[{"tools": [PLAIN, {"inputSchema": OBJECT}, None], "_meta": []}]) as tools:
        assert [schema.name for schema in tools.list_schemas()] == ["odd__plain"]


@pytest.mark.parametrize("capabilities", [[], {"tools": []}, {"tools": [PLAIN]}, {"tools": {}, "prompts": None}])
async def test_capabilities_of_odd_form_are_no_reason_to_do_without_the_tools(capabilities: Any) -> None:
    async with connect(initialize={"capabilities": capabilities}) as tools:
        assert [schema.name for schema in tools.list_schemas()] == ["odd__plain"]


RESULTS: dict[str, tuple[dict[str, Any], bool, str]] = {
    "no structured content, which the schema promises": ({"content": [HELLO]}, True, "hello"),
    "null for it": ({"content": [HELLO], "structuredContent": None}, True, "hello"),
    "another one than promised": ({"content": [HELLO], "structuredContent": {"b": 1}}, True, "hello"),
    "a text of it alone": ({"structuredContent": "hello"}, True, '{"result":"hello"}'),
    "a number of it alone": ({"content": [], "structuredContent": 0}, True, '{"result":0}'),
    "an empty list for it": ({"content": [HELLO], "structuredContent": []}, True, "hello"),
    "structured content alone": ({"structuredContent": {"a": 1}}, True, '{"a":1}'),
    "a list of it alone": ({"structuredContent": [1, 2]}, True, '{"result":[1,2]}'),
    "structured content of an error": (
        {"content": [], "structuredContent": {"error": "no such file"}, "isError": True},
        False,
        'Error: {"error":"no such file"}',
    ),
    "structured content beside a picture": (
        {"content": [{"type": "image", "data": "AA", "mimeType": "image/png"}], "structuredContent": {"width": 3}},
        True,
        '[image, image/png: left out]\n{"width":3}',
    ),
    "a string for the content": ({"content": "hello"}, True, "hello"),
    "one block for the content": ({"content": HELLO}, True, "hello"),
    "a kind of block that is unknown": ({"content": [HELLO, {"type": "widget"}]}, True, "hello\n[widget: left out]"),
    "a picture without its type": (
        {"content": [HELLO, {"type": "image", "data": "AA"}]},
        True,
        "hello\n[image, unknown: left out]",
    ),
    "a resource without an address": (
        {"content": [{"type": "resource", "resource": {"text": "body"}}]},
        True,
        "body",
    ),
    "a number for a text": ({"content": [{"type": "text", "text": 5}]}, True, "5"),
    "an annotation that is none": ({"content": [HELLO | {"annotations": {"audience": ["model"]}}]}, True, "hello"),
    "meta data that is a list": ({"content": [HELLO], "_meta": [], "isError": None}, True, "hello"),
}


@pytest.mark.parametrize(("result", "ok", "content"), RESULTS.values(), ids=RESULTS)
async def test_a_result_of_odd_form_is_what_can_be_read_of_it(result: dict[str, Any], ok: bool, content: str) -> None:
    output = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    async with connect(tools_list=[{"tools": [PLAIN | {"outputSchema": output}]}], tools_call=result) as tools:
        outcome = await tools.run("odd__plain", "{}", Context(1, "c"), START)
        assert (outcome.ok, outcome.content) == (ok, content)


@pytest.mark.parametrize("cursor", ["", "more"])
async def test_a_page_that_comes_again_and_again_is_the_last_one(cursor: str) -> None:
    async with connect(tools_list=[{"tools": [PLAIN], "nextCursor": cursor}]) as tools:
        assert [schema.name for schema in tools.list_schemas()] == ["odd__plain"]
        assert (await tools.run("odd__plain", "{}", Context(1, "c"), START)).content == "2 pages"


async def test_tools_that_a_server_has_since_a_call_are_offered_to_the_next_question() -> None:
    second = PLAIN | {"name": "second"}
    async with connect(tools_list=[{"tools": [PLAIN]}, {"tools": [PLAIN, second]}]) as tools:
        assert [schema.name for schema in tools.list_schemas()] == ["odd__plain"]
        assert (await tools.run("odd__plain", "{}", Context(1, "c"), START)).ok
        await wait_until(lambda: [schema.name for schema in tools.list_schemas()] == ["odd__plain", "odd__second"])
        assert (await tools.run("odd__second", "{}", Context(1, "c"), START)).ok


async def test_an_empty_name_of_a_page_is_a_name() -> None:
    pages = [{"tools": [PLAIN], "nextCursor": ""}, {"tools": [PLAIN | {"name": "second"}]}]
    async with connect(tools_list=pages) as tools:
        assert [schema.name for schema in tools.list_schemas()] == ["odd__plain", "odd__second"]
