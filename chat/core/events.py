"""The vocabulary of an answer: what happens while it is produced, whichever provider produces it.

Every value here is frozen and knows neither storage nor transport. A provider yields `Token`, `Reasoning`,
`Signature`, `ToolCall`, `ToolArguments`, `ToolCallExtra`, `NativeForm`, `Usage`, `Bookmark` and `Finish`; the runner
adds `Start`, `Notice`, and one `Done` or `Error` as the last event of every answer. What is to be read for as long as
the answer is kept is a `Remark`.

An answer's events lie on a line of positions, and a position says exactly what a reader has: an event of text is as
wide as its text (one position a character; a tool's arguments are text), `Start`, `Notice`, `Field`, `Signature`,
`ToolCallExtra`, `NativeForm`, `Bookmark` and `Finish` are zero wide, `Continued` is two wide, every other event is one
wide.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import Any, Literal, get_args

FinishReason = Literal["stop", "length", "content_filter", "tool_calls", "pause"]
"""`pause`: the provider interrupts a long turn; it continues when it gets back what it wrote. No answer ends so."""

# NUL is refused by PostgreSQL's text type and a lone surrogate by every UTF-8 encoder. U+FDD0 is no character either:
# `chat.rendering` marks with it where an answer was continued.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff\ufdd0]")

_CAPITAL = re.compile("(?<!^)[A-Z]")


def make_storable(text: str) -> str:
    """Return the text with NUL, lone surrogates and U+FDD0 replaced by U+FFFD; its length does not change."""
    return _UNSTORABLE.sub("\ufffd", text)


@dataclass(frozen=True, slots=True)
class Start:
    """The answer exists; its provider may not have said a word yet."""

    answer: str
    model: str
    conversation: str


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
    """The end of a block of reasoning, which is the text since the signature before, or none.

    Only the provider that sent it can read it, and wants it back with that text in the same turn's next call. No reader
    sees it, and no answer consists of it.
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
class ToolCallExtra:
    """The rest of the call `id` beside its name and arguments, in the provider's own form.

    Only the adapter that made it reads it, and only its provider understands it, which wants it back with the call. It
    is kept with the answer, and no reader sees it.
    """

    id: str
    content: str


@dataclass(frozen=True, slots=True)
class NativeForm:
    """The whole of one upstream call in its provider's native form, where the text and the calls do not say it all.

    Later turns send it back to the model that it came from, in the place of that text. Only the adapter that made it
    reads it. It is kept with the answer, and no reader sees it.
    """

    content: str


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The result of the call `id` in a line for people. The model gets more than that."""

    id: str
    summary: str
    ok: bool
    milliseconds: int = 0


@dataclass(frozen=True, slots=True)
class Thought:
    """The time that the reasoning before this took."""

    milliseconds: int


@dataclass(frozen=True, slots=True)
class Continued:
    """The joint where an answer had ended and goes on.

    It lies where its usage and its end lay, so that a reader who has had them is where the rest begins.
    """


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens and searches of one upstream call.

    `input_tokens` includes `cached_tokens`, read from the provider's cache, `written_tokens`, written to it for its
    usual time (5 minutes at Anthropic), and `written_hour_tokens`, written for an hour. `output_tokens` includes
    `reasoning_tokens`. `searches` are web searches that the provider made. `estimated` marks a figure that the
    provider never sent.
    """

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False
    written_tokens: int = field(default=0, kw_only=True)
    written_hour_tokens: int = field(default=0, kw_only=True)
    searches: int = field(default=0, kw_only=True)

    def __add__(self, other: Usage) -> Usage:
        """Return the sum of both; estimated when either is."""
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            estimated=self.estimated or other.estimated,
            written_tokens=self.written_tokens + other.written_tokens,
            written_hour_tokens=self.written_hour_tokens + other.written_hour_tokens,
            searches=self.searches + other.searches,
        )

    def raise_output(self, output: int, reasoning: int) -> Usage:
        """Return these figures as an estimate with at least this much output, at least so much of it reasoning."""
        return replace(
            self,
            output_tokens=max(self.output_tokens, output),
            reasoning_tokens=max(self.reasoning_tokens, reasoning),
            estimated=True,
        )


