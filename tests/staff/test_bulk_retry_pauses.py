"""A batch tries one answer first, asks another model, pauses by itself, and says how it went."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import DataError
from django.utils import timezone
from pytest_django import Settings

from chat.conversations import actions
from chat.conversations.open_failures import select_open_failures
from chat.conversations.turn_ids import derive_attempt_id
from chat.models import Conversation, Message, ProviderCall, RetryBatch, User
from chat.staff import batches, failures
from chat.staff.batches import Progress, Wish
from chat.staff.bulk_retry import PAUSE_AFTER, get_retrier
from tests.provider_server import ProviderServer, Script
from tests.staff.outages import MODEL, make_check_of_end, make_outage, retry
from tests.support.site import Site
from tests.support.waiting import wait_until

OTHER = "openai:gpt-other"


async def load_progress(batch: RetryBatch) -> Progress:
    found = await sync_to_async(batches.load_progress)(batch.pk)
    assert found is not None
    return found


async def wait_for_rest(batch: RetryBatch, state: str) -> Progress:
    """Wait until nobody works on the batch; return its progress, which must be in this state."""
    await wait_until(RetryBatch.objects.filter(pk=batch.pk, lease_until=None).aexists)
    found = await load_progress(batch)
    assert found.state == state
    return found


async def log_of(batch: RetryBatch) -> list[tuple[str, str]]:
    return [(entry.what, entry.by_name) async for entry in batch.log.all()]


async def resume(desk: Site, batch: RetryBatch) -> None:
    assert (await desk.client.post(f"/staff/batches/{batch.pk}/resume/")).status_code == 302


async def test_one_is_tried_first_and_the_rest_follows_by_itself(desk: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="Yes.", gate_after=0)
    await sync_to_async(make_outage)(9)
    batch = await retry(desk, plan="first")
    await provider.wait_for_requests(1)
    await get_retrier().continue_batch(batch.pk)
    assert (await load_progress(batch)).running == 1
    provider.script = Script(text="Yes.")
    provider.release()
    await wait_until(make_check_of_end(batch))
    assert (await load_progress(batch)).complete == 9
    assert [what for what, _ in await log_of(batch)] == ["begun", "went on with the rest", "finished"]


async def test_the_rest_waits_for_a_confirmation(desk: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="Yes.")
    await sync_to_async(make_outage)(9)
    batch = await retry(desk, plan="ask")
    found = await wait_for_rest(batch, "paused")
    assert (found.complete, found.waiting) == (1, 8)
    await get_retrier().sweep()
    assert len(provider.requests) == 1
    page = (await desk.get(f"/staff/batches/{batch.pk}/")).content.decode()
    assert "Look at it, then go on with the rest." in page
    await resume(desk, batch)
    await wait_until(make_check_of_end(batch))
    assert (await load_progress(batch)).complete == 9
    assert ("went on with the rest", "helper") in await log_of(batch)


async def test_a_first_answer_that_fails_again_holds_the_rest_back(desk: Site, provider: ProviderServer) -> None:
    """And going on tries one more first."""
    provider.enqueue(Script(text="Half", drop_after=2))
    provider.script = Script(text="Yes.")
    await sync_to_async(make_outage)(9)
    batch = await retry(desk, plan="first")
    found = await wait_for_rest(batch, "paused")
    assert (found.failed, found.waiting, found.batch.pause) == (1, 8, "first failed")
    await resume(desk, batch)
    await wait_until(make_check_of_end(batch))
    assert (await load_progress(batch)).complete == 8


async def test_a_first_answer_that_needs_no_retry_leaves_its_place_to_the_next(
    desk: Site, provider: ProviderServer
) -> None:
    provider.script = Script(text="Yes.")
    answers = await sync_to_async(make_outage)(3)
    batch = await sync_to_async(batches.begin_batch)(
        desk.user, failures.Filter(), Wish("Outage", plan=RetryBatch.Plan.FIRST), uuid.uuid4()
    )
    await Conversation.objects.filter(pk=answers[0].conversation_id).adelete()
    await get_retrier().continue_batch(batch.pk)
    await wait_until(make_check_of_end(batch))
    found = await load_progress(batch)
    assert (found.complete, found.skipped) == (2, 1)


async def test_failures_in_a_row_pause_a_batch(desk: Site, provider: ProviderServer, settings: Settings) -> None:
    settings.CHAT_STAFF_RETRIES = 1
    provider.script = Script(text="Half", drop_after=2)
    await sync_to_async(make_outage)(12)
    batch = await retry(desk)
    found = await wait_for_rest(batch, "paused")
    assert (found.failed, found.waiting) == (PAUSE_AFTER, 12 - PAUSE_AFTER)
    assert len(provider.requests) == PAUSE_AFTER
    provider.script = Script(text="Yes.")
    await resume(desk, batch)
    await wait_until(make_check_of_end(batch))
    found = await load_progress(batch)
    assert (found.failed, found.complete) == (PAUSE_AFTER, 12 - PAUSE_AFTER)
    assert await log_of(batch) == [("begun", "helper"), ("paused", ""), ("resumed", "helper"), ("finished", "")]


async def test_a_complete_answer_between_failures_begins_the_row_again(
    desk: Site, provider: ProviderServer, settings: Settings
) -> None:
    settings.CHAT_STAFF_RETRIES = 1
    half = Script(text="Half", drop_after=2)
    provider.enqueue(*[half] * (PAUSE_AFTER - 1), Script(text="Yes."), *[half] * (PAUSE_AFTER - 1))
    provider.script = Script(text="Yes.")
    await sync_to_async(make_outage)(2 * PAUSE_AFTER)
    batch = await retry(desk)
    await wait_until(make_check_of_end(batch))
    assert (await load_progress(batch)).failed == 2 * (PAUSE_AFTER - 1)


async def test_a_paused_batch_can_be_stopped(desk: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="Yes.")
    await sync_to_async(make_outage)(3)
    batch = await retry(desk, plan="ask")
    await wait_for_rest(batch, "paused")
    await desk.client.post(f"/staff/batches/{batch.pk}/stop/")
    await wait_until(make_check_of_end(batch))
    found = await load_progress(batch)
    assert (found.state, found.complete, found.skipped) == ("stopped", 1, 2)


async def test_another_model_is_asked(desk: Site, provider: ProviderServer, settings: Settings) -> None:
    settings.CHAT_MODELS = [MODEL, OTHER]
    provider.script = Script(text="Yes.")
    await sync_to_async(make_outage)(2)
    batch = await retry(desk, with_model=OTHER)
    await wait_until(make_check_of_end(batch))
    assert [call.model async for call in ProviderCall.objects.all()] == [OTHER, OTHER]
    assert {message.model async for message in Message.objects.filter(status="complete", role="assistant")} == {OTHER}
    assert OTHER in (await desk.get("/staff/batches/")).content.decode()


async def test_a_model_that_the_site_does_not_offer_is_refused(desk: Site, provider: ProviderServer) -> None:
    await sync_to_async(make_outage)(1)
    response = await desk.client.post("/staff/retry/", {"reason": "Outage", "with_model": OTHER}, follow=True)
    assert "This model is not offered any more." in response.content.decode()
    assert not await RetryBatch.objects.aexists()


async def test_a_model_that_is_withdrawn_meanwhile_is_not_replaced_in_silence(
    desk: Site, provider: ProviderServer
) -> None:
    await sync_to_async(make_outage)(2)
    wish = Wish("Outage", model=OTHER)
    batch = await sync_to_async(batches.begin_batch)(desk.user, failures.Filter(), wish, uuid.uuid4())
    await get_retrier().continue_batch(batch.pk)
    await wait_until(make_check_of_end(batch))
    assert await batch.items.filter(status="failed", code="no_model").acount() == 2
    assert provider.requests == []


async def test_answers_that_a_retry_is_unlikely_to_help_are_listed_apart_with_the_reason(
    desk: Site, provider: ProviderServer
) -> None:
    provider.script = Script(text="Yes.")
    await sync_to_async(make_outage)(2)
    await sync_to_async(make_outage)(3, code="context_length")
    before = (await desk.get("/staff/")).content.decode()
    places = [
        before.index(text) for text in ('id="head-upstream_error', "A retry is unlikely", 'id="head-context_length')
    ]
    assert places == sorted(places)
    batch = await retry(desk)
    await wait_until(make_check_of_end(batch))
    found = await load_progress(batch)
    assert (found.complete, found.skipped) == (2, 3)
    [refused] = await sync_to_async(batches.count_refused)(batch.pk)
    assert (refused.code, refused.number) == ("context_length", 3)
    page = (await desk.get(f"/staff/batches/{batch.pk}/")).content.decode()
    assert refused.message in page
    assert len(provider.requests) == 2


async def test_answers_that_a_retry_is_unlikely_to_help_are_retried_when_staff_ask_for_it(
    desk: Site, provider: ProviderServer
) -> None:
    provider.script = Script(text="Yes.")
    await sync_to_async(make_outage)(2, code="context_length")
    batch = await retry(desk, is_lasting="on")
    await wait_until(make_check_of_end(batch))
    assert (await load_progress(batch)).complete == 2


async def test_the_answers_that_are_ticked_are_retried(desk: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="Yes.")
    answers = await sync_to_async(make_outage)(5)
    batch = await retry(desk, is_choice="on", answers=[str(answer.pk) for answer in answers[1:4]])
    await wait_until(make_check_of_end(batch))
    assert {item.answer_id async for item in batch.items.all()} == {answer.pk for answer in answers[1:4]}
    assert batch.scope == "3 chosen answers"


@pytest.mark.parametrize("answers", [[], ["nonsense"]])
async def test_a_choice_of_nothing_is_not_a_choice_of_all(
    desk: Site, provider: ProviderServer, answers: list[str]
) -> None:
    await sync_to_async(make_outage)(2)
    fields = {"reason": "Outage", "is_choice": "on", "answers": answers}
    for action in ("retry", "dismiss"):
        response = await desk.client.post(f"/staff/{action}/", fields, follow=True)
        assert "Tick the answers first." in response.content.decode()
    assert not await RetryBatch.objects.aexists()
    assert await sync_to_async(select_open_failures().count)() == 2


async def lose(batch: RetryBatch, **fields: Any) -> None:
    """Leave a batch as a process does that was killed."""
    gone = timezone.now() - timedelta(seconds=60)
    await RetryBatch.objects.filter(pk=batch.pk).aupdate(owner="gone", lease_until=gone, **fields)


async def test_the_sweep_goes_on_with_a_batch_whose_process_died(desk: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="Yes.")
    answers = await sync_to_async(make_outage)(3)
    batch = await sync_to_async(batches.begin_batch)(desk.user, failures.Filter(), Wish("Outage"), uuid.uuid4())
    await batch.items.filter(answer=answers[0]).aupdate(status="running")
    await lose(batch)
    await get_retrier().sweep()
    await wait_until(make_check_of_end(batch))
    assert (await load_progress(batch)).complete == 3
    assert len(provider.requests) == 3


async def test_answers_that_were_lost_with_their_process_do_not_pause_a_batch(
    desk: Site, provider: ProviderServer
) -> None:
    provider.script = Script(text="Yes.")
    answers = await sync_to_async(make_outage)(PAUSE_AFTER + 2)
    batch = await sync_to_async(batches.begin_batch)(desk.user, failures.Filter(), Wish("Outage"), uuid.uuid4())
    lost = answers[:-1]
    for answer in lost:
        await Message.objects.acreate(
            pk=derive_attempt_id(answer, uuid.uuid5(batch.pk, str(answer.pk))),
            conversation_id=answer.conversation_id,
            parent_id=answer.parent_id,
            role="assistant",
            status="interrupted",
            error_code="server_lost",
            model=MODEL,
        )
    await batch.items.filter(answer__in=lost).aupdate(status="running")
    await lose(batch)
    await get_retrier().sweep()
    await wait_until(make_check_of_end(batch))
    found = await load_progress(batch)
    assert (found.complete, found.failed) == (1, len(lost))


@pytest.mark.parametrize("is_paused", [False, True])
async def test_an_attempt_that_was_begun_ends_its_item_though_whoever_asked_is_gone(
    desk: Site, helper: User, provider: ProviderServer, *, is_paused: bool
) -> None:
    """A process died after it had begun an attempt, and the account that asked for it was deleted."""
    [answer] = await sync_to_async(make_outage)(1)
    batch = await sync_to_async(batches.begin_batch)(helper, failures.Filter(), Wish("Outage"), uuid.uuid4())
    await Message.objects.acreate(
        pk=derive_attempt_id(answer, uuid.uuid5(batch.pk, str(answer.pk))),
        conversation_id=answer.conversation_id,
        parent_id=answer.parent_id,
        role="assistant",
        status="complete",
        model=MODEL,
    )
    await batch.items.all().aupdate(status="running")
    await lose(batch, requested_by=None, **({"paused_at": timezone.now(), "pause": "failures"} if is_paused else {}))
    await get_retrier().sweep()
    await wait_until(make_check_of_end(batch))
    assert (await batch.items.aget()).status == "complete"
    assert provider.requests == []


async def test_items_not_begun_are_skipped_when_their_starter_is_gone(
    desk: Site, helper: User, provider: ProviderServer
) -> None:
    await sync_to_async(make_outage)(2)
    batch = await sync_to_async(batches.begin_batch)(helper, failures.Filter(), Wish("Outage"), uuid.uuid4())
    await batch.items.all().aupdate(status="running")
    await lose(batch, requested_by=None)
    await get_retrier().sweep()
    await wait_until(make_check_of_end(batch))
    assert await batch.items.filter(status="skipped", code="stopped").acount() == 2
    assert provider.requests == []


@pytest.mark.parametrize("fault", [ZeroDivisionError(), DataError("integer out of range")])
async def test_an_item_that_cannot_be_begun_does_not_hold_up_the_others(
    fault: Exception, desk: Site, provider: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.script = Script(text="Yes.")
    answers = await sync_to_async(make_outage)(3)
    begin = actions.retry_on_behalf

    async def fail_for_the_first(runner: Any, staff: User, answer: Message, turn: uuid.UUID, **fields: Any) -> Message:
        if answer.pk == answers[0].pk:
            raise fault
        return await begin(runner, staff, answer, turn, **fields)

    monkeypatch.setattr(actions, "retry_on_behalf", fail_for_the_first)
    batch = await retry(desk)
    await wait_until(make_check_of_end(batch))
    found = await load_progress(batch)
    assert (found.complete, found.failed) == (2, 1)


async def test_its_end_is_announced_to_whoever_began_it_until_they_have_seen_it(
    desk: Site, provider: ProviderServer
) -> None:
    provider.script = Script(text="Yes.")
    await sync_to_async(make_outage)(2)
    batch = await retry(desk)
    await wait_until(make_check_of_end(batch))
    sentence = "The retry has ended: 2 complete, 0 failed, 0 skipped."
    assert sentence in (await desk.get("/staff/")).content.decode()
    await desk.get(f"/staff/batches/{batch.pk}/")
    assert sentence not in (await desk.get("/staff/")).content.decode()


async def test_the_progress_bar_shows_failures_as_failures(desk: Site, provider: ProviderServer) -> None:
    batch = await RetryBatch.objects.acreate(reason="Outage", scope="All")
    for status, number in (("complete", 5), ("failed", 2), ("skipped", 1), ("running", 1), ("waiting", 1)):
        for _ in range(number):
            await batch.items.acreate(status=status)
    found = await load_progress(batch)
    assert found.parts == [("complete", 0, 50), ("failed", 50, 20), ("skipped", 70, 10), ("running", 80, 10)]
