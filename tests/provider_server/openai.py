"""OpenAI's chat completions, as api.openai.com sends them; the reasoning as DeepSeek and vLLM do."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tests.provider_server import openai_models
from tests.provider_server.script import Call
from tests.provider_server.tool_deltas import split_tool_call, split_tool_calls
from tests.provider_server.wire import Frame, Json, Kind, Refusal, Wire

ID = "chatcmpl-C9xkQ2mV7bTgH3rLpW8sYdNfZ0aJu"
CREATED = 1_760_000_000

_CONTEXT_LENGTH = Refusal(
    400,
    "invalid_request_error",
    "This model's maximum context length is 128000 tokens. However, your messages resulted in 130172 tokens. "
    "Please reduce the length of the messages.",
    "context_length_exceeded",
    "messages",
)
_CONTENT_FILTER = Refusal(
    400,
    "invalid_request_error",
    "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. "
    "Please modify your prompt and retry.",
    "content_filter",
    "prompt",
)
_REFUSALS = {
    400: Refusal(400, "invalid_request_error", "Unsupported value: 'temperature' does not support 3.", None, None),
    401: Refusal(401, "invalid_request_error", "Incorrect API key provided: sk-t***.", "invalid_api_key"),
    403: Refusal(
        403, "request_forbidden", "Country, region, or territory not supported", "unsupported_country_region_territory"
    ),
    404: Refusal(
        404,
        "invalid_request_error",
        "The model `gpt-none` does not exist or you do not have access to it.",
        "model_not_found",
    ),
    408: Refusal(408, "server_error", "Request timed out."),
    413: Refusal(413, "invalid_request_error", "Request body too large."),
    422: Refusal(422, "invalid_request_error", "Unprocessable entity."),
    429: Refusal(
        429,
        "requests",
        "Rate limit reached for gpt-test in organization org-test on requests per min (RPM): Limit 3, Used 3, "
        "Requested 1. Please try again in 20ms.",
        "rate_limit_exceeded",
    ),
    500: Refusal(500, "server_error", "The server had an error while processing your request. Sorry about that!"),
    503: Refusal(503, "server_error", "The engine is currently overloaded, please try again later."),
    504: Refusal(504, "server_error", "Gateway timeout."),
}


class OpenAIWire(Wire):
    """See `Wire`."""

    ping = b": PROCESSING\n\n"

    @staticmethod
    def read_key(headers: Mapping[str, str]) -> str:
        """See `Wire`."""
        scheme, _, key = headers.get("authorization", "").partition(" ")
        return key if scheme == "Bearer" else ""

    @staticmethod
    def find_complaint(headers: Mapping[str, str], request: Json, api_key: str | None) -> Refusal | None:
        """See `Wire`."""
        key = OpenAIWire.read_key(headers)
        if not key:
            return Refusal(401, "invalid_request_error", "You didn't provide an API key.")
        if api_key is not None and key != api_key:
            return _REFUSALS[401]
        if not request.get("model"):
            return Refusal(400, "invalid_request_error", "you must provide a model parameter")
        if not request.get("messages"):
            return Refusal(400, "invalid_request_error", "Invalid 'messages': empty array.", "empty_array", "messages")
        return _find_complaint(request["messages"]) or openai_models.find_chat_complaint(request)

    @staticmethod
    def build_error_body(refusal: Refusal) -> Json:
        """See `Wire`."""
        _, error_type, message, code, param, _ = refusal
        return {"error": {"message": message, "type": error_type, "param": param, "code": code}}

    def make_refusal(self) -> Refusal:
        """See `Wire`."""
        script = self.script
        if script.context_length:
            known = _CONTEXT_LENGTH
        elif script.content_filter:
            known = _CONTENT_FILTER
        else:
            known = _REFUSALS.get(script.status, Refusal(script.status, "server_error", "Something went wrong."))
        return known._replace(
            status=known.status if script.status == 200 else script.status,
            type=script.error_type or known.type,
            code=script.error_code or known.code,
            message=script.error_message or known.message,
        )

    def write_frames(self) -> Iterator[Frame]:
        """See `Wire`."""
        script = self.script
        yield self._make_delta({"role": "assistant", "content": "", "refusal": None}, "opening")
        yield from self._write_reasoning(script.reasoning)
        yield from self._write_text_frames()
        if script.reasoning_between:
            for index, call in enumerate(script.tool_calls):
                yield from self._write_reasoning(script.reasoning_between)
                yield from (
                    self._make_delta({"tool_calls": [delta]}, "tool") for delta in split_tool_call(script, index, call)
                )
        else:
            yield from (
                self._make_delta({"tool_calls": deltas}, "tool") for deltas in split_tool_calls(script) if deltas
            )
        if not script.no_finish:
            yield self._make_delta({}, "finish", finish_reason=script.sent_finish_reason)
        if self._asks_for_usage and not script.no_usage:
            yield self._make_chunk([], "closing", usage=self._make_usage())
        if not script.no_end_marker:
            yield Frame(b"data: [DONE]\n\n", "closing")

    def encode_text_delta(self, text: str) -> bytes:
        """See `Wire`."""
        return self._make_delta({"content": text}, "text").data

    def make_error_frame(self) -> Frame:
        """See `Wire`."""
        script = self.script
        refusal = Refusal(
            200,
            script.error_type or "server_error",
            script.error_message or "The server had an error while processing your request. Sorry about that!",
            script.error_code or None,
        )
        return Frame(b"data: " + self.encode_json(self.build_error_body(refusal)) + b"\n\n")

    def make_completion(self) -> Json:
        """See `Wire`."""
        script = self.script
        message: Json = {"role": "assistant", "content": script.whole_text, "refusal": None}
        if script.reasoning:
            message[script.reasoning_field] = script.reasoning
        if script.tool_calls:
            message["tool_calls"] = [self._make_tool_call(call) for call in script.tool_calls]
        reason = None if script.no_finish else script.sent_finish_reason
        completion = {
            "id": ID,
            "object": "chat.completion",
            "created": CREATED,
            "model": self.model,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": reason}],
            "service_tier": "default",
            "system_fingerprint": "fp_560af6e559",
        }
        return completion if script.no_usage else {**completion, "usage": self._make_usage()}

    def _make_tool_call(self, call: Call) -> Json:
        manner = self.script.tool_call_style
        arguments = json.loads(call.arguments) if manner == "object" else call.arguments
        called = {"type": "function", "function": {"name": call.name, "arguments": arguments}}
        return called if manner in ("no_id", "neither", "bare", "at_once_bare") else {"id": call.id, **called}

    def _write_reasoning(self, reasoning: str) -> Iterator[Frame]:
        for piece in self._cut_into_pieces(reasoning):
            yield self._make_delta({self.script.reasoning_field: piece}, "reasoning")

    @property
    def _asks_for_usage(self) -> bool:
        return bool((self.request.get("stream_options") or {}).get("include_usage"))

    def _make_delta(self, delta: Json, kind: Kind, finish_reason: str | None = None) -> Frame:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return self._make_chunk([choice], kind)

    def _make_chunk(self, choices: list[Json], kind: Kind, usage: Json | None = None) -> Frame:
        chunk: dict[str, Any] = {
            "id": ID,
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": self.model,
            "service_tier": "default",
            "system_fingerprint": "fp_560af6e559",
            "choices": choices,
        }
        if self._asks_for_usage:
            chunk["usage"] = usage
        return Frame(b"data: " + self.encode_json(chunk) + b"\n\n", kind)

    def _make_usage(self) -> Json:
        usage = self.script.usage
        return {
            "prompt_tokens": usage.input_tokens,
            "completion_tokens": usage.output_tokens,
            "total_tokens": usage.input_tokens + usage.output_tokens,
            "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": usage.reasoning_tokens,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }


def _find_complaint(messages: list[Json]) -> Refusal | None:
    """Refuse a history whose tool calls the API, or the chat templates of compatible servers, do not accept."""
    open_calls: set[str] = set()
    for place, message in enumerate(messages):
        if message.get("role") == "tool":
            if message.get("tool_call_id") not in open_calls:
                return _make_refusal(
                    "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."
                )
            open_calls.remove(message["tool_call_id"])
            continue
        if open_calls:
            return _make_refusal(f"An assistant message with 'tool_calls' lacks its results: {sorted(open_calls)}")
        for call in message.get("tool_calls") or ():
            if not 0 < len(call["id"]) <= 40:
                return _make_refusal(f"Invalid 'messages[{place}].tool_calls[0].id': string too long.")
            if not _is_object(call["function"]["arguments"]):
                return _make_refusal(f"messages[{place}]: arguments are no JSON object")
            open_calls.add(call["id"])
    return (
        _make_refusal(f"An assistant message with 'tool_calls' lacks its results: {open_calls}") if open_calls else None
    )


def _make_refusal(message: str) -> Refusal:
    return Refusal(400, "invalid_request_error", message, None, "messages")


def _is_object(arguments: str) -> bool:
    try:
        return isinstance(json.loads(arguments), dict)
    except ValueError:
        return False
