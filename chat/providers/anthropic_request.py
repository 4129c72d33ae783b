"""The body of a request to Anthropic's Messages API, made of a prompt.

The body depends on the prompt alone, and what stands before its last turn stays the same, byte for byte, from turn to
turn: a prompt's beginning is read from the provider's cache for a tenth of its price or less.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import anthropic

from chat.providers.anthropic_messages import build_messages
from chat.providers.base import Prompt, ToolSchema
from chat.providers.paragraphs import join_paragraphs

# For models of which nobody knows how much they write. Every model still served accepts 8,192 tokens, about 32,000
# characters; an answer that reaches it ends with the reason "length" and can be continued.
MAX_OUTPUT_TOKENS = 8_192

# The API's own lower limit.
LEAST_BUDGET = 1_024

ANSWER = "answer"
"""An answer by a schema is the input of this tool, where a model knows no schemas."""


def build_request_body(
    prompt: Prompt, thinking_tokens: int, max_output_tokens: int = MAX_OUTPUT_TOKENS
) -> dict[str, Any]:
    """Return the body of the request for an adapted prompt, without what asks for a stream.

    `thinking_tokens` is the budget of models that take one, `max_output_tokens` the limit for a model of which no
    longest output is known.
    """
    takes = prompt.capabilities
    request: dict[str, Any] = {
        "model": prompt.model,
        "max_tokens": prompt.max_output_tokens or takes.longest_output or max_output_tokens,
        "messages": build_messages(prompt),
    }
    # A blank text is refused with 400.
    if system := join_paragraphs(turn.content for turn in prompt.turns if turn.role == "system"):
        request["system"] = system
    if takes.caching == "marked" and not prompt.find_adaptation("no_caching"):
        request["cache_control"] = {"type": "ephemeral"}
    request |= _choose_thinking(prompt, request["max_tokens"], thinking_tokens)
    if prompt.temperature is not None and "thinking" not in request:  # it is refused with thinking
        request["temperature"] = prompt.temperature
    if output_config := _choose_output_config(prompt):
        request["output_config"] = output_config
    return request | _list_tools(prompt)


def thinks(prompt: Prompt, thinking_tokens: int) -> bool:
    """Return whether the model thinks before it answers this prompt."""
    takes = prompt.capabilities
    if takes.thinking == "always":
        return True
    if prompt.find_adaptation("no_thinking"):
        return False
    if takes.thinking in ("adaptive", "between_tools") or prompt.find_adaptation("adaptive_thinking"):
        return not _is_forced(prompt) and prompt.effort != "none" and prompt.temperature is None
    return takes.thinking == "budget" and thinking_tokens > 0 and not _is_forced(prompt)


def _is_forced(prompt: Prompt) -> bool:
    """Return whether the model has to call one tool, which is refused with thinking."""
    return has_answer_tool(prompt) or bool(prompt.tool_choice and prompt.capabilities.forced_tools)


def _choose_thinking(prompt: Prompt, max_tokens: int, thinking_tokens: int) -> dict[str, Any]:
    """Return what the request says of thinking, and the limit of tokens, which includes those of thinking."""
    takes = prompt.capabilities
    if not thinks(prompt, thinking_tokens):
        return _limit_tokens(prompt, max_tokens) | _turn_thinking_off(prompt)
    if takes.thinking != "budget" or prompt.find_adaptation("adaptive_thinking"):
        room = takes.reserve_for_thinking(prompt.effort)
        if prompt.find_adaptation("adaptive_thinking"):
            room = max(room, thinking_tokens)
        # Without "summarized" the newest models send no text of their thoughts.
        return _limit_tokens(prompt, max_tokens + room) | {"thinking": {"type": "adaptive", "display": "summarized"}}
    limit = _limit_tokens(prompt, max_tokens + thinking_tokens)
    # A budget has to be less than all that may be written: half where the limit is a lower one.
    fits = thinking_tokens < limit["max_tokens"]
    budget = thinking_tokens if fits else max(LEAST_BUDGET, limit["max_tokens"] // 2)
    return limit | {"thinking": {"type": "enabled", "budget_tokens": budget}}


def _turn_thinking_off(prompt: Prompt) -> dict[str, Any]:
    """Return the parameter that keeps the model from thinking before it answers; nothing for one that needs none.

    Since Claude 5 a model thinks unless it is told not to, and before that "disabled" is what it does anyway: models
    that take a temperature do not think unless they are told to.
    """
    takes = prompt.capabilities
    if takes.thinking == "between_tools":
        return {"thinking": {"type": "between_tools"}}
    return {"thinking": {"type": "disabled"}} if takes.thinking == "adaptive" and not takes.sampling else {}


def _limit_tokens(prompt: Prompt, tokens: int) -> dict[str, int]:
    """Return the limit, lowered to what the model writes at most and to what a refusal has named."""
    most = prompt.find_adaptation("tokens_at_most")
    for highest in (prompt.capabilities.longest_output, most and most.value):
        tokens = min(tokens, int(highest or tokens))
    return {"max_tokens": tokens}


def _choose_output_config(prompt: Prompt) -> dict[str, Any]:
    config: dict[str, Any] = {}
    if effort := prompt.capabilities.choose_effort(prompt.effort):
        is_off = prompt.effort == "none" or _is_forced(prompt)
        # Opus 5 thinks in any case from "xhigh" on: "disabled" is refused with it.
        config["effort"] = "high" if is_off and effort in ("xhigh", "max") else effort
    if prompt.response_schema is not None and _has_output_format(prompt):
        schema = convert_schema(prompt.response_schema) or prompt.response_schema
        config["format"] = {"type": "json_schema", "schema": schema}
    return config


# The answer by a schema


def has_answer_tool(prompt: Prompt) -> bool:
    """Return whether JSON by a schema is asked for as the input of a tool that the model must call."""
    is_asked = prompt.response_schema is not None and not _is_asked_in_words(prompt)
    return is_asked and prompt.capabilities.schema == "tool" and not prompt.find_adaptation("output_format")


def _has_output_format(prompt: Prompt) -> bool:
    """Return whether JSON by a schema is asked for by the API's own parameter."""
    is_native = prompt.capabilities.schema == "native" or prompt.find_adaptation("output_format") is not None
    return is_native and not _is_asked_in_words(prompt)


