"""The supervisor: the one task that writes the checkpoints of all answers of a process, and looks after them.

It also sweeps: any process that finds answers whose owner is gone ends them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from chat.accounting import meters, outbox, rollups
from chat.accounting.month_report import plan_report
from chat.accounts.visitors import find_ended_logins
from chat.conversations.changes import make_notice
from chat.conversations.deletions import delete_expired, is_anything_expired
from chat.core.events import Notice
from chat.core.transcript import Transcript
from chat.generation import lost_answers, store
from chat.generation.answer_state import AnswerState
from chat.generation.background_call import BackgroundCalls
from chat.generation.kept_response import cancel_response
from chat.generation.live_answer import LiveAnswer
from chat.generation.lost_answers import LostAnswer
from chat.generation.lost_calls import settle_lost_calls
from chat.generation.notifications import Notices
from chat.generation.resources import Resources
from chat.generation.store import AnswerSnapshot
from chat.generation.verdict import STOPPED_BY_USER, make_interruption
from chat.observability import metrics
from chat.observability.event_loop import Pulse
from chat.observability.outages import FAULTS
from chat.providers.base import Prompt
from chat.tasks import run_and_close, run_in_thread, start_detached

log = logging.getLogger(__name__)

# Seconds between two sweeps for answers whose owner is gone. With a lease of 10 s an answer is terminal at most 12 s
# after its last checkpoint.
SWEEP_EVERY = 2.0

# Seconds between two corrections of what limits hold for calls that are gone; there is one also when an answer was
# lost.
RECOUNT_EVERY = 10.0

# Seconds between two searches for logs of answers that have ended without their owner, such as those that were deleted.
FORGET_EVERY = 10.0

# Seconds between two checks whether the report of a month is due.
PLAN_REPORT_EVERY = 600.0

# Lost answers that a sweep seizes: each costs some ten milliseconds, in which no checkpoint is written.
SEIZED_AT_ONCE = 50

# Seconds for which a process without a free slot leaves lost answers to others, who may have one. Then it queues them.
LEFT_TO_OTHERS = 1.0

# Rows of the ledger that a sweep adds to the sums: a few milliseconds, in which no checkpoint is written.
COUNTED_AT_ONCE = 300

# Seconds between two notices of the place in the queue, and what each waiting answer adds to that: a notice costs up to
# 0.3 ms, so that all of them take at most 3 % of an event loop that has none to spare.
TELL_QUEUE_EVERY = 1.0
TELL_EACH_QUEUED = 0.01

# An answer outlives its user's login by at most this many seconds and one checkpoint; the promise is 30.
CHECK_LOGINS_EVERY = 10.0

# Seconds until a login that seems to have ended is checked again, which decides. While users change their own
# password it seems so for a moment: the password is written before the session that goes with it.
CONFIRM_LOGIN_AFTER = 1.0

# Seconds between two warnings, in the log and to readers, while checkpoints fail.
TELL_UNSAVED_EVERY = 5.0
UNSAVED = Notice("unsaved", "This answer is not saved yet: the site's database takes nothing right now.")
SAVED = Notice("saved", "")


TakeUp = Callable[[LostAnswer], Awaitable[bool]]


class Supervisor:
    """The keeper of a process's answers.

    `lives` are the answers that it writes, `watchers` counts the followers of each answer through it, and `background`
    are its calls without an answer; all are the runner's.
    """

    def __init__(
        self,
        lives: Mapping[UUID, LiveAnswer],
        watchers: Counter[UUID],
        background: BackgroundCalls,
        resources: Resources,
        notices: Notices,
        pulse: Pulse,
    ) -> None:
        self.pulse = pulse
        self.polled: set[UUID] = set()
        """Answers of other processes that programs have asked for here since the last checkpoint."""
        self.take_up: TakeUp | None = None
        """The runner's: continues a lost answer, and returns whether it does. Without it they all end."""
        self.sweeps: list[Callable[[], Awaitable[None]]] = []
        """Searches of rooms above, made with each sweep: for work of theirs whose process is gone."""
        self.is_leaving = False
        """True when this process is about to end, and takes nothing that others have lost."""
        self._sweep_at = 0.0
        self._checkpoint_took = 0.0  # seconds, the last time
        self._lives, self._watchers, self._background = lives, watchers, background
        self._resources, self._notices = resources, notices
        self._tell_queue_places_at = 0.0
        self._look_at_logins_at = 0.0
        self._doubtful_logins: set[UUID] = set()  # answers whose login seemed to have ended at the last look
        self._recount_at = 0.0
        self._forget_at = 0.0
        self._report_at = 0.0
        self._sweeping: asyncio.Task[None] | None = None
        self._courier: asyncio.Task[int] | None = None  # sends alerts
        self._deletion: asyncio.Task[int] | None = None  # of conversations whose Undo is over
        self._tell_unsaved_at = 0.0  # 0 while checkpoints are written
        self._task: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Run the supervisor from now on, with live answers or without."""
        if self._task is None or self._task.done():
            self._task = start_detached(self._run())
        self.pulse.wake()

    async def aclose(self) -> None:
        for task in (self._task, self._sweeping):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if self._deletion is not None:
            await asyncio.gather(self._deletion, return_exceptions=True)
        await self.pulse.aclose()

    async def _run(self) -> None:
        """Write the checkpoints of all live answers with every tick, obey what the database says of them, and sweep."""
        while True:
            try:
                is_served = await self._write_checkpoints()
                self.pulse.note_checkpoint()
                await self._cut_off_ended_logins()
                self._begin_sweep()
                if is_served:
                    await self._tell_saved()
            except FAULTS as error:
                await self._note_fault(error)
            await self._check_silence_and_readers()
            await self._tell_queue_places()
            await asyncio.sleep(settings.CHAT_CHECKPOINT)

    async def _note_fault(self, error: Exception) -> None:
        """Tell readers that nothing is written, and sweep later: others could not renew their leases either."""
        self._sweep_at = time.monotonic() + settings.CHAT_LEASE
        await self._tell_unsaved(error)

    def _begin_sweep(self) -> None:
        """Begin a sweep if one is due, in a task of its own: checkpoints go on beside it.

        A sweep is a dozen steps that each wait for the event loop and for a thread. In a process that has more to do
        than it can, one took 16 s: its answers' leases ran out, and the next process, as busy, wrote them again.
        """
        if self._sweeping is None and time.monotonic() > self._sweep_at:
            self._sweep_at = time.monotonic() + SWEEP_EVERY
            self._sweeping = start_detached(self._sweep_everything())
            self._sweeping.add_done_callback(self._end_sweep)

    def _end_sweep(self, ended: asyncio.Task[None]) -> None:
        self._sweeping = None
        if not ended.cancelled() and (error := ended.exception()) is not None:
            log.error("a sweep failed, the next one tries again", exc_info=error)

    async def _sweep_everything(self) -> None:
        """Do what is due beside the answers that live here, as far as the database can be asked."""
        try:
            await self._do_what_is_due()
            await self._tell_saved()
        except FAULTS as error:
            await self._note_fault(error)

    async def _do_what_is_due(self) -> None:
        """End or continue lost answers and calls; see to meters, alerts, sums and deletions."""
        lost = await self.sweep() + (await self.sweep_calls()).total()
        await self._recount(at_once=lost > 0)
        await self._forget_ended()
        await self._plan_report()
        await self._send_alerts()
        await self._delete_expired()
        await run_in_thread(rollups.count, COUNTED_AT_ONCE)
        for sweep in self.sweeps:
            await sweep()

    async def _cut_off_ended_logins(self) -> None:
        """End the answers whose users may not ask any more; see `visitors.find_ended_logins`."""
        if time.monotonic() < self._look_at_logins_at:
            return
        self._look_at_logins_at = time.monotonic() + CHECK_LOGINS_EVERY
        asked = {live.id: (live.context.user_id, live.visitor) for live in self._lives.values() if live.is_producing}
        ended: set[UUID] = await run_in_thread(find_ended_logins, asked) if asked else set()
        for answer in ended & self._doubtful_logins & self._lives.keys():
            log.warning("answer %s: the login that asked for it has ended", answer)
            self._lives[answer].cut_off(make_interruption("login_ended"))
        self._doubtful_logins, before = ended, self._doubtful_logins
        if ended - before:
            self._look_at_logins_at = time.monotonic() + min(CONFIRM_LOGIN_AFTER, CHECK_LOGINS_EVERY)

    async def _tell_unsaved(self, error: Exception) -> None:
        """Tell readers that nothing is written now: at once, and again for new readers."""
        if time.monotonic() < self._tell_unsaved_at:
            return
        self._tell_unsaved_at = time.monotonic() + TELL_UNSAVED_EVERY
        log.warning("checkpoint failed, trying again: %s", str(error).partition("\n")[0])
        for live in list(self._lives.values()):
            await self._resources.broker.notify(live.key, live.fence, UNSAVED)

    async def _tell_saved(self) -> None:
        """Tell readers that checkpoints are written again, if they know that they were not."""
        if not self._tell_unsaved_at:
            return
        self._tell_unsaved_at = 0.0
        log.warning("checkpoints are written again")
        for live in list(self._lives.values()):
            await self._resources.broker.notify(live.key, live.fence, SAVED)

    async def _write_checkpoints(self) -> bool:
        """Write the checkpoints and obey what the database says of the answers.

        Return whether there was anything to do.
        """
        # Those too whose end is still to be written: it may have to wait for others.
        lives = [live for live in self._lives.values() if live.state is not AnswerState.ENDED]
        polled = self.polled.copy()
        elsewhere = (self._watchers.keys() | polled) - self._lives.keys()
        calls = [live.call for live in self._lives.values() if live.call is not None]
        running = [call.take_progress() for call in (*calls, *self._background.calls) if call.is_due()]
        if not lives and not elsewhere and not running:
            self._checkpoint_took = 0.0
            return False
        asked_at = time.monotonic()
        with metrics.CHECKPOINT.time():
            statuses = await run_in_thread(
                store.write_checkpoint, [live.make_snapshot() for live in lives], elsewhere, running
            )
        self._checkpoint_took = time.monotonic() - asked_at
        self.polled -= polled
        for live in lives:
            status = statuses.get(live.id)
            if status is None or status.fence != live.fence:
                live.cut_off(make_interruption("server_lost"))
                continue
            await self._renew(live, asked_at + settings.CHAT_LEASE)
            if status.stop_requested:
                live.cut_off(STOPPED_BY_USER)
            elif status.watched_ago is not None:
                live.note_watched(status.watched_ago)
        return True

    async def _renew(self, live: LiveAnswer, leased_until: float) -> None:
        """Renew an answer's lease, and publish what came while it had run out."""
        if live.renew_lease(leased_until) and live.is_producing:
            await self._resources.broker.publish(live.key, live.fence)

    async def sweep(self, *, is_finishing: bool = True) -> int:
        """Take over the answers whose owner is gone, and return how many were ended.

        Each is continued, where it can be and `is_finishing`; the others end with all the text that the broker has
        of them. A process that is about to end takes none.
        """
        if self.is_leaving:
            return 0
        ended, take_up = 0, self.take_up if is_finishing else None
        for lost in await self._seize_for_slots() if take_up is not None else await self._seize():
            whole = await self._complete(lost)
            if take_up is not None and await take_up(whole):
                continue
            if await run_in_thread(lost_answers.settle_lost, whole):
                ended += 1
                self._notices.tell_user(lost.user_id, make_notice(lost.conversation_id, "ended"))
                log.warning("answer %s: its server was lost, %d characters are kept", lost.id, len(whole.snapshot.text))
                if (kept := whole.snapshot.bookmark) is not None:  # which would go on, and be paid for
                    prompt = Prompt(lost.model.partition(":")[2], ())
                    start_detached(cancel_response(self._resources.pool, lost.model, prompt, kept.bookmark))
            await self._resources.broker.forget(str(lost.id), lost.snapshot.fence)
            await self._notices.tell_runners({"type": "ended", "answer": str(lost.id)})
        return ended

    async def _seize(self, most: int | None = None, *, ago: float = 0.0) -> list[LostAnswer]:
        own = {(live.id, live.fence) for live in self._lives.values()}
        # Where this process is late with its checkpoints, others may be as late, and their answers are not lost.
        ago += self._checkpoint_took
        return await run_in_thread(lost_answers.seize_expired, most, self._watchers.keys(), own, ago=ago)

    async def _seize_for_slots(self) -> list[LostAnswer]:
        """Seize what this process has slots for, and what no other has had slots for meanwhile; some at a time."""
        free = self._resources.slots.free
        lost = await self._seize(min(free, SEIZED_AT_ONCE)) if free else []
        if len(lost) < SEIZED_AT_ONCE:
            lost += await self._seize(SEIZED_AT_ONCE - len(lost), ago=LEFT_TO_OTHERS)
        if len(lost) == SEIZED_AT_ONCE:
            self.sweep_soon()
        return lost

    def sweep_soon(self) -> None:
        """Sweep with the next tick: another process has left its answers, or there were too many for one sweep."""
        self._sweep_at = 0.0

    async def sweep_calls(self) -> Counter[str]:
        """Settle the calls whose process is gone and that no lost answer accounts for; return how many, by purpose."""
        settled = Counter[str]()
        while found := await run_in_thread(settle_lost_calls):
            settled += found
        return settled

    async def _recount(self, *, at_once: bool) -> None:
        """Release what limits hold for answers and calls that are gone."""
        if at_once or time.monotonic() > self._recount_at:
            self._recount_at = time.monotonic() + RECOUNT_EVERY
            await run_in_thread(meters.recount)

    async def _forget_ended(self) -> None:
        """Delete the logs that other processes have left of answers that have ended, or were deleted, meanwhile."""
        if time.monotonic() < self._forget_at:
            return
        self._forget_at = time.monotonic() + FORGET_EVERY
        left = await self._resources.broker.find_left()
        for answer in left - await run_in_thread(lost_answers.find_live, left) if left else ():
            await self._resources.broker.forget(answer)

    async def _plan_report(self) -> None:
        """Have the report of the last month written into the outbox when its time has come."""
        if time.monotonic() > self._report_at:
            self._report_at = time.monotonic() + PLAN_REPORT_EVERY
            await run_in_thread(plan_report)

    async def _send_alerts(self) -> None:
        """Send the alerts that are due, in a thread of their own: receivers may be slow."""
        if self._courier is None and await run_in_thread(outbox.is_anything_due):
            self._courier = start_detached(asyncio.to_thread(run_and_close, outbox.deliver))
            self._courier.add_done_callback(self._end_courier)

    def _end_courier(self, ended: asyncio.Task[int]) -> None:
        self._courier = None
        if not ended.cancelled() and ended.exception() is not None:
            log.error("alerts could not be sent", exc_info=ended.exception())

    async def _delete_expired(self) -> None:
        """Delete expired conversations for good, in a thread of their own: a long one takes a second."""
        if self._deletion is None and await run_in_thread(is_anything_expired):
            self._deletion = start_detached(asyncio.to_thread(run_and_close, delete_expired))
            self._deletion.add_done_callback(self._end_deletion)

    def _end_deletion(self, ended: asyncio.Task[int]) -> None:
        self._deletion = None
        if not ended.cancelled() and (error := ended.exception()) is not None:
            log.warning("deleted conversations are not gone yet, trying again: %s", error)

    async def _complete(self, lost: LostAnswer) -> LostAnswer:
        """Return a lost answer with all the text that the broker has of it."""
        row = lost.snapshot
        transcript = Transcript.restore(row.text, row.reasoning, row.outline)
        rest = await self._resources.broker.seize(str(row.id), row.fence, row.position)
        transcript.append(rest or ())
        first_token_at = row.first_token_at or (timezone.now() if transcript.position else None)
        snapshot = AnswerSnapshot.from_transcript(row.id, row.fence, transcript, first_token_at, row.bookmark)
        return lost._replace(snapshot=snapshot, is_whole=lost.is_whole or rest is not None)

    async def _check_silence_and_readers(self) -> None:
        """Tell readers about silence, and cut off answers that have no readers."""
        for live in list(self._lives.values()):
            if live.id in self._watchers:
                live.note_watched()
            if settings.CHAT_ABANDON_AFTER and live.seconds_unwatched > settings.CHAT_ABANDON_AFTER:
                live.cut_off(make_interruption("abandoned"))
            elif live.state == AnswerState.CALLING and (notice := live.silence.take_notice()) is not None:
                await self._resources.broker.notify(live.key, live.fence, notice)

    async def _tell_queue_places(self) -> None:
        """Tell the readers of answers that wait how many are before theirs, where that has changed."""
        if time.monotonic() < self._tell_queue_places_at:
            return
        self._tell_queue_places_at = time.monotonic() + max(
            TELL_QUEUE_EVERY, TELL_EACH_QUEUED * self._resources.slots.waiting
        )
        lives = {live.slot: live for live in self._lives.values()}
        for before, slot in enumerate(self._resources.slots.list_waiting()):
            live = lives.get(slot)  # none yet, while the turn is being kept
            if live is not None and live.known_queue_place != before:
                await live.tell_queue_place(self._resources.broker, before)
