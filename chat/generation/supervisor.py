"""The supervisor: the one task that writes the checkpoints of all answers of a process, and looks after them.

It also has a sweep begun when one is due, see `chat.generation.sweeper`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Mapping
from uuid import UUID

from django.conf import settings

from chat.accounts.visitors import find_ended_logins
from chat.core.events import Notice
from chat.generation import store
from chat.generation.answer_state import AnswerState
from chat.generation.background_call import BackgroundCalls
from chat.generation.live_answer import LiveAnswer
from chat.generation.resources import Resources
from chat.generation.sweeper import Sweeper
from chat.generation.verdict import STOPPED_BY_USER, make_interruption
from chat.observability import metrics
from chat.observability.event_loop import Pulse
from chat.observability.outages import FAULTS
from chat.tasks import run_in_thread, start_detached

log = logging.getLogger(__name__)

# Seconds between two notices of the place in the queue, and what each waiting answer adds to that: a notice costs up to
# 0.3 ms, so that all of them take at most 3 % of an event loop that has none to spare.
TELL_QUEUE_EVERY = 1.0
TELL_EACH_QUEUED = 0.01

# An answer outlives its user's login by at most this many seconds and one checkpoint; the promise is 30.
CHECK_LOGINS_EVERY = 10.0

# Seconds until a login that seems to have ended is checked again, which decides. A login seems to have ended for a
# moment while its user changes their password, because the password is written before the session that goes with it.
CONFIRM_LOGIN_AFTER = 1.0

# Seconds between two warnings, in the log and to readers, while checkpoints fail.
TELL_UNSAVED_EVERY = 5.0
UNSAVED = Notice("unsaved", "This answer is not saved yet: the site's database takes nothing right now.")
SAVED = Notice("saved", "")


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
        sweeper: Sweeper,
        pulse: Pulse,
    ) -> None:
        self.sweeper, self.pulse = sweeper, pulse
        self.polled: set[UUID] = set()
        """Answers of other processes that programs have asked for here since the last checkpoint."""
        self._lives, self._watchers, self._background = lives, watchers, background
        self._resources = resources
        self._tell_queue_places_at = 0.0
        self._look_at_logins_at = 0.0
        self._doubtful_logins: set[UUID] = set()  # answers whose login seemed to have ended at the last look
        self._sweeping: asyncio.Task[None] | None = None
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
        await self.sweeper.aclose()
        await self.pulse.aclose()

    async def _run(self) -> None:
        """Write the checkpoints of all live answers with every tick, obey what the database says of them, and sweep."""
        while True:
            try:
                has_written = await self._write_checkpoints()
                self.pulse.note_checkpoint()
                await self._cut_off_ended_logins()
                self._begin_sweep()
                if has_written:
                    await self._tell_saved()
            except FAULTS as error:
                await self._note_fault(error)
            await self._check_silence_and_readers()
            await self._tell_queue_places()
            await asyncio.sleep(settings.CHAT_CHECKPOINT)

    async def _note_fault(self, error: Exception) -> None:
        """Tell readers that nothing is written, and sweep later: others could not renew their leases either."""
        self.sweeper.postpone(settings.CHAT_LEASE)
        await self._tell_unsaved(error)

    def _begin_sweep(self) -> None:
        """Begin a sweep if one is due, in a task of its own: checkpoints go on beside it.

        A sweep is a dozen steps that each wait for the event loop and for a thread. In a process that has more to do
        than it can, one took 16 s: its answers' leases ran out, and the next process, as busy, wrote them again.
        """
        if self._sweeping is None and self.sweeper.take_turn():
            self._sweeping = start_detached(self._sweep())
            self._sweeping.add_done_callback(self._end_sweep)

    async def _sweep(self) -> None:
        """Sweep, as far as the database can be asked."""
        try:
            await self.sweeper.sweep_everything()
            await self._tell_saved()
        except FAULTS as error:
            await self._note_fault(error)

    def _end_sweep(self, ended: asyncio.Task[None]) -> None:
        self._sweeping = None
        if not ended.cancelled() and (error := ended.exception()) is not None:
            log.error("a sweep failed, the next one tries again", exc_info=error)

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
        """Write the checkpoints and obey what the database says of the answers; return whether any were due."""
        # Those too whose end is still to be written: it may wait for other ends, and the lease must not run out.
        lives = [live for live in self._lives.values() if live.state is not AnswerState.ENDED]
        polled = self.polled.copy()
        elsewhere = (self._watchers.keys() | polled) - self._lives.keys()
        calls = [live.call for live in self._lives.values() if live.call is not None]
        running = [call.take_progress() for call in (*calls, *self._background.calls) if call.is_due()]
        if not lives and not elsewhere and not running:
            self.sweeper.lateness = 0.0
            return False
        asked_at = time.monotonic()
        with metrics.CHECKPOINT.time():
            statuses = await run_in_thread(
                store.write_checkpoint, [live.make_snapshot() for live in lives], elsewhere, running
            )
        self.sweeper.lateness = time.monotonic() - asked_at
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
