"""Anthropic's Messages API, as api.anthropic.com sends it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from chat.core.events import Usage
from tests.provider_server.anthropic_contracts import CONTRACTS, sign_thought
from tests.provider_server.script import Call
from tests.provider_server.wire import Frame, Json, Kind, Refusal, Wire

ID = "msg_01XFDUDYJgAACzvnptvVoYEL"
REQUEST_ID = "req_011CSHoEeqs5C35K2UUqR7Fy"

_CONTEXT_LENGTH = Refusal(400, "invalid_request_error", "prompt is too long: 203456 tokens > 200000 maximum")
_CONTENT_FILTER = Refusal(400, "invalid_request_error", "Output blocked by content filtering policy")
_OVERLOADED = Refusal(529, "overloaded_error", "Overloaded")
_REFUSALS = {
    400: Refusal(400, "invalid_request_error", "temperature: Extra inputs are not permitted"),
    401: Refusal(401, "authentication_error", "invalid x-api-key"),
    403: Refusal(403, "permission_error", "Your API key does not have permission to use the specified resource."),
    404: Refusal(404, "not_found_error", "model: claude-none"),
    408: Refusal(408, "timeout_error", "Request timed out."),
    413: Refusal(413, "request_too_large", "Request exceeds the maximum size"),
    422: Refusal(422, "invalid_request_error", "Unprocessable entity"),
    429: Refusal(
        429, "rate_limit_error", "This request would exceed your organization's rate limit of 50 requests per minute"
    ),
    500: Refusal(500, "api_error", "Internal server error"),
    503: Refusal(503, "api_error", "Service unavailable"),
    504: Refusal(504, "timeout_error", "Request timed out"),
    529: _OVERLOADED,
}
_MESSAGES = {refusal.type: refusal.message for refusal in _REFUSALS.values()}
_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal", "tool_calls": "tool_use"}


class AnthropicWire(Wire):
    """See `Wire`."""

    ping = b'event: ping\ndata: {"type": "ping"}\n\n'

    @staticmethod
    def key(headers: Mapping[str, str]) -> str:
        """See `Wire`. The SDK sends its `api_key` as a bearer token since 2.0; curl and others use `x-api-key`."""
        return headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")

    @staticmethod
    def complaint(headers: Mapping[str, str], request: Json, api_key: str | None) -> Refusal | None:
        """See `Wire`."""
        key = AnthropicWire.key(headers)
        if not key:
            return Refusal(401, "authentication_error", "x-api-key header is required")
        if api_key is not None and key != api_key:
            return _REFUSALS[401]
        if not headers.get("anthropic-version"):
            return Refusal(400, "invalid_request_error", "anthropic-version: header is required")
        for name in ("model", "max_tokens", "messages"):
            if not request.get(name):
                return Refusal(400, "invalid_request_error", f"{name}: Field required")
        return _complaint_about(request["messages"]) or _complaint_about_tools(request)

    @staticmethod
    def build_error_body(refusal: Refusal) -> Json:
        """See `Wire`."""
        error = {"type": refusal.type, "message": refusal.message}
        return {"type": "error", "error": error, "request_id": REQUEST_ID}

    def refusal(self) -> Refusal:
        """See `Wire`."""
        script = self.script
        if script.context_length:
            known = _REFUSALS[413] if script.status == 413 else _CONTEXT_LENGTH
        elif script.content_filter:
            known = _CONTENT_FILTER
        else:
            known = _REFUSALS.get(script.status, Refusal(script.status, "api_error", "Something went wrong"))
        return known._replace(
            status=known.status if script.status == 200 else script.status,
            type=script.error_type or known.type,
            message=script.error_message or known.message,
        )

    def frames(self) -> Iterator[Frame]:
        """See `Wire`."""
        yield self._message_start()
        script = self.script
        index = 0
        if script.reasoning:
            yield from self._thinking(index, script.reasoning)
            index += 1
        if script.redacted:
            yield self._block_start(index, {"type": "redacted_thinking", "data": script.redacted}, "opening")
            yield from self._block_stop(index, "opening")
            index += 1
        if script.whole_text or not script.tool_calls:
            yield from self._text(index, first=index == 0)
            index += 1
        for call in script.tool_calls:
            if script.reasoning_between:
                yield from self._thinking(self._index(index), script.reasoning_between)
                index += 1
            yield from self._tool_use(self._index(index), call)
            index += 1
        yield self._message_delta()
        if not self.script.no_end_marker:
            yield self._event({"type": "message_stop"}, "finish")

    def encode_text_delta(self, text: str) -> bytes:
        """See `Wire`."""
        index = bool(self.script.reasoning) + bool(self.script.redacted)
        return self._block_delta(index, {"type": "text_delta", "text": text}, "text").data

    def error(self) -> Frame:
        """See `Wire`."""
        error_type = self.script.error_type or self.script.error_code or _OVERLOADED.type
        message = self.script.error_message or _MESSAGES.get(error_type, "Something went wrong")
        body = self.build_error_body(Refusal(200, error_type, message))
        return Frame(b"event: error\ndata: " + self.encode_json(body) + b"\n\n")

    def completion(self) -> Json:
        """See `Wire`."""
        script = self.script
        content: list[Json] = []
        if script.reasoning:
            content.append(self._thought(script.reasoning))
        if script.redacted:
            content.append({"type": "redacted_thinking", "data": script.redacted})
        if script.whole_text or not script.tool_calls:
            content.append({"type": "text", "text": script.whole_text})
        for call in script.tool_calls:
            content += [self._thought(script.reasoning_between)] if script.reasoning_between else []
            content.append({**self._called(call), "input": _input(call)})
        message = self._message(content, {**self._usage(script.usage.output_tokens), **self._final_usage()})
        if script.no_usage:
            del message["usage"]
        return {**message, "stop_reason": self._stop_reason()}

    def _thought(self, reasoning: str) -> Json:
        return {"type": "thinking", "thinking": reasoning, "signature": self._signature_of(reasoning)}

    def _signature_of(self, reasoning: str) -> str:
        """Return what ends a block of reasoning: a model that has a contract signs it, any other as the script says."""
        return sign_thought(self.model, reasoning) if self.model in CONTRACTS else self.script.signature

    def _called(self, call: Call) -> Json:
        called = {"type": "tool_use", "name": call.name, "input": {}}
        return (
            called
            if self.script.tool_manner in ("no_id", "neither", "bare", "at_once_bare")
            else {**called, "id": call.id}
        )

    def _index(self, index: int) -> int:
        return 0 if self.script.tool_manner.startswith("index_zero") else index

    def _message_start(self) -> Frame:
        message = self._message([], self._usage(1))
        if self.script.no_usage:
            del message["usage"]
        return self._event({"type": "message_start", "message": message}, "opening")

    def _message(self, content: list[Json], usage: Json) -> Json:
        return {
            "model": self.model,
            "id": ID,
            "type": "message",
            "role": "assistant",
            "content": content,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }

    def _thinking(self, index: int, reasoning: str) -> Iterator[Frame]:
        yield self._block_start(index, {"type": "thinking", "thinking": "", "signature": ""}, "opening")
        for piece in self._pieces_of(reasoning):
            yield self._block_delta(index, {"type": "thinking_delta", "thinking": piece}, "reasoning")
        if signature := self._signature_of(reasoning):
            yield self._block_delta(index, {"type": "signature_delta", "signature": signature}, "opening")
        yield from self._block_stop(index, "opening")

    def _text(self, index: int, *, first: bool) -> Iterator[Frame]:
        yield self._block_start(index, {"type": "text", "text": ""}, "opening")
        if first:
            yield Frame(self.ping)
        yield from self._texts()
        yield from self._block_stop(index, "closing")

    def _tool_use(self, index: int, call: Call) -> Iterator[Frame]:
        is_whole = self.script.tool_manner in ("whole", "object", "bare", "at_once", "at_once_bare")
        given = {"input": _input(call)} if is_whole else {}
        yield self._block_start(index, self._called(call) | given, "tool")
        for piece in [] if is_whole else ["", *self._pieces_of(call.arguments)]:
            yield self._block_delta(index, {"type": "input_json_delta", "partial_json": piece}, "tool")
        yield from self._block_stop(index, "closing")

    def _message_delta(self) -> Frame:
        delta = {"stop_reason": self._stop_reason(), "stop_sequence": None}
        usage = {} if self.script.no_usage else {"usage": self._final_usage()}
        return self._event({"type": "message_delta", "delta": delta, **usage}, "closing")

    def _stop_reason(self) -> str | None:
        reason = self.script.reason
        return None if self.script.no_finish else _STOP_REASONS.get(reason, reason)

    def _usage(self, output_tokens: int) -> Json:
        usage = self.script.usage
        return {
            "input_tokens": _uncached(usage),
            "cache_creation_input_tokens": usage.written_tokens + usage.written_hour_tokens,
            "cache_read_input_tokens": usage.cached_tokens,
            "cache_creation": {
                "ephemeral_5m_input_tokens": usage.written_tokens,
                "ephemeral_1h_input_tokens": usage.written_hour_tokens,
            },
            "output_tokens": output_tokens,
            "service_tier": "standard",
        }

    def _final_usage(self) -> Json:
        usage = self.script.usage
        final: Json = {
            "input_tokens": _uncached(usage),
            "cache_creation_input_tokens": usage.written_tokens + usage.written_hour_tokens,
            "cache_read_input_tokens": usage.cached_tokens,
            "output_tokens": usage.output_tokens,
        }
        if usage.reasoning_tokens:
            final["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
        return final

    def _block_start(self, index: int, block: Json, kind: Kind) -> Frame:
        return self._event({"type": "content_block_start", "index": index, "content_block": block}, kind)

    def _block_delta(self, index: int, delta: Json, kind: Kind) -> Frame:
        return self._event({"type": "content_block_delta", "index": index, "delta": delta}, kind)

    def _block_stop(self, index: int, kind: Kind) -> Iterator[Frame]:
        if self.script.tool_manner != "no_stop":
            yield self._event({"type": "content_block_stop", "index": index}, kind)

    def _event(self, event: Json, kind: Kind) -> Frame:
        name = str(event["type"]).encode()
        return Frame(b"event: " + name + b"\ndata: " + self.encode_json(event) + b"\n\n", kind)


def _uncached(usage: Usage) -> int:
    return usage.input_tokens - usage.cached_tokens - usage.written_tokens - usage.written_hour_tokens


def _input(call: Call) -> Json:
    """The arguments as the API parses them; what is no object cannot be sent in one piece."""
    try:
        value = json.loads(call.arguments)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _complaint_about(messages: list[Json]) -> Refusal | None:
    for place, message in enumerate(messages):
        if message.get("role") not in ("user", "assistant"):
            return Refusal(
                400, "invalid_request_error", f"messages.{place}.role: Input should be 'user' or 'assistant'"
            )
        content = message.get("content")
        if not content or (isinstance(content, str) and not content.strip()):
            return Refusal(400, "invalid_request_error", f"messages.{place}: text content blocks must be non-empty")
    last = messages[-1]
    if last["role"] == "assistant" and str(last["content"]) != str(last["content"]).rstrip():
        return Refusal(
            400, "invalid_request_error", "messages: final assistant content cannot end with trailing whitespace"
        )
    return None


_CALL_ID = re.compile("[a-zA-Z0-9_-]+")


def _complaint_about_tools(request: Json) -> Refusal | None:
    """A call has its result in the very next message, before anything else there; an id stands for one call."""
    seen: set[str] = set()
    awaited: set[str] = set()
    for place, message in enumerate(request["messages"]):
        blocks = message["content"] if isinstance(message["content"], list) else []
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        if set(results) != awaited or any(block["type"] != "tool_result" for block in blocks[: len(results)]):
            return _invalid(place, "`tool_use` ids and the `tool_result` blocks after them do not match")
        awaited = {block["id"] for block in blocks if block["type"] == "tool_use"}
        if awaited & seen or len(awaited) != sum(block["type"] == "tool_use" for block in blocks):
            return _invalid(place, "`tool_use` ids must be unique")
        seen |= awaited
        for block in blocks:
            if complaint := _complaint_about_block(block):
                return _invalid(place, complaint)
    if awaited:
        return _invalid(len(request["messages"]), "`tool_use` without `tool_result`")
    if seen and not request.get("tools"):
        return Refusal(400, "invalid_request_error", "Requests which include `tool_use` blocks must define tools")
    return None


def _complaint_about_block(block: Json) -> str:
    match block["type"]:
        case "tool_use" if not _CALL_ID.fullmatch(block["id"]):
            return "tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"
        case "tool_use" if not isinstance(block["input"], dict):
            return "tool_use.input: Input should be a valid dictionary"
        case "thinking" if not re.fullmatch("[a-zA-Z0-9+/=]+", block["signature"]):
            return "Invalid `signature` in `thinking` block"
        case "text" if not block["text"].strip():
            return "text content blocks must contain non-whitespace text"
    return ""


def _invalid(place: int, complaint: str) -> Refusal:
    return Refusal(400, "invalid_request_error", f"messages.{place}: {complaint}")
