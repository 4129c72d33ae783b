"""Encoders: events as SSE messages and as NDJSON lines."""

from __future__ import annotations

from collections.abc import Iterator

from chat.broker.base import Batch
from chat.core.events import Event, Remark, Unsaid, write_payload
from chat.core.transcript import add_positions
from chat.streaming.json_lines import encode_line

SSE = "text/event-stream"
NDJSON = "application/x-ndjson"

PING = b": ping\n\n"


def encode_sse(data: str | bytes, *, id: int | None = None, event: str = "") -> bytes:  # noqa: A002 - the field's own name
    """Return one SSE message. Every line of `data` gets its field name; an empty message still has a data line."""
    text = data.encode() if isinstance(data, str) else data
    head = (f"event: {event}\n" if event else "") + (f"id: {id}\n" if id is not None else "")
    lines = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return head.encode() + b"data: " + lines.replace(b"\n", b"\ndata: ") + b"\n\n"


def encode_sse_events(batch: Batch) -> bytes:
    """Return a batch as SSE messages; an empty one is a comment, which keeps proxies from closing the connection."""
    if not batch.events:
        return PING
    return b"".join(
        encode_sse(encode_line(write_payload(event)), id=position) for position, event in select_public_events(batch)
    )


def encode_ndjson_events(batch: Batch) -> bytes:
    """Return a batch as one JSON object a line, each with its `position`; an empty batch is nothing."""
    return b"".join(
        encode_line({**write_payload(event), "position": position}) + b"\n"
        for position, event in select_public_events(batch)
    )


def encode_ndjson_ping(position: int) -> bytes:
    """Return a heartbeat as an NDJSON line, for a program that has asked for heartbeats."""
    return encode_line({"type": "ping", "position": position}) + b"\n"


def select_public_events(batch: Batch) -> Iterator[tuple[int, Event]]:
    """Yield the events that programs get, each with the position that a reader has after it."""
    return (
        (position, event.notice if isinstance(event, Remark) else event)
        for position, event in add_positions(batch.events, batch.start)
        if not isinstance(event, Unsaid)
    )


ENCODERS = {SSE: encode_sse_events, NDJSON: encode_ndjson_events}
