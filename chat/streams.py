"""Streams: an answer as it happens, as JSON events for programs and as HTML for the page, over SSE or NDJSON.

The wire format of SSE is https://html.spec.whatwg.org/multipage/server-sent-events.html. The id of each message is the
reader's position on the answer's line, so that a reconnect goes on exactly where the connection broke.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from typing import NamedTuple
from uuid import UUID
from weakref import WeakKeyDictionary

import msgspec
from django.conf import settings
from django.db.models import UUIDField
from django.http import HttpRequest, StreamingHttpResponse
from django.template.loader import render_to_string

from chat import answers, generation, metrics, pace
from chat.answers import Kept
from chat.background import detached, in_thread
from chat.broker import Batch, NotLiveError
from chat.events import (
    Done,
    Error,
    Event,
    Lasting,
    Notice,
    Start,
    Terminal,
    TextEvent,
    Token,
    Unsaid,
    payload,
    text_of,
    width,
    with_text,
)
from chat.models import Message
from chat.models.prepared import Select
from chat.page import Change, Following
from chat.structure import Fields
from chat.transcript import positioned
from chat.visitors import Visitor

SSE = "text/event-stream"
NDJSON = "application/x-ndjson"

PING = b": ping\n\n"

_json = msgspec.json.Encoder()


# The encoders


def sse(data: str | bytes, *, id: int | None = None, event: str = "") -> bytes:  # noqa: A002 - the field's own name
    """One message. Every line of `data` gets its field name; an empty message still has a data line."""
    text = data.encode() if isinstance(data, str) else data
    head = (f"event: {event}\n" if event else "") + (f"id: {id}\n" if id is not None else "")
    lines = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    return head.encode() + b"".join(b"data: " + line + b"\n" for line in lines) + b"\n"


def sse_events(batch: Batch) -> bytes:
    """A batch as JSON events; nothing happened is a comment, which keeps proxies from closing the connection."""
    if not batch.events:
        return PING
    return b"".join(sse(_json.encode(payload(event)), id=position) for position, event in said(batch))


def ndjson_events(batch: Batch) -> bytes:
    """A batch as one JSON object a line, each with its position as `id`; nothing happened is an empty line."""
    if not batch.events:
        return b"\n"
    return b"".join(_json.encode({**payload(event), "position": position}) + b"\n" for position, event in said(batch))


def said(batch: Batch) -> Iterator[tuple[int, Event]]:
    """The events of the public vocabulary, each with the position that a reader has after it."""
    return (
        (position, event) for position, event in positioned(batch.events, batch.start) if not isinstance(event, Unsaid)
    )


ENCODERS = {SSE: sse_events, NDJSON: ndjson_events}


# Following


async def follow(answer_id: UUID, after: int) -> AsyncGenerator[Batch, None]:
    """What happens to an answer from position `after` to its end, wherever it is written.

    A batch without events is a heartbeat. The last event is a `Done` or an `Error`, also for an answer that ended long
    ago; nothing more comes of one that was deleted. Live text comes from the broker when it has the answer, otherwise
    from the checkpoints in the database.
    """
    runner = generation.runner()
    position, heard = after, time.monotonic()
    with runner.watching(answer_id):
        while True:
            is_live = False
            try:
                async with runner.broker.follow(str(answer_id), position) as following:
                    is_live = True
                    while (batch := await following.next(settings.CHAT_HEARTBEAT)) is not None:
                        position, heard = after_batch(batch), time.monotonic()
                        yield batch
                        if not batch.events:
                            break  # so long a silence: the database may know that the owner is gone
                    else:
                        return
            except NotLiveError:
                is_live = False
            kept = await _checkpoints().read(answer_id, position)
            if kept is None:
                return
            batch = kept.since(position)
            position = after_batch(batch)
            if batch.events or time.monotonic() - heard > settings.CHAT_HEARTBEAT:
                heard = time.monotonic()
                yield batch
            if batch.events and isinstance(batch.events[-1], Terminal):
                return
            if not batch.events and not is_live:
                await _next_checkpoint()


def after_batch(batch: Batch) -> int:
    """The position of a reader who has had the batch."""
    return batch.start + sum(map(width, batch.events))


async def _next_checkpoint() -> None:
    """Wait for the next tick of a clock that all readers share, so that they ask together."""
    await asyncio.sleep(settings.CHAT_CHECKPOINT - time.monotonic() % settings.CHAT_CHECKPOINT)


class _Checkpoints:
    """Reads the database for all readers that ask at the same moment: three hundred of them cost two queries."""

    def __init__(self) -> None:
        self._wanted: dict[UUID, int] = {}
        self._reading: asyncio.Task[dict[UUID, Kept]] | None = None

    async def read(self, answer_id: UUID, position: int) -> Kept | None:
        """The answer for a reader at this position; None when there is no such answer."""
        self._wanted[answer_id] = min(position, self._wanted.get(answer_id, position))
        if self._reading is None:
            self._reading = detached(self._read())
        return (await asyncio.shield(self._reading)).get(answer_id)

    async def _read(self) -> dict[UUID, Kept]:
        await asyncio.sleep(0)
        wanted, self._wanted, self._reading = self._wanted, {}, None
        return await in_thread(answers.kept, wanted)


_all_checkpoints: WeakKeyDictionary[asyncio.AbstractEventLoop, _Checkpoints] = WeakKeyDictionary()


def _checkpoints() -> _Checkpoints:
    return _all_checkpoints.setdefault(asyncio.get_running_loop(), _Checkpoints())


# Responses


class Followed(NamedTuple):
    """What a stream has to know of its answer. It lasts for minutes, and the answer itself holds its conversation and
    its question."""

    id: UUID
    start: Start
    has_fields: bool

    @classmethod
    def of(cls, answer: Message) -> Followed:
        return cls(answer.pk, Start(str(answer.pk), answer.model), answer.response_schema is not None)


def events_response(visitor: Visitor, answer: Message, media_type: str, after: int | None) -> StreamingHttpResponse:
    """The answer as JSON events. Without a position the reader gets the `Start` too."""
    return streaming_response(visitor, _encoded(Followed.of(answer), media_type, after), media_type)


async def events_of(answer: Followed, after: int) -> AsyncGenerator[Batch, None]:
    """As `follow`, for programs: with the fields of an answer by a schema. They follow from the text, so a reader who
    comes back has the text before `after` read once more on its behalf."""
    fields = Fields() if answer.has_fields else None
    async with aclosing(follow(answer.id, after if fields is None else 0)) as batches:
        async for batch in batches:
            told = batch if fields is None else _with_fields(batch, fields, after)
            if told.events or not batch.events:
                yield told


def _with_fields(batch: Batch, fields: Fields, after: int) -> Batch:
    """What of the batch lies after a position, and before each piece of text the fields that it completes."""
    events: list[Event] = []
    start = batch.start
    for end, event in positioned(batch.events, batch.start):
        if isinstance(event, TextEvent):
            seen, rest = text_of(event)[: max(0, after - start)], text_of(event)[max(0, after - start) :]
            if isinstance(event, Token):
                fields.feed(seen)
                events += fields.feed(rest)
            if rest:
                events.append(with_text(event, rest))
        elif isinstance(event, Terminal) or end > after or (start == end and start >= after):
            events.append(event)
        start = end
    return Batch(max(batch.start, after), events)


async def _encoded(answer: Followed, media_type: str, after: int | None) -> AsyncGenerator[bytes, None]:
    encode = ENCODERS[media_type]
    if after is None:
        yield encode(Batch(0, [answer.start]))
    reader: metrics.Reader = "sse" if media_type == SSE else "ndjson"
    with metrics.following(reader):
        async with aclosing(events_of(answer, after or 0)) as batches:
            async for batch in batches:
                yield encode(batch)


def page_response(visitor: Visitor, answer_id: UUID, after: int) -> StreamingHttpResponse:
    """The answer as changes to the page that shows it up to position `after`."""
    return streaming_response(visitor, _page(answer_id, after), SSE)


def streaming_response(visitor: Visitor, content: AsyncIterator[bytes], media_type: str) -> StreamingHttpResponse:
    """A response that no proxy holds back: `X-Accel-Buffering` is nginx's switch, `no-transform` keeps gzip away."""
    response = StreamingHttpResponse(_while_welcome(visitor, content), content_type=media_type)
    response.headers["Cache-Control"] = "no-cache, no-transform"
    response.headers["X-Accel-Buffering"] = "no"
    return response


