"""A stream's tool calls in OpenAI's format, and the ways in which compatible servers depart from it."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tests.provider_server.script import Call, Script
from tests.provider_server.wire import Json


def split_tool_calls(script: Script) -> Iterator[list[Json]]:
    """Yield the `tool_calls` of one delta after the other."""
    if script.tool_call_style in ("at_once", "at_once_bare"):
        yield [_make_whole_call(script, index, call) for index, call in enumerate(script.tool_calls)]
        return
    for index, call in enumerate(script.tool_calls):
        yield from ([delta] for delta in split_tool_call(script, index, call))


def split_tool_call(script: Script, index: int, call: Call) -> Iterator[Json]:
    """Yield the pieces of one call, as the script's `tool_call_style` sends them."""
    if script.tool_call_style in ("whole", "object", "bare"):
        yield _make_whole_call(script, index, call)
        return
    pieces = [
        call.arguments[start : start + script.chunk_size] for start in range(0, len(call.arguments), script.chunk_size)
    ]
    match script.tool_call_style:
        case "split_name":
            half = len(call.name) // 2
            yield _make_delta(script, index, call.id, call.name[:half])
            yield _make_delta(script, index, name=call.name[half:])
            yield from (_make_delta(script, index, arguments=piece) for piece in pieces)
        case "arguments_first":
            yield from (
                _make_delta(script, index, "" if place else call.id, arguments=piece)
                for place, piece in enumerate(pieces)
            )
            yield _make_delta(script, index, name=call.name)
        case "repeated":
            yield from (_make_delta(script, index, call.id, call.name, piece) for piece in ["", *pieces])
        case "late_id" | "late_id_no_index":
            yield _make_delta(script, index, name=call.name)
            yield from (_make_delta(script, index, call.id, arguments=piece) for piece in pieces)
        case _:
            yield _make_delta(script, index, call.id, call.name, "")
            yield from (_make_delta(script, index, arguments=piece) for piece in pieces)


def _make_delta(script: Script, index: int, call_id: str = "", name: str = "", arguments: str | None = None) -> Json:
    delta: Json = {}
    if script.tool_call_style not in ("no_index", "neither", "late_id_no_index"):
        delta["index"] = 0 if script.tool_call_style in ("index_zero", "index_zero_no_id") else index
    if call_id and script.tool_call_style not in ("no_id", "neither", "index_zero_no_id"):
        delta |= {"id": call_id, "type": "function"}
    function = {"name": name} if name else {}
    return {**delta, "function": function if arguments is None else {**function, "arguments": arguments}}


def _make_whole_call(script: Script, index: int, call: Call) -> Json:
    arguments = json.loads(call.arguments) if script.tool_call_style == "object" else call.arguments
    function = {"name": call.name, "arguments": arguments}
    if script.tool_call_style in ("bare", "at_once_bare"):
        return {"function": function}
    return {"index": index, "id": call.id, "type": "function", "function": function}
