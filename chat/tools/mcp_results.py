"""The arguments and results of an MCP server's tools, converted for the toolbox."""

from __future__ import annotations

from typing import Any

import jiter
from mcp import types as wire
from pydantic_core import to_json

from chat.core.events import make_storable
from chat.tools.base import Result, ToolError, ToolOutcome


def parse_arguments(arguments: str) -> dict[str, Any]:
    """Return the arguments of a call as a server takes them. Raises `ToolError` for what is no JSON object."""
    try:
        given = jiter.from_json(make_storable(arguments).strip().encode() or b"{}")
    except ValueError as error:
        raise ToolError(f"The arguments are no JSON: {error}") from None
    if not isinstance(given, dict):
        raise ToolError("The arguments are no JSON object")
    return given


def make_outcome(result: wire.CallToolResult) -> ToolOutcome:
    """Return what a server has answered as the outcome of a call.

    What it has structured stands in its text too, or is meant for a page: it is told where there is no text.
    """
    content = "\n".join(map(_read_text, result.content))
    if result.structured_content and not any(_has_text(block) for block in result.content):
        content = "\n".join(filter(None, (content, to_json(result.structured_content).decode())))
    if result.is_error:
        return ToolOutcome.from_error(content or "the tool failed and said nothing")
    return ToolOutcome.from_value(Result(content, "") if content else result.structured_content)


def _has_text(block: wire.ContentBlock) -> bool:
    match block:
        case wire.TextContent(text=text) | wire.EmbeddedResource(resource=wire.TextResourceContents(text=text)):
            return bool(text.strip())
    return isinstance(block, wire.ResourceLink)


def _read_text(block: wire.ContentBlock) -> str:
    """Return what a model can read of a block. Pictures and sounds are named, because a tool's result is text."""
    match block:
        case wire.TextContent():
            return block.text
        case wire.ResourceLink():
            return f"{block.name}: {block.uri}"
        case wire.EmbeddedResource(resource=wire.TextResourceContents() as resource):
            return resource.text
        case wire.EmbeddedResource():
            return f"[{block.resource.uri}: not text, left out]"
        case _:
            return f"[{block.type}, {block.mime_type}: left out]"
