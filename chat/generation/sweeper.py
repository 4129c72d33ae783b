"""The sweep: any process that finds answers and calls whose process is gone continues or ends them."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from uuid import UUID

from django.utils import timezone

from chat.conversations.changes import make_notice
from chat.core.transcript import Transcript
from chat.generation import lost_answers
from chat.generation.housekeeping import Housekeeping
from chat.generation.kept_response import cancel_response
from chat.generation.live_answer import LiveAnswer
from chat.generation.lost_answers import LostAnswer
from chat.generation.lost_calls import settle_lost_calls
from chat.generation.notifications import Notices
from chat.generation.resources import Resources
from chat.generation.store import AnswerSnapshot
from chat.providers.base import Prompt
from chat.tasks import run_in_thread, start_detached

log = logging.getLogger(__name__)

# Seconds between two sweeps. With a lease of 10 s an answer is terminal at most 12 s after its last checkpoint.
SWEEP_EVERY = 2.0

# Lost answers that a sweep seizes: each costs some ten milliseconds of the thread that writes checkpoints.
SEIZED_AT_ONCE = 50

# Seconds for which a process without a free slot leaves lost answers to others, who may have one. Then it queues them.
LEFT_TO_OTHERS = 1.0

TakeUp = Callable[[LostAnswer], Awaitable[bool]]


class Sweeper:
    """The search for what was lost, in one process.

    `lives` are the answers that the process writes, and `watchers` counts the followers of each answer through it; both
    are the runner's.
    """

    def __init__(
        self, lives: Mapping[UUID, LiveAnswer], watchers: Counter[UUID], resources: Resources, notices: Notices
    ) -> None:
        self.take_up: TakeUp | None = None
        """The runner's: continues a lost answer, and returns whether it does. Without it they all end."""
        self.sweeps: list[Callable[[], Awaitable[None]]] = []
        """Sweeps of packages above this one, run with each sweep: they look for work of theirs whose process died."""
        self.is_leaving = False
        """True when this process is about to end, and takes nothing that others have lost."""
        self.lateness = 0.0
        """Seconds that the last checkpoint of this process took."""
        self._lives, self._watchers = lives, watchers
        self._resources, self._notices = resources, notices
        self._housekeeping = Housekeeping(resources.broker)
        self._due_at = 0.0

    def take_turn(self) -> bool:
        """Return whether a sweep is due. If one is, the caller begins it, and the next is due `SWEEP_EVERY` later."""
        if time.monotonic() <= self._due_at:
            return False
        self._due_at = time.monotonic() + SWEEP_EVERY
        return True

    def sweep_soon(self) -> None:
        """Sweep with the next tick: another process has left its answers, or there were too many for one sweep."""
        self._due_at = 0.0

    def postpone(self, seconds: float) -> None:
        """Begin no sweep for this long."""
        self._due_at = time.monotonic() + seconds

    async def aclose(self) -> None:
        await self._housekeeping.aclose()

    async def sweep_everything(self) -> None:
        """End or continue lost answers and calls, and do what else is due."""
        lost = await self.sweep() + (await self.sweep_calls()).total()
        await self._housekeeping.do_what_is_due(recounts=lost > 0)
        for sweep in self.sweeps:
            await sweep()

    async def sweep(self, *, is_finishing: bool = True) -> int:
        """Take over the answers whose owner is gone, and return how many were ended.

        With `is_finishing`, those that can be continued are; the others end with all the text that the broker has of
        them. A process that is about to exit takes none.
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
                if (kept := whole.snapshot.bookmark) is not None:  # the response would go on, and be paid for
                    prompt = Prompt(lost.model.partition(":")[2], ())
                    start_detached(cancel_response(self._resources.pool, lost.model, prompt, kept.bookmark))
            await self._resources.broker.forget(str(lost.id), lost.snapshot.fence)
            await self._notices.tell_runners({"type": "ended", "answer": str(lost.id)})
        return ended

    async def _seize(self, most: int | None = None, *, ago: float = 0.0) -> list[LostAnswer]:
        own = {(live.id, live.fence) for live in self._lives.values()}
        # Where this process is late with its checkpoints, others may be as late, and their answers are not lost.
        ago += self.lateness
        return await run_in_thread(lost_answers.seize_expired, most, self._watchers.keys(), own, ago=ago)

    async def _seize_for_slots(self) -> list[LostAnswer]:
        """Seize as many lost answers as this process has free slots, then those that no other process has seized.

        The latter were left to others for `LEFT_TO_OTHERS` seconds. In all at most `SEIZED_AT_ONCE` are seized; when
        there may be more, the next sweep follows soon.
        """
        free = self._resources.slots.free
        lost = await self._seize(min(free, SEIZED_AT_ONCE)) if free else []
        if len(lost) < SEIZED_AT_ONCE:
            lost += await self._seize(SEIZED_AT_ONCE - len(lost), ago=LEFT_TO_OTHERS)
        if len(lost) == SEIZED_AT_ONCE:
            self.sweep_soon()
        return lost

    async def sweep_calls(self) -> Counter[str]:
        """Settle the calls whose process is gone and that no lost answer accounts for; return how many, by purpose."""
        settled = Counter[str]()
        while found := await run_in_thread(settle_lost_calls):
            settled += found
        return settled

    async def _complete(self, lost: LostAnswer) -> LostAnswer:
        """Return a lost answer with all the text that the broker has of it."""
        row = lost.snapshot
        transcript = Transcript.restore(row.text, row.reasoning, row.outline)
        rest = await self._resources.broker.seize(str(row.id), row.fence, row.position)
        transcript.append(rest or ())
        first_token_at = row.first_token_at or (timezone.now() if transcript.position else None)
        snapshot = AnswerSnapshot.from_transcript(row.id, row.fence, transcript, first_token_at, row.bookmark)
        return lost._replace(snapshot=snapshot, is_whole=lost.is_whole or rest is not None)
