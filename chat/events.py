"""The vocabulary of an answer: what happens while it is produced, whichever provider produces it.

Every value here is frozen and knows neither storage nor transport. A provider yields `Token`, `Reasoning`,
`Signature`, `ToolCall`, `ToolArguments`, `Usage` and `Finish`; the runner adds `Start`, `Notice`, and one `Done` or
`Error` as the last event of every answer.

An answer's events lie on a line of positions, and a position says exactly what a reader has: an event of text is as
wide as its text (one position a character; a tool's arguments are text), `Start`, `Notice`, `Field`, `Signature` and
`Finish` are zero wide, `Continued` is two wide, every other event is one wide.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Literal, get_args

FinishReason = Literal["stop", "length", "content_filter", "tool_calls"]

# NUL is refused by PostgreSQL's text type and a lone surrogate by every UTF-8 encoder. U+FDD0 is no character either:
# `chat.page` marks with it where an answer was continued.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff\ufdd0]")

_CAPITAL = re.compile("(?<!^)[A-Z]")


def storable(text: str) -> str:
    """The same text with NUL, lone surrogates and U+FDD0 replaced by U+FFFD; its length does not change."""
    return _UNSTORABLE.sub("\ufffd", text)


@dataclass(frozen=True, slots=True)
class Start:
    """The answer exists; its provider may not have said a word yet."""

    answer: str
    model: str


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the answer's text, of any length above zero."""

    content: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A piece of the model's reasoning, shown apart from the answer's text."""

    content: str


@dataclass(frozen=True, slots=True)
class Signature:
    """Ends a block of reasoning: the text since the signature before, or none. Only the provider that sent it can read
    it, and wants it back with that text in the same turn's next call. No reader sees it, and no answer consists of it.
    """

    content: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model begins to call a tool."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class ToolArguments:
    """A piece of the JSON arguments of the call `id`."""

    id: str
    delta: str


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What the call `id` came to, in a line for people. The model gets more than that."""

    id: str
    summary: str
    ok: bool
    milliseconds: int = 0


@dataclass(frozen=True, slots=True)
class Thought:
    """The reasoning before this took so long."""

    milliseconds: int


@dataclass(frozen=True, slots=True)
class Continued:
    """The answer had ended here and goes on. It lies where its usage and its end lay, so that a reader who has had them
    is where the rest begins."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one upstream call. `input_tokens` includes `cached_tokens`; `output_tokens` includes
    `reasoning_tokens`. `estimated` marks a figure that the provider never sent."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False

    def __add__(self, other: Usage) -> Usage:
        """Both together; estimated when either is."""
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            estimated=self.estimated or other.estimated,
        )


@dataclass(frozen=True, slots=True)
class Finish:
    """The provider's own end marker. Without it an answer is never complete."""

    reason: FinishReason


@dataclass(frozen=True, slots=True)
class Notice:
    """Something a waiting reader should know; it is shown and forgotten, never part of the answer."""

    code: Literal["stalled", "retrying"]
    message: str
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Field:
    """A part of a JSON answer is complete: what lies at `path`, a JSON pointer. It follows from the text, and comes
    just before the text that completes it: who has the text has had its fields."""

    path: str
    value: Any


@dataclass(frozen=True, slots=True)
class Done:
    """The last event of an answer that ended well: `complete`, or `stopped` by its user."""

    status: Literal["complete", "stopped"]
    reason: str


@dataclass(frozen=True, slots=True)
class Error:
    """The last event of an interrupted answer."""

    code: str
    message: str
    retryable: bool


ProviderEvent = Token | Reasoning | Signature | ToolCall | ToolArguments | Usage | Finish
Terminal = Done | Error
TextEvent = Token | Reasoning | ToolArguments
Unsaid = Thought | Continued
"""What the pages need and the public vocabulary does not have."""

Lasting = TextEvent | ToolCall | ToolResult | Unsaid
"""What an answer consists of. The rest is said while it is made, or when it ends."""

Event = Start | Notice | Field | ProviderEvent | ToolResult | Unsaid | Terminal


def width(event: Event) -> int:
    """How many positions the event takes on the answer's line."""
    if isinstance(event, TextEvent):
        return len(text_of(event))
    if isinstance(event, Start | Notice | Field | Signature | Finish):
        return 0
    return 2 if isinstance(event, Continued) else 1


def text_of(event: TextEvent) -> str:
    """The text that a text event brings."""
    return event.delta if isinstance(event, ToolArguments) else event.content


def with_text(event: TextEvent, text: str) -> TextEvent:
    """The same kind of event with another text."""
    return ToolArguments(event.id, text) if isinstance(event, ToolArguments) else type(event)(text)


def event_type(event: Event) -> str:
    """The event's name on the wire: `tool_call` for a `ToolCall`."""
    return _name(type(event).__name__)


@cache
def _name(kind: str) -> str:
    return _CAPITAL.sub(r"_\g<0>", kind).lower()


def payload(event: Event) -> dict[str, Any]:
    """The event as the public contract writes it, ready for JSON."""
    return {"type": event_type(event), **{name: getattr(event, name) for name in _FIELDS[type(event)]}}


def from_payload(fields: Mapping[str, Any]) -> Event:
    """The event that `payload` wrote."""
    values = dict(fields)
    event: Event = _EVENTS[values.pop("type")](**values)
    return event


_FIELDS: dict[type[Any], tuple[str, ...]] = {
    kind: tuple(field.name for field in fields(kind)) for kind in get_args(Event)
}
_EVENTS: dict[str, Any] = {_name(kind.__name__): kind for kind in get_args(Event)}
