"""An outage is retried in one go: a few at once, at the site's cost, and by whichever process is there."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta
from functools import partial

import pytest
from asgiref.sync import sync_to_async
from django.test import AsyncClient
from django.utils import timezone
from pytest_django import Settings

from chat.conversations import turns
from chat.conversations.open_failures import select_open_failures
from chat.conversations.turn_ids import derive_attempt_id
from chat.generation.admission import SlotQueue
from chat.generation.process import get_runner
from chat.models import Conversation, Message, ProviderCall, RetryBatch, RetryItem, User
from chat.staff import batches, failures
from chat.staff.batches import Wish
from chat.staff.bulk_retry import get_retrier
from tests.provider_server import ProviderServer, Script
from tests.staff.outages import MODEL, make_check_of_end, make_outage, retry
from tests.support.site import SSE, Site
from tests.support.waiting import wait_until

# An outage of 200 answers takes 2 s here; a loaded machine may need many times that.
LONG = 90.0


def count_most_at_once(provider: ProviderServer) -> int:
    """Return how many requests the provider had open at the same moment, at most."""
    moments = []
    for request in provider.requests:
        end = request.finished_at or request.closed_at
        assert end is not None
        moments += [(request.started, 1), (end, -1)]
    now = most = 0
    for _, step in sorted(moments):
        now += step
        most = max(most, now)
    return most


async def test_an_outage_of_200_answers_is_retried_in_one_go_and_a_few_at_once(
    desk: Site, provider: ProviderServer
) -> None:
    provider.script = Script(text="The whole answer.", delay_first=0.02)
    provider.hold()
    answers = await sync_to_async(make_outage)(200)
    batch = await retry(desk, code="upstream_error", model=MODEL)
    await provider.wait_for_requests(4)
    await asyncio.sleep(0.5)  # time for a fifth request that must not come
    assert len(provider.requests) == 4  # while none of them ends, no other begins
    provider.release()
    await wait_until(make_check_of_end(batch), LONG)
    assert len(provider.requests) == 200
    assert count_most_at_once(provider) == 4
    assert await batch.items.filter(status="complete").acount() == 200
    assert await sync_to_async(select_open_failures().count)() == 0
    for answer in answers[:3]:
        conversation = await Conversation.objects.select_related("leaf").aget(pk=answer.conversation_id)
        assert conversation.leaf is not None
        assert (conversation.leaf.status, conversation.leaf.text) == ("complete", "The whole answer.")
        assert conversation.leaf.parent_id == answer.parent_id


async def test_the_bound_is_configured_and_holds_over_all_batches(
    desk: Site, provider: ProviderServer, settings: Settings
) -> None:
    settings.CHAT_STAFF_RETRIES = 2
    provider.script = Script(text="Yes.", delay_first=0.3)
    await sync_to_async(make_outage)(6, code="timeout")
    await sync_to_async(make_outage)(6, code="upstream_error")
    begun = [await retry(desk, code=code) for code in ("timeout", "upstream_error")]
    for batch in begun:
        await wait_until(make_check_of_end(batch), LONG)
    assert len(provider.requests) == 12
    assert count_most_at_once(provider) == 2


async def test_the_site_pays_and_the_record_says_who_asked_and_why(
    desk: Site, helper: User, provider: ProviderServer
) -> None:
    provider.script = Script(text="Yes.")
    [answer] = await sync_to_async(make_outage)(1)
    batch = await retry(desk, answer=str(answer.pk), reason="Ticket 12")
    await wait_until(make_check_of_end(batch))
    call = await ProviderCall.objects.select_related("user", "answer").aget()
    conversation = await Conversation.objects.aget(pk=answer.conversation_id)
    assert (call.billed_to, call.requested_by_id, call.user_id) == ("site", helper.pk, conversation.user_id)
    item = await batch.items.aget()
    assert (item.answer_id, item.attempt_id) == (answer.pk, call.answer_id)
    assert (batch.requested_by_id, batch.reason) == (helper.pk, "Ticket 12")


async def test_a_users_own_calls_are_billed_to_the_user(site: Site, provider: ProviderServer) -> None:
    first = await site.ask()
    await site.read_events(await site.retry(first["id"]))
    calls = [(call.billed_to, call.requested_by_id) async for call in ProviderCall.objects.all()]
    assert calls == [("user", None)] * 2


async def test_a_retry_without_a_reason_is_refused(desk: Site, provider: ProviderServer) -> None:
    await sync_to_async(make_outage)(1)
    response = await desk.client.post("/staff/retry/", {"reason": "  "}, follow=True)
    assert "Write a short reason" in response.content.decode()
    assert not await RetryBatch.objects.aexists()
    assert provider.requests == []


async def test_a_double_click_is_one_batch(desk: Site, provider: ProviderServer) -> None:
    await sync_to_async(make_outage)(5)
    turn = str(uuid.uuid4())
    begun = await asyncio.gather(*(retry(desk, turn=turn) for _ in range(4)))
    assert len({batch.pk for batch in begun}) == 1
    await wait_until(make_check_of_end(begun[0]))
    assert len(provider.requests) == 5


async def test_an_answer_is_in_one_batch_at_a_time(desk: Site, provider: ProviderServer) -> None:
    provider.script = Script(gate_after=0)
    await sync_to_async(make_outage)(3)
    first, second = await retry(desk), await retry(desk)
    assert await first.items.acount() == 3
    assert await second.items.acount() == 0
    await wait_until(make_check_of_end(second))
    await provider.wait_for_requests(3)
    provider.release()
    await wait_until(make_check_of_end(first))
    assert len(provider.requests) == 3


async def test_a_second_batch_takes_what_was_too_much_for_the_first(
    desk: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MAX_AT_ONCE", 3)
    await sync_to_async(make_outage)(5)
    begin = sync_to_async(batches.begin_batch)
    begun = [await begin(desk.user, failures.Filter(), Wish("Outage"), uuid.uuid4()) for _ in range(3)]
    assert [await batch.items.acount() for batch in begun] == [3, 2, 0]


async def test_only_what_had_failed_when_the_page_was_made_is_retried(desk: Site, provider: ProviderServer) -> None:
    await sync_to_async(make_outage)(2)
    until = timezone.now().isoformat()
    await sync_to_async(make_outage)(1)
    batch = await retry(desk, until=until)
    await wait_until(make_check_of_end(batch))
    assert len(provider.requests) == 2


async def test_a_conversation_that_has_gone_on_keeps_what_it_shows(desk: Site, provider: ProviderServer) -> None:
    [answer] = await sync_to_async(make_outage)(1)
    question = await Message.objects.acreate(
        conversation_id=answer.conversation_id, parent=answer, role="user", text="Never mind. And this?"
    )
    await Conversation.objects.filter(pk=answer.conversation_id).aupdate(leaf=question)
    batch = await retry(desk, answer=str(answer.pk))
    await wait_until(make_check_of_end(batch))
    conversation = await Conversation.objects.aget(pk=answer.conversation_id)
    assert conversation.leaf_id == question.pk
    item = await batch.items.select_related("attempt").aget()
    assert item.attempt is not None
    assert (item.attempt.parent_id, item.attempt.status) == (answer.parent_id, "complete")


async def test_a_conversation_that_is_being_answered_is_waited_for(
    desk: Site, site: Site, provider: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat.staff.bulk_retry.BUSY_PAUSE", 0.1)
    monkeypatch.setattr("chat.staff.bulk_retry.BUSY_TIMES", 10_000)
    provider.enqueue(Script(text="Half", drop_after=2), Script(text="Live.", gate_after=0))
    provider.script = Script(text="Retried.")
    first = await site.ask()
    live = await site.begin("Next?", conversation=first["conversation"])
    batch = await retry(desk, answer=first["id"])
    await wait_until(batch.items.filter(delays__gt=0).aexists)
    provider.release()
    await wait_until(make_check_of_end(batch), LONG)
    assert (await site.answer(live))["status"] == "complete"
    conversation = await Conversation.objects.aget(pk=first["conversation"])
    assert conversation.leaf_id == uuid.UUID(live)
    assert (await batch.items.aget()).status == "complete"


async def test_a_conversation_that_stays_busy_is_skipped(
    desk: Site, site: Site, provider: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat.staff.bulk_retry.BUSY_PAUSE", 0.01)
    monkeypatch.setattr("chat.staff.bulk_retry.BUSY_TIMES", 1)
    provider.enqueue(Script(text="Half", drop_after=2), Script(text="Live.", gate_after=0))
    first = await site.ask()
    await site.begin("Next?", conversation=first["conversation"])
    batch = await retry(desk, answer=first["id"])
    await wait_until(make_check_of_end(batch))
    item = await batch.items.aget()
    assert (item.status, item.code) == ("skipped", "busy")


async def test_a_process_that_is_full_is_waited_for(
    desk: Site, site: Site, provider: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which is not the conversation's fault, and does not count among the times that it is busy."""
    monkeypatch.setattr("chat.generation.admission.FIRST_GUESS", 1.0)
    get_runner().resources.slots = SlotQueue(1, 0)
    provider.enqueue(Script(gate_after=0))
    answer = await site.begin()
    await provider.wait_for_requests(1)
    await sync_to_async(make_outage)(1)
    batch = await retry(desk)
    put_back = batch.items.filter(status="waiting", delays=0, due_at__gt=batch.created_at)
    await wait_until(put_back.aexists)
    await site.stop(answer)
    await wait_until(make_check_of_end(batch))
    assert await batch.items.filter(status="complete").acount() == 1