async def _while_welcome(visitor: Visitor, content: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """End the response when its user may not read on. The next request is told why."""
    async for chunk in content:
        yield chunk
        if not await visitor.is_welcome():
            return


# The page


async def _page(answer_id: UUID, after: int) -> AsyncGenerator[bytes, None]:
    """Render what has arrived, at a pace that the event loop can bear: one page may take a tenth of it."""
    page = _Page(answer_id, after)
    reason = "gone"  # a stream without an end is that of an answer that was deleted
    with metrics.following("page"):
        async with aclosing(follow(answer_id, 0)) as batches:
            async for batch in batches:
                begun = time.monotonic()
                message = await page.message(batch)
                cost = time.monotonic() - begun
                yield message
                if batch.events and isinstance(batch.events[-1], Terminal):
                    reason = "done"
                elif batch.events:
                    await asyncio.sleep(min(pace.LONGEST, 10 * cost))
    yield sse(reason, event="done")


# What the end of an answer brings to its page: the foot, or all of it.
TEMPLATES = {"foot": "chat/_answer_foot.html", "answer": "chat/_answer.html"}


class _Page:
    """What one reader's page shows of an answer."""

    def __init__(self, answer_id: UUID, after: int) -> None:
        self._answer = answer_id
        self._following = Following(answer_id, after)
        self._noticed = False

    async def message(self, batch: Batch) -> bytes:
        """The changes that a batch makes, as one SSE message."""
        position = batch.start
        others: list[Change] = []
        for position, event in positioned(batch.events, batch.start):
            others += await self._read(event, position)
        changes = others if self._following.is_ahead else [*self._following.changes(), *others]
        return sse("".join(map(str, changes)), id=position) if changes else PING

    async def _read(self, event: Event, position: int) -> list[Change]:
        """Take an event in; what it changes beside the answer's parts."""
        if isinstance(event, Notice):
            self._noticed = True
            html = render_to_string("chat/_notice.html", {"notice": event})
            return [Change(f"#notice-{self._answer}", "innerHTML", html)]
        if isinstance(event, Done | Error):
            self._following.end()
            part = "answer" if self._following.is_ahead else "foot"
            shown = await in_thread(_shown, self._answer, TEMPLATES[part])
            return [*self._quiet(), Change(f"#{part}-{self._answer}", "outerHTML", shown)]
        self._following.take(event, position)
        return self._quiet() if isinstance(event, Lasting) else []

    def _quiet(self) -> list[Change]:
        """Take the notice away, if one is shown."""
        if not self._noticed:
            return []
        self._noticed = False
        return [Change(f"#notice-{self._answer}", "innerHTML", "")]


_answer = Select(Message, lambda pk: Message.objects.filter(pk=pk), UUIDField())


def _shown(answer_id: UUID, template: str) -> str:
    return render_to_string(template, {"answer": _answer.get(answer_id)}).strip()


def position_of(request: HttpRequest) -> int | None:
    """Where the reader is: the `Last-Event-ID` of a reconnect, else `?after=`; None when it has nothing.

    `Last-Event-ID: 0` says that the `Start` has arrived; `?after=0` asks for everything. Raises ValueError for
    what is not a position.
    """
    if header := request.headers.get("Last-Event-ID", ""):
        return _position(header)
    return after_of(request.GET.get("after"))


def after_of(value: object) -> int | None:
    """The position that a program gives as `after`; None for 0 and for none. Raises ValueError."""
    return _position(str(value)) or None if value is not None else None


def _position(value: str) -> int:
    if not value.isascii() or not value.isdigit() or len(value) > 12:
        raise ValueError(value)
    return int(value)
