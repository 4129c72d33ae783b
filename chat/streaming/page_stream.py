"""The stream of a page: an answer's events as changes to the HTML that a browser shows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Literal, NamedTuple
from uuid import UUID

from django.db.models import UUIDField
from django.template.loader import render_to_string
from django.utils.html import escape

from chat.broker.base import Batch
from chat.conversations.cost_line import make_cost_line
from chat.core.events import Done, Error, Event, Lasting, Notice, Terminal
from chat.core.transcript import add_positions
from chat.generation import pacing
from chat.generation.process import Process
from chat.models import Message
from chat.models.compiled import Select
from chat.observability import metrics
from chat.streaming.encoders import PING, encode_sse
from chat.streaming.follow import follow
from chat.streaming.own_turn import cut_provider, render_answer, render_foot
from chat.streaming.page_change import Change
from chat.streaming.page_parts import EVERYTHING, Disclosure
from chat.streaming.shown_answer import ShownAnswer
from chat.tasks import run_in_thread


class PageKind(NamedTuple):
    """A kind of page that shows an answer: what it discloses, and how it renders an ended answer or only its foot.

    The owner's page (`is_owners`) also has notices and the line below the composer.
    """

    render_foot: Callable[[Message], str]
    render_answer: Callable[[Message], str]
    disclosure: Disclosure = EVERYTHING
    is_owners: bool = True


OWN_PAGE = PageKind(render_foot, render_answer)


async def stream_page(
    process: Process, answer_id: UUID, after: int, kind: PageKind = OWN_PAGE, *, fence: int = 0
) -> AsyncGenerator[bytes, None]:
    """Yield an answer's changes to a page as SSE messages; rendering takes at most a tenth of the event loop."""
    page = _Page(answer_id, after, kind)
    with metrics.count_follower("page"):
        async with aclosing(_stream_until_rendered(page, lambda: follow(process, answer_id, 0, fence))) as messages:
            async for message in messages:
                yield message


async def _stream_until_rendered(
    page: _Page, follow_again: Callable[[], AsyncGenerator[Batch, None]]
) -> AsyncGenerator[bytes, None]:
    """Yield the messages for a page. When rendering fails, send the whole answer again, at last as plain text."""
    tries = 0
    while True:
        async with aclosing(_stream_batches(page, follow_again())) as messages:
            async for message in messages:
                yield message
        if not page.has_failed:
            break
        tries += 1
        page = page.begin_again(is_plain=tries > MAX_TRIES)
    # An answer that was deleted has no end.
    yield encode_sse("done" if page.has_seen_end else "gone", event="done")


async def _stream_batches(page: _Page, batches: AsyncGenerator[Batch, None]) -> AsyncGenerator[bytes, None]:
    """Yield a message for each batch, up to the end or until the page has failed."""
    async with aclosing(batches):
        async for batch in batches:
            started_at = time.monotonic()
            message = await page.render_message(batch)
            cost = time.monotonic() - started_at
            yield message
            if batch.events and not page.has_seen_end:
                await asyncio.sleep(min(pacing.LONGEST, 10 * cost))
            if page.has_failed:
                return


# An answer whose rendering failed is sent again this many times; if it fails once more, its text is sent plain.
MAX_TRIES = 5


class _Page:
    """One reader's page: the answer that it shows, and the notice under it."""

    def __init__(self, answer_id: UUID, after: int | None, kind: PageKind, *, is_plain: bool = False) -> None:
        """Begin at position `after`; None sends the whole answer, to a page that may show a notice."""
        self._answer, self._kind = answer_id, kind
        self._shown = ShownAnswer(answer_id, after, is_plain=is_plain, disclosure=kind.disclosure)
        self._has_notice = after is None
        self._is_unsaved = False  # the notice says that the answer is not saved: it stays until it is
        self.has_seen_end = False

    @property
    def has_failed(self) -> bool:
        """True when the whole answer has to be sent again, see `begin_again`."""
        return self._shown.has_failed

    def begin_again(self, *, is_plain: bool) -> _Page:
        """Return the state of the page when it is sent the whole answer again."""
        return _Page(self._answer, None, self._kind, is_plain=is_plain)

    async def render_message(self, batch: Batch) -> bytes:
        """Return the changes that a batch makes, as one SSE message."""
        position = batch.start
        others: list[Change] = []
        for position, event in add_positions(batch.events, batch.start):
            others += await self._take(event, position)
        self.has_seen_end = bool(batch.events) and isinstance(batch.events[-1], Terminal)
        changes = [*self._shown.take_changes(), *others]
        return encode_sse("".join(map(str, changes)), id=position) if changes else PING

    async def _take(self, event: Event, position: int) -> list[Change]:
        """Take an event in, and return what it changes beside the answer's parts."""
        if isinstance(event, Notice):
            if not self._kind.is_owners:
                return []  # what a call waits for may be its owner's limits
            if event.code == "thinking" and self._shown.is_reasoning:
                return []  # the reasoning's own headline says so
            self._has_notice, self._is_unsaved = event.code != "saved", event.code == "unsaved"
            html = render_to_string("chat/_notice.html", {"notice": event})
            return [Change(f"#notice-{self._answer}", "innerHTML", html)]
        if isinstance(event, Done | Error):
            self._is_unsaved = False
            self._shown.end()
            last = self._shown.take_changes()
            # The end of an answer replaces its foot, or all of it.
            part: Literal["foot", "answer"] = "answer" if self._shown.differs_from_reload else "foot"
            ends = await run_in_thread(_render_ended, self._answer, part, self._kind)
            return [*([] if part == "answer" else last), *self._remove_notice(), *ends]
        self._shown.take(event, position)
        return self._remove_notice() if isinstance(event, Lasting) else []

    def _remove_notice(self) -> list[Change]:
        """Return the change that removes the notice, if one is shown."""
        if not self._has_notice or self._is_unsaved:
            return []
        self._has_notice = False
        return [Change(f"#notice-{self._answer}", "innerHTML", "")]


_answer = Select(Message, lambda pk: Message.objects.filter(pk=pk), UUIDField())


def _render_ended(answer_id: UUID, part: Literal["foot", "answer"], kind: PageKind) -> list[Change]:
    """Return the answer's end, and on its owner's page the line below the composer that goes with it."""
    answer = _answer.get(answer_id)
    shown = kind.render_foot(answer) if part == "foot" else kind.render_answer(answer)
    changes = [Change(f"#{part}-{answer_id}", "outerHTML", shown)]
    if kind.is_owners and part == "foot" and answer.asked_model:  # the page names the one that was asked
        changes.append(Change(f"#by-{answer_id}", "textContent", escape(cut_provider(answer.model))))
    if kind.is_owners:
        line = make_cost_line(answer.conversation_id, answer.pk, answer.model)
        rendered = render_to_string("chat/_cost_line.html", {"line": line}).strip()
        changes.append(Change("#cost-line", "outerHTML", rendered))
    return changes
