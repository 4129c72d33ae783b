"""OpenAI's Responses API, as api.openai.com sends it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import count
from typing import Any, Literal

from tests.provider_server import openai_models
from tests.provider_server.openai import CREATED, OpenAIWire
from tests.provider_server.script import Call
from tests.provider_server.wire import Frame, Json, Kind, Refusal

ID = "resp_68a1f0c2a7e9819b84d3620b5f0c71ee0a9d4c3b2f1e0d9c"
MESSAGE_ID = "msg_68a1f0c3b2d4819bb1e07c6d5a4f3e2d0a9d4c3b2f1e0d9c"

_TEXT_MARK = "the text of a delta"
_TEXT_HERE = f'"{_TEXT_MARK}"'.encode()

_ENDS = {"length": "max_output_tokens", "content_filter": "content_filter"}


class ResponsesWire(OpenAIWire):
    """See `Wire`. The script's `reasoning` comes as a summary; the field "reasoning" means the text itself."""

    ping = b": ping\n\n"

    def __init__(self, script: Any, request: Json) -> None:
        super().__init__(script, request)
        self.response_id = ID
        self._numbers = count()
        self._places = count()

    @staticmethod
    def find_complaint(headers: Mapping[str, str], request: Json, api_key: str | None) -> Refusal | None:
        """See `Wire`."""
        key = OpenAIWire.read_key(headers)
        if not key or (api_key is not None and key != api_key):
            return OpenAIWire.find_complaint(headers, {"model": "m", "messages": [{}]}, api_key)
        if not request.get("model"):
            return _make_refusal("Missing required parameter: 'model'.", "model", "missing_required_parameter")
        if not request.get("input"):
            message = "One of \"input\" or \"previous_response_id\" or 'prompt' or 'conversation_id' must be provided."
            return _make_refusal(message, "input", "missing_required_parameter")
        return _find_complaint(request) or openai_models.find_response_complaint(request)

    def write_frames(self) -> Iterator[Frame]:
        """See `Wire`."""
        script = self.script
        begun = self._make_response("in_progress", [])
        if self.request.get("background"):
            queued = self._make_response("queued", [])
            yield self._make_event("response.created", "opening", response=queued)
            yield self._make_event("response.queued", "opening", response=queued)
        else:
            yield self._make_event("response.created", "opening", response=begun)
        yield self._make_event("response.in_progress", "opening", response=begun)
        output: list[Json] = []
        if script.reasoning:
            yield from self._write_reasoning_item(script.reasoning, output)
        if script.whole_text or not script.tool_calls:
            yield from self._write_message(output)
        for call in script.tool_calls:
            if script.reasoning_between:
                yield from self._write_reasoning_item(script.reasoning_between, output)
            yield from self._write_call(call, output)
        if script.no_finish:
            yield Frame(b"data: [DONE]\n\n", "closing")
        elif not script.no_end_marker:
            response = self._make_response(self.status, output)
            yield self._make_event(f"response.{self.status}", "finish", response=response)

    def make_text_frame(self, text: str, characters: int = 0) -> Frame:
        """See `Wire`. Each delta has a number of its own, by which a stream is taken up."""
        before, after = self._around_number
        data = b"%b%d%b" % (before, next(self._numbers), after)
        return Frame(data.replace(_TEXT_HERE, self.encode_json(text)), "text", characters)

    @cached_property
    def _around_number(self) -> tuple[bytes, bytes]:
        place = bool(self.script.reasoning)
        members = {"item_id": MESSAGE_ID, "output_index": int(place), "content_index": 0, "delta": _TEXT_MARK}
        event = {"type": "response.output_text.delta", "sequence_number": -1, **members, "logprobs": []}
        before, _, after = self.encode_json(event).partition(b"-1")
        return b"event: response.output_text.delta\ndata: " + before, after + b"\n\n"

    def encode_text_delta(self, text: str) -> bytes:
        """See `Wire`."""
        place = bool(self.script.reasoning)
        members = {"item_id": MESSAGE_ID, "output_index": int(place), "content_index": 0, "delta": text}
        return self._make_event("response.output_text.delta", "text", **members, logprobs=[]).data

    def make_error_frame(self) -> Frame:
        """See `Wire`."""
        script = self.script
        code = script.error_code or script.error_type or "server_error"
        message = script.error_message or "The server had an error while processing your request. Sorry about that!"
        return self._make_event("error", "closing", code=code, message=message, param=None)

    def make_failure_frame(self) -> Frame:
        """Return the event that ends a response which failed."""
        return self._make_event("response.failed", "closing", response=self.make_response("failed"))

    def make_response(self, status: str) -> Json:
        """Return a response that has no output, or none yet."""
        response = self._make_response(status, [])
        if status == "failed":
            message = self.script.error_message or "The server had an error while processing your request."
            response["error"] = {"code": self.script.error_code or "server_error", "message": message}
        return response

    def make_completion(self) -> Json:
        """See `Wire`."""
        self._places = count()
        output: list[Json] = []
        script = self.script
        if script.reasoning:
            output.append(self._make_reasoning_item(script.reasoning, next(self._places)))
        if script.whole_text or not script.tool_calls:
            next(self._places)
            output.append(self._make_message(script.whole_text))
        for call in script.tool_calls:
            if script.reasoning_between:
                output.append(self._make_reasoning_item(script.reasoning_between, next(self._places)))
            output.append(self._make_call_item(call, next(self._places), call.arguments, "completed"))
        response = self._make_response(self.status, output)
        if script.no_finish:
            response["status"] = None
        return response

    # The items

    def _write_reasoning_item(self, reasoning: str, output: list[Json]) -> Iterator[Frame]:
        place = next(self._places)
        item = self._make_reasoning_item(reasoning, place)
        added = {**item, "summary": [], "encrypted_content": (item["encrypted_content"] or "")[:12]}
        yield self._make_event("response.output_item.added", "opening", output_index=place, item=added)
        at = {"item_id": item["id"], "output_index": place}
        if not self._is_asked_for("summary"):
            pass
        elif self.script.reasoning_field == "reasoning":
            for piece in self._cut_into_pieces(reasoning):
                yield self._make_event("response.reasoning_text.delta", "reasoning", **at, content_index=0, delta=piece)
        else:
            part = {"type": "summary_text", "text": ""}
            name = "response.reasoning_summary_"
            yield self._make_event(f"{name}part.added", "opening", **at, summary_index=0, part=part)
            for piece in self._cut_into_pieces(reasoning):
                yield self._make_event(f"{name}text.delta", "reasoning", **at, summary_index=0, delta=piece)
            yield self._make_event(f"{name}text.done", "opening", **at, summary_index=0, text=reasoning)
            part = {"type": "summary_text", "text": reasoning}
            yield self._make_event(f"{name}part.done", "opening", **at, summary_index=0, part=part)
        yield self._make_event("response.output_item.done", "opening", output_index=place, item=item)
        output.append(item)

    def _make_reasoning_item(self, reasoning: str, place: int) -> Json:
        item_id = f"rs_{place:02}a1f0c2a7e9819b84d3620b5f0c71ee"
        content = encrypt(self.model, item_id, reasoning) if self._is_asked_for("encrypted") else None
        item: Json = {"id": item_id, "type": "reasoning", "summary": [], "encrypted_content": content}
        if not self._is_asked_for("summary"):
            return item
        if self.script.reasoning_field == "reasoning":
            return {**item, "content": [{"type": "reasoning_text", "text": reasoning}]}
        return {**item, "summary": [{"type": "summary_text", "text": reasoning}]}

    def _is_asked_for(self, part: Literal["encrypted", "summary"]) -> bool:
        """Return whether the request wants this part of the reasoning. Models of other names send both unasked."""
        contract = openai_models.find_contract(self.model)
        if contract is None:
            return True
        if part == "encrypted":
            return "reasoning.encrypted_content" in (self.request.get("include") or ())
        return bool((self.request.get("reasoning") or {}).get("summary"))

    def _write_message(self, output: list[Json]) -> Iterator[Frame]:
        place = next(self._places)
        begun = {**self._make_message(""), "status": "in_progress", "content": []}
        yield self._make_event("response.output_item.added", "opening", output_index=place, item=begun)
        at = {"item_id": MESSAGE_ID, "output_index": place, "content_index": 0}
        part = {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
        yield self._make_event("response.content_part.added", "opening", **at, part=part)
        yield from self._write_text_frames()
        item = self._make_message(self.script.whole_text)
        if not self.script.faults:
            text = self.script.whole_text
            yield self._make_event("response.output_text.done", "closing", **at, text=text, logprobs=[])
            yield self._make_event("response.content_part.done", "closing", **at, part={**part, "text": text})
            yield self._make_event("response.output_item.done", "closing", output_index=place, item=item)
        output.append(item)

    def _make_message(self, text: str) -> Json:
        content = [{"type": "output_text", "annotations": [], "logprobs": [], "text": text}]
        message = {"id": MESSAGE_ID, "type": "message", "status": "completed", "role": "assistant", "content": content}
        contract = openai_models.find_contract(self.model)
        if contract is None or not contract.efforts:
            return message
        return {**message, "phase": "commentary" if self.script.tool_calls else "final_answer"}

    def _write_call(self, call: Call, output: list[Json]) -> Iterator[Frame]:
        place = next(self._places)
        item = self._make_call_item(call, place, call.arguments, "completed")
        at = {"item_id": item["id"], "output_index": place}
        begun = self._make_call_item(call, place, "", "in_progress")
        manner = self.script.tool_call_style
        if manner == "no_stop":  # without the events that end a call
            yield self._make_event("response.output_item.added", "tool", output_index=place, item=begun)
            yield from self._write_argument_deltas(call, at)
        elif manner in ("whole", "at_once"):
            yield self._make_event("response.output_item.done", "tool", output_index=place, item=item)
        else:
            yield self._make_event("response.output_item.added", "tool", output_index=place, item=begun)
            yield from self._write_argument_deltas(call, {"output_index": place} if manner == "no_index" else at)
            name = "response.function_call_arguments.done"
            yield self._make_event(name, "closing", **at, arguments=call.arguments, name=call.name)
            yield self._make_event("response.output_item.done", "closing", output_index=place, item=item)
        output.append(item)

    def _write_argument_deltas(self, call: Call, at: Json) -> Iterator[Frame]:
        for piece in self._cut_into_pieces(call.arguments):
            yield self._make_event("response.function_call_arguments.delta", "tool", **at, delta=piece)

    def _make_call_item(self, call: Call, place: int, arguments: str, status: str) -> Json:
        item: Json = {"id": f"fc_{place:02}b2d4819bb1e07c6d5a4f3e2d", "type": "function_call", "status": status}
        whole: Any = arguments
        if self.script.tool_call_style == "object" and arguments:
            whole = json.loads(arguments)
        item |= {"call_id": call.id, "name": call.name, "arguments": whole}
        if self.script.tool_call_style in ("no_id", "neither", "bare", "at_once_bare"):
            del item["call_id"]
        return item

    # The response

    @property
    def status(self) -> str:
        """Return how the response ends."""
        reason = self.script.sent_finish_reason
        return "completed" if reason in ("stop", "tool_calls") else "incomplete"

    def _make_response(self, status: str, output: list[Json]) -> Json:
        reason = self.script.sent_finish_reason
        details = {"reason": _ENDS.get(reason, reason)} if status == "incomplete" else None
        is_over = status in ("completed", "incomplete")
        return {
            "id": self.response_id,
            "object": "response",
            "created_at": CREATED,
            "status": status,
            "background": bool(self.request.get("background")),
            "error": None,
            "incomplete_details": details,
            "instructions": self.request.get("instructions"),
            "max_output_tokens": self.request.get("max_output_tokens"),
            "model": self.model,
            "output": output,
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "service_tier": "default",
            "store": bool(self.request.get("store", True)),
            "text": {"format": {"type": "text"}, "verbosity": "medium"},
            "tool_choice": "auto",
            "tools": [],
            "truncation": "disabled",
            "usage": self._make_usage() if is_over and not self.script.no_usage else None,
            "metadata": {},
        }

    def _make_usage(self) -> Json:
        usage = self.script.usage
        written = getattr(usage, "written_tokens", 0)
        return {
            "input_tokens": usage.input_tokens,
            "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": written},
            "output_tokens": usage.output_tokens,
            "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
            "total_tokens": usage.input_tokens + usage.output_tokens,
        }

    def _make_event(self, name: str, kind: Kind, /, **members: Any) -> Frame:
        event = {"type": name, "sequence_number": next(self._numbers), **members}
        return Frame(b"event: " + name.encode() + b"\ndata: " + self.encode_json(event) + b"\n\n", kind)


