"""Chat Completions, which OpenAI and every server of its kind speak: vLLM, Ollama, DeepSeek, OpenRouter and so on."""

from __future__ import annotations

import re
from itertools import groupby
from operator import attrgetter
from typing import Any

import openai

from chat.core.events import make_storable
from chat.providers.base import UNSIGNED, CalledTool, Prompt, ToolSchema, Turn
from chat.providers.http_adapter import HttpAdapter
from chat.providers.native_content import read_members
from chat.providers.openai_chat_decoder import FIELD, REASONING_FIELDS, ChatCompletionsDecoder
from chat.providers.paragraphs import join_paragraphs
from chat.providers.reasoning_details import read_details
from chat.providers.sources import HEADING
from chat.providers.strict_schemas import can_be_strict
from chat.providers.tool_calls import fit_id, write_arguments

# OpenAI refuses longer ids than these; vLLM's have 46 characters.
_CALL_ID = re.compile(".{1,40}", re.DOTALL)


class ChatCompletionsAdapter(HttpAdapter):
    """Asks by Chat Completions."""

    path = "/chat/completions"
    status_error = openai.APIStatusError

    def _make_decoder(self, prompt: Prompt) -> ChatCompletionsDecoder:
        return ChatCompletionsDecoder(self._max_line_bytes, prompt)

    def _make_stream_members(self, prompt: Prompt) -> dict[str, Any]:
        usage = {} if prompt.find_adaptation("no_stream_options") else {"stream_options": {"include_usage": True}}
        return {"stream": True, **usage}

    def build_request(self, prompt: Prompt) -> dict[str, Any]:
        """See `HttpAdapter`."""
        body: dict[str, Any] = {"model": prompt.model, "messages": _write_messages(prompt)}
        if prompt.tool_choice:
            body["tool_choice"] = {"type": "function", "function": {"name": prompt.tool_choice}}
        if prompt.tools:
            body["tools"] = [_write_tool(tool) for tool in prompt.tools]
        if effort := _choose_effort(prompt):
            body["reasoning_effort"] = effort
        if (response_format := _write_format(prompt)) is not None:
            body["response_format"] = response_format
        if prompt.temperature is not None and prompt.capabilities.takes_sampling(effort):
            body["temperature"] = prompt.temperature
        if prompt.cache_key and self._is_openai and prompt.capabilities.caching == "automatic":
            body["prompt_cache_key"] = prompt.cache_key
        if prompt.max_output_tokens is not None:
            room = prompt.capabilities.reserve_for_thinking(prompt.effort)
            body[self._choose_limit_name(prompt)] = prompt.max_output_tokens + room
        return body

    def _choose_limit_name(self, prompt: Prompt) -> str:
        """Return the name of the limit. OpenAI's reasoning models refuse the old one; most others know only that."""
        for adaptation in prompt.adaptations:
            if adaptation.kind in ("max_completion_tokens", "max_tokens"):
                return adaptation.kind
        return "max_completion_tokens" if self._is_openai or prompt.capabilities.efforts else "max_tokens"

    @property
    def _is_openai(self) -> bool:
        """True when the server is OpenAI's or Azure's, which alone know some parameters."""
        return str(self._client.base_url.host).endswith((".openai.com", ".azure.com"))


def _choose_effort(prompt: Prompt) -> str:
    """Return the effort to ask for; empty: the model's own. Some models take tools here only with "none"."""
    takes = prompt.capabilities
    needs_none = takes.tools_need_no_effort and "none" in takes.efforts
    if prompt.tools and (needs_none or prompt.find_adaptation("effort_none")):
        return "none"
    return takes.choose_effort(prompt.effort)


def _write_format(prompt: Prompt) -> dict[str, Any] | None:
    if prompt.response_schema is None or prompt.find_adaptation("schema_in_prompt"):
        return None
    if prompt.find_adaptation("json_object"):
        return {"type": "json_object"}
    strict = prompt.find_adaptation("loose_schema") is None and can_be_strict(prompt.response_schema)
    schema = {"name": "answer", "schema": prompt.response_schema, "strict": strict}
    return {"type": "json_schema", "json_schema": schema}


def _write_messages(prompt: Prompt) -> list[dict[str, Any]]:
    """Return the conversation as messages.

    Neighbours of one role become one message, and all that the system says is the first: the chat templates of many
    models refuse anything else.
    """
    system = [turn.content for turn in prompt.turns if turn.role == "system"]
    messages = [{"role": "system", "content": join_paragraphs(system)}] if system else []
    dialogue = [turn for turn in prompt.turns if turn.role != "system"]
    spoken = [turn for turn in dialogue if turn.role == "tool" or turn.calls or turn.content.strip()]
    # A lone empty question is the provider's to refuse.
    for role, turns in groupby(spoken or dialogue, key=attrgetter("role")):
        if role == "tool":
            messages += [_write_result(turn) for turn in turns]
        else:
            messages.append(_write_message(role, list(turns), prompt.model))
    return messages


def _write_result(turn: Turn) -> dict[str, Any]:
    call_id = fit_id(turn.call_id, _CALL_ID)
    return {"role": "tool", "content": make_storable(turn.content), "tool_call_id": call_id}


def _write_message(role: str, turns: list[Turn], model: str) -> dict[str, Any]:
    texts = [_get_text(turn, model) for turn in turns]
    content = make_storable(texts[0]) if len(texts) == 1 else join_paragraphs(texts)
    message: dict[str, Any] = {"role": role, "content": content}
    if calls := [call for turn in turns for call in turn.calls]:
        message["content"] = content or None
        message["tool_calls"] = [_write_call(call, model) for call in calls]
    thinking = [part for turn in turns for part in turn.thinking]
    for name in REASONING_FIELDS:
        if thought := "".join(part.text for part in thinking if part.signature == FIELD + name):
            message[name] = make_storable(thought)
    unsigned = "".join(part.text for part in thinking if part.signature == UNSIGNED)
    if unsigned and not any(name in message for name in REASONING_FIELDS):
        message["reasoning_content"] = make_storable(unsigned)
    if details := read_details(model, (part.signature for part in thinking)):
        message["reasoning_details"] = details
    return message


def _get_text(turn: Turn, model: str) -> str:
    """Return what was said, without the list of sources that we have added to an answer of this model's."""
    length = read_members(turn.native_form, model).get("length")
    is_ours = isinstance(length, int) and turn.content.startswith(HEADING, length)
    return turn.content[:length] if is_ours else turn.content


def _write_call(call: CalledTool, model: str) -> dict[str, Any]:
    # The chat templates of vLLM and others fail on arguments that are no JSON object.
    function = {"name": call.name, "arguments": write_arguments(call.arguments)}
    extra = read_members(call.extra, model)
    inner = extra.pop("function", None)
    if isinstance(inner, dict):
        function = {**inner, **function}
    return {**extra, "id": fit_id(call.id, _CALL_ID), "type": "function", "function": function}


def _write_tool(tool: ToolSchema) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function}
