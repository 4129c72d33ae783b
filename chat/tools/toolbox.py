"""The toolbox: the tools of this site, checked, offered to models and run."""

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
from typing import Annotated, Any, get_type_hints

import jiter
from django.utils.text import capfirst
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import CoreSchema

from chat.core.events import make_storable
from chat.providers.base import ToolSchema
from chat.tools.base import NAME, SUMMARY_LIMIT, Context, Source, ToolError, ToolOutcome, shorten_to_line

log = logging.getLogger(__name__)
HEADLINE_LIMIT = 80

# Characters of the arguments that a headline is made of: it shows the first value, and a call may be a megabyte long.
_HEADLINE_READS = 2_000

# Threads that may run at once, abandoned ones included, because one that hangs cannot be ended. Others are refused.
THREADS = threading.BoundedSemaphore(64)


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that a model may call."""

    schema: ToolSchema
    function: Callable[..., Any]
    arguments: type[BaseModel]
    """Its fields are the function's parameters, by alias."""
    context_parameters: tuple[str, ...]

    @classmethod
    def from_function(cls, function: Callable[..., Any]) -> Tool:
        """Return the tool that a function is; raise `ToolError` when it lacks a docstring or a type."""
        name = function.__name__
        description = inspect.getdoc(function)
        if not NAME.fullmatch(name):
            raise ToolError(f"{name!r} is no name for a tool: letters, digits, - and _, at most 64")
        if not description:
            raise ToolError(f"The tool {name} has no docstring to tell a model what it does")
        types = _read_types(function)
        injected = tuple(parameter for parameter, kind in types.items() if kind is Context)
        arguments = _make_arguments_model(function, {key: kind for key, kind in types.items() if key not in injected})
        schema = ToolSchema(name, description, arguments.model_json_schema(schema_generator=_Untitled))
        return cls(schema, function, arguments, injected)

    async def call(self, arguments: str, context: Context) -> ToolOutcome:
        """Call the function. Raises whatever it raises, and `ToolError` for arguments of the wrong form."""
        values = self._parse_arguments(arguments)
        values |= dict.fromkeys(self.context_parameters, context)
        if inspect.iscoroutinefunction(self.function):
            return ToolOutcome.from_value(await self.function(**values))
        return ToolOutcome.from_value(await _run_in_thread(self.function, values))

    def _parse_arguments(self, arguments: str) -> dict[str, Any]:
        try:
            # Anthropic streams nothing at all for a call without arguments.
            parsed = self.arguments.model_validate_json(make_storable(arguments).strip() or "{}")
        except ValidationError as error:
            raise ToolError(_describe_errors(error)) from None
        # What was not given has its default from the function itself.
        return {_get_alias(parsed, field): getattr(parsed, field) for field in parsed.model_fields_set}