def _is_asked_in_words(prompt: Prompt) -> bool:
    return bool(prompt.find_adaptation("schema_in_prompt") or prompt.find_adaptation("json_object"))


def convert_schema(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the schema in the form that the API takes, with what it does not know said in a description.

    None when its objects have names that are not listed, which the API has no way to say.
    """
    try:
        return anthropic.transform_schema(dict(schema)) if _is_closed(schema) else None
    except (AssertionError, AttributeError, TypeError, ValueError, RecursionError):
        return None


def _is_closed(schema: object) -> bool:
    """Return whether no object in it has values under names that are not listed."""
    if isinstance(schema, list):
        return all(map(_is_closed, schema))
    if not isinstance(schema, Mapping):
        return True
    is_open = isinstance(schema.get("additionalProperties"), Mapping) or "patternProperties" in schema
    is_bare = schema.get("type") == "object" and not schema.get("properties") and "$ref" not in schema
    return not is_open and not is_bare and all(map(_is_closed, schema.values()))


# Tools


def _list_tools(prompt: Prompt) -> dict[str, Any]:
    if prompt.response_schema is not None and has_answer_tool(prompt):
        answer = ToolSchema(ANSWER, "Gives the whole answer.", prompt.response_schema)
        prompt = replace(prompt, tools=(answer,), tool_choice=ANSWER)
    if prompt.tools:
        choice = {"type": "tool", "name": prompt.tool_choice, "disable_parallel_tool_use": True}
        tools = {"tools": [_write_tool(tool) for tool in prompt.tools]}
        return {**tools, "tool_choice": choice} if _is_forced(prompt) else tools
    # A history with calls is refused without tools; they may have been taken from the model since.
    names = sorted({call.name for turn in prompt.turns for call in turn.calls})
    if not names:
        return {}
    return {"tools": [_write_tool(ToolSchema(name, "", {})) for name in names], "tool_choice": {"type": "none"}}


def _write_tool(tool: ToolSchema) -> dict[str, Any]:
    schema = {"type": "object", **tool.parameters}
    return {"name": tool.name, "description": tool.description, "input_schema": schema}
