"""Tools: what a model may call while it answers. A tool is a typed function with a docstring, and one dotted path.

    async def search(query: Annotated[str, Field(description="What to look for")], context: Context) -> list[str]:
        "Search the user's notes."

Name, docstring and types are what the model reads. A parameter annotated with `Context` is filled in by us, and the
model knows nothing of it. Nothing here reads Django's settings.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic_core import to_json

from chat.core.events import make_storable
from chat.core.lines import join_lines
from chat.providers.base import ToolSchema

OUTPUT_LIMIT = 20_000
"""Characters of a result that go back to the model: about 5,000 tokens, which it pays for in every later step."""

SUMMARY_LIMIT = 200

# What both providers accept as a tool's name.
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class ToolError(Exception):
    """A tool cannot be loaded, or cannot do what it was asked. Operators and models read the message."""


@dataclass(frozen=True, slots=True)
class Context:
    """The user and the conversation that a tool is called for."""

    user_id: int
    conversation_id: str


@dataclass(frozen=True, slots=True)
class Result:
    """A tool's return value where its output, cut to a line, would be no summary for people."""

    content: Any
    summary: str


@dataclass(frozen=True, slots=True)
class ToolOutcome:
    """The outcome of a call.

    `content` is for the model, at most `OUTPUT_LIMIT` characters; `summary` is for people, one line of at most
    `SUMMARY_LIMIT`. Both can be stored. When not `ok`, both say why.
    """

    ok: bool
    content: str
    summary: str

    @classmethod
    def from_value(cls, value: Any) -> ToolOutcome:
        """Return the outcome of a tool that returned `value`: a str as it is, everything else as JSON."""
        result = value if isinstance(value, Result) else Result(value, "")
        content: str = (
            result.content if isinstance(result.content, str) else to_json(result.content, fallback=str).decode()
        )
        return cls(True, cut_output(make_storable(content)), shorten_to_line(result.summary or content, SUMMARY_LIMIT))

    @classmethod
    def from_error(cls, message: str) -> ToolOutcome:
        """Return the outcome of a call that failed."""
        return cls(False, cut_output(make_storable(f"Error: {message}")), shorten_to_line(message, SUMMARY_LIMIT))


class Source(Protocol):
    """A source of tools that are no functions of this site: `chat.tools.mcp.Servers`."""

    async def prepare(self, timeout: float) -> None: ...

    def list_schemas(self) -> tuple[ToolSchema, ...]: ...

    def offers(self, name: str) -> bool: ...

    async def call(self, name: str, arguments: str) -> ToolOutcome:
        """Call a tool and return its outcome. The caller keeps the time, and cancels."""
        ...

    async def aclose(self) -> None: ...

    def end(self, number: int) -> bool:
        """Send a signal to each process of its own that still runs; return whether there was any."""
        ...


def shorten_to_line(text: str, limit: int) -> str:
    """Return the text in one line of at most `limit` characters."""
    line = join_lines(make_storable(text[: limit * 10]))
    return line if len(line) <= limit else f"{line[: limit - 1].rstrip()}…"


def cut_output(text: str) -> str:
    """Return a tool's output, cut to `OUTPUT_LIMIT` characters."""
    if len(text) <= OUTPUT_LIMIT:
        return text
    note = f"\n[The output was cut here: it had {len(text):,} characters.]"
    return text[: OUTPUT_LIMIT - len(note)] + note
