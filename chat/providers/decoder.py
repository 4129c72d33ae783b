"""The base of decoders for providers that speak SSE over HTTP: it splits bytes and gathers events and failures."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from itertools import chain
from typing import Any, ClassVar, TypeVar

import msgspec

from chat.core.errors import ChatError
from chat.core.events import Finish, FinishReason, ProviderEvent, Reasoning, Token, ToolArguments, Usage, make_storable
from chat.core.failures import Cause
from chat.providers.base import THINKING, Prompt
from chat.providers.echo import EchoFilter
from chat.providers.endings import Ending
from chat.providers.errors import describe_stream_failure, is_error
from chat.providers.loose_json import fit
from chat.providers.paragraphs import PARAGRAPH
from chat.providers.sources import Sources
from chat.providers.sse import SSE, SSESplitter
from chat.providers.thoughts import InlineThoughts
from chat.providers.token_counts import TokenCounts

_Shape = TypeVar("_Shape")


_SURROGATE_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")

# By what part of itself the output that a server counts has to grow before it is reported again. Some send running
# figures with each token, and a call whose figures are new has its row written with the next checkpoint.
REPORTED_GROWTH = 1 / 20

TextKind = type[Token] | type[Reasoning] | str
"""The owner of a piece of text: the answer, the reasoning, or, by its id, a tool call's arguments."""


class BatchBuilder:
    """Gathers the events of one network read: neighbouring pieces of one text become one storable event.

    A server that escapes its JSON may send the halves of a surrogate pair in two deltas; the first half
    waits for the second, across reads too.
    """

    def __init__(self, *, keeps_text: bool = False) -> None:
        self._events: list[ProviderEvent] = []
        self._kind: TextKind = Token
        self._pieces: list[str] = []
        self._halves: dict[TextKind, str] = {}
        self.output_chars = 0  # of all text taken so far
        self.reasoning_chars = 0  # of these
        self.texts: list[str] = []  # the answer's text taken so far, if `keeps_text`
        self._keeps_text = keeps_text

    def add_text(self, kind: TextKind, piece: str) -> None:
        """Add a piece of text."""
        if kind is not self._kind and kind != self._kind:
            self._join()
            self._kind = kind
        self._pieces.append(piece)

    def put(self, event: ProviderEvent) -> None:
        """Add any other event."""
        self._join()
        self._events.append(event)

    def flush(self) -> None:
        """End the text: a half of a pair waits no longer."""
        self._join()
        halves, self._halves = self._halves, {}
        for kind, half in halves.items():
            self._append(kind, make_storable(half))

    @property
    def holds_half(self) -> bool:
        """True when the first half of a surrogate pair waits for the second."""
        return bool(self._halves)

    def finish(self, reason: FinishReason) -> None:
        """Add the end marker."""
        self.flush()
        self._events.append(Finish(reason))

    def take(self) -> list[ProviderEvent]:
        """Return what was gathered since the last time."""
        self._join()
        events, self._events = self._events, []
        return events

    def _join(self) -> None:
        if not self._pieces:
            return
        text = "".join(self._pieces)
        self._pieces.clear()
        self._append(self._kind, self._mend_surrogates(text))

    def _mend_surrogates(self, text: str) -> str:
        if text.isascii() and not self._halves:
            return make_storable(text)
        text = self._halves.pop(self._kind, "") + text
        if "\ud800" <= text[-1:] <= "\udbff":
            self._halves[self._kind] = text[-1]
            text = text[:-1]
        return make_storable(_SURROGATE_PAIR.sub(_join_pair, text))

    def _append(self, kind: TextKind, text: str) -> None:
        if text:
            self._events.append(ToolArguments(kind, text) if isinstance(kind, str) else kind(text))
            self.output_chars += len(text)
            if kind is Reasoning:
                self.reasoning_chars += len(text)
            elif kind is Token and self._keeps_text:
                self.texts.append(text)


def _join_pair(pair: re.Match[str]) -> str:
    return pair[0].encode("utf-16-le", "surrogatepass").decode("utf-16-le")


ANYTHING = msgspec.json.Decoder(Any)


