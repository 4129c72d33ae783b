"""OpenAI, and every server that speaks its chat completions: vLLM, Ollama, DeepSeek, OpenRouter and so on."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, contextmanager
from typing import Any

import msgspec
import openai

from chat.errors import ChatError
from chat.events import FinishReason, ProviderEvent, Reasoning, Signature, Token, Usage, storable
from chat.providers import Called, Prompt, ToolSchema, Turn, failures, wire
from chat.providers.body import Body, asked
from chat.providers.tool_calls import Gatherer, Piece, arguments_text, as_text, fitting_id

_HOME = "https://api.openai.com/v1"

# OpenAI refuses longer ids than these; vLLM's have 46 characters.
_CALL_ID = re.compile(".{1,40}", re.DOTALL)

# DeepSeek and Kimi refuse a tool's result unless the reasoning before the call comes with it, Groq and Mistral refuse
# fields that they do not send themselves. So reasoning goes back under the name it came by, which is its signature.
_REASONING_FIELDS = ("reasoning_content", "reasoning")
_FIELD = "field:"


class OpenAIProvider:
    """Streams chat completions."""

    def __init__(self, *, api_key: str, base_url: str | None = None, max_line_bytes: int = wire.MAX_LINE_BYTES) -> None:
        self._api_key = failures.usable_key(api_key, base_url)
        self._max_line_bytes = max_line_bytes
        self._client = openai.AsyncOpenAI(
            api_key=self._api_key or failures.PLACEHOLDER_KEY,
            base_url=base_url or _HOME,
            max_retries=0,
            http_client=openai.DefaultAioHttpClient(**wire.http_options()),
        )

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Sequence[ProviderEvent], None]:
        """See `chat.providers.Provider`."""
        with self._failures():
            async with (
                self._asked(prompt, stream=True, stream_options={"include_usage": True}) as body,
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
        return asked(self._client, "/chat/completions", self._request(prompt) | streamed)

    def _request(self, prompt: Prompt) -> dict[str, Any]:
        body: dict[str, Any] = {"model": prompt.model, "messages": [_message(turn) for turn in prompt.turns]}
        if prompt.tools:
            body["tools"] = [_tool(tool) for tool in prompt.tools]
        if prompt.tool_choice:
            body["tool_choice"] = {"type": "function", "function": {"name": prompt.tool_choice}}
        if prompt.response_schema is not None:
            schema = {"name": "answer", "schema": prompt.response_schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        if prompt.temperature is not None:
            body["temperature"] = prompt.temperature
        if prompt.max_output_tokens is not None:
            body[self._limit_name()] = prompt.max_output_tokens
        return body

    def _limit_name(self) -> str:
        """OpenAI's reasoning models refuse the old name; most other servers know only that."""
        host = self._client.base_url.host
        return "max_completion_tokens" if host.endswith((".openai.com", ".azure.com")) else "max_tokens"

    @contextmanager
    def _failures(self) -> Iterator[None]:
        with failures.translated(self._api_key):
            try:
                yield
            except openai.APIStatusError as error:
                raise failures.status_failure(error.response, error.body) from error


def _message(turn: Turn) -> dict[str, Any]:
    message: dict[str, Any] = {"role": turn.role, "content": storable(turn.content)}
    if turn.role == "tool":
        message["tool_call_id"] = fitting_id(turn.call_id, _CALL_ID)
    if turn.calls:
        message["content"] = message["content"] or None
        message["tool_calls"] = [_called(call) for call in turn.calls]
    for name in _REASONING_FIELDS:
        if thought := "".join(part.text for part in turn.thinking if part.signature == _FIELD + name):
            message[name] = storable(thought)
    return message


def _called(call: Called) -> dict[str, Any]:
    # The chat templates of vLLM and others fail on arguments that are no JSON object.
    function = {"name": call.name, "arguments": arguments_text(call.arguments)}
    return {"id": fitting_id(call.id, _CALL_ID), "type": "function", "function": function}


def _tool(tool: ToolSchema) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function}


class _Shape(msgspec.Struct, gc=False):
    """The fields that are needed, each of which some server sends as null or not at all."""


