"""An answer whose process is gone is interrupted by whoever notices, once, and its old owner writes nothing more."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from asgiref.sync import sync_to_async
from django.db import IntegrityError
from django.utils import timezone
from pytest_django import Settings

from chat.generation import lost_answers, store, sweeper
from chat.generation.process import get_runner
from chat.generation.verdict import Verdict
from chat.models import Message, ProviderCall, Status, User
from tests.provider_server import ProviderServer, Script
from tests.support.lost_answers import keep_lost_answer
from tests.support.site import Site, join_text
from tests.support.waiting import wait_until


def reap() -> int:
    """Settle all lost answers, as a sweep does without a broker; return how many."""
    return sum(lost_answers.settle_lost(row) for row in lost_answers.seize_expired())


def test_the_sweep_interrupts_what_has_lost_its_lease(user: User) -> None:
    answer = keep_lost_answer(user)
    assert reap() == 1
    answer.refresh_from_db()
    assert (answer.status, answer.error_code, answer.text) == ("interrupted", "server_lost", "What was said")
    assert (answer.fence, answer.lease_until) == (2, None)
    assert answer.finished_at is not None


def test_a_lease_that_runs_is_left_alone(user: User) -> None:
    answer = keep_lost_answer(user, ago=-5)
    assert reap() == 0
    answer.refresh_from_db()
    assert answer.is_live


def test_reaping_twice_is_reaping_once(user: User) -> None:
    keep_lost_answer(user)
    assert [reap(), reap()] == [1, 0]


def test_the_ledger_row_is_settled_with_an_estimate(user: User) -> None:
    answer = keep_lost_answer(user, "12345678")
    reap()
    call = ProviderCall.objects.get(answer=answer)
    assert (call.outcome, call.error_code, call.estimated) == ("interrupted", "server_lost", True)
    assert (call.input_tokens, call.output_tokens) == (7, 2)


async def test_the_keeper_sweeps_without_any_reader(site: Site, settings: Settings) -> None:
    settings.CHAT_FINISH_LOST = 0
    answer = await sync_to_async(keep_lost_answer)(site.user)
    get_runner().wake()

    async def is_interrupted() -> bool:
        return (await Message.objects.aget(pk=answer.pk)).is_interrupted

    await wait_until(is_interrupted, sweeper.SWEEP_EVERY + 5)


async def test_checkpoints_go_on_beside_a_sweep_that_takes_long(site: Site, provider: ProviderServer) -> None:
    """In a process that has too much to do a sweep takes longer than a lease, and others would seize its answers."""
    has_begun, may_end = asyncio.Event(), asyncio.Event()

    async def sweep() -> None:
        has_begun.set()
        await may_end.wait()

    get_runner().supervisor.sweeper.sweeps.append(sweep)
    get_runner().supervisor.sweeper.sweep_soon()
    provider.script = Script(text="One two three", chunk_size=4, gate_after=8)
    answer = await site.begin()
    await asyncio.wait_for(has_begun.wait(), 10)
    ends = {await find_lease_end(answer)}
    for _ in range(2):
        await wait_until(lambda: is_renewed(answer, ends))
        ends.add(await find_lease_end(answer))
    provider.release()
    may_end.set()


async def test_a_process_that_is_late_with_a_lease_does_not_seize_its_own_answer(
    site: Site, provider: ProviderServer
) -> None:
    provider.script = Script(text="One two three", chunk_size=4, gate_after=8)
    answer = await site.begin()
    await provider.wait_for_requests(1)
    owned = await Message.objects.aget(pk=answer)
    await Message.objects.filter(pk=answer).aupdate(lease_until=timezone.now() - timedelta(seconds=5))
    assert await get_runner().supervisor.sweeper.sweep() == 0
    provider.release()
    events = await site.read_events(answer)
    assert join_text(events) == "One two three"
    ended = await Message.objects.aget(pk=answer)
    assert (ended.status, ended.fence, ended.losses) == ("complete", owned.fence, 0)


async def test_a_process_that_is_late_itself_takes_nobody_for_lost_who_may_be_as_late(
    site: Site, provider: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes with more to do than they can would write each other's answers again, and have more to do."""
    lost = await sync_to_async(keep_lost_answer)(site.user, ago=-60)
    write_checkpoint, sweeps = store.write_checkpoint, 0

    def write_late(*args: Any) -> dict[UUID, store.LeaseStatus]:
        time.sleep(1)
        written = write_checkpoint(*args)
        Message.objects.filter(pk=lost.pk).update(lease_until=timezone.now() - timedelta(seconds=0.1))
        return written

    async def count_sweep() -> None:
        nonlocal sweeps
        sweeps += 1

    monkeypatch.setattr(store, "write_checkpoint", write_late)
    monkeypatch.setattr(sweeper, "SWEEP_EVERY", 0.0)
    get_runner().supervisor.sweeper.sweeps.append(count_sweep)
    provider.script = Script(text="One two three", chunk_size=4, gate_after=8)
    await site.begin()
    await wait_until(lambda: sweeps >= 3, 30)
    assert (await Message.objects.aget(pk=lost.pk)).fence == lost.fence
    provider.release()


