"""Tools: what a model may call while it answers. A tool is a typed function with a docstring, and one dotted path.

    async def search(query: Annotated[str, Field(description="What to look for")], context: Context) -> list[str]:
        \"""Search the user's notes.\"""

Name, docstring and types are what the model reads. A parameter annotated with `Context` is filled in by us, and the
model knows nothing of it. Nothing here reads Django's settings.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import re
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import Annotated, Any, Protocol, get_type_hints

import jiter
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import CoreSchema, to_json

from chat.events import storable
from chat.providers import ToolSchema

log = logging.getLogger(__name__)

OUTPUT_LIMIT = 20_000
"""Characters of a result that go back to the model: about 5,000 tokens, which it pays for in every later step."""

SUMMARY_LIMIT = 200
HEADLINE_LIMIT = 80

# What both providers accept as a tool's name.
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")

# A headline is made of the first value; what lies further back cannot matter, and a call may be a megabyte long.
_HEADLINE_READS = 2_000

# A thread that hangs cannot be ended. So many may run at once, abandoned ones included; further calls are refused.
_THREADS = threading.BoundedSemaphore(64)


class ToolError(Exception):
    """A tool cannot be had, or cannot do what it was asked. The message is for operators and models alike."""


@dataclass(frozen=True, slots=True)
class Context:
    """For whom a tool is called."""

    user_id: int
    conversation_id: str


@dataclass(frozen=True, slots=True)
class Result:
    """What a tool may return when its output, cut to a line, would be no summary for people."""

    content: Any
    summary: str


@dataclass(frozen=True, slots=True)
class ToolOutcome:
    """What a call came to: `content` for the model, at most `OUTPUT_LIMIT` characters; `summary` for people, one line
    of at most `SUMMARY_LIMIT`. Both can be stored. When not `ok`, both say why."""

    ok: bool
    content: str
    summary: str

    @classmethod
    def of(cls, value: Any) -> ToolOutcome:
        """The outcome of a tool that returned `value`: a str as it is, everything else as JSON."""
        result = value if isinstance(value, Result) else Result(value, "")
        content: str = (
            result.content if isinstance(result.content, str) else to_json(result.content, fallback=str).decode()
        )
        return cls(True, _cut(storable(content)), _line(result.summary or content, SUMMARY_LIMIT))

    @classmethod
    def error(cls, message: str) -> ToolOutcome:
        """The outcome of a call that failed."""
        return cls(False, _cut(storable(f"Error: {message}")), _line(message, SUMMARY_LIMIT))


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that a model may call."""

    schema: ToolSchema
    function: Callable[..., Any]
    arguments: type[BaseModel]
    """Its fields are the function's parameters, by alias."""
    context_parameters: tuple[str, ...]

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Tool:
        """The tool that a function is; raises `ToolError` when it lacks a docstring or a type."""
        name = function.__name__
        description = inspect.getdoc(function)
        if not NAME.fullmatch(name):
            raise ToolError(f"{name!r} is no name for a tool: letters, digits, - and _, at most 64")
        if not description:
            raise ToolError(f"The tool {name} has no docstring to tell a model what it does")
        types = _types(function)
        injected = tuple(parameter for parameter, kind in types.items() if kind is Context)
        arguments = _arguments(function, {key: kind for key, kind in types.items() if key not in injected})
        schema = ToolSchema(name, description, arguments.model_json_schema(schema_generator=_Untitled))
        return cls(schema, function, arguments, injected)

    async def call(self, arguments: str, context: Context) -> ToolOutcome:
        """Call the function; raises whatever it raises, and `ToolError` for arguments that do not fit."""
        given = self._parsed(arguments)
        given |= dict.fromkeys(self.context_parameters, context)
        if inspect.iscoroutinefunction(self.function):
            return ToolOutcome.of(await self.function(**given))
        return ToolOutcome.of(await _in_thread(self.function, given))

    def _parsed(self, arguments: str) -> dict[str, Any]:
        try:
            # Anthropic streams nothing at all for a call without arguments.
            parsed = self.arguments.model_validate_json(storable(arguments).strip() or "{}")
        except ValidationError as error:
            raise ToolError(_complaint(error)) from None
        # What was not given has its default from the function itself.
        return {_alias(parsed, field): getattr(parsed, field) for field in parsed.model_fields_set}


class Source(Protocol):
    """Where a toolbox has tools from that are no functions of this site: `chat.tools.mcp.Servers`."""

    async def prepare(self, timeout: float) -> None: ...

    def schemas(self) -> tuple[ToolSchema, ...]: ...

    def offers(self, name: str) -> bool: ...

    async def call(self, name: str, arguments: str) -> ToolOutcome:
        """The outcome; the caller keeps the time, and cancels."""
        ...

    async def aclose(self) -> None: ...


