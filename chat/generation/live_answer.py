"""A live answer, as the process that writes it knows it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from chat.accounts.visitors import Visitor
from chat.broker.base import Broker
from chat.core.errors import ChatError
from chat.core.events import Lasting, ProviderEvent, Reasoning, Thought, Usage
from chat.core.transcript import Transcript
from chat.generation.admission import Slot, make_waiting_notice
from chat.generation.answer_state import TRANSITIONS, AnswerState, TransitionError
from chat.generation.silence_clock import SilenceClock
from chat.generation.store import AnswerSnapshot, CallResult
from chat.generation.upstream_call import UpstreamCall
from chat.generation.verdict import Verdict
from chat.models import Message
from chat.providers.base import THINKING, Prompt
from chat.providers.errors import drop_quotations
from chat.tools.base import Context


@dataclass(eq=False, slots=True)
class LiveAnswer:
    """An answer as its task and the supervisor know it. The task alone changes its state, by the methods here."""

    id: UUID
    fence: int
    model: str
    context: Context
    transcript: Transcript
    prompt: Prompt  # what was asked last
    call: UpstreamCall | None  # the one under way; None between two of them
    slot: Slot
    asked_at: datetime
    visitor: Visitor | None  # whose login it depends on; None: the staff asked for it on the user's behalf
    usage: Usage = field(default_factory=lambda: Usage(0, 0))  # of the calls that have ended, of earlier runs too
    first_token_at: datetime | None = None
    is_taken_up: bool = False  # it was lost, and this process continues it
    interrupted_by: str = ""  # the code of the last interruption that it was continued after
    breaks: int = 0  # how often its provider broke off and was asked to go on
    state: AnswerState = AnswerState.KEPT
    cut: Verdict | None = None  # why the runner cut the stream, before the provider ended it
    ended: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    silence: SilenceClock = field(init=False)  # of the call under way
    known_queue_place: int | None = None  # how many answers its readers know to be before it
    counted_user_id: int | None = None  # its user, if it counts towards a limit on their live answers
    _visitor_to_come: Visitor | None = None  # who asked from a page, until that page follows the answer
    _watched_at: float = field(default_factory=time.monotonic)
    _leased_until: float = field(default_factory=lambda: time.monotonic() + settings.CHAT_LEASE)
    _task: asyncio.Task[None] | None = None
    _had_slot_at: float | None = None
    _first_token: float | None = None
    _thinking_since: float | None = None

    @classmethod
    def from_message(
        cls,
        answer: Message,
        call: UpstreamCall,
        slot: Slot,
        usage: Usage,
        *,
        visitor: Visitor | None = None,
        counted_user_id: int | None = None,
        is_taken_up: bool = False,
        interrupted_by: str = "",
    ) -> LiveAnswer:
        """Return an answer whose next upstream call is `call`, and whose earlier ones came to `usage`."""
        return cls(
            answer.pk,
            answer.fence,
            answer.model,
            Context(answer.conversation.user_id, str(answer.conversation_id)),
            call.transcript,
            call.prompt,
            call,
            slot,
            answer.created_at,
            visitor,
            usage,
            counted_user_id=counted_user_id,
            is_taken_up=is_taken_up,
            first_token_at=answer.first_token_at if is_taken_up else None,
            breaks=answer.breaks if is_taken_up else 0,
            interrupted_by=interrupted_by,
        )

    def __post_init__(self) -> None:
        self.silence = SilenceClock(self.prompt)
        # A copy: the visitor who follows the page is held to one session.
        self._visitor_to_come = None if self.visitor is None else replace(self.visitor)

    @property
    def key(self) -> str:
        return str(self.id)

    # States

    def enter(self, state: AnswerState) -> None:
        """Change to a state. Raises `TransitionError` when it may not follow the present one."""
        if state not in TRANSITIONS[self.state]:
            raise TransitionError(self.state, state)
        self.state = state

    @property
    def is_producing(self) -> bool:
        """True while the end of the answer is still to come."""
        return self.state not in (AnswerState.ENDING, AnswerState.ENDED)

    def run_in(self, task: asyncio.Task[None]) -> None:
        """Note the task that produces the answer, which a cut cancels."""
        self._task = task

    def use_slot(self) -> None:
        """Note that it has its slot: all of its times count from now, and its first call begins."""
        self.enter(AnswerState.CALLING)
        self.slot.use()
        self._had_slot_at = time.monotonic()
        self.silence = SilenceClock(self.prompt)
        if self.call is not None:
            self.call.begin()

    def begin_call(self, call: UpstreamCall) -> None:
        """Go on with a further upstream call."""
        self.enter(AnswerState.CALLING)
        self.call, self.prompt = call, call.prompt
        self.silence = SilenceClock(call.prompt)

    def end_call(self, state: AnswerState) -> CallResult | None:
        """Change to a state without a call under way; return the result of the call that ended, if there was one."""
        self.enter(state)
        return self.take_result()

    def take_result(self) -> CallResult | None:
        """Return the result of the call under way, and drop the call."""
        if self.call is None:
            return None
        if self._had_slot_at is None:
            self.call.end_unasked()
        result, self.call = self.call.result, None
        self.usage += result.usage
        return result

    def end(self) -> None:
        """Note that the answer has ended and its readers know."""
        self.enter(AnswerState.ENDED)
        self.ended.set_result(None)

    def cut_off(self, verdict: Verdict) -> None:
        """End the upstream call now. The first reason counts; an answer that is ending already is left alone."""
        if self.cut is None and self.is_producing and self._task is not None:
            self.cut = verdict
            if self.state != AnswerState.KEPT:  # a task that is cancelled before its first step never takes one
                self._task.cancel()

    # Content

    def add_thoughts(self, batch: Sequence[ProviderEvent]) -> Iterator[ProviderEvent | Thought]:
        """Yield the events, and after each stretch of reasoning how long it took."""
        for event in batch:
            if isinstance(event, Reasoning) and event is not THINKING:
                self._thinking_since = self._thinking_since or time.monotonic()
            elif self._thinking_since is not None and isinstance(event, Lasting):
                yield Thought(round((time.monotonic() - self._thinking_since) * 1000))
                self._thinking_since = None
            yield event

    def note_content(self, batch: Sequence[ProviderEvent]) -> None:
        """Note that a batch has brought something of the answer."""
        self.silence.note_content(batch)
        if self._first_token is None:
            self._first_token = time.monotonic()
            self.first_token_at = self.first_token_at or timezone.now()

    # Its owner and its readers

    @property
    def is_leased(self) -> bool:
        """True while no other process can have taken the answer over. After a pause of this process one may have."""
        return time.monotonic() < self._leased_until

    def renew_lease(self, until: float) -> bool:
        """Renew the lease until this `time.monotonic`; return whether it had run out meanwhile."""
        was_certain, self._leased_until = self.is_leased, until
        return not was_certain

    def note_watched(self, seconds_ago: float = 0.0) -> None:
        """Note that the answer had a reader `seconds_ago`."""
        self._watched_at = max(self._watched_at, time.monotonic() - seconds_ago)

    @property
    def seconds_unwatched(self) -> float:
        """Seconds since the answer last had a reader."""
        return time.monotonic() - self._watched_at

    def take_visitor(self, session: str | None) -> Visitor | None:
        """Return the visitor who asked for the answer a moment ago with this session, at most once."""
        if self._visitor_to_come is None or not self._visitor_to_come.is_known(session):
            return None
        visitor, self._visitor_to_come = self._visitor_to_come, None
        return visitor

    def make_snapshot(self) -> AnswerSnapshot:
        """Return what a checkpoint keeps."""
        bookmark = None if self.call is None else self.call.stored_bookmark
        return AnswerSnapshot.from_transcript(self.id, self.fence, self.transcript, self.first_token_at, bookmark)

    def measure_times(self) -> dict[str, int | None]:
        """Return the milliseconds from the first upstream call to the first word, and to now."""
        return {
            "first_token_ms": self._measure_until(self._first_token),
            "total_ms": self._measure_until(time.monotonic()),
        }

    def _measure_until(self, moment: float | None) -> int | None:
        return None if self._had_slot_at is None or moment is None else round((moment - self._had_slot_at) * 1000)

    def redact(self, error: ChatError) -> str:
        """Return what the log may say of a failure: nothing of the conversation."""
        return drop_quotations(str(error), self.prompt, self.transcript.text)

    async def tell_queue_place(self, broker: Broker, before: int) -> None:
        """Tell the readers of an answer that waits for a slot how many answers are before theirs."""
        self.known_queue_place = before
        await broker.notify(self.key, self.fence, make_waiting_notice(before))