async def find_lease_end(answer: str) -> datetime | None:
    return (await Message.objects.aget(pk=answer)).lease_until


async def is_renewed(answer: str, before: set[datetime | None]) -> bool:
    return await find_lease_end(answer) not in before


async def test_a_reader_of_a_lost_answer_gets_its_text_and_why_it_ended(site: Site, settings: Settings) -> None:
    settings.CHAT_FINISH_LOST = 0
    answer = await sync_to_async(keep_lost_answer)(site.user)
    events = await site.read_events(str(answer.pk))
    assert join_text(events) == "What was said"
    assert events[-1].event == {
        "type": "error",
        "code": "server_lost",
        "message": "The server that was writing this answer disappeared.",
        "retryable": True,
    }


async def test_a_reader_of_another_process_follows_the_checkpoints(site: Site) -> None:
    """The answer is written elsewhere: this process has only the database."""
    answer = await sync_to_async(keep_lost_answer)(site.user, "One ", ago=-60)
    reading = asyncio.ensure_future(site.read_events(str(answer.pk)))
    await wait_until(lambda: is_watched(answer.pk))
    text = "One two"
    await Message.objects.filter(pk=answer.pk).aupdate(text=text, outline=[["token", 7]], position=7)
    await Message.objects.filter(pk=answer.pk).aupdate(status="complete", finish_reason="stop", lease_until=None)
    events = await asyncio.wait_for(reading, 10)
    assert join_text(events) == text
    assert events[-1].event == {"type": "done", "status": "complete", "reason": "stop"}


async def is_watched(answer: UUID) -> bool:
    return (await Message.objects.aget(pk=answer)).watched_at is not None


async def test_a_paused_owner_that_was_reaped_writes_nothing_and_hangs_up(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="One two three", chunk_size=4, gate_after=4)
    answer = await site.begin()
    request = await provider.wait_for_requests(1)
    await Message.objects.filter(pk=answer).aupdate(
        status="interrupted", error_code="server_lost", fence=2, lease_until=None, text="What the reaper kept"
    )
    await provider.wait_until_closed(request, 5)
    await wait_until(lambda: get_runner().find(UUID(answer)) is None)  # by then it has tried to write its end
    kept = await Message.objects.aget(pk=answer)
    assert (kept.status, kept.text, kept.fence) == ("interrupted", "What the reaper kept", 2)


async def test_an_end_that_comes_after_the_reaper_is_not_written(site: Site, provider: ProviderServer) -> None:
    """The owner sleeps between two checkpoints while it is reaped, and then finishes."""
    provider.script = Script(text="One two three", chunk_size=4, gate_after=4)
    answer = await site.begin()
    await provider.wait_for_requests(1)
    live = get_runner().find(UUID(answer))
    assert live is not None
    await Message.objects.filter(pk=answer).aupdate(
        status="interrupted", error_code="server_lost", fence=2, lease_until=None
    )
    written = await sync_to_async(store.settle)(live.make_snapshot(), Verdict(Status.COMPLETE, "stop"), [])
    assert not written
    assert (await Message.objects.aget(pk=answer)).status == "interrupted"


async def test_the_fence_keeps_an_old_owner_from_an_answer_that_lives_again(
    site: Site, provider: ProviderServer
) -> None:
    """Another process has taken the answer over and goes on with it: it is live, and not ours any more."""
    provider.script = Script(text="One two three", chunk_size=4, gate_after=4)
    answer = await site.begin()
    request = await provider.wait_for_requests(1)
    live = get_runner().find(UUID(answer))
    assert live is not None
    await Message.objects.filter(pk=answer).aupdate(fence=2, owner="elsewhere:1:abc", text="What the other has")
    written = await sync_to_async(store.settle)(live.make_snapshot(), Verdict(Status.COMPLETE, "stop"), [])
    assert not written
    await provider.wait_until_closed(request, 5)
    kept = await Message.objects.aget(pk=answer)
    assert (kept.status in {"queued", "streaming"}, kept.fence, kept.text) == (True, 2, "What the other has")


def test_the_database_refuses_a_second_live_answer(user: User) -> None:
    answer = keep_lost_answer(user)
    with pytest.raises(IntegrityError):
        Message.objects.create(
            pk=uuid4(),
            conversation=answer.conversation,
            role="assistant",
            status="queued",
            lease_until=timezone.now(),
        )


@pytest.mark.parametrize(
    "change",
    [
        {"status": "interrupted"},
        {"status": "complete", "error_code": "timeout"},
        {"lease_until": None},
        {"role": "user"},
    ],
    ids=["interrupted without a code", "a code without interruption", "live without a lease", "a live question"],
)
def test_the_database_refuses_a_state_that_is_not_honest(user: User, change: dict[str, str | None]) -> None:
    answer = keep_lost_answer(user)
    with pytest.raises(IntegrityError):
        Message.objects.filter(pk=answer.pk).update(**change)
