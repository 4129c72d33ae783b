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
    def read_key(headers: Mapping[str, str]) -> str:
        """See `Wire`. The SDK sends its `api_key` as a bearer token since 2.0; curl and others use `x-api-key`."""
        return headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")

    @staticmethod
    def find_complaint(headers: Mapping[str, str], request: Json, api_key: str | None) -> Refusal | None:
        """See `Wire`."""
        key = AnthropicWire.read_key(headers)
        if not key:
            return Refusal(401, "authentication_error", "x-api-key header is required")
        if api_key is not None and key != api_key:
            return _REFUSALS[401]
        if not headers.get("anthropic-version"):
            return Refusal(400, "invalid_request_error", "anthropic-version: header is required")
        for name in ("model", "max_tokens", "messages"):
            if not request.get(name):
                return Refusal(400, "invalid_request_error", f"{name}: Field required")
        return _find_complaint(request["messages"]) or _find_complaint_about_tools(request)

    @staticmethod
    def build_error_body(refusal: Refusal) -> Json:
        """See `Wire`."""
        error = {"type": refusal.type, "message": refusal.message}
        return {"type": "error", "error": error, "request_id": REQUEST_ID}

    def make_refusal(self) -> Refusal:
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

    def write_frames(self) -> Iterator[Frame]:
        """See `Wire`."""
        yield self._make_message_start()
        script = self.script
        index = 0
        if script.reasoning:
            yield from self._write_thinking(index, script.reasoning)
            index += 1
        if script.redacted_reasoning:
            yield self._make_block_start(
                index, {"type": "redacted_thinking", "data": script.redacted_reasoning}, "opening"
            )
            yield from self._write_block_stop(index, "opening")
            index += 1
        if script.whole_text or not script.tool_calls:
            yield from self._write_text(index, first=index == 0)
            index += 1
        for call in script.tool_calls:
            if script.reasoning_between:
                yield from self._write_thinking(self._choose_index(index), script.reasoning_between)
                index += 1
            yield from self._write_tool_use(self._choose_index(index), call)
            index += 1
        yield self._make_message_delta()
        if not self.script.no_end_marker:
            yield self._make_event({"type": "message_stop"}, "finish")

    def encode_text_delta(self, text: str) -> bytes:
        """See `Wire`."""
        index = bool(self.script.reasoning) + bool(self.script.redacted_reasoning)
        return self._make_block_delta(index, {"type": "text_delta", "text": text}, "text").data

    def make_error_frame(self) -> Frame:
        """See `Wire`."""
        error_type = self.script.error_type or self.script.error_code or _OVERLOADED.type
        message = self.script.error_message or _MESSAGES.get(error_type, "Something went wrong")
        body = self.build_error_body(Refusal(200, error_type, message))
        return Frame(b"event: error\ndata: " + self.encode_json(body) + b"\n\n")

    def make_completion(self) -> Json:
        """See `Wire`."""
        script = self.script
        content: list[Json] = []
        if script.reasoning:
            content.append(self._make_thinking_block(script.reasoning))
        if script.redacted_reasoning:
            content.append({"type": "redacted_thinking", "data": script.redacted_reasoning})
        if script.whole_text or not script.tool_calls:
            content.append({"type": "text", "text": script.whole_text})
        for call in script.tool_calls:
            content += [self._make_thinking_block(script.reasoning_between)] if script.reasoning_between else []
            content.append({**self._make_tool_use_block(call), "input": _parse_input(call)})
        message = self._make_message(
            content, {**self._make_usage(script.usage.output_tokens), **self._make_final_usage()}
        )
        if script.no_usage:
            del message["usage"]
        return {**message, "stop_reason": self._choose_stop_reason()}

    def _make_thinking_block(self, reasoning: str) -> Json:
        return {"type": "thinking", "thinking": reasoning, "signature": self._sign(reasoning)}

    def _sign(self, reasoning: str) -> str:
        """Return the signature of a block of reasoning: the model's own where it has a contract, else the script's."""
        return sign_thought(self.model, reasoning) if self.model in CONTRACTS else self.script.signature

    def _make_tool_use_block(self, call: Call) -> Json:
        called = {"type": "tool_use", "name": call.name, "input": {}}
        return (
            called
            if self.script.tool_call_style in ("no_id", "neither", "bare", "at_once_bare")
            else {**called, "id": call.id}
        )

    def _choose_index(self, index: int) -> int:
        return 0 if self.script.tool_call_style.startswith("index_zero") else index

    def _make_message_start(self) -> Frame:
        message = self._make_message([], self._make_usage(1))
        if self.script.no_usage:
            del message["usage"]
        return self._make_event({"type": "message_start", "message": message}, "opening")

    def _make_message(self, content: list[Json], usage: Json) -> Json:
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

    def _write_thinking(self, index: int, reasoning: str) -> Iterator[Frame]:
        yield self._make_block_start(index, {"type": "thinking", "thinking": "", "signature": ""}, "opening")
        for piece in self._cut_into_pieces(reasoning):
            yield self._make_block_delta(index, {"type": "thinking_delta", "thinking": piece}, "reasoning")
        if signature := self._sign(reasoning):
            yield self._make_block_delta(index, {"type": "signature_delta", "signature": signature}, "opening")
        yield from self._write_block_stop(index, "opening")

    def _write_text(self, index: int, *, first: bool) -> Iterator[Frame]:
        yield self._make_block_start(index, {"type": "text", "text": ""}, "opening")
        if first:
            yield Frame(self.ping)
        yield from self._write_text_frames()
        yield from self._write_block_stop(index, "closing")

    def _write_tool_use(self, index: int, call: Call) -> Iterator[Frame]:
        is_whole = self.script.tool_call_style in ("whole", "object", "bare", "at_once", "at_once_bare")
        given = {"input": _parse_input(call)} if is_whole else {}
        yield self._make_block_start(index, self._make_tool_use_block(call) | given, "tool")
        for piece in [] if is_whole else ["", *self._cut_into_pieces(call.arguments)]:
            yield self._make_block_delta(index, {"type": "input_json_delta", "partial_json": piece}, "tool")
        yield from self._write_block_stop(index, "closing")

    def _make_message_delta(self) -> Frame:
        delta = {"stop_reason": self._choose_stop_reason(), "stop_sequence": None}
        usage = {} if self.script.no_usage else {"usage": self._make_final_usage()}
        return self._make_event({"type": "message_delta", "delta": delta, **usage}, "closing")

    def _choose_stop_reason(self) -> str | None:
        reason = self.script.sent_finish_reason
        return None if self.script.no_finish else _STOP_REASONS.get(reason, reason)

    def _make_usage(self, output_tokens: int) -> Json:
        usage = self.script.usage
        return {
            "input_tokens": _count_uncached(usage),
            "cache_creation_input_tokens": usage.written_tokens + usage.written_hour_tokens,
            "cache_read_input_tokens": usage.cached_tokens,
            "cache_creation": {
                "ephemeral_5m_input_tokens": usage.written_tokens,
                "ephemeral_1h_input_tokens": usage.written_hour_tokens,
            },
            "output_tokens": output_tokens,
            "service_tier": "standard",
        }

    def _make_final_usage(self) -> Json:
        usage = self.script.usage
        final: Json = {
            "input_tokens": _count_uncached(usage),
            "cache_creation_input_tokens": usage.written_tokens + usage.written_hour_tokens,
            "cache_read_input_tokens": usage.cached_tokens,
            "output_tokens": usage.output_tokens,
        }
        if usage.reasoning_tokens:
            final["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
        return final

    def _make_block_start(self, index: int, block: Json, kind: Kind) -> Frame:
        return self._make_event({"type": "content_block_start", "index": index, "content_block": block}, kind)

    def _make_block_delta(self, index: int, delta: Json, kind: Kind) -> Frame:
        return self._make_event({"type": "content_block_delta", "index": index, "delta": delta}, kind)

    def _write_block_stop(self, index: int, kind: Kind) -> Iterator[Frame]:
        if self.script.tool_call_style != "no_stop":
            yield self._make_event({"type": "content_block_stop", "index": index}, kind)

    def _make_event(self, event: Json, kind: Kind) -> Frame:
        name = str(event["type"]).encode()
        return Frame(b"event: " + name + b"\ndata: " + self.encode_json(event) + b"\n\n", kind)


def _count_uncached(usage: Usage) -> int:
    return usage.input_tokens - usage.cached_tokens - usage.written_tokens - usage.written_hour_tokens


def _parse_input(call: Call) -> Json:
    """Return a call's arguments as the API parses them; `{}` when they are no object, which only deltas can send."""
    try:
        value = json.loads(call.arguments)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _find_complaint(messages: list[Json]) -> Refusal | None:
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


def _find_complaint_about_tools(request: Json) -> Refusal | None:
    """Refuse a call without a result in the very next message, before anything else there, and an id of two calls."""
    seen: set[str] = set()
    awaited: set[str] = set()
    is_signing = not str(request["model"]).startswith("deepseek")
    for place, message in enumerate(request["messages"]):
        blocks = message["content"] if isinstance(message["content"], list) else []
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        if set(results) != awaited or any(block["type"] != "tool_result" for block in blocks[: len(results)]):
            return _make_refusal(place, "`tool_use` ids and the `tool_result` blocks after them do not match")
        awaited = {block["id"] for block in blocks if block["type"] == "tool_use"}
        if awaited & seen or len(awaited) != sum(block["type"] == "tool_use" for block in blocks):
            return _make_refusal(place, "`tool_use` ids must be unique")
        seen |= awaited
        for block in blocks:
            if complaint := _find_complaint_about_block(block, is_signing=is_signing):
                return _make_refusal(place, complaint)
    if awaited:
        return _make_refusal(len(request["messages"]), "`tool_use` without `tool_result`")
    if seen and not request.get("tools"):
        return Refusal(400, "invalid_request_error", "Requests which include `tool_use` blocks must define tools")
    return None


def _find_complaint_about_block(block: Json, *, is_signing: bool) -> str:
    match block["type"]:
        case "tool_use" if not _CALL_ID.fullmatch(block["id"]):
            return "tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"
        case "tool_use" if not isinstance(block["input"], dict):
            return "tool_use.input: Input should be a valid dictionary"
        case "thinking" if is_signing and not re.fullmatch("[a-zA-Z0-9+/=]+", block["signature"]):
            return "Invalid `signature` in `thinking` block"
        case "text" if not block["text"].strip():
            return "text content blocks must contain non-whitespace text"
    return ""


def _make_refusal(place: int, complaint: str) -> Refusal:
    return Refusal(400, "invalid_request_error", f"messages.{place}: {complaint}")