class Toolbox:
    """The tools of a site: functions by dotted path, and what MCP servers offer (see `chat.tools.mcp`).

    Paths are imported on first use. Its maker closes it.
    """

    def __init__(self, paths: Sequence[str], servers: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self._paths = tuple(paths)
        self._configuration = dict(servers or {})
        self._loading = threading.Lock()

    @cached_property
    def _tools(self) -> dict[str, Tool]:
        tools: dict[str, Tool] = {}
        for path in self._paths:
            tool = Tool.from_function(_import_function(path))
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

        A server that is down or late is left out of `list_schemas` until it has answered; that is logged, not raised.
        Bad paths and bad servers raise `ToolError`. Once all is known this costs nothing, so that every answer may
        begin with it.
        """
        if "_servers" not in self.__dict__:
            await asyncio.to_thread(self.check)  # imports, which would hold the event loop
        if self._servers is not None:
            await self._servers.prepare(timeout)

    def check(self) -> None:
        """Raise `ToolError` when a path or a server is configured wrongly. Connects to nothing."""
        with self._loading:
            _ = self._tools, self._servers

    def list_schemas(self) -> tuple[ToolSchema, ...]:
        """Return what a model may call: the functions in the order of their paths, then the servers' known tools."""
        offered = () if self._servers is None else self._servers.list_schemas()
        own = tuple(tool.schema for tool in self._tools.values())
        return own + tuple(schema for schema in offered if schema.name not in self._tools)

    async def run(self, name: str, arguments: str, context: Context, timeout: float) -> ToolOutcome:
        """Call a tool with JSON as a model wrote it; `timeout` in seconds.

        Raises nothing but `CancelledError`: whatever goes wrong is an outcome that is not `ok`, and that the model can
        read. A tool that does not answer in time is cancelled and no longer waited for. A function that is not async
        runs in a thread of its own, and no thread can be ended: it is abandoned, runs on, and what it returns is
        dropped. The same holds when the caller is cancelled.
        """
        attempt = asyncio.ensure_future(self._call(name, arguments, context))
        try:
            await asyncio.wait({attempt}, timeout=timeout)
        finally:
            in_time = attempt.done()
            attempt.cancel()
        if not in_time:
            log.warning("The tool %s did not answer within %g s", name[:64], timeout)
            return ToolOutcome.from_error(f"{name[:64]} did not answer within {timeout:g} s")
        if attempt.cancelled():
            return ToolOutcome.from_error(f"{name[:64]} was cancelled")
        return attempt.result()

    async def _call(self, name: str, arguments: str, context: Context) -> ToolOutcome:
        try:
            if tool := self._tools.get(name):
                return await tool.call(arguments, context)
            if self._servers is not None and self._servers.offers(name):
                return await self._servers.call(name, arguments)
        except (asyncio.CancelledError, KeyboardInterrupt):
            raise
        except ToolError as error:
            return ToolOutcome.from_error(str(error))
        except BaseException as error:  # SystemExit in a task would end the server
            log.exception("The tool %s failed", name[:64])
            return ToolOutcome.from_error(
                f"{type(error).__name__}: {shorten_to_line(str(error), SUMMARY_LIMIT)}".removesuffix(": ")
            )
        names = ", ".join(schema.name for schema in self.list_schemas()) or "none"
        return ToolOutcome.from_error(f"There is no tool called {name[:64]!r}. There are: {names}")

    async def aclose(self) -> None:
        """Close the connections to servers. The toolbox can be used again; it then connects again."""
        if "_servers" in self.__dict__ and self._servers is not None:
            await self._servers.aclose()

    def end(self, number: int) -> bool:
        """Send a signal to each process that runs for a server; return whether there was any."""
        return "_servers" in self.__dict__ and self._servers is not None and self._servers.end(number)


class _Untitled(GenerateJsonSchema):
    """JSON schemas without the titles that pydantic makes of names: they tell a model nothing, and cost tokens."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def generate(self, schema: CoreSchema, mode: Any = "validation") -> dict[str, Any]:
        return {key: value for key, value in super().generate(schema, mode).items() if key != "title"}


def _import_function(path: str) -> Callable[..., Any]:
    module, _, attribute = path.rpartition(".")
    try:
        function = getattr(import_module(module), attribute)
    except Exception as error:
        raise ToolError(f"{path!r} is no tool that can be imported: {type(error).__name__}: {error}") from error
    if not inspect.isfunction(function):
        raise ToolError(f"{path!r} is no function")
    return function


def _read_types(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotation of each parameter; raise `ToolError` when one has none."""
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


def _make_arguments_model(function: Callable[..., Any], types: Mapping[str, Any]) -> type[BaseModel]:
    """Return a model whose fields are the parameters, by alias, because pydantic reserves some names."""
    fields: dict[str, Any] = {}
    for number, (name, kind) in enumerate(types.items()):
        default = inspect.signature(function).parameters[name].default
        required = default is inspect.Parameter.empty
        fields[f"argument_{number}"] = Annotated[kind, Field(alias=name)], ... if required else default
    try:
        return create_model("Arguments", __config__=ConfigDict(extra="forbid"), **fields)
    except Exception as error:
        raise ToolError(f"The types of the tool {function.__name__} have no JSON schema: {error}") from error


def _get_alias(parsed: BaseModel, field: str) -> str:
    return type(parsed).model_fields[field].alias or field


def _describe_errors(error: ValidationError) -> str:
    """Return what is wrong with the arguments, in words that a model can act upon."""
    found = error.errors(include_url=False, include_context=False, include_input=False)[:5]
    parts = (": ".join(filter(None, (".".join(map(str, each["loc"])), each["msg"]))) for each in found)
    return f"The arguments are not valid: {'; '.join(parts)}"


async def _run_in_thread(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Call a function in a daemon thread of its own.

    One that hangs in a pool would keep the pool waiting, and the process at its end.
    """
    threads = THREADS
    if not threads.acquire(blocking=False):
        raise ToolError("Too many tools are running")
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()

    def resolve(value: Any, error: BaseException | None) -> None:
        if not outcome.done():
            outcome.set_result((value, error))

    def work() -> None:
        value, error = None, None
        try:
            value = function(**arguments)
        except BaseException as raised:
            error = raised
        finally:
            threads.release()
        with suppress(RuntimeError):  # the loop may have been closed since
            loop.call_soon_threadsafe(resolve, value, error)

    threading.Thread(target=contextvars.copy_context().run, args=(work,), daemon=True, name=function.__name__).start()
    value, error = await outcome
    if error is not None:
        raise error
    return await value if isinstance(value, Awaitable) else value


def _find_first_value(arguments: str) -> str:
    """Return the first argument of a JSON object that may end anywhere; empty when there is none or it is no scalar."""
    try:
        parsed = jiter.from_json(make_storable(arguments[:_HEADLINE_READS]).encode(), partial_mode="trailing-strings")
    except ValueError:
        return ""
    value = next(iter(parsed.values()), "") if isinstance(parsed, dict) else ""
    return str(value) if isinstance(value, str | int | float) else ""


def write_headline(name: str, arguments: str) -> str:
    """Return what a page says of a call whose arguments are still coming: "Search conversations: django strea".

    One line of at most `HEADLINE_LIMIT` characters: the tool's name in words, and the first argument as
    far as it is there. Never raises, whatever a model makes up.
    """
    label, value = _write_label(name), _find_first_value(arguments)
    return shorten_to_line(f"{label}: {value}" if value else label, HEADLINE_LIMIT)


def _write_label(name: str) -> str:
    """Return a tool's name in words for people: "Current time"."""
    return capfirst(" ".join(re.split(r"[\s_]+", name[:HEADLINE_LIMIT])).strip()) or "Calling a tool"
