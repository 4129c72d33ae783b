"""Anthropic's Messages API."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, contextmanager
from dataclasses import replace
from itertools import groupby
from typing import Any

import anthropic
import msgspec

from chat.events import FinishReason, ProviderEvent, Reasoning, Signature, Token, ToolCall, Usage, storable
from chat.providers import Called, Prompt, Thinking, ToolSchema, Turn, failures, wire
from chat.providers.body import Body, asked
from chat.providers.tool_calls import CallIds, arguments_object, fitting_id

_HOME = "https://api.anthropic.com"

# The API asks for a limit. Every model still served accepts 8,192 tokens, about 32,000 characters; an
# answer that reaches it ends with the reason "length" and can be continued.
MAX_OUTPUT_TOKENS = 8_192

_CALL_ID = re.compile("[a-zA-Z0-9_-]{1,64}")

# An answer by a schema is the input of this tool, which the model must call.
ANSWER = "answer"

# Marks reasoning that the API sends encrypted. Its own signatures are base64 and have no colon.
_REDACTED = "redacted:"


class AnthropicProvider:
    """Streams messages."""

    def __init__(
        self,
        *,
        api_key: str,
        base_url: str | None = None,
        max_line_bytes: int = wire.MAX_LINE_BYTES,
        max_output_tokens: int = MAX_OUTPUT_TOKENS,
        thinking_tokens: int = 0,
    ) -> None:
        """Models that can think do so with `thinking_tokens` of their own before each answer; 0: none are asked to."""
        self._thinking_tokens = thinking_tokens
        self._api_key = failures.usable_key(api_key, base_url)
        self._max_line_bytes = max_line_bytes
        self._max_output_tokens = max_output_tokens
        self._client = anthropic.AsyncAnthropic(
            api_key=self._api_key or failures.PLACEHOLDER_KEY,
            base_url=base_url or _HOME,
            max_retries=0,
            open_telemetry=False,
            http_client=anthropic.DefaultAioHttpClient(**wire.http_options()),
        )

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Sequence[ProviderEvent], None]:
        """See `chat.providers.Provider`."""
        with self._failures():
            async with (
                self._asked(prompt, stream=True) as body,
                aclosing(wire.follow(body, _Decoder(self._max_line_bytes, prompt))) as batches,
            ):
                async for batch in batches:
                    yield batch

    async def complete(self, prompt: Prompt) -> Sequence[ProviderEvent]:
        """See `chat.providers.Provider`."""
        with self._failures():
            async with self._asked(prompt) as body:
                return _Decoder(self._max_line_bytes, prompt).whole(await body.whole(self._max_line_bytes))

    async def aclose(self) -> None:
        """Close the HTTP client."""
        await self._client.close()

    def _asked(self, prompt: Prompt, **streamed: Any) -> AbstractAsyncContextManager[Body]:
        return asked(self._client, "/v1/messages", self._request(prompt) | streamed)

    def _request(self, prompt: Prompt) -> dict[str, Any]:
        request: dict[str, Any] = {
            "model": prompt.model,
            "max_tokens": prompt.max_output_tokens or self._max_output_tokens,
            "messages": _messages(prompt),
        }
        # A blank text is refused with 400.
        system = [turn.content for turn in prompt.turns if turn.role == "system" and turn.content.strip()]
        if system:
            request["system"] = storable("\n\n".join(system))
        thinks = bool(self._thinking_tokens) and not prompt.tool_choice  # a forced tool is refused with it
        if thinks:
            request["thinking"] = {"type": "enabled", "budget_tokens": self._thinking_tokens}
            request["max_tokens"] += self._thinking_tokens
        if prompt.temperature is not None and not thinks:  # and so is a temperature
            request["temperature"] = prompt.temperature
        return request | _tools(prompt)

    @contextmanager
    def _failures(self) -> Iterator[None]:
        with failures.translated(self._api_key):
            try:
                yield
            except anthropic.APIStatusError as error:
                raise failures.status_failure(error.response, error.body) from error


def _messages(prompt: Prompt) -> list[dict[str, Any]]:
    """Neighbours of one role become one message: all results of one turn's calls have to be in the same."""
    messages: list[dict[str, Any]] = []
    for role, turns in groupby((turn for turn in prompt.turns if turn.role != "system"), key=_speaker):
        if blocks := [block for turn in turns for block in _blocks(turn)]:
            messages.append({"role": role, "content": blocks})
    last = messages[-1] if messages else None
    if last is not None and last["role"] == "assistant" and last["content"][-1]["type"] == "text":
        # An answer to be continued must not end in white space: 400 again.
        last["content"][-1]["text"] = last["content"][-1]["text"].rstrip()
    return [{"role": message["role"], "content": _plain(message["content"])} for message in messages]