class _Function(_Shape):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class _ToolCall(_Shape):
    index: int | None = None
    id: str | int | None = None
    function: _Function | None = None


class _Delta(_Shape):
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(_Shape):
    index: int | None = None
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: str | None = None


class _PromptDetails(_Shape):
    cached_tokens: int | float | None = None


class _CompletionDetails(_Shape):
    reasoning_tokens: int | float | None = None


class _Usage(_Shape):
    prompt_tokens: int | float | None = None
    completion_tokens: int | float | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None


class _Chunk(_Shape):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None


_CHUNK = msgspec.json.Decoder(_Chunk)

_FINISH_REASONS: dict[str, FinishReason] = {
    "length": "length",
    "max_tokens": "length",
    "content_filter": "content_filter",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
}
# OpenRouter, DeepSeek and vLLM say in this place that the answer broke off.
_BROKEN_OFF = frozenset({"error", "insufficient_system_resource", "abort"})


class _Decoder(wire.Decoder):
    def __init__(self, max_line_bytes: int, prompt: Prompt) -> None:
        super().__init__(max_line_bytes)
        self._calls = Gatherer(self._batch, prompt)
        self._usage: Usage | None = None
        self._thinking = ""

    def _event(self, name: bytes, data: bytes) -> None:
        if data == b"[DONE]":
            self._done()
            return
        chunk = self._decoded(_CHUNK, data)
        if chunk.error or name == b"error":
            raise self._told(data)
        if chunk.usage is not None:
            self._usage = _usage(chunk.usage)
        for choice in chunk.choices or ():
            if not choice.index:
                self._choice(choice)
        if self.finished and self._usage is not None:
            self._batch.put(self._usage)
            self.ended = True

    def _whole(self, data: bytes) -> None:
        completion = self._decoded(_CHUNK, data)
        for choice in completion.choices or ():
            if not choice.index:
                choice.delta = choice.message or _Delta()
                # Here a place is enough to tell calls apart, whatever their ids are.
                for place, call in enumerate(choice.delta.tool_calls or ()):
                    call.index = place
                self._choice(choice)
        if completion.usage is not None:
            self._batch.put(_usage(completion.usage))

    def _done(self) -> None:
        if not self.finished:
            raise ChatError("upstream_error", "said [DONE] without a finish reason")
        self.ended = True

    def _choice(self, choice: _Choice) -> None:
        if choice.delta is not None and not self.finished:
            self._delta(choice.delta)
        if choice.finish_reason in _BROKEN_OFF:
            raise ChatError("upstream_error", f"finish_reason {choice.finish_reason}")
        if choice.finish_reason and not self.finished:
            self._seal()
            self._calls.end()
            reason = _FINISH_REASONS.get(choice.finish_reason, "stop")
            # Many servers say "stop" where the model waits for its tools.
            self._finish("tool_calls" if reason == "stop" and self._calls.has_any else reason)

    def _delta(self, delta: _Delta) -> None:
        for name, reasoning in zip(_REASONING_FIELDS, (delta.reasoning_content, delta.reasoning), strict=True):
            if reasoning:
                self._thinking = name
                self._batch.text(Reasoning, reasoning)
                break
        if content := delta.content or delta.refusal:
            self._seal()
            self._batch.text(Token, content)
        if delta.tool_calls:
            self._seal()
            self._calls.add(_piece(call) for call in delta.tool_calls)

    def _seal(self) -> None:
        if self._thinking:
            self._batch.put(Signature(_FIELD + self._thinking))
            self._thinking = ""


def _piece(call: _ToolCall) -> Piece:
    function = call.function or _Function()
    call_id = "" if call.id is None else str(call.id)
    return Piece(call.index, call_id, function.name or "", as_text(function.arguments))


def _usage(usage: _Usage) -> Usage:
    prompt = usage.prompt_tokens_details or _PromptDetails()
    completion = usage.completion_tokens_details or _CompletionDetails()
    return Usage(
        input_tokens=int(usage.prompt_tokens or 0),
        output_tokens=int(usage.completion_tokens or 0),
        cached_tokens=int(prompt.cached_tokens or 0),
        reasoning_tokens=int(completion.reasoning_tokens or 0),
    )
