"""The body of a request to the Responses API, made of a prompt.

What a model reasoned comes encrypted and is sent back before what it then called or said, for as long as the
conversation is asked of the same model at the same server: GPT-5.6 and later read it in later turns too. It is kept
with the call, as its `chat.core.events.ToolCallExtra`, or as the answer's `NativeForm`, and so is the phase of what was
said.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter
from typing import Any

from chat.core.events import make_storable
from chat.providers.base import Prompt, ToolSchema, Turn
from chat.providers.native_content import read_members
from chat.providers.paragraphs import join_paragraphs
from chat.providers.sources import HEADING
from chat.providers.strict_schemas import can_be_strict
from chat.providers.tool_calls import fit_id, write_arguments

_CALL_ID = re.compile("[a-zA-Z0-9_-]{1,64}")

# The API refuses a smaller limit.
_LEAST_OUTPUT_TOKENS = 16


def build_request_body(prompt: Prompt, origin: str) -> dict[str, Any]:
    """Return the body of the request for an adapted prompt, without what asks for a stream or for storage.

    `origin` names the model at the server that alone can read its encrypted reasoning.
    """
    request: dict[str, Any] = {"model": prompt.model, "input": list(_write_items(prompt, origin))}
    if instructions := join_paragraphs(turn.content for turn in prompt.turns if turn.role == "system"):
        request["instructions"] = instructions
    if prompt.tools:
        is_loose = prompt.find_adaptation("loose_schema") is not None
        request["tools"] = [_write_tool(tool, is_loose=is_loose) for tool in prompt.tools]
    if prompt.tool_choice:
        request["tool_choice"] = {"type": "function", "name": prompt.tool_choice}
    if (text_format := _write_format(prompt)) is not None:
        request["text"] = {"format": text_format}
    if prompt.max_output_tokens is not None:
        room = prompt.capabilities.reserve_for_thinking(prompt.effort)
        request["max_output_tokens"] = max(_LEAST_OUTPUT_TOKENS, prompt.max_output_tokens) + room
    if prompt.cache_key and prompt.capabilities.caching == "automatic":
        request["prompt_cache_key"] = prompt.cache_key
    return request | choose_reasoning(prompt)


def choose_reasoning(prompt: Prompt) -> dict[str, Any]:
    """Return the parameters of models that reason, and the temperature, which they take only while they do not."""
    takes = prompt.capabilities
    effort = takes.choose_effort(prompt.effort)
    request: dict[str, Any] = {}
    if prompt.temperature is not None and takes.takes_sampling(effort):
        request["temperature"] = prompt.temperature
    reasoning = {"effort": effort} if effort else {}
    if takes.thinking == "none" or effort == "none":
        return request | ({"reasoning": reasoning} if reasoning else {})
    if not prompt.find_adaptation("no_reasoning_summary"):
        reasoning["summary"] = "auto"
    if reasoning:
        request["reasoning"] = reasoning
    if not prompt.find_adaptation("no_reasoning_back"):
        request["include"] = ["reasoning.encrypted_content"]
    return request


def _write_format(prompt: Prompt) -> dict[str, Any] | None:
    if prompt.response_schema is None or prompt.find_adaptation("schema_in_prompt"):
        return None
    if prompt.find_adaptation("json_object"):
        return {"type": "json_object"}
    strict = prompt.find_adaptation("loose_schema") is None and can_be_strict(prompt.response_schema)
    return {"type": "json_schema", "name": "answer", "schema": prompt.response_schema, "strict": strict}


def _write_tool(tool: ToolSchema, *, is_loose: bool) -> dict[str, Any]:
    # Without `strict` the API tries to make the schema strict by itself, and optional arguments become required.
    strict = not is_loose and can_be_strict(tool.parameters)
    description = {"type": "function", "name": tool.name, "description": tool.description}
    return {**description, "parameters": tool.parameters, "strict": strict}


def _write_items(prompt: Prompt, origin: str) -> Iterator[dict[str, Any]]:
    """Yield the conversation as input items. Neighbouring questions become one, as many chat templates want them."""
    dialogue = [turn for turn in prompt.turns if turn.role != "system"]
    spoken = [turn for turn in dialogue if turn.role == "tool" or turn.calls or turn.content.strip()]
    origin = "" if prompt.find_adaptation("no_reasoning_back") else origin
    # A lone empty question is the provider's to refuse.
    for role, turns in groupby(spoken or dialogue, key=attrgetter("role")):
        if role == "user":
            yield {"role": "user", "content": join_paragraphs(turn.content for turn in turns)}
        elif role == "tool":
            for turn in turns:
                call_id = fit_id(turn.call_id, _CALL_ID)
                yield {"type": "function_call_output", "call_id": call_id, "output": make_storable(turn.content)}
        else:
            for turn in turns:
                yield from _write_answer(turn, origin)


def _write_answer(turn: Turn, origin: str) -> Iterator[dict[str, Any]]:
    """Yield what the model said and called, each call after the items that came before it."""
    text = make_storable(turn.content) if turn.content.strip() else ""
    if text and not turn.calls and (kept := _list_kept_items(read_members(turn.native_form, origin))):
        yield from _write_messages(text, kept)
        return
    extras = [read_members(call.extra, origin) for call in turn.calls]
    if text and not any(item.get("type") == "message" for extra in extras for item in _list_kept_items(extra)):
        yield {"role": "assistant", "content": text}
        text = ""
    for call, extra in zip(turn.calls, extras, strict=True):
        for item in _list_kept_items(extra):
            if item.get("type") != "message":
                yield item
            elif text:
                yield _write_message(text, item)
                text = ""
        arguments = write_arguments(call.arguments)
        made = {"type": "function_call", "call_id": fit_id(call.id, _CALL_ID), "name": call.name}
        item_id = {"id": extra["id"]} if extra.get("id") else {}
        yield {**made, **item_id, "arguments": arguments}


def _write_messages(text: str, kept: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the items that an answer without calls was, each message with its own part of the text.

    Where the parts are not the text, as after a change of it, the last message has it all. Reasoning that nothing
    follows is left out: the API refuses it.
    """
    lengths = [item.get("length") or 0 for item in kept if item.get("type") == "message"]
    if text.startswith(HEADING, sum(lengths)):  # what we have added ourselves
        text = text[: sum(lengths)] or text
    if not lengths:
        kept, lengths = [*kept, {"type": "message"}], [0]
    if sum(lengths) != len(text):
        lengths = [0] * (len(lengths) - 1) + [len(text)]
    written: list[dict[str, Any]] = []
    start = 0
    parts = iter(lengths)
    for item in kept:
        if item.get("type") != "message":
            written.append(item)
            continue
        part = text[start : (start := start + next(parts))].lstrip("\n")  # the paragraph between two is ours
        if part.strip():
            written.append(_write_message(part, item))
    while written[-1].get("type") == "reasoning":
        written.pop()
    return written


def _write_message(text: str, item: dict[str, Any]) -> dict[str, Any]:
    """Return a message of the model's, with its id where it has one: its reasoning comes before it then."""
    phase = {"phase": item["phase"]} if item.get("phase") else {}
    if not item.get("id"):
        return {"role": "assistant", "content": text, **phase}
    content = [{"type": "output_text", "text": text, "annotations": []}]
    message = {"type": "message", "id": item["id"], "role": "assistant", "status": "completed", "content": content}
    return {**message, **phase}


def _list_kept_items(extra: dict[str, Any]) -> list[dict[str, Any]]:
    items = extra.get("items")
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
