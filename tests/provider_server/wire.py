"""What the wire formats share: frames, and the JSON that real servers send."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Literal, NamedTuple

from tests.provider_server.script import STAMP_WIDTH, Script

Json = dict[str, Any]

Kind = Literal["opening", "reasoning", "text", "tool", "closing", "finish"]
"""Which part of the answer a frame belongs to; `finish` is the one that tells that the answer is whole."""


class Frame(NamedTuple):
    """One server-sent event."""

    data: bytes
    kind: Kind = "opening"
    characters: int = 0
    """How many characters of the answer's text it carries."""


class Refusal(NamedTuple):
    """Why there is no answer: an HTTP status, and the error in the provider's words."""

    status: int
    type: str
    message: str
    code: str | None = None
    param: str | None = None
    body: Any = None
    """The whole body of the error, where a server has a form of its own."""


HTML = b"<!DOCTYPE html>\n<html><head><title>Gateway</title></head><body><h1>Please sign in</h1></body></html>\n"

STAMP = "stamp:".ljust(STAMP_WIDTH - 1, "0") + " "
"""What stands in a timestamped delta until it is sent."""

_PLAIN = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_ESCAPING = json.JSONEncoder(separators=(",", ":"))
_SURROGATE = re.compile("[\ud800-\udfff]")


class Wire(ABC):
    """One answer in one provider's format. Pure: the same script and request give the same bytes."""

    ping: bytes

    def __init__(self, script: Script, request: Json) -> None:
        self.script = script
        self.request = request
        self.model = str(request.get("model"))

    @staticmethod
    @abstractmethod
    def find_complaint(headers: Mapping[str, str], request: Json, api_key: str | None) -> Refusal | None:
        """Return the refusal with which the real API would respond to this request; None when it would take it."""

    @staticmethod
    @abstractmethod
    def read_key(headers: Mapping[str, str]) -> str:
        """Return the API key that the client sent."""

    @staticmethod
    @abstractmethod
    def build_error_body(refusal: Refusal) -> Json:
        """Return the error as this provider's JSON object."""

    @abstractmethod
    def make_refusal(self) -> Refusal:
        """Return the refusal that the script asks for."""

    @abstractmethod
    def write_frames(self) -> Iterator[Frame]:
        """Yield the frames of the whole answer."""

    @abstractmethod
    def encode_text_delta(self, text: str) -> bytes:
        """Return an event with one delta of the text, as bytes of the stream."""

    @abstractmethod
    def make_error_frame(self) -> Frame:
        """Return a frame with an error in the middle of the stream."""

    @abstractmethod
    def make_completion(self) -> Json:
        """Return the body of the response to a request that does not ask for a stream."""

    def make_text_frame(self, text: str, characters: int = 0) -> Frame:
        """Return a frame with one delta of the text, made cheaply: benches ask for tens of thousands a second."""
        before, after = self._around_text
        return Frame(before + self.encode_json(text) + after, "text", characters)

    @cached_property
    def _around_text(self) -> tuple[bytes, bytes]:
        before, _, after = self.encode_text_delta(STAMP).partition(self.encode_json(STAMP))
        return before, after

    def make_malformed_frame(self) -> Frame:
        """Return a frame with a delta whose JSON breaks off."""
        return Frame(self.make_text_frame("lost").data[:-6] + b"\n\n")

    def _write_text_frames(self) -> Iterator[Frame]:
        for delta in self.script.cut_into_deltas():
            yield self.make_text_frame(STAMP if self.script.timestamped else delta.text, delta.characters)

    def _cut_into_pieces(self, text: str) -> list[str]:
        size = self.script.chunk_size
        return [text[start : start + size] for start in range(0, len(text), size)]

    def encode_json(self, value: Json | str) -> bytes:
        """Return JSON without spaces, in UTF-8 as the real APIs send it; half of a surrogate pair is escaped."""
        text = (_ESCAPING if self.script.escape_non_ascii else _PLAIN).encode(value)
        return _SURROGATE.sub(lambda half: f"\\u{ord(half[0]):04x}", text).encode()