@dataclass(frozen=True, slots=True)
class Finish:
    """The provider's own end marker. Without it an answer is never complete."""

    reason: FinishReason


@dataclass(frozen=True, slots=True)
class Bookmark:
    """The place where a kept response can be taken up again: after the event `number` of the response `id`.

    All that the response said up to there has been passed on as events. `state` is what the adapter needs to continue
    from there; only the adapter that wrote it reads it. A bookmark is kept with the answer's checkpoint, no reader sees
    it, and no answer consists of it.
    """

    id: str
    number: int
    state: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """A message for a waiting reader, which is shown and forgotten. A part of the answer is a `Remark`."""

    code: Literal[
        "stalled", "thinking", "retrying", "resumed", "adapted", "empty", "refused", "fallback", "unsaved", "saved"
    ]
    message: str
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Remark:
    """Something that readers should know of the answer for as long as it is kept.

    `adapted` is a wish that its model was asked without, `empty` says that nothing was written, `refused` why the model
    declined, and `fallback` that another model answers than the one that was asked for. Programs get it as a `Notice`,
    which takes a position.
    """

    code: Literal["adapted", "empty", "refused", "fallback"]
    message: str

    @property
    def notice(self) -> Notice:
        """The remark as the `Notice` that readers get."""
        return Notice(self.code, self.message)


def describe_fallback(why: str, instead: str) -> Remark:
    """Return the remark that the model `instead` answers in the place of another; `why` is the first half of it."""
    return Remark("fallback", f"{why}, so {instead} answers.")


@dataclass(frozen=True, slots=True)
class Field:
    """A complete part of a JSON answer: what lies at `path`, a JSON pointer.

    It follows from the text, and comes just before the text that completes it: a reader of the text has had its fields.
    """

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


ProviderEvent = (
    Token
    | Reasoning
    | Signature
    | ToolCall
    | ToolArguments
    | ToolCallExtra
    | NativeForm
    | Remark
    | Usage
    | Bookmark
    | Finish
)
Terminal = Done | Error
TextEvent = Token | Reasoning | ToolArguments
Unsaid = Thought | Continued
"""Events that pages need and the public vocabulary does not have."""

Lasting = TextEvent | ToolCall | ToolResult | Remark | Unsaid
"""The parts of an answer. All other events are sent while it is made, or when it ends."""

Event = Start | Notice | Field | ProviderEvent | ToolResult | Remark | Unsaid | Terminal


def count_positions(event: Event) -> int:
    """Return how many positions the event takes on the answer's line."""
    if isinstance(event, TextEvent):
        return len(get_text(event))
    if isinstance(event, Start | Notice | Field | Signature | ToolCallExtra | NativeForm | Bookmark | Finish):
        return 0
    return 2 if isinstance(event, Continued) else 1


def get_text(event: TextEvent) -> str:
    """Return the text that a text event brings."""
    return event.delta if isinstance(event, ToolArguments) else event.content


def replace_text(event: TextEvent, text: str) -> TextEvent:
    """Return the same kind of event with another text."""
    return ToolArguments(event.id, text) if isinstance(event, ToolArguments) else type(event)(text)


def name_event(event: Event) -> str:
    """Return the event's name on the wire: `tool_call` for a `ToolCall`."""
    return _name_kind(type(event).__name__)


def name_kind(kind: type[Any]) -> str:
    """Return the name on the wire of a kind of event."""
    return _name_kind(kind.__name__)


@cache
def _name_kind(kind: str) -> str:
    return _CAPITAL.sub(r"_\g<0>", kind).lower()


def write_payload(event: Event) -> dict[str, Any]:
    """Return the event as the public contract writes it, ready for JSON."""
    return {"type": name_event(event), **{name: getattr(event, name) for name in _FIELDS[type(event)]}}


def read_payload(fields: Mapping[str, Any]) -> Event:
    """Return the event that `write_payload` wrote."""
    values = dict(fields)
    event: Event = _EVENTS[values.pop("type")](**values)
    return event


_FIELDS: dict[type[Any], tuple[str, ...]] = {
    kind: tuple(field.name for field in fields(kind)) for kind in get_args(Event)
}
_EVENTS: dict[str, Any] = {_name_kind(kind.__name__): kind for kind in get_args(Event)}