class Decoder(ABC):
    """Turns the bytes of one answer into events; a provider says what each server-sent event means.

    `finished` is set with the `Finish`, after which nothing comes. A failure is kept in `failure` rather than raised,
    so that the events before it in the same read are not lost.
    """

    keeps_text: ClassVar[bool] = False
    """True where the text is needed again at the end, because the provider does not repeat it there."""

    def __init__(self, max_line_bytes: int, prompt: Prompt, counts: TokenCounts) -> None:
        self.max_bytes = max_line_bytes
        self._splitter = SSESplitter(max_line_bytes)
        self._batch = BatchBuilder(keeps_text=self.keeps_text)
        self._thoughts, self._echo = InlineThoughts(), EchoFilter(prompt.answer_so_far)
        # A model that continues its own words is in the middle of a text.
        self._thoughts.is_over = bool(prompt.answer_so_far) and prompt.turns[-1].role == "assistant"
        self._counts = counts
        self._sources = Sources()
        self._is_prose = prompt.response_schema is None
        self._begins_paragraph = False  # the next text: something else has come since the last one
        self._ending: Ending | None = None  # how the server says that the answer ends
        self._reported: Usage | None = None
        self._has_thinking = False  # whether this read said that the model thinks, see `_note_thinking`
        self.finished = False
        self.failure: ChatError | None = None

    def feed(self, read: bytes) -> list[ProviderEvent]:
        """Return the events that this read brought."""
        try:
            for name, data in self._splitter.feed(read):
                if data or name == b"error":
                    self._read_data(name, data)
                if self.finished:
                    break
        except ChatError as error:
            self._fail(error)
        return self._take()

    def close(self, reason: str) -> list[ProviderEvent]:
        """Return the last events of a stream that has ended for this `reason`: with `Finish`, or else set `failure`."""
        try:
            # Some servers end without the last blank line. An event that was cut in half is dropped.
            for name, data in self._splitter.finish():
                if whole := _drop_cut_object(data):
                    self._read_data(name, whole)
                if self.finished:
                    return self._take()
        except ChatError as error:
            self._fail(error)
        else:
            self._fail(ChatError("upstream_error", reason))
        return self._take()

    def release_rest(self) -> list[ProviderEvent]:
        """Return the text that was held back, because no more of the stream will come."""
        self._end_text()
        return self._batch.take()

    def read_whole(self, data: bytes) -> list[ProviderEvent]:
        """Return the events of an answer that came whole, as one JSON object.

        `data` may also be the events of a stream, one JSON object a line, or an event stream itself: some servers
        always stream. Raises `ChatError` when it is an error, or is no answer; with the figures that came in it.
        """
        try:
            return self._read_body(data)
        except ChatError as error:
            error.usage = self._counts.make_usage(self._batch.output_chars, self._batch.reasoning_chars)
            raise

    def _read_body(self, data: bytes) -> list[ProviderEvent]:
        if _FIELD.match(data):
            return self._read_events(chain(self._splitter.feed(data), self._splitter.finish()))
        data = _END_MARKER.sub(b"", data)
        lines = data.strip().splitlines()
        if len(lines) > 1 and all(map(is_whole_json, lines)):
            return self._read_events((b"", line) for line in lines)
        body = self._decode(ANYTHING, data)
        if isinstance(body, list) and len(body) == 1:  # Google sends its errors in a list
            body = body[0]
        if not isinstance(body, dict):
            raise ChatError("upstream_error", "answered with JSON that is no object", cause=Cause.BAD_ANSWER)
        if is_error(body):
            self._report_usage(body)
            raise describe_stream_failure(body)
        self._read_whole(body)
        if self._ending is None:
            detail = "answered without saying how the answer ended"
            raise ChatError("upstream_error", detail, may_pass=False, cause=Cause.BAD_ANSWER)
        self._conclude()
        return self._take()

    def _read_events(self, events: Iterable[SSE]) -> list[ProviderEvent]:
        for name, data in events:
            if not self.finished and (data or name == b"error"):
                self._read_data(name, data)
        if not self.finished:
            if not self.may_end:
                raise ChatError("upstream_error", "the events ended without an end marker")
            self._conclude()
        return self._take()

    def _read_data(self, name: bytes, data: bytes) -> None:
        """Add what one server-sent event means, or each of the events that a gateway has written into one."""
        data = _drop_second_name(data)
        try:
            self._read_event(name, data)
        except _MalformedError:
            *whole, rest = _split_objects(data)
            for part in whole:
                if not self.finished:
                    self._read_event(name, part)
            if rest and not self.finished:
                self._look_behind(rest)
                self._read_event(name, rest)

    def _look_behind(self, broken: bytes) -> None:
        """Raise the failure that a gateway has written behind half an event, if there is one."""
        for line in broken.splitlines()[1:]:
            if line.startswith(b"{") and is_whole_json(line):
                self._look_for_error(line)

    @property
    def may_end(self) -> bool:
        """True when the answer is complete if the stream ends here, though its end marker has not come."""
        return False

    @abstractmethod
    def _read_whole(self, body: dict[str, Any]) -> None:
        """Add what the answer means to the batch, and set its ending."""

    @abstractmethod
    def _report_usage(self, body: dict[str, Any]) -> None:
        """Take in the figures in a whole answer, or in an error in its place."""

    @abstractmethod
    def _read_event(self, name: bytes, data: bytes) -> None:
        """Add what one server-sent event means to the batch; raise `ChatError` when it is an error."""

    @abstractmethod
    def _add_before_end(self) -> None:
        """Add what was kept back until the end marker, before the `Usage` and the `Finish`."""

    def _add_model_text(self, text: str) -> None:
        """Add a piece of the model's text: an echo of `answer_so_far` is dropped, thoughts in tags become reasoning."""
        if self._begins_paragraph:
            self._begins_paragraph, text = False, PARAGRAPH + text
        if self._thoughts.is_over and self._echo.is_over:
            self._batch.add_text(Token, text)
            return
        for kind, piece in self._thoughts.feed(text):
            if new := piece if kind is Reasoning else self._echo.feed(piece):
                self._batch.add_text(kind, new)

    def _note_thinking(self) -> None:
        """Note that from here on the model thinks, or a tool of the provider's own runs, and nothing of it is sent."""
        self._batch.put(THINKING)
        self._has_thinking = True

    def _add_sources(self) -> bool:
        """Add a list of the cited pages that the text has no link to, where a text in prose came to its own end.

        Return whether there was one to add.
        """
        self._batch.flush()
        is_whole = (
            self._ending is not None
            and self._ending.reason == "stop"
            and self._batch.output_chars > self._batch.reasoning_chars
        )
        if is_whole and self._is_prose and (listed := self._sources.write_markdown()):
            self._batch.add_text(Token, listed)
            return True
        return False

    def _end_text(self) -> None:
        """Add what was held back of the text's beginning, because no more text follows it directly."""
        for kind, piece in self._thoughts.finish():
            if new := piece if kind is Reasoning else self._echo.feed(piece):
                self._batch.add_text(kind, new)
        if new := self._echo.finish():
            self._batch.add_text(Token, new)

    def _choose_finish_reason(self, reason: FinishReason) -> FinishReason:
        """Return the reason that goes with what the answer consists of."""
        return reason

    def _conclude(self) -> None:
        """Add the usage and the `Finish`: the end marker has come. Raises `ChatError` unless the end is a good one."""
        self._end_text()
        self._add_before_end()
        if self._ending is None:
            detail = "sent its end marker without saying how the answer ended"
            raise ChatError("upstream_error", detail, cause=Cause.BAD_ANSWER)
        if self._ending.reason is None:
            detail = f"the answer ended with {self._ending.original!r}, which is no good end"
            raise ChatError("upstream_error", detail, may_pass=self._ending.may_pass, cause=Cause.REPORTED)
        reason = self._choose_finish_reason(self._ending.reason)
        self._batch.flush()
        if (usage := self._counts.make_usage(self._batch.output_chars, self._batch.reasoning_chars)) is not None:
            self._batch.put(usage)
        self._batch.finish(reason)
        self.finished = True

    def _fail(self, error: ChatError) -> None:
        if self.may_end:
            try:
                self._conclude()
            except ChatError as end:
                self.failure = error if error.is_reported else end
        else:
            self.failure = error
        if self.failure is not None:
            self._end_text()
            self._batch.flush()

    def _take(self) -> list[ProviderEvent]:
        """Return the events that were gathered, and a `Usage` after them when the provider has reported other figures.

        So a call that is cut off later has its input, and most of the output that nobody could see. After a failure the
        last `Usage` follows in any case, so that the figures do not depend on how the bytes were cut into reads.
        """
        events = self._batch.take()
        if self._has_thinking:
            self._has_thinking = False
            is_thinking = events[-1] is THINKING
            events = [event for event in events if event is not THINKING]
            events += [THINKING] if is_thinking else []
        if not self.finished and (self._counts.has_news or self.failure is not None):
            self._counts.has_news = False
            usage = self._counts.make_usage(self._batch.output_chars, self._batch.reasoning_chars)
            if usage is not None and (self._is_news(usage) or (self.failure is not None and usage != self._reported)):
                self._reported = usage
                events.append(usage)
        return events

    def _is_news(self, usage: Usage) -> bool:
        """Return whether figures are worth reporting before the end: another input, or clearly more output."""
        known = self._reported
        if known is None or usage.input_tokens != known.input_tokens:
            return True
        return usage.output_tokens > known.output_tokens * (1 + REPORTED_GROWTH)

    def _look_for_error(self, data: bytes) -> None:
        """Raise the failure that an event of an unknown kind reports, as an object or in a list, if it reports one."""
        body = self._decode(ANYTHING, data)
        for part in body if isinstance(body, list) else [body]:
            if isinstance(part, dict) and is_error(part):
                raise describe_stream_failure(part)

    def _read_failure(self, name: bytes, data: bytes) -> ChatError:
        """Return the failure that an error event reports, whether its data is JSON or plain text."""
        try:
            return describe_stream_failure(self._decode(ANYTHING, data))
        except ChatError:
            return describe_stream_failure(
                {"type": name.decode(errors="replace"), "message": data.decode(errors="replace")}
            )

    @staticmethod
    def _decode(decoder: msgspec.json.Decoder[_Shape], data: bytes) -> _Shape:
        try:
            return decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # a wrong type is a DecodeError too
            return _decode_loosely(decoder, data)


