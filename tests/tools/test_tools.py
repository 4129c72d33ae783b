"""A typed function is a tool; whatever a model asks of one, the call comes to an outcome that it can read."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from types import ModuleType
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from chat.tools.base import OUTPUT_LIMIT, SUMMARY_LIMIT, Context, Result, ToolError
from chat.tools.clock import describe
from chat.tools.toolbox import HEADLINE_LIMIT, Tool, Toolbox, write_headline
from tests.support.waiting import PATIENCE, wait_until

ADA = Context(7, "c0ffee")

MakeToolbox = Callable[..., Toolbox]


@pytest.fixture
def toolbox(monkeypatch: pytest.MonkeyPatch) -> MakeToolbox:
    """A toolbox of functions that the test has written."""
    module = ModuleType("tools_of_a_test")
    monkeypatch.setitem(sys.modules, module.__name__, module)

    def make(*functions: Callable[..., Any]) -> Toolbox:
        for function in functions:
            setattr(module, function.__name__, function)
        return Toolbox([f"{module.__name__}.{function.__name__}" for function in functions])

    return make


def look_up(
    query: Annotated[str, Field(description="What to look for")],
    context: Context,
    limit: int = 5,
    order: Literal["newest", "oldest"] = "newest",
) -> str:
    """Look something up.

    Use it sparingly.
    """
    return f"{query} for {context.user_id} in {context.conversation_id}, {limit} {order}"


# What a model is told.


def test_a_schema_has_the_name_docstring_types_and_descriptions_and_nothing_of_the_context() -> None:
    schema = Tool.from_function(look_up).schema
    assert schema.name == "look_up"
    assert schema.description == "Look something up.\n\nUse it sparingly."
    assert schema.parameters == {
        "type": "object",
        "properties": {
            "query": {"type": "string", "description": "What to look for"},
            "limit": {"type": "integer", "default": 5},
            "order": {"type": "string", "enum": ["newest", "oldest"], "default": "newest"},
        },
        "required": ["query"],
        "additionalProperties": False,
    }


def test_a_tool_without_arguments_takes_an_empty_object() -> None:
    def nothing() -> str:
        """Do nothing."""
        return ""

    assert Tool.from_function(nothing).schema.parameters == {
        "type": "object",
        "properties": {},
        "additionalProperties": False,
    }


def test_the_built_in_tools_are_offered_in_their_order() -> None:
    paths = ["chat.tools.clock.current_time", "chat.tools.calculator.calculator"]
    assert [schema.name for schema in Toolbox(paths).list_schemas()] == ["current_time", "calculator"]


def no_docstring(value: str) -> str:
    return value


def no_type(value) -> str:  # type: ignore[no-untyped-def]
    """Take anything."""
    return str(value)


def any_number(*values: int) -> int:
    """Take any number of numbers."""
    return sum(values)


def no_schema(value: threading.Lock) -> str:
    """Take what JSON cannot say."""
    return str(value)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (no_docstring, "The tool no_docstring has no docstring"),
        (no_type, "The parameter value of the tool no_type has no type"),
        (any_number, "The tool any_number has the parameter *values"),
        (no_schema, "The types of the tool no_schema have no JSON schema"),
        (lambda: None, "'<lambda>' is no name for a tool"),
    ],
)
def test_a_function_that_is_no_tool_is_refused_with_the_reason(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(ToolError, match=re.escape(message)):
        Tool.from_function(function)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nonsense", "'nonsense' is no tool that can be imported"),
        ("no.such.module", "'no.such.module' is no tool that can be imported"),
        ("chat.tools.clock.no_such_function", "is no tool that can be imported"),
        ("chat.tools.clock.WEEKDAYS", "is no function"),
        ("chat.tools.toolbox.Toolbox", "is no function"),
        ("", "'' is no tool that can be imported"),
    ],
)
def test_a_bad_path_is_refused_in_one_line_that_names_it(path: str, message: str) -> None:
    with pytest.raises(ToolError, match=re.escape(message)) as raised:
        Toolbox([path]).list_schemas()
    assert "\n" not in str(raised.value)


def test_two_tools_of_one_name_are_refused() -> None:
    path = "chat.tools.clock.current_time"
    with pytest.raises(ToolError, match=r"Two tools are called current_time; the second is chat\.tools\.clock"):
        Toolbox([path, path]).check()


def test_nothing_is_imported_before_it_is_needed() -> None:
    Toolbox(["no.such.module"])


# What the page shows while the arguments come.


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("", "Look up"),
        ("{", "Look up"),
        ('{"qu', "Look up"),
        ('{"query": "', "Look up"),
        ('{"query": "django strea', "Look up: django strea"),
        ('{"query": "django streaming", "limit": 3}', "Look up: django streaming"),
        ('{"query": "two\\nlines\\t and  spaces"}', "Look up: two lines and spaces"),
        ('{"limit": 12, "query": "x"}', "Look up: 12"),
        ('{"query": ["a"]}', "Look up"),
        ('{"query": null}', "Look up"),
        ("[1, 2]", "Look up"),
        ("not JSON at all", "Look up"),
        ('{"query": "\\ud83d', "Look up"),
        ('{"query": "a\ud800b\x00"}', "Look up: a\ufffdb\ufffd"),
        ("[" * 100_000, "Look up"),
    ],
)
def test_a_headline_says_as_much_as_has_come(arguments: str, line: str) -> None:
    assert write_headline("look_up", arguments) == line


def test_every_prefix_of_the_arguments_has_a_headline_that_begins_like_the_last() -> None:
    arguments = json.dumps({"query": 'ünïcode "quoted" \\ 😀 end', "limit": 3})
    shown = [write_headline("look_up", arguments[:length]) for length in range(len(arguments) + 1)]
    assert shown[-1] == 'Look up: ünïcode "quoted" \\ 😀 end'
    assert all(line.startswith("Look up") and len(line) <= HEADLINE_LIMIT for line in shown)


def test_a_long_headline_is_cut() -> None:
    line = write_headline("look_up", json.dumps({"query": "x" * 1_000_000}))
    assert line.startswith("Look up: xxx")
    assert line.endswith("…")
    assert len(line) == HEADLINE_LIMIT


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("current_time", "Current time"),
        ("files__read_file", "Files read file"),
        ("wiki__getPage", "Wiki getPage"),
        ("list_PRs", "List PRs"),
        ("", "Calling a tool"),
    ],
)
def test_a_tool_is_shown_by_its_name(name: str, line: str) -> None:
    assert write_headline(name, "{}") == line


# Calls that go well.


async def test_a_call_has_its_arguments_defaults_and_context(toolbox: MakeToolbox) -> None:
    outcome = await toolbox(look_up).run("look_up", '{"query": "tulips", "order": "oldest"}', ADA, PATIENCE)
    assert (outcome.ok, outcome.content) == (True, "tulips for 7 in c0ffee, 5 oldest")


async def test_an_async_tool_runs_on_the_event_loop_and_a_sync_one_beside_it(toolbox: MakeToolbox) -> None:
    threads: dict[str, int] = {}

    async def on_the_loop() -> str:
        """Run."""
        threads["async"] = threading.get_ident()
        return "async"

    def beside_it() -> str:
        """Run."""
        threads["sync"] = threading.get_ident()
        return "sync"

    tools = toolbox(on_the_loop, beside_it)
    outcomes = [await tools.run(name, "{}", ADA, PATIENCE) for name in ("on_the_loop", "beside_it")]
    assert [outcome.content for outcome in outcomes] == ["async", "sync"]
    assert threads["async"] == threading.get_ident() != threads["sync"]


@pytest.mark.parametrize("arguments", ["", "  ", "{}"])
async def test_no_arguments_at_all_are_an_empty_object(toolbox: MakeToolbox, arguments: str) -> None:
    outcome = await Toolbox(["chat.tools.clock.current_time"]).run("current_time", arguments, ADA, PATIENCE)
    assert outcome.ok


async def test_parameters_may_be_called_like_attributes_of_pydantics_models(toolbox: MakeToolbox) -> None:
    def odd(schema: str, copy: int, model_config: str, self: str) -> str:
        """Have odd names."""
        return f"{schema} {copy} {model_config} {self}"

    arguments = {"schema": "a", "copy": 1, "model_config": "b", "self": "c"}
    outcome = await toolbox(odd).run("odd", json.dumps(arguments), ADA, PATIENCE)
    assert outcome.content == "a 1 b c"


@dataclass
class Place:
    name: str
    since: date


@pytest.mark.parametrize(
    ("value", "content"),
    [
        ({"a": [1, None, "ü"]}, '{"a":[1,null,"ü"]}'),
        ([Place("Berlin", date(1237, 10, 28))], '[{"name":"Berlin","since":"1237-10-28"}]'),
        (3, "3"),
        (None, "null"),
        ("", ""),
    ],
)
async def test_a_result_that_is_no_text_is_json(toolbox: MakeToolbox, value: object, content: str) -> None:
    def give() -> Any:
        """Give it."""
        return value

    outcome = await toolbox(give).run("give", "{}", ADA, PATIENCE)
    assert (outcome.ok, outcome.content) == (True, content)


async def test_a_tool_may_say_what_people_read_of_its_result(toolbox: MakeToolbox) -> None:
    def give() -> Result:
        """Give it."""
        return Result(["a", "b"], "2 letters\nfound")

    outcome = await toolbox(give).run("give", "{}", ADA, PATIENCE)
    assert (outcome.content, outcome.summary) == ('["a","b"]', "2 letters found")


async def test_parallel_calls_run_at_once(toolbox: MakeToolbox) -> None:
    both = threading.Barrier(2)

    def meet() -> str:
        """Return only when called twice at once."""
        both.wait(PATIENCE)
        return "met"

    tools = toolbox(meet)
    outcomes = await asyncio.gather(*(tools.run("meet", "{}", ADA, PATIENCE) for _ in range(2)))
    assert [outcome.content for outcome in outcomes] == ["met", "met"]


# Calls that do not.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ('{"query": "x"', "Invalid JSON"),
        ("query=x", "Invalid JSON"),
        ("[]", "Input should be an object"),
        ('"x"', "Input should be an object"),
        ("{}", "query: Field required"),
        ('{"query": 3}', "query: Input should be a valid string"),
        ('{"query": "x", "limit": "many"}', "limit: Input should be a valid integer"),
        ('{"query": "x", "order": "random"}', "order: Input should be 'newest' or 'oldest'"),
        ('{"query": "x", "page": 2}', "page: Extra inputs are not permitted"),
        ('{"query": "x", "context": {"user_id": 8}}', "context: Extra inputs are not permitted"),
        ('{"query": "\\ud800"}', "Invalid JSON"),
        ("[" * 100_000, "Invalid JSON"),
    ],
)
async def test_arguments_that_do_not_fit_are_an_error_that_says_why(
    toolbox: MakeToolbox, arguments: str, message: str
) -> None:
    outcome = await toolbox(look_up).run("look_up", arguments, ADA, PATIENCE)
    assert not outcome.ok
    assert message in outcome.content
    assert message in outcome.summary


async def test_an_unknown_tool_is_an_error_that_says_which_there_are(toolbox: MakeToolbox) -> None:
    outcome = await toolbox(look_up).run("look_down", "{}", ADA, PATIENCE)
    assert (outcome.ok, outcome.summary) == (False, "There is no tool called 'look_down'. There are: look_up")


async def test_an_exception_goes_to_the_model_in_a_line_and_to_the_log_whole(
    toolbox: MakeToolbox, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> str:
        """Fail."""
        raise PermissionError(f"no\nentry {'x' * 1000}")

    outcome = await toolbox(fail).run("fail", "{}", ADA, PATIENCE)
    assert not outcome.ok
    assert outcome.content.startswith("Error: PermissionError: no entry xxx")
    assert len(outcome.content) < 2 * SUMMARY_LIMIT
    assert "Traceback" not in outcome.content
    assert "Traceback" in caplog.text
    assert 'raise PermissionError(f"no' in caplog.text


@pytest.mark.parametrize("raised", [SystemExit(3), GeneratorExit(), StopIteration(), asyncio.CancelledError()])
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_no_exception_whatever_leaves_a_call(toolbox: MakeToolbox, raised: BaseException, kind: str) -> None:
    def sync_tool() -> str:
        """Fail."""
        raise raised

    async def async_tool() -> str:
        """Fail."""
        raise raised

    outcome = await toolbox(sync_tool, async_tool).run(f"{kind}_tool", "{}", ADA, PATIENCE)
    assert not outcome.ok
    assert outcome.summary


async def test_a_tools_refusal_is_told_in_its_own_words_and_not_logged(
    toolbox: MakeToolbox, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> str:
        """Refuse."""
        raise ToolError("Not on a Sunday")

    outcome = await toolbox(refuse).run("refuse", "{}", ADA, PATIENCE)
    assert (outcome.ok, outcome.content, outcome.summary) == (False, "Error: Not on a Sunday", "Not on a Sunday")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_call_with_a_bad_path_configured_has_an_error_for_the_model() -> None:
    outcome = await Toolbox(["no.such.module"]).run("module", "{}", ADA, PATIENCE)
    assert not outcome.ok
    assert "no.such.module" in outcome.content


async def test_a_result_that_cannot_be_written_is_an_error(toolbox: MakeToolbox) -> None:
    def loop() -> list[Any]:
        """Return a list that contains itself."""
        endless: list[Any] = []
        endless.append(endless)
        return endless

    outcome = await toolbox(loop).run("loop", "{}", ADA, PATIENCE)
    assert not outcome.ok


@pytest.mark.parametrize("kind", ["sync", "async", "stubborn"])
async def test_a_tool_that_hangs_is_given_up_after_its_time(toolbox: MakeToolbox, kind: str) -> None:
    end = threading.Event()

    def sync_tool() -> str:
        """Hang."""
        end.wait(PATIENCE)
        return "late"

    async def async_tool() -> str:
        """Hang."""
        await asyncio.sleep(PATIENCE)
        return "late"

    async def stubborn_tool() -> str:
        """Hang, and do not be cancelled."""
        while not end.is_set():
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                continue
        return "late"

    start = time.monotonic()
    outcome = await toolbox(sync_tool, async_tool, stubborn_tool).run(f"{kind}_tool", "{}", ADA, 0.2)
    took = time.monotonic() - start
    end.set()
    assert (outcome.ok, outcome.summary) == (False, f"{kind}_tool did not answer within 0.2 s")
    assert 0.2 <= took < PATIENCE / 2
    await asyncio.sleep(0.1)  # what a late answer does must not disturb the loop


async def test_stop_works_inside_a_tool(toolbox: MakeToolbox) -> None:
    began, was_cancelled = asyncio.Event(), asyncio.Event()

    async def wait() -> str:
        """Wait."""
        began.set()
        try:
            await asyncio.sleep(PATIENCE)
        except asyncio.CancelledError:
            was_cancelled.set()
            raise
        return "late"

    call = asyncio.ensure_future(toolbox(wait).run("wait", "{}", ADA, PATIENCE))
    await asyncio.wait_for(began.wait(), PATIENCE)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.wait_for(was_cancelled.wait(), PATIENCE)


async def test_stop_does_not_wait_for_a_thread(toolbox: MakeToolbox) -> None:
    began, end = threading.Event(), threading.Event()

    def hang() -> str:
        """Hang."""
        began.set()
        end.wait(PATIENCE)
        return "late"

    call = asyncio.ensure_future(toolbox(hang).run("hang", "{}", ADA, PATIENCE))
    await wait_until(began.is_set)
    call.cancel()
    start = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await call
    took = time.monotonic() - start
    end.set()
    assert took < PATIENCE / 2


async def test_threads_that_hang_do_not_grow_without_bound(
    toolbox: MakeToolbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat.tools.toolbox.THREADS", threading.BoundedSemaphore(2))
    end = threading.Event()

    def hang() -> str:
        """Hang."""
        end.wait(PATIENCE)
        return "late"

    tools = toolbox(hang)
    for _ in range(2):
        assert "did not answer" in (await tools.run("hang", "{}", ADA, 1)).summary
    refused = await tools.run("hang", "{}", ADA, PATIENCE)
    end.set()
    assert (refused.ok, refused.summary) == (False, "Too many tools are running")

    async def is_free_again() -> bool:
        return (await tools.run("hang", "{}", ADA, PATIENCE)).ok

    await wait_until(is_free_again)


# What comes back is bounded and can be stored.


async def test_a_megabyte_of_output_is_cut_and_says_so(toolbox: MakeToolbox) -> None:
    def flood() -> str:
        """Flood."""
        return "word " * 200_000

    outcome = await toolbox(flood).run("flood", "{}", ADA, PATIENCE)
    assert outcome.ok
    assert len(outcome.content) == OUTPUT_LIMIT
    assert outcome.content.startswith("word word")
    assert outcome.content.endswith("[The output was cut here: it had 1,000,000 characters.]")
    assert len(outcome.summary) <= SUMMARY_LIMIT
    assert "\n" not in outcome.summary


async def test_output_of_just_the_limit_is_whole(toolbox: MakeToolbox) -> None:
    def fill() -> str:
        """Fill."""
        return "x" * OUTPUT_LIMIT

    assert (await toolbox(fill).run("fill", "{}", ADA, PATIENCE)).content == "x" * OUTPUT_LIMIT


@pytest.mark.parametrize("failure", [None, ValueError, ToolError])
async def test_an_outcome_holds_nothing_that_a_database_refuses(
    toolbox: MakeToolbox, failure: type[Exception] | None
) -> None:
    def give() -> str:
        """Give it."""
        if failure is not None:
            raise failure("a\x00b\ud800c")
        return "a\x00b\ud800c"

    outcome = await toolbox(give).run("give", "{}", ADA, PATIENCE)
    assert "a\ufffdb\ufffdc" in outcome.content
    assert "a\ufffdb\ufffdc" in outcome.summary


# The clock.


def test_the_clock_tells_the_time_of_a_zone() -> None:
    moment = datetime(2024, 7, 1, 22, 30, tzinfo=UTC)
    assert describe(moment, "UTC") == "Monday, 2024-07-01 22:30:00+00:00 (UTC)"
    assert describe(moment, "Europe/Berlin") == "Tuesday, 2024-07-02 00:30:00+02:00 (Europe/Berlin)"
    assert describe(moment, "America/New_York") == "Monday, 2024-07-01 18:30:00-04:00 (America/New_York)"


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "Europe", "../etc/passwd", "/etc/passwd", "a\x00b", "x" * 9999])
def test_a_zone_that_does_not_exist_is_refused(zone: str) -> None:
    with pytest.raises(ToolError, match="There is no time zone"):
        describe(datetime.now(UTC), zone)


async def test_the_clock_tells_the_present() -> None:
    tools = Toolbox(["chat.tools.clock.current_time"])
    before = datetime.now(UTC).replace(microsecond=0)
    outcome = await tools.run("current_time", '{"zone": "Asia/Tokyo"}', ADA, PATIENCE)
    told = datetime.fromisoformat(outcome.content.split(", ")[1].removesuffix(" (Asia/Tokyo)"))
    assert before <= told <= datetime.now(UTC)