def _speaker(turn: Turn) -> str:
    return "user" if turn.role == "tool" else turn.role


def _blocks(turn: Turn) -> Iterator[dict[str, Any]]:
    for part in turn.thinking:
        yield from _thinking(part)
    if turn.role == "tool":
        result = {"type": "tool_result", "tool_use_id": fitting_id(turn.call_id, _CALL_ID)}
        yield {**result, "content": storable(turn.content), "is_error": not turn.ok}
    elif turn.content.strip():
        yield {"type": "text", "text": storable(turn.content)}
    for call in turn.calls:
        yield _called(call)


def _thinking(part: Thinking) -> Iterator[dict[str, Any]]:
    if part.signature.startswith(_REDACTED):
        yield {"type": "redacted_thinking", "data": part.signature.removeprefix(_REDACTED)}
    elif part.signature and ":" not in part.signature:
        yield {"type": "thinking", "thinking": part.text, "signature": part.signature}


def _called(call: Called) -> dict[str, Any]:
    call_id = fitting_id(call.id, _CALL_ID)
    return {"type": "tool_use", "id": call_id, "name": call.name, "input": arguments_object(call.arguments)}


def _plain(blocks: list[dict[str, Any]]) -> list[dict[str, Any]] | str:
    """A text alone as the string that every server knows."""
    return blocks[0]["text"] if len(blocks) == 1 and blocks[0]["type"] == "text" else blocks


def _tools(prompt: Prompt) -> dict[str, Any]:
    if prompt.response_schema is not None:
        answer = ToolSchema(ANSWER, "Gives the whole answer.", prompt.response_schema)
        prompt = replace(prompt, tools=(answer,), tool_choice=ANSWER)
    if prompt.tools:
        choice = {"type": "tool", "name": prompt.tool_choice, "disable_parallel_tool_use": True}
        tools = {"tools": [_tool(tool) for tool in prompt.tools]}
        return {**tools, "tool_choice": choice} if prompt.tool_choice else tools
    # A history with calls is refused without tools; they may have been taken from the model since.
    names = sorted({call.name for turn in prompt.turns for call in turn.calls})
    if not names:
        return {}
    return {"tools": [_tool(ToolSchema(name, "", {})) for name in names], "tool_choice": {"type": "none"}}


def _tool(tool: ToolSchema) -> dict[str, Any]:
    schema = {"type": "object", **tool.parameters}
    return {"name": tool.name, "description": tool.description, "input_schema": schema}


class _Shape(msgspec.Struct, gc=False):
    """The fields that are needed, each of which some server sends as null or not at all."""


class _OutputDetails(_Shape):
    thinking_tokens: int | float | None = None


class _Usage(_Shape):
    input_tokens: int | float | None = None
    cache_creation_input_tokens: int | float | None = None
    cache_read_input_tokens: int | float | None = None
    output_tokens: int | float | None = None
    output_tokens_details: _OutputDetails | None = None


class _Block(_Shape):
    type: str | None = None
    id: str | None = None
    name: str | None = None
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    input: dict[str, Any] | None = None


class _Message(_Shape):
    usage: _Usage | None = None
    content: list[_Block] | None = None
    stop_reason: str | None = None


class _Delta(_Shape):
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


class _Event(_Shape):
    type: str | None = None
    index: int | None = None
    delta: _Delta | None = None
    content_block: _Block | None = None
    message: _Message | None = None
    usage: _Usage | None = None
    error: Any = None


_EVENT = msgspec.json.Decoder(_Event)
_MESSAGE = msgspec.json.Decoder(_Message)

_FINISH_REASONS: dict[str | None, FinishReason] = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