def _decode_loosely(decoder: msgspec.json.Decoder[_Shape], data: bytes) -> _Shape:
    """Return JSON of an unexpected form as far as it can be read, so that the text in it is never lost."""
    value, shape = _decode_slowly(data), decoder.type
    if isinstance(shape, type) and issubclass(shape, msgspec.Struct):
        return fit(value, shape)
    loose: _Shape = value
    return loose


def _decode_slowly(data: bytes) -> Any:
    """Return JSON as the standard library reads it, which takes lone surrogates, NaN and line ends inside a string.

    A character that was cut in two by a server that counts bytes is lost, not the answer.
    """
    try:
        return json.loads(data.decode("utf-8", "replace"), strict=False)
    except (ValueError, RecursionError) as error:
        raise _MalformedError(error) from error


class _MalformedError(ChatError):
    """What a server sent as JSON is none."""

    def __init__(self, error: Exception) -> None:
        detail = f"sent malformed JSON: {type(error).__name__}"
        super().__init__("upstream_error", detail, cause=Cause.BAD_ANSWER)


_LOOSE_JSON = json.JSONDecoder(strict=False)
_OBJECT_BEGINS = re.compile(r"\s*\{")


def _split_objects(data: bytes) -> list[bytes]:
    """Return the JSON objects that stand in one line, and last what follows them: nothing, or no whole object."""
    text = data.decode("utf-8", "replace").strip()
    parts: list[str] = []
    end = 0
    while found := _OBJECT_BEGINS.match(text, end):
        try:
            _, end = _LOOSE_JSON.raw_decode(text, found.end() - 1)
        except (ValueError, RecursionError):
            break
        parts.append(text[found.end() - 1 : end])
    return [part.encode() for part in (*parts, text[end:].lstrip())]


