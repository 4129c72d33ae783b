"""The stream of a shared page: an answer's changes, as far as its link discloses it and for as long as that lasts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from django.http import StreamingHttpResponse
from django.template.loader import render_to_string

from chat.accounts.visitors import Visitor
from chat.generation.process import Process
from chat.models import Message, Share
from chat.streaming.encoders import SSE, encode_sse
from chat.streaming.page_parts import Disclosure
from chat.streaming.page_stream import PageKind, stream_page
from chat.streaming.responses import make_streaming_response

T = TypeVar("T")


def read_disclosure(share: Share) -> Disclosure:
    """Return what a link shows of an answer; never what the site remarks on it, which may name its owner's limits."""
    return Disclosure(reasoning=share.reasoning, tools=share.tools, remarks=False)


def make_shared_response(
    process: Process, visitor: Visitor | None, share: Share, answer: Message, after: int
) -> StreamingHttpResponse:
    """Return a response that streams the changes to a shared page; it ends with the visitor's login, if it needs one.

    Its reader counts as a watcher of the answer: its owner has asked for it and wants it to be read.
    """
    disclosure = read_disclosure(share)
    kind = PageKind(_render_foot, partial(_render_answer, disclosure), disclosure, is_owners=False)
    content = _cut_with_share(process, share.pk, stream_page(process, answer.pk, after, kind, fence=answer.fence))
    return make_streaming_response(visitor, content, SSE)


def _render_foot(answer: Message) -> str:
    return render_to_string("shared/_shared_answer_foot.html", {"answer": answer}).strip()


def _render_answer(disclosure: Disclosure, answer: Message) -> str:
    context = {"answer": answer, "disclosure": disclosure}
    return render_to_string("shared/_shared_answer.html", context).strip()


async def _cut_with_share(
    process: Process, share_id: UUID, content: AsyncGenerator[bytes, None]
) -> AsyncGenerator[bytes, None]:
    """Yield the content until its link ends, then the message that says so."""
    with process.share_watch.follow(share_id) as ended:
        async with aclosing(content), aclosing(_yield_until(ended, content)) as chunks:
            async for chunk in chunks:
                yield chunk
    if ended.is_set():
        yield encode_sse("gone", event="done")


async def _yield_until(cut: asyncio.Event, content: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """Yield the content until it ends or is cut, also while it waits for its next piece."""
    cutting = asyncio.ensure_future(cut.wait())
    try:
        while not cut.is_set():
            piece = await _wait_for_piece(content, cutting)
            if cut.is_set() or piece is None:
                return
            yield piece
    finally:
        cutting.cancel()


async def _wait_for_piece(content: AsyncGenerator[T, None], cutting: asyncio.Future[Any]) -> T | None:
    """Return the next piece of the content; None after the last, and when it is cut before."""
    coming = asyncio.ensure_future(anext(content, None))
    try:
        await asyncio.wait({coming, cutting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not coming.done():
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
    return None if coming.cancelled() or cutting.done() else coming.result()
