"""The runner: which answers live in this process; it begins them, stops them, and drains.

Nothing but an answer's task (`AnswerRun`) and the supervisor writes to a live answer.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Protocol
from uuid import UUID

from django.conf import settings
from django.db.models.signals import pre_delete

from chat.accounts.visitors import Visitor
from chat.broker.base import Broker
from chat.conversations.changes import make_notice, make_turn_notice
from chat.conversations.context_window import find_context_window
from chat.conversations.kept_answers import StartedTurn
from chat.conversations.offered_tools import store_with_tools
from chat.conversations.turn_refusals import DrainingError
from chat.core.errors import RefusedError
from chat.generation import recovery, store, titles
from chat.generation.admission import Slot
from chat.generation.answer_run import SETTLE_FOR, AnswerRun, add_remarks
from chat.generation.background_call import BackgroundCalls
from chat.generation.live_answer import LiveAnswer
from chat.generation.lost_answers import LostAnswer
from chat.generation.model_lists import keep_lists
from chat.generation.notifications import Notice, Notices
from chat.generation.recovery import RESUMED, TakenUp, may_be_continued
from chat.generation.resources import Resources
from chat.generation.supervisor import Supervisor
from chat.generation.upstream_call import UpstreamCall
from chat.generation.verdict import STOPPED_BY_USER, Verdict, make_interruption
from chat.models import Conversation, Message, Status, User
from chat.observability import metrics, tracing
from chat.providers.registry import Pool
from chat.tasks import run_in_thread, start_detached

log = logging.getLogger(__name__)

# The verdict on an answer that this process has no time to finish before its exit, unless another process continues it.
LEFT = make_interruption("server_restart")

# Seconds that a drain waits for turns that are being stored. A database that takes longer will hardly store them.
BEGINNING_FOR = 1.0

# The longest that each of a drain's last steps may take, in seconds, whatever hangs: closing MCP servers, waiting
# between SIGTERM and SIGKILL for those that did not close, and closing the connections to the broker and the providers.
CLOSE_TOOLS_FOR = 0.5
TERMINATE_TOOLS_FOR = 0.2
CLOSE_FOR = 0.2


class Asker(Protocol):
    """The asker of what comes after an answer: `chat.generation.next_questions.NextQuestionAsker`."""

    def note(self, conversation_id: UUID) -> None:
        """Note that a conversation has next questions, and ask the first one if it is due."""

    def note_end(self, conversation_id: UUID, user_id: int) -> None:
        """Note that an answer has ended: ask what comes next, or let it wait."""


class Runner:
    """The answers of this process. `chat.generation.process` makes one for each event loop; a server has one loop."""

    def __init__(
        self,
        lives: dict[UUID, LiveAnswer],
        watchers: Counter[UUID],
        background: BackgroundCalls,
        resources: Resources,
        notices: Notices,
        supervisor: Supervisor,
    ) -> None:
        self.background, self.resources, self.notices, self.supervisor = background, resources, notices, supervisor
        self.draining = False
        self._live, self._watchers = lives, watchers
        self._publishing: dict[UUID, LiveAnswer] = {}  # their ends are written, and on their way to the readers
        self._beginning: set[asyncio.Future[None]] = set()  # turns that are being kept and have no answer yet
        self._listener: asyncio.Task[None] | None = None
        self._lists: asyncio.Task[None] | None = None  # asks the providers which models they have
        self._loop = asyncio.get_running_loop()
        self._is_leaving_answers = False  # True once the drain's time is over: other processes continue what is live
        self.next_questions: Asker | None = None
        """The asker of the next question at an answer's end. Without it they wait for another process."""
        supervisor.sweeper.take_up = self.take_up
        pre_delete.connect(self._stop_deleted, sender=Conversation)

    # Begin

    async def begin(self, user: User, turn: Callable[[], StartedTurn], by: Visitor | None = None) -> StartedTurn:
        """Keep a user's turn, in a thread, and begin its answer.

        `turn` is an action of `chat.conversations.actions` with its arguments; `by` is the visitor who asks; the answer
        depends on their login.

        Check for drain and free slots first, so that a refusal writes nothing. Raises `RefusedError` when the turn may
        not begin now, and whatever else `turn` raises.
        """
        if self.draining:
            raise DrainingError
        slot, started = self.resources.slots.enter(user.pk), None
        self._beginning.add(beginning := asyncio.get_running_loop().create_future())
        try:
            try:
                started = await run_in_thread(store_with_tools, self.resources.offer_tools, turn)
            finally:
                if started is None or not started.is_new:
                    self.resources.slots.leave(slot)
            await self._start(started, slot, by)
            return started
        finally:
            self._beginning.discard(beginning)
            beginning.set_result(None)

    async def _start(self, started: StartedTurn, slot: Slot, by: Visitor | None) -> None:
        """Start the task of a new answer, which makes its upstream call as soon as it has a slot.

        Nothing is awaited here that touches the database.
        """
        if started.prompt is None or started.call is None:
            return
        answer, prompt = started.answer, started.prompt
        transcript = answer.restore_transcript()
        joint = transcript.position
        add_remarks(transcript, prompt)
        if started.remark:
            transcript.append([started.remark])
        call = UpstreamCall(started.call, prompt, transcript)
        counted_user_id = answer.conversation.user_id if started.call.has_place else None
        live = LiveAnswer.from_message(answer, call, slot, started.usage, visitor=by, counted_user_id=counted_user_id)
        await self._wait_for_end(answer.pk)
        self._live[answer.pk] = live
        await self.resources.broker.open(live.key, live.fence, live.transcript, joint)
        live.run_in(start_detached(self._run(live), tracing.make_answer_context(live.key)))
        self.wake()
        self.notices.tell_user(answer.conversation.user_id, make_turn_notice(answer))

    # Take up lost answers

    async def take_up(self, lost: LostAnswer) -> bool:
        """Continue a lost answer that was seized; return whether it is continued.

        It waits for a slot like any other answer. Nothing is changed, and this returns False, when the queue for slots
        is full, when its user's limits have no room, or when it may not be continued.
        """
        taken, slot = None, None
        try:
            if may_be_continued(lost):
                slot = self.resources.slots.enter(lost.user_id)
                taken = await run_in_thread(
                    store_with_tools, self.resources.offer_tools, partial(recovery.take_up, lost)
                )
        except RefusedError as refusal:
            log.warning("answer %s: it is not continued: %s", lost.id, refusal)
        finally:
            if taken is None and slot is not None:
                self.resources.slots.leave(slot)
        if taken is None or slot is None:
            return False
        log.warning("answer %s: its server was lost, this one goes on after %d characters", lost.id, taken.joint)
        metrics.count_recovery(taken.answer.model, lost.cause, "gone_on")
        if (late := self._live.get(lost.id)) is not None:  # this process was paused, and has seized its own answer
            late.cut_off(make_interruption("server_lost"))
        await self._wait_for_end(lost.id)
        await self._start_taken_up(taken, slot)
        return True

    async def _start_taken_up(self, taken: TakenUp, slot: Slot) -> None:
        """Begin the next call of an answer that was taken up, and tell its readers."""
        answer, broker = taken.answer, self.resources.broker
        add_remarks(taken.transcript, taken.prompt)
        if taken.bookmark is None:
            call = UpstreamCall(taken.call, taken.prompt, taken.transcript)
        else:
            call = UpstreamCall.take_up(
                taken.call, taken.prompt, taken.transcript, taken.bookmark, answer.first_token_at
            )
        live = LiveAnswer.from_message(
            answer,
            call,
            slot,
            taken.usage,
            counted_user_id=taken.counted_user_id,
            is_taken_up=True,
            interrupted_by=taken.cause,
        )
        self._live[answer.pk] = live
        await broker.open(live.key, live.fence, live.transcript, taken.joint)
        await broker.notify(live.key, live.fence, RESUMED)
        # Not before the new log exists: if this process dies before that, the old log still says what readers have had.
        await broker.forget(live.key, live.fence)
        live.run_in(start_detached(self._run(live), tracing.make_answer_context(live.key)))
        await self.notices.tell_runners({"type": "ended", "answer": live.key})

    async def _run(self, live: LiveAnswer) -> None:
        """Run one answer to its end, then let go of it."""
        run = AnswerRun(live, self.resources)
        written: Verdict | None = None
        try:
            verdict = await run.produce()
            is_left = self._is_leaving_answers and verdict == LEFT and recovery.may_be_left(live.prompt)
            if is_left:
                await run.release()
            elif await run.settle(verdict):
                written = verdict
        finally:
            del self._live[live.id]
            self._publishing[live.id] = live
            self.resources.slots.leave(live.slot)
            try:
                # The end is published after it is in the database, so that a reader who then asks the database does not
                # find the answer live. It is not published at all when the database has another end.
                await run.publish_end(written)
            finally:
                del self._publishing[live.id]
                live.end()
            if written is not None:
                self.notices.tell_user(live.context.user_id, make_notice(live.context.conversation_id, "ended"))
                self._write_title(live, written)
            if self.next_questions is not None:
                self.next_questions.note_end(UUID(live.context.conversation_id), live.context.user_id)

    async def _wait_for_end(self, answer_id: UUID) -> None:
        """Wait until an earlier run of an answer in this process has published its end.

        The database has that end first, so Continue may come before it is published: its readers would not see it. The
        end of a run elsewhere is not waited for: when it comes late, the broker refuses it by its fence.
        """
        for earlier in (self._live.get(answer_id), self._publishing.get(answer_id)):
            if earlier is not None:
                await asyncio.wait([earlier.ended])

    def _write_title(self, live: LiveAnswer, verdict: Verdict) -> None:
        if settings.CHAT_TITLE_MODEL and verdict.status == Status.COMPLETE and not self.draining:
            start_detached(titles.write_title(live.key, self.background, self.notices))

    # What comes next

    def note_next(self, user_id: int, conversation_id: UUID) -> None:
        """Tell everybody that the next questions of a conversation have changed, and ask the first one if it is due."""
        self.tell_pages_of_next(user_id, conversation_id)
        start_detached(self.notices.tell_runners({"type": "next", "conversation": str(conversation_id)}))
        if self.next_questions is not None:
            self.next_questions.note(conversation_id)

    def tell_pages_of_next(self, user_id: int, conversation_id: UUID) -> None:
        """Tell a user's open pages that the next questions of a conversation, or what they wait for, have changed."""
        self.notices.tell_user(user_id, {"type": "next", "conversation": str(conversation_id)})

    # Ask

    @property
    def broker(self) -> Broker:
        """The live log of the answers."""
        return self.resources.broker

    @property
    def pool(self) -> Pool:
        """The providers, for a caller that asks a model and keeps no answer."""
        return self.resources.pool

    @property
    def live_answers(self) -> int:
        """The number of answers that this process writes now; those that wait for a slot are not among them."""
        return self.resources.slots.given

    def find(self, answer_id: UUID) -> LiveAnswer | None:
        """Return the answer, if this process writes it now."""
        return self._live.get(answer_id)

    def is_writing_for(self, user: User, answer_id: UUID) -> bool:
        """Return whether this process writes the answer now, and for this user."""
        live = self._live.get(answer_id)
        return live is not None and live.context.user_id == user.pk

    def take_recent_visitor(self, answer_id: UUID, session: str | None) -> Visitor | None:
        """Return the visitor who asked for this answer a moment ago with this session, at most once.

        A visitor who comes back may have been logged out meanwhile.
        """
        live = self._live.get(answer_id)
        return None if live is None else live.take_visitor(session)

    @contextmanager
    def count_watcher(self, answer_id: UUID) -> Iterator[None]:
        """Count somebody as following the answer through this process, wherever it is written."""
        self._watchers[answer_id] += 1
        try:
            yield
        finally:
            self._watchers[answer_id] -= 1
            if not self._watchers[answer_id]:
                del self._watchers[answer_id]

    def note_poll(self, answer_id: UUID) -> None:
        """Note that a program has asked for a live answer, wherever that is written: it is watching.

        This costs no query; an owner elsewhere is told with the next checkpoint.
        """
        live = self._live.get(answer_id)
        if live is not None:
            live.note_watched()
        else:
            self.supervisor.polled.add(answer_id)

    # Stop

    async def stop(self, answer_id: UUID) -> None:
        """Ask for the end of an answer and wait for it: at once when it lives here, up to 3 s when elsewhere."""
        live = self._live.get(answer_id)
        if live is not None:
            live.cut_off(STOPPED_BY_USER)  # first: no database is needed to stop asking the provider
        await run_in_thread(store.request_stop, answer_id)
        if live is not None:
            await asyncio.wait([live.ended])
            return
        await self.notices.tell_runners({"type": "stop", "answer": str(answer_id)})
        for _ in range(30):
            if not await run_in_thread(Message.objects.live().filter(pk=answer_id).exists):
                return
            await asyncio.sleep(0.1)

    def _stop_deleted(self, instance: Conversation, **signal: Any) -> None:
        """End the answer of a conversation that is being deleted, alone or with its user.

        This may be called in any thread; the upstream call that it ends may be here or in another process. What the
        call cost is settled once the deletion is committed. The owner of an answer that is deleted in any other way
        finds out at its next checkpoint.
        """
        with suppress(RuntimeError):  # the event loop is closed, and nothing is answered any more
            self._loop.call_soon_threadsafe(self._stop_conversation_everywhere, str(instance.pk))

    def _stop_conversation_everywhere(self, conversation: str) -> None:
        self._stop_conversation(conversation)
        start_detached(self.notices.tell_runners({"type": "deleted", "conversation": conversation}))

    def _stop_conversation(self, conversation: str) -> None:
        for live in self._live.values():
            if live.context.conversation_id == conversation:
                live.cut_off(STOPPED_BY_USER)

    async def _obey(self, notice: Notice) -> None:
        """Obey a notice of another process, by its `type`.

        - `deleted`: stop the answer of a conversation that was deleted.
        - `left`: sweep soon, because another process has left its answers to others.
        - `next`: ask a conversation's next question, if it is due.
        - `stop`: stop an answer, if it lives here.
        - `ended`: send the readers here of an answer that another process has ended or taken over to the database.
        """
        if notice["type"] == "deleted":
            self._stop_conversation(notice["conversation"])
            return
        if notice["type"] == "left":
            self.supervisor.sweeper.sweep_soon()
            return
        if notice["type"] == "next":
            if self.next_questions is not None:
                self.next_questions.note(UUID(notice["conversation"]))
            return
        answer_id = UUID(notice["answer"])
        if notice["type"] == "stop" and answer_id in self._live:
            self._live[answer_id].cut_off(STOPPED_BY_USER)
        elif notice["type"] == "ended" and answer_id not in self._live:
            await self.resources.broker.forget(str(answer_id))

    async def interrupt_all(self, code: str, seconds: float | None = None) -> None:
        """Cut off every live answer and wait until each of them is written, for `seconds` at most."""
        cut = list(self._live.values())
        for live in cut:
            live.cut_off(make_interruption(code))
        if cut:
            await asyncio.wait([live.ended for live in cut], timeout=seconds)

    # Start and drain

    def prepare(self) -> None:
        """Do what a server needs before its first request: sweep, and have the providers ready."""
        metrics.begin_at_zero()
        self.resources.pool.warm({model.partition(":")[0] for model in settings.CHAT_MODELS})
        start_detached(self.resources.toolbox.prepare(settings.CHAT_TOOL_TIMEOUT))
        self._lists = start_detached(keep_lists(self.resources.pool))
        for model in settings.CHAT_MODELS:
            find_context_window(model, settings.CHAT_CONTEXT_WINDOWS)
        self.wake()

    def wake(self) -> None:
        """Run the supervisor and the listener, if they do not run.

        Both go on for ever, with live answers or without; a process that is alone has no notices to listen for.
        """
        self.supervisor.wake()
        if not self.notices.is_alone and (self._listener is None or self._listener.done()):
            self._listener = start_detached(self.notices.listen(self._obey))

    async def drain(self, seconds: float, settle_for: float = SETTLE_FOR) -> tuple[int, int]:
        """Let live answers finish for `seconds`, leave the rest to other processes, and return when all is written.

        Return how many finished, and how many did not. Those that no other process may continue are interrupted.

        After `seconds` it takes `settle_for` and `CLOSE_FOR` more at most. An answer or a call whose end is not written
        by then keeps its lease until that runs out, and another process ends it.
        """
        self.draining = self.supervisor.sweeper.is_leaving = True
        end = time.monotonic() + seconds
        self.resources.settle_by = end + settle_for
        calls = asyncio.ensure_future(self.background.drain(seconds, settle_for))
        if self._beginning:  # otherwise a turn could be stored that nobody answers
            await asyncio.wait(self._beginning, timeout=BEGINNING_FOR)
        all_live = len(self._live)
        if self._live:
            ends = [live.ended for live in self._live.values()]
            await asyncio.wait(ends, timeout=max(0.0, end - time.monotonic()))
        left = len(self._live)
        closing = asyncio.ensure_future(self._close_tools())  # no answer runs a tool from now on
        self.resources.settle_by = time.monotonic() + settle_for
        self._is_leaving_answers = True
        await self.interrupt_all(LEFT.reason, settle_for)
        if left:
            await self.notices.tell_runners({"type": "left"})
        for live in self._live.values():
            log.warning("answer %s: its end could not be written before the exit; the sweep has it then", live.id)
        await asyncio.gather(calls, closing)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(CLOSE_FOR, self.resources.settle_by + CLOSE_FOR - time.monotonic())):
                await self._close()
        return all_live - left, left

    async def _close_tools(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self.resources.toolbox.aclose(), CLOSE_TOOLS_FOR)
        if self.resources.toolbox.end(signal.SIGTERM):
            await asyncio.sleep(TERMINATE_TOOLS_FOR)
            self.resources.toolbox.end(signal.SIGKILL)

    async def _close(self) -> None:
        await self.supervisor.aclose()
        for task in (self._listener, self._lists):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        await self.resources.broker.aclose()
        await self.resources.pool.aclose()
