"""An answer so far: its text, its reasoning, and what lies where on its line of positions."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, groupby
from operator import attrgetter
from typing import Any

from chat.events import (
    Event,
    Lasting,
    Reasoning,
    TextEvent,
    Token,
    ToolArguments,
    event_type,
    from_payload,
    payload,
    text_of,
    width,
    with_text,
)

# The stored form of a line: for each run of text its kind and its width, the text being stored beside it; anything else
# as `chat.events.payload` writes it. E.g. [["reasoning", 120], {"type": "tool_call", …}, ["token", 900]].
Outline = list[tuple[str, int] | dict[str, Any]]

_KINDS: dict[str, type[Token | Reasoning]] = {"token": Token, "reasoning": Reasoning}


@dataclass(slots=True)
class _Piece:
    """An event as it came; neighbours of text of the same kind are joined when somebody asks for the whole."""

    start: int
    event: Lasting

    @property
    def run(self) -> object:
        """What neighbours that are one text have in common."""
        if isinstance(self.event, ToolArguments):
            return self.event.id
        return type(self.event) if isinstance(self.event, Token | Reasoning) else self.start


class Transcript:
    """Grows by `append`; gives any reader what it has not seen by `since`. One copy serves all readers.

    Positions count as `chat.events` defines them, so a position splits a text event anywhere, and an answer of
    text alone has as many positions as characters. A transcript that begins at `start` lacks what lies before it.
    """

    def __init__(self, start: int = 0) -> None:
        self._pieces: list[_Piece] = []
        self.start = start
        self.position = start

    @classmethod
    def restore(cls, text: str, reasoning: str, outline: Outline) -> Transcript:
        """The transcript that was stored as these three. Text that the outline does not cover follows it."""
        transcript = cls()
        rest = {"token": text, "reasoning": reasoning}
        for entry in outline:
            if isinstance(entry, Mapping):
                transcript.append([from_payload(entry)])
                continue
            name, size = entry
            transcript.append([_KINDS[name](rest[name][:size])])
            rest[name] = rest[name][size:]
        transcript.append(_KINDS[name](content) for name, content in rest.items())
        return transcript

    def append(self, events: Iterable[Event]) -> None:
        """Add what lasts of `events` at the end; what does not takes no place here."""
        for event in events:
            if isinstance(event, Lasting) and (size := width(event)):
                self._pieces.append(_Piece(self.position, event))
                self.position += size

    def since(self, position: int, until: int | None = None) -> list[Lasting]:
        """What lies after `position`, up to `until` or the end: one event for each run of text of a kind."""
        end = self.position if until is None else min(until, self.position)
        if position >= end:
            return []
        first = max(0, bisect_right(self._pieces, position, key=_start) - 1)
        last = bisect_left(self._pieces, end, lo=first, key=_start)
        return list(_joined(self._pieces[first:last], position, end))

    @property
    def text(self) -> str:
        return self._text_of(Token)

    @property
    def reasoning(self) -> str:
        return self._text_of(Reasoning)

    @property
    def outline(self) -> Outline:
        return [
            (event_type(event), width(event)) if isinstance(event, Token | Reasoning) else payload(event)
            for event in self._events()
        ]

    def _text_of(self, kind: type[Token | Reasoning]) -> str:
        return text_in(self._events(), kind)

    def _events(self) -> list[Lasting]:
        """All events, neighbours joined: this is done for each checkpoint and not for each read, which would copy the
        whole text thousands of times."""
        events = list(_joined(self._pieces, self.start, self.position))
        starts = accumulate(map(width, events), initial=self.start)
        self._pieces = [_Piece(start, event) for start, event in zip(starts, events, strict=False)]
        return events


def text_in(events: Iterable[Lasting], kind: type[Token | Reasoning]) -> str:
    """What is said in the events of one kind."""
    return "".join(text_of(event) for event in events if isinstance(event, kind))


def _start(piece: _Piece) -> int:
    return piece.start


def _joined(pieces: Iterable[_Piece], position: int, end: int) -> Iterator[Lasting]:
    """The events between two positions. What is not text cannot be split: who has reached into it has had it."""
    for _, run in groupby(pieces, key=attrgetter("run")):
        group = list(run)
        event = group[0].event
        if not isinstance(event, TextEvent):
            if group[0].start >= position:
                yield event
        elif len(group) == 1 and group[0].start >= position and group[0].start + width(event) <= end:
            yield event
        else:
            texts = (text_of(piece.event)[max(0, position - piece.start) : end - piece.start] for piece in group)  # type: ignore[arg-type]
            yield with_text(event, "".join(texts))


def positioned(events: Iterable[Event], position: int) -> Iterator[tuple[int, Event]]:
    """Each event with the position that a reader has after it, when the first one begins at `position`."""
    for event in events:
        position += width(event)
        yield position, event
