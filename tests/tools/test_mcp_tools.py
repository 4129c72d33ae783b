"""Tools of MCP servers, from a real one: whatever it does, a call ends in time, and the next one works."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from chat.tools import mcp as mcp_tools
from chat.tools import mcp_connection
from chat.tools.base import OUTPUT_LIMIT, Context, ToolError, ToolOutcome
from chat.tools.toolbox import Toolbox
from tests.support.moving_clock import MovingClock
from tests.support.services import find_free_port
from tests.support.waiting import PATIENCE, wait_until

ADA = Context(7, "c0ffee")
ROOT = Path(__file__).resolve().parents[2]

# A server is a Python process that imports the SDK: a second here, many on a loaded machine.
START = 60.0

MakeToolbox = Callable[..., Toolbox]


def process(*arguments: str, **environment: str) -> dict[str, Any]:
    """Return the configuration of a server of tests.support.mcp_server."""
    path = {"PYTHONPATH": str(ROOT)}
    return {
        "command": sys.executable,
        "args": ["-m", "tests.support.mcp_server", *arguments],
        "env": path | environment,
    }


@pytest.fixture
async def toolbox() -> AsyncIterator[MakeToolbox]:
    """Toolboxes of servers, closed when the test is over."""
    made: list[Toolbox] = []

    def make(paths: tuple[str, ...] = (), **servers: Any) -> Toolbox:
        made.append(Toolbox(paths, servers))
        return made[-1]

    yield make
    for each in made:
        await each.aclose()


@pytest.fixture
async def tools(toolbox: MakeToolbox) -> Toolbox:
    """A toolbox with one server, connected."""
    made = toolbox(tests=process())
    await made.prepare(START)
    return made


async def call(tools: Toolbox, tool: str, arguments: str = "{}", timeout: float = START) -> ToolOutcome:
    return await tools.run(f"tests__{tool}", arguments, ADA, timeout)


async def ask_for_process(tools: Toolbox) -> int:
    outcome = await call(tools, "process")
    assert outcome.ok, outcome.content
    return int(outcome.content)


def is_running(pid: int) -> bool:
    """Return whether a process runs, and is not a dead one that nobody has waited for yet."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


# What a model is told.


async def test_a_servers_tools_appear_under_its_name_after_our_own(toolbox: MakeToolbox) -> None:
    tools = toolbox(("chat.tools.clock.current_time",), tests=process())
    assert [schema.name for schema in tools.list_schemas()] == ["current_time"]
    await tools.prepare(START)
    schemas = {schema.name: schema for schema in tools.list_schemas()}
    assert list(schemas)[:2] == ["current_time", "tests__add"]
    assert schemas["tests__add"].description == "Add two numbers."
    assert set(schemas["tests__add"].parameters["properties"]) == {"first", "second"}


async def test_a_name_that_no_provider_takes_is_made_one_and_still_finds_its_tool(tools: Toolbox) -> None:
    assert "tests__dotted_name_of_it" in {schema.name for schema in tools.list_schemas()}
    assert (await call(tools, "dotted_name_of_it")).content == "dotted"


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("a b", {"command": "true"}),
        ("a__b", {"command": "true"}),
        ("", {"command": "true"}),
        ("tests", {}),
        ("tests", {"command": ""}),
        ("tests", {"command": "true", "args": "-v"}),
        ("tests", {"command": "true", "url": "http://127.0.0.1/"}),
        ("tests", {"command": "true", "cwd": "/"}),
        ("tests", {"url": "ftp://127.0.0.1/"}),
        ("tests", {"url": "http://127.0.0.1/", "headers": {"a": 1}}),
        ("tests", {"command": "tr\0ue"}),
        ("tests", {"command": "true", "args": ["\0"]}),
        ("tests", {"command": "true", "env": {"A": "\0"}}),
        ("tests", {"command": "true", "env": {"A=B": "1"}}),
        ("tests", {"command": "true", "env": {"": "1"}}),
        ("tests", {"url": "http://127.0.0.1/", "headers": {"a b": "1"}}),
        ("tests", {"url": "http://127.0.0.1/", "headers": {"": "1"}}),
        ("tests", {"url": "http://127.0.0.1/", "headers": {"a": "1\r\nb: 2"}}),
        ("tests", {"url": "http://127.0.0.1/", "headers": {"a": "\u20ac"}}),
    ],
)
def test_a_server_configured_wrongly_is_refused_in_one_line(name: str, fields: dict[str, Any]) -> None:
    with pytest.raises(ToolError, match="server") as raised:
        Toolbox([], {name: fields}).check()
    assert "\n" not in str(raised.value)


