"""An answer in the making, as the process knows it that writes it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from django.conf import settings

from chat.answers import Bill, Row, Verdict
from chat.calls import Call
from chat.errors import ChatError
from chat.events import Lasting, ProviderEvent, Reasoning, Thought, Usage
from chat.places import Place
from chat.providers import Prompt
from chat.providers.failures import unquoted
from chat.tools import Context
from chat.transcript import Transcript
from chat.visitors import Visitor


@dataclass(eq=False, slots=True)
class Live:
    """What its task and the keeper say to each other about an answer."""

    id: UUID
    fence: int
    model: str
    context: Context
    transcript: Transcript
    asked: Prompt
    call: Call | None  # the one under way; None between two of them
    place: Place
    asked_at: datetime
    asked_by: Visitor | None  # on a page, until it follows
    usage: Usage = field(default_factory=lambda: Usage(0, 0))  # of the calls that have ended
    begun: float | None = None  # when it had its place
    first_token: float | None = None
    first_token_at: datetime | None = None
    heard_at: float = field(default_factory=time.monotonic)  # the last word of the provider
    watched_at: float = field(default_factory=time.monotonic)
    leased_until: float = field(default_factory=lambda: time.monotonic() + settings.CHAT_LEASE)
    thinking_since: float | None = None
    noticed: bool = False
    told_before: int | None = None  # how many its readers know to be before it
    cut: Verdict | None = None  # why the runner cut the stream, before the provider ended it
    lost: bool = False  # another process reaped it: nothing may be written
    started: bool = False
    streaming: bool = True
    task: asyncio.Task[None] | None = None
    ended: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def key(self) -> str:
        return str(self.id)

    def cut_off(self, verdict: Verdict) -> None:
        """End the upstream call now. The first reason counts; an answer that is ending already is left alone."""
        if self.cut is None and self.streaming and self.task is not None:
            self.cut = verdict
            if self.started:  # a task that is cancelled before its first step never takes one
                self.task.cancel()

    @property
    def is_leased(self) -> bool:
        """Whether no other process can have taken the answer over. A process that was paused finds out that it may."""
        return time.monotonic() < self.leased_until

    def told(self, error: ChatError) -> str:
        """What the log may say of a failure: nothing of the conversation."""
        return unquoted(str(error), self.asked, self.transcript.text)

    def times(self) -> dict[str, int | None]:
        """Milliseconds from the first upstream call to the first word and to now."""
        return {"first_token_ms": self._after(self.first_token), "total_ms": self._after(time.monotonic())}

    def _after(self, moment: float | None) -> int | None:
        return None if self.begun is None or moment is None else round((moment - self.begun) * 1000)

    def row(self) -> Row:
        return Row.of(self.id, self.fence, self.transcript, self.first_token_at)

    def with_thoughts(self, batch: Sequence[ProviderEvent]) -> Iterator[ProviderEvent | Thought]:
        """The events, and after each stretch of reasoning how long it took."""
        for event in batch:
            if isinstance(event, Reasoning):
                self.thinking_since = self.thinking_since or time.monotonic()
            elif self.thinking_since is not None and isinstance(event, Lasting):
                yield Thought(round((time.monotonic() - self.thinking_since) * 1000))
                self.thinking_since = None
            yield event

    def begin(self) -> None:
        """It has its place: all of its times count from now."""
        self.place.use()
        self.begun = self.heard_at = time.monotonic()
        self.noticed = False
        if self.call is not None:
            self.call.began = self.begun

    def end_call(self) -> Bill | None:
        """The call under way has ended; what it costs."""
        if self.call is None:
            return None
        if self.begun is None:
            self.call.never_began()
        bill, self.call = self.call.bill, None
        self.usage += bill.usage
        return bill