def encrypt(model: str, item_id: str, reasoning: str) -> str:
    """Return what stands for encrypted reasoning: only the same model can read it, with the item that it came in."""
    data = json.dumps([model, item_id, reasoning]).encode("utf-8", "surrogatepass")
    return "gAAAAA" + base64.urlsafe_b64encode(data).decode()


def _decrypt(content: str) -> tuple[str, str]:
    """Return the model and the item's id; raises `ValueError` for anything that `encrypt` did not write."""
    model, item_id, _ = json.loads(base64.urlsafe_b64decode(content.removeprefix("gAAAAA").encode()))
    return model, item_id


def _find_complaint(request: Json) -> Refusal | None:
    """Refuse a conversation whose tool calls or reasoning the API does not accept."""
    open_calls: list[str] = []
    items = request["input"] if isinstance(request["input"], list) else []
    for place, item in enumerate(items):
        kind = item.get("type", "message")
        following = items[place + 1] if place + 1 < len(items) else {}
        if kind == "function_call":
            if not _is_object(item["arguments"]):
                return _make_refusal(f"input[{place}].arguments is no JSON object", f"input[{place}].arguments")
            if not 0 < len(item["call_id"]) <= 64:
                message = f"Invalid 'input[{place}].call_id': string too long. Expected a string with maximum length 64"
                return _make_refusal(message, f"input[{place}].call_id", "string_above_max_length")
            open_calls.append(item["call_id"])
        elif kind == "function_call_output":
            if item["call_id"] not in open_calls:
                return _make_refusal(
                    f"No tool call found for function call output with call_id {item['call_id']}.", "input"
                )
            open_calls.remove(item["call_id"])
        elif kind == "reasoning":
            if complaint := _find_complaint_about_reasoning(request, place, item, following):
                return complaint
        elif open_calls:
            return _refuse_missing_output(open_calls)
        elif kind == "message" and item.get("id") and items[place - 1].get("type") not in ("reasoning", "message"):
            message = f"Item '{item['id']}' of type 'message' was provided without its required 'reasoning' item."
            return _make_refusal(message, "input")
        elif kind == "message" and not item.get("content"):
            return _make_refusal(f"Invalid 'input[{place}].content': empty.", f"input[{place}].content")
    return _refuse_missing_output(open_calls) if open_calls else None


