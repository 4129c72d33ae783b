"""What the server answers, and how it fails while it does."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from chat.core.events import Usage

PARAGRAPH = """\
## Why the sky is blue

Sunlight is **scattered** by the air, and *blue* light more than red, because its wavelength is shorter:

1. the intensity goes with `1/λ⁴`;
2. so violet and blue reach us from *every* direction;
3. and a sunset, seen through more air, is red.

```python
def intensity(wavelength: float) -> float:
    return wavelength ** -4
```
"""

STAMP_WIDTH = 20

SIGNATURE = "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pkiMOYds"

ToolCallStyle = Literal[
    "",
    "no_index",
    "no_id",
    "neither",
    "late_id",
    "late_id_no_index",
    "split_name",
    "arguments_first",
    "repeated",
    "index_zero",
    "index_zero_no_id",
    "whole",
    "object",
    "bare",
    "at_once",
    "at_once_bare",
    "no_stop",
]

FaultName = Literal["gate", "stall", "malformed", "long_line", "error", "eof", "drop"]


class Fault(NamedTuple):
    """Something that happens when `after` characters of the text have been sent."""

    after: int
    name: FaultName


class Delta(NamedTuple):
    """A piece of the text. A character that is sent in two halves counts with its first."""

    text: str
    characters: int


@dataclass(frozen=True)
class Call:
    """A tool call of the model; `arguments` is JSON."""

    name: str
    arguments: str = "{}"
    id: str = "call_1"


@dataclass(frozen=True, kw_only=True)
class RefusedPart:
    """What a server does not take, in its own words. `part` is a path in the request, such as `stream_options`,
    `thinking.type=enabled`, `max_tokens>4096`, `messages.*.role=system` or `messages.-1.role=assistant`.
    """

    part: str
    message: str
    status: int = 400
    type: str = "invalid_request_error"
    code: str | None = None
    param: str | None = None
    body: Any = None
    """The whole of the error, of a server that has a form of its own."""


@dataclass(frozen=True, kw_only=True)
class Script:
    """One answer. Fields combine; those named `…_after` count characters of the text, and one that lies beyond
    its end counts as its end. Times are seconds.
    """

    # What is said.
    text: str = PARAGRAPH
    reasoning: str = ""
    reasoning_field: Literal["reasoning_content", "reasoning"] = "reasoning_content"
    """Where OpenAI-compatible servers put it: DeepSeek, vLLM and Kimi in the first, OpenRouter, Groq and Ollama in the
    second."""
    reasoning_between: str = ""
    """More reasoning before each tool call."""
    signature: str = SIGNATURE
    """Ends each block of Anthropic's reasoning; none when empty."""
    redacted_reasoning: str = ""
    """Reasoning that Anthropic sends encrypted, after the other."""
    tool_calls: Sequence[Call] = ()
    tool_call_style: ToolCallStyle = ""
    """How the calls' deltas are sent; the formats' own way when empty, and where a format knows no such fault.
    `no_index`, `no_id`, `neither`: never sent. `late_id`: not with the name; `late_id_no_index`: and no index.
    `split_name`: in two deltas. `arguments_first`: before the name. `repeated`: id and name in every delta.
    `index_zero`: every call has it, in Anthropic's format every block; `index_zero_no_id`: and no id. `whole`: each
    call in one delta; `object`: with its arguments as an object; `bare`: without index and id. `at_once`: all calls in
    one delta; `at_once_bare`: without index and id. `no_stop`: no `content_block_stop` is sent."""
    finish_reason: str = ""
    """`stop`, `length`, `content_filter` or `tool_calls`; empty: what fits. Any other goes out as it is."""
    usage: Usage = field(default_factory=lambda: Usage(input_tokens=12, output_tokens=34))
    no_usage: bool = False
    counts_tokens: bool = False
    """Count the usage from the request and the answer, with what the server's prompt cache holds, and charge it."""

    # How it is cut into deltas and bytes.
    chunks: Sequence[str] = ()
    """The text as these deltas; a lone surrogate is sent as its JSON escape."""
    chunk_size: int = 8
    split_surrogates: bool = False
    """Send the two halves of each emoji in two deltas, as JSON escapes."""
    escape_non_ascii: bool = False
    """Send everything beyond ASCII as JSON escapes; the real APIs send UTF-8."""
    http_chunk_size: int = 0
    """Cut the bytes of the stream into HTTP chunks of this size, each a network write of its own."""
    gather_writes: bool = False
    """Gather what is sent without a pause into one network write."""
    gzipped: bool = False
    """Send the stream as gzip, as a proxy does that ignores the request's headers."""
    crlf: bool = False
    timestamped: bool = False
    """Instead of its text each delta says when it was sent (`time.monotonic`), in `STAMP_WIDTH` characters."""

    # When.
    delay_headers: float = 0
    delay_first: float = 0
    delay_between: float = 0
    gate_after: int | Sequence[int] | None = None
    """Wait here for `server.release()`."""
    ping_interval: float = 0
    """Seconds between pings while waiting; 0: silence."""

    # Refusals, in each provider's own words.
    status: int = 200
    error_type: str = ""
    error_code: str = ""
    error_message: str = ""
    retry_after: float | str | None = None
    """The header, in seconds or as a date."""
    retry_after_ms: int | None = None
    context_length: bool = False
    content_filter: bool = False
    echo_key: bool = False
    """Repeat the API key in the error's message."""
    html_page: bool = False
    """A web page instead of the answer; with another `status` if one is given."""
    ignore_stream: bool = False
    """A JSON object instead of the stream, as a server that ignores `stream` sends."""

    refused_parts: Sequence[RefusedPart] = ()
    """Refuse a request that has one of these parts, the first that it has; answer any other."""

    raw: str = ""
    """The body as it is, whatever was asked for: in place of everything that is said here. Its bytes are its UTF-8."""
    raw_type: str = "text/event-stream; charset=utf-8"
    location: str = ""
    """Redirect there, with `status`."""

    # Faults of the stream.
    stall_after: int | None = None
    stall_for: float | None = None
    """How long the stall lasts; None: until the client goes away."""
    malformed_json_after: int | None = None
    long_line: int = 0
    """One delta whose text has this many bytes."""
    long_line_after: int = 0
    error_event_after: int | None = None
    """An error in the stream: `error_type`, `error_code` and `error_message`, or the provider's overload."""
    eof_after: int | None = None
    """The HTTP body ends properly and the answer does not."""
    drop_after: int | None = None
    drop_connections_at: Sequence[int] = ()
    """In background mode: at each of these lengths of the text one connection that sends it breaks; the response goes
    on."""
    drop_by: Literal["reset", "close"] = "reset"
    """The connection ends in the middle of an HTTP chunk, by TCP reset or by an ordinary close."""
    no_finish: bool = False
    """No finish reason, but the end marker: `[DONE]` or `message_stop`."""
    no_end_marker: bool = False
    """A finish reason, but then the HTTP body ends."""
    after_finish: FaultName | None = None
    """What happens after OpenAI's finish reason or Anthropic's `message_stop`."""
    delay_end: float = 0
    """Between the end marker and the end of the HTTP body, which real servers send apart."""
    hang_at_end: bool = False
    """Everything is sent, and the HTTP body does not end."""

    @property
    def whole_text(self) -> str:
        return "".join(self.chunks) or self.text

    @property
    def sent_finish_reason(self) -> str:
        return self.finish_reason or ("tool_calls" if self.tool_calls else "stop")

    @property
    def is_refusal(self) -> bool:
        return not self.raw and (self.status != 200 or self.context_length or self.content_filter)

    @property
    def faults(self) -> list[Fault]:
        """The faults, in the order in which they happen."""
        gates = [self.gate_after] if isinstance(self.gate_after, int) else self.gate_after or ()
        found = [Fault(gate, "gate") for gate in gates]
        moments: list[tuple[int | None, FaultName]] = [
            (self.stall_after, "stall"),
            (self.malformed_json_after, "malformed"),
            (self.long_line_after if self.long_line and self.after_finish != "long_line" else None, "long_line"),
            (self.error_event_after, "error"),
            (self.eof_after, "eof"),
            (self.drop_after, "drop"),
        ]
        found += [Fault(after, name) for after, name in moments if after is not None]
        end = len(self.whole_text)
        return sorted((Fault(min(after, end), name) for after, name in found), key=lambda fault: fault.after)

    def cut_into_deltas(self) -> Iterator[Delta]:
        """Yield the text in pieces, cut wherever a fault is to happen."""
        cuts = {fault.after for fault in self.faults}
        position = 0
        for chunk in self.chunks or _cut(self.text, self.chunk_size):
            inside = sorted(cut - position for cut in cuts if 0 < cut - position < len(chunk))
            for start, end in pairwise([0, *inside, len(chunk)]):
                yield from (
                    _halve(chunk[start:end]) if self.split_surrogates else [Delta(chunk[start:end], end - start)]
                )
            position += len(chunk)


def _cut(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


_BEYOND_16_BITS = re.compile("[\U00010000-\U0010ffff]")
_BETWEEN_HALVES = re.compile("(?<=[\ud800-\udbff])(?=[\udc00-\udfff])")


def _halve(text: str) -> Iterator[Delta]:
    """Yield the text, cut in the middle of each character that UTF-16 needs two units for."""
    first, *others = _BETWEEN_HALVES.split(_BEYOND_16_BITS.sub(_split_into_surrogates, text))
    yield Delta(first, len(first))
    for other in others:
        yield Delta(other, len(other) - 1)


def _split_into_surrogates(character: re.Match[str]) -> str:
    high, low = divmod(ord(character[0]) - 0x10000, 0x400)
    return chr(0xD800 + high) + chr(0xDC00 + low)