async def test_answers_that_their_user_retried_first_are_skipped(
    desk: Site, site: Site, provider: ProviderServer
) -> None:
    provider.enqueue(Script(text="Half", drop_after=2))
    provider.script = Script(text="Retried.", gate_after=0)
    first = await site.ask()
    batch = await sync_to_async(batches.begin_batch)(desk.user, failures.Filter(), Wish("Late"), uuid.uuid4())
    await site.retry(first["id"])
    await get_retrier().continue_batch(batch.pk)
    await wait_until(make_check_of_end(batch))
    item = await batch.items.aget()
    assert (item.status, item.code) == ("skipped", "answered")
    assert len(provider.requests) == 2


async def test_nobody_is_asked_for_a_conversation_that_was_deleted_a_moment_ago(
    desk: Site, provider: ProviderServer
) -> None:
    """Its user sees it no more, and may restore it: then its failure is open as before."""
    [answer] = await sync_to_async(make_outage)(1)
    await Conversation.objects.filter(pk=answer.conversation_id).aupdate(deleted_at=timezone.now())
    batch = await retry(desk)
    await wait_until(make_check_of_end(batch))
    item = await batch.items.aget()
    assert (item.status, item.code) == ("skipped", "deleted")
    assert provider.requests == []


async def test_failures_are_counted_with_their_codes(desk: Site, provider: ProviderServer) -> None:
    provider.enqueue(Script(status=500), Script(text="Half an answer", drop_after=4))
    await sync_to_async(make_outage)(5)
    batch = await retry(desk)
    await wait_until(make_check_of_end(batch))
    found = await sync_to_async(batches.load_progress)(batch.pk)
    assert found is not None
    assert (found.complete, found.failed, found.skipped, found.total) == (3, 2, 0, 5)
    assert await sync_to_async(batches.count_outcomes)(batch.pk) == [("failed", "upstream_error", 2)]
    assert await sync_to_async(select_open_failures().count)() == 2


