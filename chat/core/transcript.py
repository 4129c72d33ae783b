"""An answer so far: its text, its reasoning, and what lies where on its line of positions."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, groupby
from operator import attrgetter
from typing import Any

from chat.core.events import (
    Event,
    Lasting,
    NativeForm,
    Reasoning,
    Signature,
    TextEvent,
    Token,
    ToolArguments,
    ToolCall,
    ToolCallExtra,
    count_positions,
    get_text,
    name_event,
    read_payload,
    replace_text,
    write_payload,
)

# The stored form of a line: for each run of text its kind and its width, the text being stored beside it; anything else
# as `chat.core.events.write_payload` writes it, a tool's call with its `ToolCallExtra` as "extra". A `NativeForm` is
# written as a "signature": processes of the previous version read that, and ignore it.
# E.g. [["reasoning", 120], {"type": "tool_call", …}, ["token", 900], {"type": "signature", "content": …}].
Outline = list[tuple[str, int] | dict[str, Any]]

_KINDS: dict[str, type[Token | Reasoning]] = {"token": Token, "reasoning": Reasoning}


@dataclass(slots=True)
class _Piece:
    """An event as it came. Neighbouring pieces of one text are joined when the whole transcript is read."""

    start: int
    event: Lasting

    @property
    def run(self) -> object:
        """The key by which neighbouring pieces of one text are joined."""
        if isinstance(self.event, ToolArguments):
            return self.event.id
        return type(self.event) if isinstance(self.event, Token | Reasoning) else self.start


class Transcript:
    """Grows by `append`; gives any reader what it has not seen by `read_since`. One copy serves all readers.

    Positions count as `chat.core.events` defines them, so a position splits a text event anywhere, and an answer of
    text alone has as many positions as characters. A transcript that begins at `start` lacks what lies before it.
    """

    def __init__(self, start: int = 0) -> None:
        self._pieces: list[_Piece] = []
        self.extras: dict[str, str] = {}  # by the id of the tool's call
        self._native_forms: list[tuple[int, NativeForm]] = []  # each with the position at which its call ended
        self.start = start
        self.position = start

    @classmethod
    def restore(cls, text: str, reasoning: str, outline: Outline) -> Transcript:
        """Return the transcript that was stored as these three. Text that the outline does not cover follows it."""
        transcript = cls()
        rest = {"token": text, "reasoning": reasoning}
        for entry in outline:
            if isinstance(entry, Mapping):
                transcript.append(_read_entry(entry))
                continue
            name, size = entry
            transcript.append([_KINDS[name](rest[name][:size])])
            rest[name] = rest[name][size:]
        transcript.append(_KINDS[name](content) for name, content in rest.items())
        return transcript

    def append(self, events: Iterable[Event]) -> None:
        """Add what lasts of `events` at the end; what does not takes no place here."""
        for event in events:
            if isinstance(event, Lasting) and (size := count_positions(event)):
                self._pieces.append(_Piece(self.position, event))
                self.position += size
            elif isinstance(event, ToolCallExtra):
                self.extras[event.id] = event.content
            elif isinstance(event, NativeForm):
                self._native_forms.append((self.position, event))

    def read_since(self, position: int, until: int | None = None) -> list[Lasting]:
        """Return what lies after `position`, up to `until` or the end: one event for each run of text of a kind."""
        end = self.position if until is None else min(until, self.position)
        if position >= end:
            return []
        first = max(0, bisect_right(self._pieces, position, key=_get_start) - 1)
        last = bisect_left(self._pieces, end, lo=first, key=_get_start)
        return list(_join_pieces(self._pieces[first:last], position, end))

    def skip_split_event(self, position: int) -> int:
        """Return where a reader at `position` goes on: there, or at the end of an event that cannot be split.

        A reader who has had an answer's usage, and not its end, is in the middle of the joint that took their place
        when the answer was continued.
        """
        first = bisect_right(self._pieces, position, key=_get_start) - 1
        if first < 0 or isinstance(self._pieces[first].event, TextEvent):
            return position
        start = self._pieces[first].start
        end = start + count_positions(self._pieces[first].event)
        return end if start < position < end else position

    @property
    def text(self) -> str:
        return self._join_text(Token)

    @property
    def reasoning(self) -> str:
        return self._join_text(Reasoning)

    @property
    def outline(self) -> Outline:
        return [
            (name_event(event), count_positions(event))
            if isinstance(event, Token | Reasoning)
            else self._write_entry(event)
            for event in self.list_with_native_forms()
        ]

    def _write_entry(self, event: Lasting | NativeForm) -> dict[str, Any]:
        if isinstance(event, NativeForm):
            return {"type": "signature", "content": event.content}
        extra = self.extras.get(event.id, "") if isinstance(event, ToolCall) else ""
        return {**write_payload(event), "extra": extra} if extra else write_payload(event)

    def list_with_native_forms(self) -> Iterator[Lasting | NativeForm]:
        """Yield all events, and each native form after what its call brought."""
        forms = list(self._native_forms)
        position = self.start
        for event in self._join_events():
            rest, end = event, position + count_positions(event)
            while forms and forms[0][0] < end:
                cut, form = forms.pop(0)
                if cut > position and isinstance(rest, TextEvent):
                    yield replace_text(rest, get_text(rest)[: cut - position])
                    rest = replace_text(rest, get_text(rest)[cut - position :])
                    position = cut
                yield form
            yield rest
            position = end
        yield from (form for _, form in forms)

    def _join_text(self, kind: type[Token | Reasoning]) -> str:
        return join_text(self._join_events(), kind)

    def _join_events(self) -> list[Lasting]:
        """Return all events, with neighbours of a kind joined.

        This is done for each checkpoint and not for each read, which would copy the whole text thousands of times.
        """
        events = list(_join_pieces(self._pieces, self.start, self.position))
        starts = accumulate(map(count_positions, events), initial=self.start)
        self._pieces = [_Piece(start, event) for start, event in zip(starts, events, strict=False)]
        return events


def _read_entry(entry: Mapping[str, Any]) -> Iterator[Event]:
    """Yield the events that an outline's entry keeps."""
    fields = dict(entry)
    extra = fields.pop("extra", "")
    event = read_payload(fields)
    yield NativeForm(event.content) if isinstance(event, Signature) else event
    if extra and isinstance(event, ToolCall):
        yield ToolCallExtra(event.id, extra)


def join_text(events: Iterable[Lasting], kind: type[Token | Reasoning]) -> str:
    """Return the text of the events of one kind."""
    return "".join(get_text(event) for event in events if isinstance(event, kind))


def _get_start(piece: _Piece) -> int:
    return piece.start


def _join_pieces(pieces: Iterable[_Piece], position: int, end: int) -> Iterator[Lasting]:
    """Yield the events between two positions. What is not text cannot be split: a reader within it has had it."""
    for _, run in groupby(pieces, key=attrgetter("run")):
        group = list(run)
        event = group[0].event
        if not isinstance(event, TextEvent):
            if group[0].start >= position:
                yield event
        elif len(group) == 1 and group[0].start >= position and group[0].start + count_positions(event) <= end:
            yield event
        else:
            texts = (get_text(piece.event)[max(0, position - piece.start) : end - piece.start] for piece in group)  # type: ignore[arg-type]
            yield replace_text(event, "".join(texts))


def add_positions(events: Iterable[Event], position: int) -> Iterator[tuple[int, Event]]:
    """Yield each event with the position that a reader has after it, when the first one begins at `position`."""
    for event in events:
        position += count_positions(event)
        yield position, event
