"""Streams: an answer as it happens, as JSON events for programs and as HTML for the page, over SSE or NDJSON.

The wire format of SSE is https://html.spec.whatwg.org/multipage/server-sent-events.html. The id of each message is the
reader's position on the answer's line, so that a reconnect goes on exactly where the connection broke.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import NamedTuple
from uuid import UUID

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse

from chat.accounts.visitors import Visitor
from chat.broker.base import Batch
from chat.core.events import Event, Start, Terminal, TextEvent, Token, count_positions, get_text, replace_text
from chat.core.json_fields import Fields
from chat.core.transcript import add_positions
from chat.generation.process import Process
from chat.models import Message
from chat.observability import metrics
from chat.streaming.encoders import ENCODERS, NDJSON, SSE, encode_ndjson_ping, encode_sse
from chat.streaming.follow import follow
from chat.streaming.page_stream import stream_page


class FollowedAnswer(NamedTuple):
    """The few things that a stream needs of its answer.

    A stream lasts for minutes, and the answer itself would hold its conversation and its question in memory.
    """

    id: UUID
    fence: int
    start: Start
    has_fields: bool

    @classmethod
    def from_message(cls, answer: Message) -> FollowedAnswer:
        return cls(
            answer.pk,
            answer.fence,
            Start(str(answer.pk), answer.model, str(answer.conversation_id)),
            answer.response_schema is not None,
        )


def make_events_response(
    process: Process,
    visitor: Visitor,
    answer: Message,
    media_type: str,
    after: int | None,
    *,
    has_pings: bool = False,
) -> StreamingHttpResponse:
    """Return a response that streams the answer as JSON events; without a position it begins with the `Start`.

    With `has_pings`, NDJSON has a line where nothing has come for `CHAT_HEARTBEAT` seconds; SSE has a comment anyway.
    """
    followed = FollowedAnswer.from_message(answer)
    content = _encode_batches(process, followed, media_type, after, has_pings=has_pings)
    return make_streaming_response(visitor, content, media_type)


async def read_events(process: Process, answer: FollowedAnswer, after: int) -> AsyncGenerator[Batch, None]:
    """Yield what `follow` does, with the fields of an answer by a schema.

    Fields are read from the text, so for a reader who comes back the text before `after` is read once more.
    """
    fields = Fields() if answer.has_fields else None
    async with aclosing(follow(process, answer.id, after if fields is None else 0, answer.fence)) as batches:
        async for batch in batches:
            extended = batch if fields is None else _add_fields(batch, fields, after)
            if extended.events or not batch.events:
                yield extended


def _add_fields(batch: Batch, fields: Fields, after: int) -> Batch:
    """Return the events after a position, with the fields that a piece of text completes before that piece."""
    events: list[Event] = []
    start = batch.start
    for end, event in add_positions(batch.events, batch.start):
        if isinstance(event, TextEvent):
            seen, rest = get_text(event)[: max(0, after - start)], get_text(event)[max(0, after - start) :]
            if isinstance(event, Token):
                fields.feed(seen)
                events += fields.feed(rest)
            if rest:
                events.append(replace_text(event, rest))
        elif isinstance(event, Terminal) or end > after or (start == end and start >= after):
            events.append(event)
        start = end
    return Batch(start - sum(map(count_positions, events)), events)


async def _encode_batches(
    process: Process, answer: FollowedAnswer, media_type: str, after: int | None, *, has_pings: bool
) -> AsyncGenerator[bytes, None]:
    encode = ENCODERS[media_type]
    if after is None:
        yield encode(Batch(0, [answer.start]))
    is_pinging = has_pings and media_type == NDJSON
    reader: metrics.Reader = "sse" if media_type == SSE else "ndjson"
    with metrics.count_follower(reader):
        async with aclosing(read_events(process, answer, after or 0)) as batches:
            async for batch in batches:
                yield encode(batch) if batch.events or not is_pinging else encode_ndjson_ping(batch.start)


def make_sent_response(
    process: Process, visitor: Visitor, sent: HttpResponse, answer: Message
) -> StreamingHttpResponse:
    """Return a response with the HTML of `sent` as its first message, and then the answer's changes to it.

    One request brings a page its turn and the turn's stream: over a line with a round trip of 100 ms the first word
    comes that much earlier than by a request of its own, and a server has half of the requests.
    """
    messages = stream_page(process, answer.pk, answer.position, fence=answer.fence)
    response = make_streaming_response(visitor, _stream_sent(sent.content, messages), SSE)
    for name, value in sent.headers.items():
        response.headers.setdefault(name, value)
    return response


async def _stream_sent(html: bytes, messages: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(messages):
        yield encode_sse(html)
        del html  # 2 KiB, and the rest takes minutes
        async for message in messages:
            yield message


def make_page_response(
    process: Process, visitor: Visitor, answer_id: UUID, after: int, fence: int
) -> StreamingHttpResponse:
    """Return a response that streams the changes to a page which shows the answer up to position `after`."""
    return make_streaming_response(visitor, stream_page(process, answer_id, after, fence=fence), SSE)


def make_streaming_response(
    visitor: Visitor | None, content: AsyncIterator[bytes], media_type: str
) -> StreamingHttpResponse:
    """Return a response that no proxy buffers: `X-Accel-Buffering` is for nginx.

    `no-transform` keeps a proxy from compressing it that would hold words back. nginx, which does not, ignores it.
    It ends with the visitor's login; without a visitor it depends on none.
    """
    yielded = content if visitor is None else _yield_while_welcome(visitor, content)
    response = StreamingHttpResponse(yielded, content_type=media_type)
    response.headers["Cache-Control"] = "no-cache, no-transform"  # and what `PrivacyMiddleware` adds
    response.headers["X-Accel-Buffering"] = "no"
    return response


async def _yield_while_welcome(visitor: Visitor, content: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield the content until its user's login ends; the next request gets the reason."""
    async for chunk in content:
        if chunk:  # a heartbeat may be nothing to send
            yield chunk
        if not await visitor.is_welcome():
            return


def read_position(request: HttpRequest) -> int | None:
    """Return the reader's position: the `Last-Event-ID` of a reconnect, else `?after=`; None when it has nothing.

    `Last-Event-ID: 0` says that the `Start` has arrived; `?after=0` asks for everything. Raises ValueError for
    what is not a position.
    """
    if header := request.headers.get("Last-Event-ID", ""):
        return _parse_position(header)
    return read_after(request.GET.get("after"))


def read_after(value: object) -> int | None:
    """Return the position that a program gives as `after`; None for 0 and for none. Raises ValueError."""
    return _parse_position(str(value)) or None if value is not None else None


def _parse_position(value: str) -> int:
    if not value.isascii() or not value.isdigit() or len(value) > 12:
        raise ValueError(value)
    return int(value)
