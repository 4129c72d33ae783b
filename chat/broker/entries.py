"""Entries of an answer's log as they are written outside of the process, each with the position that follows it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from chat.core.events import Event, Lasting, count_positions, read_payload, write_payload
from chat.core.transcript import Transcript

_json = msgspec.json.Encoder()
_read_json = msgspec.json.Decoder(list[dict[str, Any]])


def encode(events: Iterable[Event]) -> bytes:
    """Return the events as JSON, in one line."""
    return _json.encode([write_payload(event) for event in events])


def decode(data: bytes) -> list[Event]:
    """Return what `encode` wrote."""
    return [read_payload(event) for event in _read_json.decode(data)]


def extend(transcript: Transcript, position: int, events: Sequence[Event]) -> bool:
    """Add what an entry has beyond the transcript's end; return False when something is missing between the two.

    `position` is the one that follows the entry.
    """
    lasting = [event for event in events if isinstance(event, Lasting)]
    entry = Transcript(position - sum(map(count_positions, lasting)))
    entry.append(lasting)
    if lasting and entry.start > transcript.position:
        return False
    transcript.append(entry.read_since(transcript.position))
    return True
