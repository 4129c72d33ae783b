"""The keeper: the one task that writes what all answers of a process have so far, and looks after them. It also sweeps:
answers whose owner is gone are ended by any process that finds them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Mapping
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError
from django.utils import timezone

from chat import answers, ledger, metrics
from chat.answers import BY_ITS_USER, Row, interrupted
from chat.background import detached, in_thread
from chat.broker import Broker
from chat.events import Notice
from chat.live import Live
from chat.notices import Notices
from chat.places import Places, waiting_notice
from chat.transcript import Transcript

log = logging.getLogger(__name__)

# How often a process looks for answers whose owner is gone. With a lease of 10 s an answer is terminal at most 12 s
# after its last checkpoint.
SWEEP_EVERY = 2.0

# Rows of the ledger that a sweep adds to the sums: a few milliseconds, in which no checkpoint is written.
COUNTED_AT_ONCE = 300

# How often those who wait for a place are told how many are before them, and what each of them adds to that: telling a
# reader costs up to 0.3 ms, so that all of it takes at most 3 % of an event loop that has none to spare.
TELL_PLACES_EVERY = 1.0
TELL_EACH_PLACE = 0.01


class Keeper:
    """`lives` are the answers that this process writes, `watchers` counts who follows which answer through it; both are
    the runner's."""

    def __init__(
        self, lives: Mapping[UUID, Live], watchers: Counter[UUID], broker: Broker, notices: Notices, places: Places
    ) -> None:
        self.pulse = metrics.Pulse()
        self._lives, self._watchers = lives, watchers
        self._broker, self._notices, self._places = broker, notices, places
        self._tell_places_at = 0.0
        self._task: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Keep from now on, with live answers or without."""
        if self._task is None or self._task.done():
            self._task = detached(self._keep())
        self.pulse.wake()

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.pulse.aclose()

    async def _keep(self) -> None:
        """Every tick: one write for all live answers, then what the database says about them. And sweep."""
        sweep_at = 0.0
        while True:
            try:
                await self._checkpoint()
                self.pulse.kept()
                if time.monotonic() > sweep_at:
                    sweep_at = time.monotonic() + SWEEP_EVERY
                    await self.sweep()
                    await in_thread(ledger.count, COUNTED_AT_ONCE)
            except DatabaseError as error:
                log.warning("checkpoint failed, trying again: %s", error)
                # The others could not renew their leases either: give them the time to.
                sweep_at = time.monotonic() + settings.CHAT_LEASE
            await self._look_after()
            await self._tell_places()
            await asyncio.sleep(settings.CHAT_CHECKPOINT)

    async def _checkpoint(self) -> None:
        lives = [live for live in self._lives.values() if live.streaming]
        elsewhere = self._watchers.keys() - self._lives.keys()
        if not lives and not elsewhere:
            return
        asked_at = time.monotonic()
        with metrics.CHECKPOINT.time():
            known = await in_thread(answers.checkpoint, [live.row() for live in lives], elsewhere)
        for live in lives:
            word = known.get(live.id)
            if word is None or word.fence != live.fence:
                live.lost = live.streaming
                live.cut_off(interrupted("server_lost"))
                continue
            await self._renew(live, asked_at + settings.CHAT_LEASE)
            if word.stop_requested:
                live.cut_off(BY_ITS_USER)
            elif word.watched_ago is not None:
                live.watched_at = max(live.watched_at, time.monotonic() - word.watched_ago)

    async def _renew(self, live: Live, leased_until: float) -> None:
        """The answer is still ours. What came while that was uncertain can be shown."""
        was_certain = live.is_leased
        live.leased_until = leased_until
        if not was_certain and live.streaming:
            await self._broker.publish(live.key)

    async def sweep(self) -> int:
        """End the answers whose owner is gone, with all the text that the broker has of them; how many there were."""
        ended = 0
        for row in await in_thread(answers.seize_expired):
            whole = await self._completed(row)
            if await in_thread(answers.settle_lost, whole):
                ended += 1
                log.warning("answer %s: its server was lost, %d characters are kept", row.id, len(whole.text))
            await self._broker.forget(str(row.id))
            await self._notices.tell_runners({"type": "ended", "answer": str(row.id)})
        return ended

    async def _completed(self, row: Row) -> Row:
        transcript = Transcript.restore(row.text, row.reasoning, row.outline)
        transcript.append(await self._broker.seize(str(row.id), row.position))
        said_at = row.first_token_at or (timezone.now() if transcript.position else None)
        return Row.of(row.id, row.fence, transcript, said_at)

    async def _look_after(self) -> None:
        """Tell readers about silence, and cut off what nobody watches."""
        now = time.monotonic()
        for live in list(self._lives.values()):
            if live.id in self._watchers:
                live.watched_at = now
            if settings.CHAT_ABANDON_AFTER and now - live.watched_at > settings.CHAT_ABANDON_AFTER:
                live.cut_off(interrupted("abandoned"))
            elif live.streaming and not live.noticed and now - live.heard_at > settings.CHAT_IDLE_NOTICE:
                live.noticed = True
                seconds = round(now - live.heard_at)
                await self._broker.notify(
                    live.key, Notice("stalled", f"The model has been silent for {seconds} seconds.")
                )

    async def _tell_places(self) -> None:
        """Tell the readers of answers that wait how many are before theirs, where that has changed."""
        if time.monotonic() < self._tell_places_at:
            return
        self._tell_places_at = time.monotonic() + max(TELL_PLACES_EVERY, TELL_EACH_PLACE * self._places.waiting)
        lives = {live.place: live for live in self._lives.values()}
        for before, place in enumerate(self._places.queue()):
            live = lives.get(place)  # none yet, while the turn is being kept
            if live is not None and live.told_before != before:
                await self.tell_place(live, before)

    async def tell_place(self, live: Live, before: int) -> None:
        """Tell the readers of an answer that waits how many are before theirs."""
        live.told_before = before
        await self._broker.notify(live.key, waiting_notice(before))