class _Decoder(wire.Decoder):
    def __init__(self, max_line_bytes: int, prompt: Prompt) -> None:
        super().__init__(max_line_bytes)
        self._ids = CallIds(prompt)
        self._answer = ANSWER if prompt.response_schema is not None else ""
        self._calls: dict[int | None, wire.TextKind] = {}
        self._unsaid: dict[wire.TextKind, str] = {}
        self._signature: list[str] = []
        self._stop_reason: str | None = None
        self._usage = _Usage()

    def _event(self, name: bytes, data: bytes) -> None:
        event = self._decoded(_EVENT, data)
        match event.type:
            case "content_block_delta":
                self._delta(event.index, event.delta or _Delta())
            case "content_block_start":
                self._block(event.index, event.content_block or _Block())
            case "content_block_stop":
                self._end_block()
            case "message_start":
                self._add_usage((event.message or _Message()).usage)
            case "message_delta":
                self._stop_reason = (event.delta or _Delta()).stop_reason or self._stop_reason
                self._add_usage(event.usage)
            case "message_stop":
                self._stop()
                self.ended = True
            case _ if event.type == "error" or event.error or name == b"error":
                raise self._told(data)

    def _whole(self, data: bytes) -> None:
        message = self._decoded(_MESSAGE, data)
        for index, block in enumerate(message.content or ()):
            self._block(index, block)
        self._add_usage(message.usage)
        self._stop_reason = message.stop_reason
        if self._stop_reason:
            self._stop()

    def _stop(self) -> None:
        self._end_block()
        reason = _FINISH_REASONS.get(self._stop_reason, "stop")
        has_calls = any(kind is not Token for kind in self._calls.values())
        if reason in ("stop", "tool_calls"):
            reason = "tool_calls" if has_calls or (reason == "tool_calls" and not self._calls) else "stop"
        self._finish(reason)

    def _delta(self, index: int | None, delta: _Delta) -> None:
        if delta.text:
            self._batch.text(Token, delta.text)
        elif delta.thinking:
            self._batch.text(Reasoning, delta.thinking)
        elif delta.signature:
            self._signature.append(delta.signature)
        elif delta.partial_json and index in self._calls:
            self._unsaid.pop(self._calls[index], None)
            self._batch.text(self._calls[index], delta.partial_json)

    def _block(self, index: int | None, block: _Block) -> None:
        """Only `tool_use` is a call for us to answer; a `server_tool_use` is the provider's own affair."""
        self._end_block()
        if block.type == "tool_use":
            kind = self._calls[index] = self._kind(block)
            if block.input is not None:
                self._unsaid[kind] = json.dumps(block.input, ensure_ascii=False)
        elif block.type == "text" and block.text:
            self._batch.text(Token, block.text)
        elif block.type == "thinking":
            if block.thinking:
                self._batch.text(Reasoning, block.thinking)
            self._signature += [block.signature] if block.signature else []
        elif block.type == "redacted_thinking" and block.data:
            self._batch.put(Signature(_REDACTED + block.data))

    def _kind(self, block: _Block) -> wire.TextKind:
        """Whose text a call's arguments are: the answer's own, or those of a call that is told now."""
        if self._answer and block.name == self._answer:
            return Token
        call_id = self._ids.take(block.id or "")
        self._batch.put(ToolCall(call_id, storable(block.name or "")))
        return call_id

    def _end_block(self) -> None:
        """A signature is whole, and a call that began with its arguments has had no others. Some servers never say that
        a block has ended: the next one's beginning does."""
        if self._signature:
            self._batch.put(Signature("".join(self._signature)))
            self._signature.clear()
        for kind, arguments in self._unsaid.items():
            self._batch.text(kind, arguments)
        self._unsaid.clear()

    def _add_usage(self, usage: _Usage | None) -> None:
        """Each report is cumulative, and leaves out what it does not know. The last one given out counts."""
        if usage is None:
            return
        for field in _Usage.__struct_fields__:
            if (known := getattr(usage, field)) is not None:
                setattr(self._usage, field, known)
        self._batch.put(_total(self._usage))


def _total(usage: _Usage) -> Usage:
    """Anthropic's `input_tokens` leaves out what its cache was read from and written to."""
    cached = int(usage.cache_read_input_tokens or 0)
    written = int(usage.cache_creation_input_tokens or 0)
    details = usage.output_tokens_details or _OutputDetails()
    return Usage(
        input_tokens=int(usage.input_tokens or 0) + cached + written,
        output_tokens=int(usage.output_tokens or 0),
        cached_tokens=cached,
        reasoning_tokens=int(details.thinking_tokens or 0),
    )
