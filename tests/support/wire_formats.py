"""The formats in which providers send an answer, each with its decoder: for what holds in every one of them."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import Any

from chat.providers.anthropic_decoder import MessagesDecoder
from chat.providers.base import Prompt, Turn
from chat.providers.decoder import Decoder
from chat.providers.openai_chat_decoder import ChatCompletionsDecoder
from chat.providers.openai_responses_decoder import ResponsesDecoder
from tests.provider_server import Script
from tests.provider_server.anthropic import AnthropicWire
from tests.provider_server.openai import OpenAIWire
from tests.provider_server.openai_responses import ResponsesWire

MAX_BYTES = 1_000_000
PROMPT = Prompt("m", (Turn("user", "Why is the sky blue?"),))
ASKED = {"model": "m", "stream": True, "messages": [{}], "input": [{"role": "user", "content": "Why?"}]}
REQUEST = {**ASKED, "stream_options": {"include_usage": True}}

Path = tuple[Any, ...]
"""Where a value stands in an event."""


class WireFormat(ABC):
    """One format. An event is its JSON, or a string that stands in the place of JSON."""

    name: str
    wire: type[OpenAIWire | AnthropicWire | ResponsesWire]
    figures: tuple[str, ...]
    """What its reports of usage have."""
    end_word: str
    """The member that says how the answer ended."""

    def record(self, script: Script) -> list[Any]:
        """Return the events of a whole answer."""
        frames = [frame.data for frame in self.wire(script, REQUEST).write_frames() if b"data: " in frame.data]
        datas = [frame.split(b"data: ", 1)[1].strip().decode() for frame in frames]
        return [json.loads(data) if data.startswith("{") else data for data in datas]

    def write_body(self, script: Script) -> Any:
        """Return the answer as one JSON object."""
        return json.loads(json.dumps(self.wire(script, REQUEST).make_completion()))

    def write(self, events: list[Any], names: list[str] | None = None) -> bytes:
        """Return the bytes of these events; the server-sent events have `names` where they are given."""
        lines = []
        for place, event in enumerate(events):
            data = event if isinstance(event, str) and event.startswith("[DONE") else json.dumps(event)
            head = f"event: {names[place]}\n" if names else ""
            lines.append(f"{head}data: {data}\n\n")
        return "".join(lines).encode("utf-8", "surrogatepass")

    def list_names(self, events: list[Any]) -> list[str] | None:
        """Return the names that these events are sent with."""
        return [event["type"] for event in events]

    @abstractmethod
    def make_decoder(self) -> Decoder:
        """Return a decoder for an answer that has not begun."""

    @abstractmethod
    def read_own_text(self, event: Any) -> str:
        """Return the text that an event brings by the format's own rules."""

    @abstractmethod
    def is_deciding_text(self, path: Path) -> bool:
        """Return whether what stands there in a piece of text decides what text it brings."""

    @abstractmethod
    def report(self, figures: dict[str, Any]) -> Any:
        """Return an event that reports usage and nothing else."""


class _ChatCompletions(WireFormat):
    name = "openai"
    wire = OpenAIWire
    figures = ("prompt_tokens", "completion_tokens", "total_tokens", "reasoning_tokens", "cached_tokens")
    end_word = "finish_reason"

    def list_names(self, events: list[Any]) -> None:
        return None

    def make_decoder(self) -> Decoder:
        return ChatCompletionsDecoder(MAX_BYTES, PROMPT)

    def read_own_text(self, event: Any) -> str:
        choices = event.get("choices") if isinstance(event, dict) else None
        return "".join((choice["delta"].get("content") or "") for choice in choices or [])

    def is_deciding_text(self, path: Path) -> bool:
        return bool(path[0] == "choices")

    def report(self, figures: dict[str, Any]) -> Any:
        return {"choices": [], "usage": figures}


class _Messages(WireFormat):
    name = "anthropic"
    wire = AnthropicWire
    figures = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    end_word = "stop_reason"

    def make_decoder(self) -> Decoder:
        return MessagesDecoder(MAX_BYTES, PROMPT)

    def read_own_text(self, event: Any) -> str:
        return str(event["delta"].get("text", "")) if event["type"] == "content_block_delta" else ""

    def is_deciding_text(self, path: Path) -> bool:
        return path[0] in ("delta", "content_block")

    def report(self, figures: dict[str, Any]) -> Any:
        return {"type": "message_delta", "usage": figures}


class _Responses(WireFormat):
    name = "responses"
    wire = ResponsesWire
    figures = ("input_tokens", "output_tokens", "total_tokens", "reasoning_tokens", "cached_tokens")
    end_word = "reason"

    def make_decoder(self) -> Decoder:
        return ResponsesDecoder(MAX_BYTES, PROMPT, "m at home")

    def read_own_text(self, event: Any) -> str:
        return str(event["delta"]) if event["type"] == "response.output_text.delta" else ""

    def is_deciding_text(self, path: Path) -> bool:
        return bool(path[0] == "delta")

    def report(self, figures: dict[str, Any]) -> Any:
        return {"type": "response.in_progress", "response": {"status": "in_progress", "usage": figures}}


WIRE_FORMATS: tuple[WireFormat, ...] = (_ChatCompletions(), _Messages(), _Responses())