async def test_stop_begins_no_more_and_finishes_what_is_being_written(desk: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="Yes.", gate_after=0)
    await sync_to_async(make_outage)(20)
    batch = await retry(desk)
    await provider.wait_for_requests(4)
    await desk.client.post(f"/staff/batches/{batch.pk}/stop/")
    provider.release()
    await wait_until(make_check_of_end(batch))
    found = await sync_to_async(batches.load_progress)(batch.pk)
    assert found is not None
    assert (found.state, found.complete, found.skipped) == ("stopped", 4, 16)
    assert found.batch.stopped_by_id == desk.user.pk
    assert len(provider.requests) == 4


async def test_a_batch_whose_process_died_is_gone_on_with_when_its_page_is_opened(
    desk: Site, provider: ProviderServer
) -> None:
    """One answer had been begun and had ended, one had been taken and not begun, one waited."""
    provider.script = Script(text="Yes.")
    answers = await sync_to_async(make_outage)(3)
    batch = await sync_to_async(batches.begin_batch)(desk.user, failures.Filter(), Wish("Outage"), uuid.uuid4())
    first = await Message.objects.select_related("conversation__user").aget(pk=answers[0].pk)
    turn = uuid.uuid5(batch.pk, str(first.pk))
    begun = await get_runner().begin(
        first.conversation.user, partial(turns.keep_retry, first.conversation.user, first, MODEL, turn, staff=desk.user)
    )
    await wait_until(Message.objects.filter(pk=begun.answer.pk, status="complete").aexists)
    await batch.items.filter(answer__in=answers[:2]).aupdate(status="running")
    gone = timezone.now() - timedelta(seconds=60)
    await RetryBatch.objects.filter(pk=batch.pk).aupdate(owner="gone", lease_until=gone)
    found = await sync_to_async(batches.load_progress)(batch.pk)
    assert found is not None
    assert found.state == "waiting"
    assert (await desk.get(f"/staff/batches/{batch.pk}/")).status_code == 200
    await wait_until(make_check_of_end(batch))
    assert await batch.items.filter(status="complete").acount() == 3
    assert len(provider.requests) == 3
    assert await RetryItem.objects.filter(batch=batch, attempt=begun.answer.pk).aexists()


async def test_a_batch_that_another_process_works_on_is_left_to_it(desk: Site, provider: ProviderServer) -> None:
    await sync_to_async(make_outage)(1)
    batch = await sync_to_async(batches.begin_batch)(desk.user, failures.Filter(), Wish("Outage"), uuid.uuid4())
    later = timezone.now() + timedelta(seconds=60)
    await RetryBatch.objects.filter(pk=batch.pk).aupdate(owner="elsewhere", lease_until=later)
    await desk.get(f"/staff/batches/{batch.pk}/")
    await desk.get("/staff/")
    await get_retrier().continue_batch(batch.pk)
    assert (await RetryBatch.objects.aget(pk=batch.pk)).owner == "elsewhere"
    assert provider.requests == []