class Toolbox:
    """The tools of a site: functions by dotted path, and what MCP servers offer (see `chat.tools.mcp`).

    Paths are imported on first use. Whoever makes a toolbox closes it.
    """

    def __init__(self, paths: Sequence[str], servers: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self._paths = tuple(paths)
        self._configuration = dict(servers or {})
        self._loading = threading.Lock()

    @cached_property
    def _tools(self) -> dict[str, Tool]:
        tools: dict[str, Tool] = {}
        for path in self._paths:
            tool = Tool.of(_imported(path))
            if tool.schema.name in tools:
                raise ToolError(f"Two tools are called {tool.schema.name}; the second is {path}")
            tools[tool.schema.name] = tool
        return tools

    @cached_property
    def _servers(self) -> Source | None:
        if not self._configuration:
            return None
        # A second of imports, which a site without servers does not pay.
        source: Source = import_module("chat.tools.mcp").Servers(self._configuration)
        return source

    async def prepare(self, timeout: float) -> None:
        """Import the functions, and wait for servers whose tools are not known yet, `timeout` seconds at most.

        A server that is down or late is left out of `schemas` until it has answered; that is logged, not raised. Bad
        paths and bad servers raise `ToolError`. Once all is known this costs nothing, so that every answer may begin
        with it.
        """
        if "_servers" not in self.__dict__:
            await asyncio.to_thread(self.check)  # imports, which would hold the event loop
        if self._servers is not None:
            await self._servers.prepare(timeout)

    def check(self) -> None:
        """Raise `ToolError` when a path or a server is configured wrongly; connects to nothing."""
        with self._loading:
            _ = self._tools, self._servers

    def schemas(self) -> tuple[ToolSchema, ...]:
        """What a model may call: the functions in the order of their paths, then what is known of the servers."""
        offered = () if self._servers is None else self._servers.schemas()
        own = tuple(tool.schema for tool in self._tools.values())
        return own + tuple(schema for schema in offered if schema.name not in self._tools)

    async def run(self, name: str, arguments: str, context: Context, timeout: float) -> ToolOutcome:
        """Call a tool with JSON as a model wrote it; `timeout` in seconds.

        Raises nothing but `CancelledError`: whatever goes wrong is an outcome that is not `ok`, and that the model can
        read. A tool that does not answer in time is cancelled and no longer waited for. A function that is not async
        runs in a thread of its own, and no thread can be ended: it is abandoned, runs on, and what it returns is
        dropped. The same holds when the caller is cancelled.
        """
        attempt = asyncio.ensure_future(self._attempt(name, arguments, context))
        try:
            await asyncio.wait({attempt}, timeout=timeout)
        finally:
            in_time = attempt.done()
            attempt.cancel()
        if not in_time:
            log.warning("The tool %s did not answer within %g s", name[:64], timeout)
            return ToolOutcome.error(f"{name[:64]} did not answer within {timeout:g} s")
        if attempt.cancelled():
            return ToolOutcome.error(f"{name[:64]} was cancelled")
        return attempt.result()

    async def _attempt(self, name: str, arguments: str, context: Context) -> ToolOutcome:
        try:
            if tool := self._tools.get(name):
                return await tool.call(arguments, context)
            if self._servers is not None and self._servers.offers(name):
                return await self._servers.call(name, arguments)
        except (asyncio.CancelledError, KeyboardInterrupt):
            raise
        except ToolError as error:
            return ToolOutcome.error(str(error))
        except BaseException as error:  # SystemExit in a task would end the server
            log.exception("The tool %s failed", name[:64])
            return ToolOutcome.error(f"{type(error).__name__}: {_line(str(error), SUMMARY_LIMIT)}".removesuffix(": "))
        there_are = ", ".join(schema.name for schema in self.schemas()) or "none"
        return ToolOutcome.error(f"There is no tool called {name[:64]!r}. There are: {there_are}")

    async def aclose(self) -> None:
        """Close the connections to servers. The toolbox can be used again; it then connects anew."""
        if "_servers" in self.__dict__ and self._servers is not None:
            await self._servers.aclose()


class _Untitled(GenerateJsonSchema):
    """Without the titles that pydantic makes of the names: they tell a model nothing, and cost tokens in every call."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def generate(self, schema: CoreSchema, mode: Any = "validation") -> dict[str, Any]:
        return {key: value for key, value in super().generate(schema, mode).items() if key != "title"}


def _imported(path: str) -> Callable[..., Any]:
    module, _, attribute = path.rpartition(".")
    try:
        function = getattr(import_module(module), attribute)
    except Exception as error:
        raise ToolError(f"{path!r} is no tool that can be imported: {type(error).__name__}: {error}") from error
    if not inspect.isfunction(function):
        raise ToolError(f"{path!r} is no function")
    return function


def _types(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotation of each parameter."""
    name = function.__name__
    try:
        hints = get_type_hints(function, include_extras=True)
    except Exception as error:
        raise ToolError(f"The types of the tool {name} cannot be read: {error}") from error
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise ToolError(f"The tool {name} has the parameter {parameter}, which has no name of its own")
        if parameter.name not in hints:
            raise ToolError(f"The parameter {parameter.name} of the tool {name} has no type")
    return {parameter: hints[parameter] for parameter in inspect.signature(function).parameters}


def _arguments(function: Callable[..., Any], types: Mapping[str, Any]) -> type[BaseModel]:
    """A model whose fields are the parameters. They go by alias, because pydantic has names of its own."""
    fields: dict[str, Any] = {}
    for number, (name, kind) in enumerate(types.items()):
        default = inspect.signature(function).parameters[name].default
        required = default is inspect.Parameter.empty
        fields[f"argument_{number}"] = Annotated[kind, Field(alias=name)], ... if required else default
    try:
        return create_model("Arguments", __config__=ConfigDict(extra="forbid"), **fields)
    except Exception as error:
        raise ToolError(f"The types of the tool {function.__name__} have no JSON schema: {error}") from error


def _alias(parsed: BaseModel, field: str) -> str:
    return type(parsed).model_fields[field].alias or field


def _complaint(error: ValidationError) -> str:
    """What does not fit, in words that a model can act upon."""
    found = error.errors(include_url=False, include_context=False, include_input=False)[:5]
    parts = (": ".join(filter(None, (".".join(map(str, each["loc"])), each["msg"]))) for each in found)
    return f"The arguments do not fit: {'; '.join(parts)}"


async def _in_thread(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Call a function in a daemon thread of its own: one that hangs in a pool would keep the pool, and the process at
    its end, waiting."""
    places = _THREADS
    if not places.acquire(blocking=False):
        raise ToolError("Too many tools are running")
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()

    def tell(value: Any, error: BaseException | None) -> None:
        if not answered.done():
            answered.set_result((value, error))

    def work() -> None:
        value, error = None, None
        try:
            value = function(**arguments)
        except BaseException as raised:
            error = raised
        finally:
            places.release()
        with suppress(RuntimeError):  # the loop may have been closed since
            loop.call_soon_threadsafe(tell, value, error)

    threading.Thread(target=contextvars.copy_context().run, args=(work,), daemon=True, name=function.__name__).start()
    value, error = await answered
    if error is not None:
        raise error
    return await value if isinstance(value, Awaitable) else value


def _first_value(arguments: str) -> str:
    """The first argument of a JSON object that may end anywhere; nothing when it is not there or is no scalar."""
    try:
        parsed = jiter.from_json(storable(arguments[:_HEADLINE_READS]).encode(), partial_mode="trailing-strings")
    except ValueError:
        return ""
    value = next(iter(parsed.values()), "") if isinstance(parsed, dict) else ""
    return str(value) if isinstance(value, str | int | float) else ""


def headline(name: str, arguments: str) -> str:
    """What a page says of a call whose arguments are still coming: "Search conversations: django strea".

    One line of at most `HEADLINE_LIMIT` characters: the tool's name as people would say it, and the first argument as
    far as it is there. Never raises, whatever a model makes up.
    """
    said, value = _spoken(name), _first_value(arguments)
    return _line(f"{said}: {value}" if value else said, HEADLINE_LIMIT)


def _spoken(name: str) -> str:
    """A tool's name as people would say it: "Current time"."""
    return " ".join(re.split(r"[\s_]+", name[:HEADLINE_LIMIT])).strip().capitalize() or "Calling a tool"


def _line(text: str, limit: int) -> str:
    """The text in one line that fits."""
    line = storable(" ".join(text[: limit * 10].split()))
    return line if len(line) <= limit else f"{line[: limit - 1].rstrip()}…"


def _cut(text: str) -> str:
    if len(text) <= OUTPUT_LIMIT:
        return text
    note = f"\n[The output was cut here: it had {len(text):,} characters.]"
    return text[: OUTPUT_LIMIT - len(note)] + note