# Calls.


async def test_a_call_has_its_arguments_and_its_answer(tools: Toolbox) -> None:
    outcome = await call(tools, "add", '{"first": 2, "second": 3}')
    assert (outcome.ok, outcome.content, outcome.summary) == (True, "5", "5")


async def test_parallel_calls_share_one_connection_and_run_at_once(tools: Toolbox) -> None:
    start = time.monotonic()
    waits = [call(tools, "wait", '{"seconds": 2}') for _ in range(8)]
    outcomes = await asyncio.gather(*waits)
    assert [outcome.content for outcome in outcomes] == ["waited"] * 8
    assert time.monotonic() - start < 8


async def test_the_connection_is_kept(tools: Toolbox) -> None:
    assert await ask_for_process(tools) == await ask_for_process(tools)


async def test_a_call_from_another_task_than_the_first_uses_the_same_connection(tools: Toolbox) -> None:
    first = await asyncio.create_task(ask_for_process(tools))
    assert await asyncio.create_task(ask_for_process(tools)) == first


async def test_a_server_gets_its_environment_and_none_of_our_keys(
    toolbox: MakeToolbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    tools = toolbox(tests=process(GREETING="hello"))
    await tools.prepare(START)
    assert (await call(tools, "environment", '{"name": "GREETING"}')).content == "hello"
    assert (await call(tools, "environment", '{"name": "OPENAI_API_KEY"}')).content == "nothing"


async def test_a_picture_is_named_beside_the_text(tools: Toolbox) -> None:
    assert (await call(tools, "picture")).content == "Look:\n[image, image/png: left out]"


async def test_output_is_cut_and_can_be_stored(tools: Toolbox) -> None:
    large = await call(tools, "large")
    assert len(large.content) == OUTPUT_LIMIT
    assert "1,000,000 characters" in large.content
    assert (await call(tools, "unstorable")).content == "a\ufffdb"


# Calls that fail.


FAILURES = [
    ("fail", "{}", "fail"),
    ("add", '{"first": "x", "second": 1}', "first"),
    ("add", '{"first": 1', "no JSON"),
    ("add", "[1, 2]", "no JSON object"),
    ("subtract", "{}", "There is no tool called 'tests__subtract'"),
]


async def test_a_failure_is_an_outcome_and_leaves_the_connection(tools: Toolbox) -> None:
    before = await ask_for_process(tools)
    for tool, arguments, message in FAILURES:
        outcome = await call(tools, tool, arguments)
        assert not outcome.ok, arguments
        assert message in outcome.content
        assert await ask_for_process(tools) == before, arguments


async def test_a_slow_tool_is_given_up_and_the_connection_kept(tools: Toolbox) -> None:
    before = await ask_for_process(tools)
    outcome = await call(tools, "wait", '{"seconds": 600}', timeout=0.5)
    assert (outcome.ok, outcome.summary) == (False, "tests__wait did not answer within 0.5 s")
    assert await ask_for_process(tools) == before


async def test_a_server_that_hangs_costs_its_time_and_is_then_replaced(
    tools: Toolbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp_connection, "PROOF_TIMEOUT", 1)
    before = await ask_for_process(tools)
    start = time.monotonic()
    outcome = await call(tools, "hang", timeout=0.5)
    assert (outcome.ok, time.monotonic() - start < PATIENCE / 2) == (False, True)
    assert await ask_for_process(tools) != before
    await wait_until(lambda: not is_running(before))


async def test_calls_shorter_than_the_proof_still_lead_to_a_new_connection(
    tools: Toolbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp_connection, "PROOF_TIMEOUT", 1)
    before = await ask_for_process(tools)
    await call(tools, "hang", timeout=0.2)

    async def is_replaced() -> bool:
        outcome = await call(tools, "process", timeout=0.2)
        return outcome.ok and int(outcome.content) != before

    await wait_until(is_replaced, START)


async def test_a_server_that_dies_in_a_call_is_started_again_for_the_next(tools: Toolbox) -> None:
    before = await ask_for_process(tools)
    outcome = await call(tools, "die")
    assert not outcome.ok
    assert "closed" in outcome.summary
    assert await ask_for_process(tools) != before


async def test_a_server_that_died_unnoticed_is_started_again(tools: Toolbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_connection, "PROVEN", 0)
    before = await ask_for_process(tools)
    os.kill(before, 9)
    await wait_until(lambda: not is_running(before))
    assert await ask_for_process(tools) != before


async def test_stop_works_inside_a_call(tools: Toolbox) -> None:
    before = await ask_for_process(tools)
    stopped = asyncio.ensure_future(call(tools, "wait", '{"seconds": 600}'))
    await asyncio.sleep(0.2)  # the call reaches the server, which tells nobody; an earlier Stop must work as well
    stopped.cancel()
    start = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await stopped
    assert time.monotonic() - start < PATIENCE / 2
    assert await ask_for_process(tools) == before


# Servers that are not there.


@pytest.mark.parametrize(
    "server",
    [
        pytest.param(process("dead"), id="exits at once"),
        pytest.param({"command": "no-such-program"}, id="no such program"),
        pytest.param({"command": "echo", "args": ["this is no JSON"]}, id="speaks something else"),
        pytest.param({"url": "http://127.0.0.1:9/mcp"}, id="nobody listens"),
    ],
)
async def test_a_server_that_is_down_is_left_out_and_the_rest_works(
    toolbox: MakeToolbox, server: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    tools = toolbox(("chat.tools.calculator.calculator",), down=server, tests=process())
    await tools.prepare(START)
    names = {schema.name for schema in tools.list_schemas()}
    assert {"calculator", "tests__add"} <= names
    assert not {name for name in names if name.startswith("down")}
    assert "The server down cannot be reached" in caplog.text
    outcome = await tools.run("down__anything", "{}", ADA, START)
    assert (outcome.ok, "There is no tool" in outcome.content) == (False, True)


async def test_a_silent_server_holds_up_one_answer_for_its_time_and_the_next_not_at_all(toolbox: MakeToolbox) -> None:
    tools = toolbox(tests=process("silent"))
    await asyncio.to_thread(tools.check)
    start = time.monotonic()
    await tools.prepare(0.5)
    first = time.monotonic() - start
    await tools.prepare(PATIENCE)
    assert 0.5 <= first < PATIENCE / 2
    assert time.monotonic() - start - first < PATIENCE / 2
    assert tools.list_schemas() == ()


async def test_a_server_that_starts_late_is_there_for_a_later_answer(toolbox: MakeToolbox) -> None:
    tools = toolbox(tests=process())
    await tools.prepare(0.01)
    assert tools.list_schemas() == ()
    await wait_until(lambda: bool(tools.list_schemas()), START)
    assert (await call(tools, "add", '{"first": 1, "second": 1}')).content == "2"


async def test_a_server_that_was_down_is_tried_again_after_a_pause(
    toolbox: MakeToolbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = find_free_port()
    tools = toolbox(tests={"url": f"http://127.0.0.1:{port}/mcp"})
    await tools.prepare(START)
    assert tools.list_schemas() == ()
    server = start_http_server(port)
    try:
        await tools.prepare(START)
        assert tools.list_schemas() == ()  # still in the pause
        pause = mcp_tools.PAUSE
        monkeypatch.setattr(mcp_tools, "PAUSE", 0)
        MovingClock(monkeypatch).advance(pause)

        async def is_there() -> bool:
            await tools.prepare(START)
            return bool(tools.list_schemas())

        await wait_until(is_there, START)
        assert (await call(tools, "add", '{"first": 1, "second": 1}')).content == "2"
        await tools.aclose()
    finally:
        server.kill()
        server.wait()


# Closing.


async def test_closing_ends_the_process(tools: Toolbox) -> None:
    pid = await ask_for_process(tools)
    assert is_running(pid)
    await tools.aclose()
    assert not is_running(pid)


async def test_closing_ends_a_process_that_hangs_within_its_time(tools: Toolbox) -> None:
    pid = await ask_for_process(tools)
    await call(tools, "hang", timeout=0.2)
    start = time.monotonic()
    await tools.aclose()
    assert time.monotonic() - start < mcp_connection.CLOSE_TIMEOUT + PATIENCE
    await wait_until(lambda: not is_running(pid))


async def test_closing_does_not_wait_for_a_server_that_is_still_connecting(toolbox: MakeToolbox) -> None:
    tools = toolbox(tests=process("silent"))
    await tools.prepare(0.2)
    start = time.monotonic()
    await tools.aclose()
    assert time.monotonic() - start < mcp_connection.CONNECT_TIMEOUT / 2


async def test_a_closed_toolbox_connects_again(tools: Toolbox) -> None:
    before = await ask_for_process(tools)
    await tools.aclose()
    assert await ask_for_process(tools) != before


def test_another_event_loop_gets_a_connection_of_its_own() -> None:
    tools = Toolbox([], {"tests": process()})

    async def prepare_once() -> int:
        try:
            await tools.prepare(START)
            return await ask_for_process(tools)
        finally:
            await tools.aclose()

    assert asyncio.run(prepare_once()) != asyncio.run(prepare_once())


# Over HTTP.


def start_http_server(port: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.mcp_server", "http", str(port)], cwd=ROOT, stderr=subprocess.DEVNULL
    )


@pytest.fixture
def address() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    port = find_free_port()
    server = start_http_server(port)
    yield f"http://127.0.0.1:{port}/mcp", server
    server.kill()
    server.wait()


async def connect(toolbox: MakeToolbox, url: str, monkeypatch: pytest.MonkeyPatch) -> Toolbox:
    monkeypatch.setattr(mcp_tools, "PAUSE", 0)
    tools = toolbox(tests={"url": url, "headers": {"Authorization": "Bearer secret"}})

    async def is_there() -> bool:
        await tools.prepare(START)
        return bool(tools.list_schemas())

    await wait_until(is_there, START)
    return tools


async def test_a_server_over_http_is_called_the_same_way(
    toolbox: MakeToolbox, address: tuple[str, subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = await connect(toolbox, address[0], monkeypatch)
    assert (await call(tools, "add", '{"first": 2, "second": 3}')).content == "5"
    assert not (await call(tools, "fail")).ok
    assert (await call(tools, "header", '{"name": "authorization"}')).content == "Bearer secret"
    assert not (await call(tools, "wait", '{"seconds": 600}', timeout=0.5)).ok
    assert await ask_for_process(tools) == await ask_for_process(tools)


async def test_a_server_over_http_that_goes_away_and_comes_back_is_called_again(
    toolbox: MakeToolbox, address: tuple[str, subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, server = address
    tools = await connect(toolbox, url, monkeypatch)
    server.kill()
    server.wait()
    start = time.monotonic()
    outcome = await call(tools, "add", '{"first": 2, "second": 3}')
    assert not outcome.ok
    assert time.monotonic() - start < PATIENCE
    again = start_http_server(int(url.split(":")[2].split("/")[0]))
    try:

        async def can_call() -> bool:
            return (await call(tools, "add", '{"first": 2, "second": 3}')).ok

        await wait_until(can_call, START)
        await tools.aclose()
    finally:
        again.kill()
        again.wait()