async def test_a_stopped_batch_that_is_taken_over_begins_nothing(desk: Site, provider: ProviderServer) -> None:
    await sync_to_async(make_outage)(2)
    batch = await sync_to_async(batches.begin_batch)(desk.user, failures.Filter(), Wish("Outage"), uuid.uuid4())
    await batch.items.all().aupdate(status="running")
    await sync_to_async(batches.stop_batch)(desk.user, batch.pk)
    await desk.get(f"/staff/batches/{batch.pk}/")
    await wait_until(make_check_of_end(batch))
    assert await batch.items.filter(status="skipped", code="stopped").acount() == 2
    assert provider.requests == []


async def test_a_process_that_drains_leaves_the_batch_to_others(desk: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="Yes.", gate_after=0)
    await sync_to_async(make_outage)(8)
    batch = await retry(desk)
    await provider.wait_for_requests(4)
    get_runner().draining = True
    provider.release()
    await wait_until(RetryBatch.objects.filter(pk=batch.pk, owner="", lease_until=None).aexists)
    assert not await make_check_of_end(batch)()
    assert await batch.items.filter(status="waiting").aexists()


async def test_an_answer_that_staff_asked_for_is_not_abandoned(
    desk: Site, provider: ProviderServer, settings: Settings
) -> None:
    settings.CHAT_ABANDON_AFTER = 0.3
    provider.script = Script(text="Slowly, word by word.", chunk_size=2, delay_between=0.1)
    await sync_to_async(make_outage)(1)
    batch = await retry(desk)
    await wait_until(make_check_of_end(batch))
    assert (await batch.items.aget()).status == "complete"


async def test_the_users_open_pages_are_told_of_the_new_answer(desk: Site, provider: ProviderServer) -> None:
    [answer] = await sync_to_async(make_outage)(1)
    conversation = await Conversation.objects.aget(pk=answer.conversation_id)
    with get_runner().notices.subscribe(conversation.user_id) as unread:
        batch = await retry(desk, answer=str(answer.pk))
        notice = await asyncio.wait_for(unread.get(), 15)
    await wait_until(make_check_of_end(batch))
    attempt = (await batch.items.aget()).attempt_id
    assert (notice["type"], notice["answer"], notice["shown"]) == ("turn", str(attempt), True)


async def test_the_progress_is_told_live_to_the_end(desk: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="Yes.", gate_after=0)
    await sync_to_async(make_outage)(6)
    batch = await retry(desk)
    await provider.wait_for_requests(4)
    response = await desk.stream(f"/staff/batches/{batch.pk}/stream/", accept=SSE)
    told: list[str] = []
    async for chunk in response:
        told.append(chunk.decode())
        provider.release()
    assert 'data-state="working"' in told[0]
    assert f'hx-target="#progress-{batch.pk}"' in told[0]
    assert 'data-state="finished"' in told[-2]
    assert "<strong>6</strong> of 6" in told[-2]
    assert told[-1] == "event: done\ndata: done\n\n"


async def test_the_progress_of_a_missing_batch_says_done(desk: Site) -> None:
    response = await desk.get(f"/staff/batches/{uuid.uuid4()}/stream/", accept=SSE)
    assert response.content == b"event: done\ndata: done\n\n"


async def test_progress_ends_for_staff_who_lose_the_permission(
    desk: Site, helper: User, provider: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat.staff.views.CHECK_EVERY", 0.0)
    provider.script = Script(text="Yes.", gate_after=0)
    await sync_to_async(make_outage)(1)
    batch = await retry(desk)
    await provider.wait_for_requests(1)
    response = await desk.stream(f"/staff/batches/{batch.pk}/stream/", accept=SSE)
    await sync_to_async(helper.user_permissions.clear)()
    told = b"".join([chunk async for chunk in response])
    assert told.endswith(b"event: done\ndata: done\n\n")
    assert not await make_check_of_end(batch)()


async def test_a_retry_by_hand_has_the_id_that_its_form_gives_it(site: Site, provider: ProviderServer) -> None:
    """What lets a batch that was interrupted find the attempts that it had begun."""
    first = await site.ask()
    answer = await Message.objects.aget(pk=first["id"])
    turn = uuid.uuid4()
    begun = await get_runner().begin(site.user, partial(turns.keep_retry, site.user, answer, MODEL, turn))
    assert begun.answer.pk == derive_attempt_id(answer, turn)


async def test_a_stranger_begins_no_batch(site: Site, provider: ProviderServer) -> None:
    await sync_to_async(make_outage)(1)
    client = AsyncClient()
    await client.aforce_login(site.user)
    assert (await client.post("/staff/retry/", {"reason": "Mine"})).status_code == 404
    assert not await RetryBatch.objects.aexists()
