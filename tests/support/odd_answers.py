"""What servers send that keeps to no contract."""

from __future__ import annotations

import json
from typing import Any


def write_openai_events(*events: object, done: bool = True) -> str:
    """Write OpenAI's events; a string is written as it is."""
    data = [event if isinstance(event, str) else json.dumps(event) for event in events]
    return "".join(f"data: {each}\n\n" for each in [*data, *(["[DONE]"] if done else [])])


def make_chunk(content: Any = None, reason: Any = None, **others: Any) -> dict[str, Any]:
    delta = {} if content is None else {"content": content}
    return {
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": delta, "finish_reason": reason}],
        **others,
    }


def write_anthropic_events(*events: dict[str, Any]) -> str:
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)


def open_answer(**usage: Any) -> dict[str, Any]:
    return {
        "type": "message_start",
        "message": {"role": "assistant", "content": [], "usage": usage or {"input_tokens": 3}},
    }


def write_text(text: str, index: Any = 0) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": text}}


def end_message(reason: Any = "end_turn", **usage: Any) -> list[dict[str, Any]]:
    delta = {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 2, **usage}}
    return [delta, {"type": "message_stop"}]


def write_output_text(text: str) -> dict[str, Any]:
    return {"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "delta": text}


def end_response(reason: Any, **usage: Any) -> dict[str, Any]:
    figures = {"input_tokens": 3, "output_tokens": 2, **usage}
    response = {"status": "incomplete", "incomplete_details": {"reason": reason}, "usage": figures}
    return {"type": "response.incomplete", "response": response}


def write_stream(name: str, text: str, reason: Any) -> str:
    """Write a whole stream that ends for this reason, in the words of its provider."""
    if name == "openai":
        return write_openai_events(make_chunk(text), make_chunk(reason=reason))
    if name == "responses":
        return write_anthropic_events(write_output_text(text), end_response(reason))
    return write_anthropic_events(open_answer(), write_text(text), *end_message(reason))