def _drop_cut_object(data: bytes) -> bytes:
    """Return the data of a last event without an object at its end that was cut in half."""
    if data[:1] != b"{" or is_whole_json(data):
        return data
    *whole, rest = _split_objects(data)
    return b"".join(whole) + (b"" if rest.startswith(b"{") else rest)


def is_whole_json(data: bytes) -> bool:
    """Return whether this is JSON, and not the beginning of it."""
    try:
        _decode_slowly(data)
    except ChatError:
        return False
    return True


def _drop_second_name(data: bytes) -> bytes:
    """Return the data of an event whose field has its name twice: sse-starlette writes `data:` before whole events."""
    return data.removeprefix(b"data:")


# The field that a stream begins with, and the end marker that some servers set behind a whole answer too.
_FIELD = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:data|event|id|retry|error)?:")
_END_MARKER = re.compile(rb"(?<=\})\s*data:\s*\[DONE\]\s*\Z")

# Servers that keep a connection open without JSON write one word.
_NO_JSON = re.compile(rb"\s*(?:[^\s{\[]|\[\s*[A-Za-z]|$)")


def is_heartbeat(name: bytes, data: bytes) -> bool:
    """Return whether an event is a sign of life: named so, or with a word where JSON should be."""
    return name.lower() in (b"ping", b"heartbeat", b"keepalive", b"keep-alive") or _NO_JSON.match(data) is not None