def _find_complaint_about_reasoning(request: Json, place: int, item: Json, following: Json) -> Refusal | None:
    item_id = item.get("id", "")
    content = item.get("encrypted_content")
    if not content:
        message = (
            f"Item with id '{item_id}' not found. Items are not persisted when `store` is set to false. "
            "Try again with `store` set to true, or remove this item from your input."
        )
        return Refusal(404, "invalid_request_error", message, None, "input")
    try:
        is_right = _decrypt(content) == (request["model"], item_id)
    except ValueError:
        is_right = False
    if not is_right:
        message = f"The encrypted content {content[:4]}...{content[-4:]} could not be verified."
        return _make_refusal(message, None, "invalid_encrypted_content")
    if following.get("type") not in ("function_call", "reasoning") and following.get("role") != "assistant":
        message = f"Item '{item_id}' of type 'reasoning' was provided without its required following item."
        return _make_refusal(message, "input")
    return None


def _refuse_missing_output(open_calls: list[str]) -> Refusal:
    return _make_refusal(f"No tool output found for function call {open_calls[0]}.", "input")


def _make_refusal(message: str, param: str | None, code: str | None = None) -> Refusal:
    return Refusal(400, "invalid_request_error", message, code, param)


def _is_object(arguments: object) -> bool:
    try:
        return isinstance(arguments, str) and isinstance(json.loads(arguments), dict)
    except ValueError:
        return False
