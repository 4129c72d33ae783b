"""What MCP servers send, in the form that the SDK takes: what does not matter to a tool never costs the tool.

The SDK refuses a whole list of tools, or a whole result, for one member that is not as the specification has it. Many
servers send some: PHP writes an empty object as a list, and a result may be structured alone, hold a kind of content
that is newer or the server's own, or lack what its tool's output schema promises. The tool has done its work by then.
"""

from __future__ import annotations

import logging
from types import TracebackType
from typing import Any, Self

from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCResponse

from chat.tools.mcp_schemas import fit_schema

log = logging.getLogger(__name__)

Json = dict[str, Any]


class MendedStream:
    """A stream of a server's messages, each mended; see `mend_result`."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    @property
    def last_context(self) -> Any:
        """The context of whoever sent the last message, for the SDK."""
        return getattr(self._stream, "last_context", None)

    async def receive(self) -> SessionMessage | Exception:
        """Return the next message."""
        return _mend_message(await self._stream.receive())

    async def aclose(self) -> None:
        """Close the stream."""
        await self._stream.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        return _mend_message(await self._stream.__anext__())

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> bool | None:
        is_handled: bool | None = await self._stream.__aexit__(exc_type, exc_val, exc_tb)
        return is_handled


def _mend_message(message: SessionMessage | Exception) -> SessionMessage | Exception:
    if isinstance(message, SessionMessage) and isinstance(message.message, JSONRPCResponse):
        try:
            message.message.result = mend_result(message.message.result)
        except Exception as error:  # raised here, it would end the connection
            log.warning("A message of an MCP server is taken as it came: %s: %s", type(error).__name__, error)
    return message


def mend_result(result: Json) -> Json:
    """Return a server's list of tools, or the result of a call, with nothing in it that the SDK refuses.

    Members that nobody reads here are left out: icons, annotations, and a tool's output schema, by which the SDK would
    refuse results. Other results are returned as they are.
    """
    if isinstance(result.get("tools"), list):
        result = _mend_list(result, result["tools"])
    elif "protocolVersion" in result:
        given = result["capabilities"] if isinstance(result.get("capabilities"), dict) else {}
        capabilities = {
            name: each if isinstance(each, dict) else {} for name, each in given.items() if each is not None
        }
        result = {**result, "capabilities": capabilities}
    elif any(name in result for name in ("content", "structuredContent", "isError")):
        structured = result.get("structuredContent")
        result = {**result, "content": _mend_content(result.get("content")), "isError": result.get("isError") is True}
        if structured is not None and not isinstance(structured, dict):
            result["structuredContent"] = {"result": structured}
    elif "tools" in result:
        result = _mend_list(result, [])
    if "_meta" in result and not isinstance(result["_meta"], dict):
        del result["_meta"]
    return result


def _mend_list(result: Json, tools: list[Any]) -> Json:
    mended = {**result, "tools": [kept for tool in tools if (kept := _mend_tool(tool))]}
    if not isinstance(mended.get("nextCursor"), str):
        mended.pop("nextCursor", None)
    return mended


def _mend_tool(tool: object) -> Json | None:
    """Return what is read of a tool; None for one without a name, or of a schema that nothing can be made of."""
    if not isinstance(tool, dict) or not isinstance(tool.get("name"), str):
        return None
    kept = {name: tool[name] for name in ("name", "title", "description") if isinstance(tool.get(name), str)}
    try:
        return {**kept, "inputSchema": fit_schema(tool.get("inputSchema"))}
    except Exception as error:
        log.warning("The MCP tool %r is left out for its schema: %s: %s", tool["name"], type(error).__name__, error)
        return None


def _mend_content(content: object) -> list[Json]:
    blocks = content if isinstance(content, list) else [] if content is None else [content]
    return [_mend_block(block) for block in blocks]


def _mend_block(block: object) -> Json:
    """Return a block of a result with what is read of it; one of an unknown form is named in a text."""
    if not isinstance(block, dict):
        return _write_text(block)
    kind = block.get("type")
    match kind:
        case "image" | "audio" if isinstance(block.get("data"), str):
            return {"type": kind, "data": block["data"], "mimeType": _read_name(block.get("mimeType"))}
        case "resource_link":
            uri = _read_name(block.get("uri"))
            return {"type": kind, "uri": uri, "name": _read_name(block.get("name"), uri)}
        case "resource":
            return {"type": kind, "resource": _mend_resource(_get_object(block, "resource"))}
    text = block.get("text")
    is_read = isinstance(text, str) or (kind == "text" and text is not None)
    return _write_text(text if is_read else f"[{_read_name(kind)}: left out]")


def _mend_resource(resource: Json) -> Json:
    text = resource.get("text")
    return {"uri": _read_name(resource.get("uri")), **({"text": text} if isinstance(text, str) else {"blob": ""})}


def _get_object(members: Json, name: str) -> Json:
    found = members.get(name)
    return found if isinstance(found, dict) else {}


def _write_text(value: object) -> Json:
    return {"type": "text", "text": value if isinstance(value, str) else str(value)}


def _read_name(value: object, default: str = "unknown") -> str:
    return value if isinstance(value, str) and value else default
