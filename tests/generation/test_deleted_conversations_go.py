"""A deleted conversation waits for its Undo, then its rows go by the sweep of whichever process there is."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from django.utils import timezone
from pytest_django import Settings

from chat.conversations import actions
from chat.generation.process import get_runner
from chat.models import UNDO_FOR, Conversation, Message, ProviderCall
from tests.provider_server import ProviderServer, Script
from tests.support.site import Site
from tests.support.waiting import wait_until


async def age(seconds: float) -> None:
    """Set all conversations to deleted so many seconds ago, as if by a process that is gone."""
    await Conversation.objects.aupdate(deleted_at=timezone.now() - timedelta(seconds=seconds))


async def test_the_sweep_deletes_what_cannot_be_restored_any_more(site: Site, settings: Settings) -> None:
    deleted, restorable = await site.ask("One?"), await site.ask("Two?")
    await age(UNDO_FOR + 5)
    await Conversation.objects.filter(pk=restorable["conversation"]).aupdate(deleted_at=timezone.now())
    get_runner().supervisor.sweeper.sweep_soon()

    async def is_gone() -> bool:
        return not await Conversation.objects.filter(pk=deleted["conversation"]).aexists()

    await wait_until(is_gone)
    assert await Message.objects.acount() == 2
    assert await ProviderCall.objects.acount() == 2
    await actions.restore_conversation(get_runner(), site.user, (await Conversation.objects.aget()).pk)
    assert (await site.get(f"/c/{restorable['conversation']}/")).status_code == 200


async def test_an_answer_that_was_begun_beside_the_deletion_ends_with_it(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="One two three", chunk_size=4, gate_after=4)
    await site.begin()
    request = await provider.wait_for_requests(1)
    await age(UNDO_FOR + 5)  # deleted without a Stop of the answer
    get_runner().supervisor.sweeper.sweep_soon()
    await provider.wait_until_closed(request, 10)

    async def is_settled() -> bool:
        return not await ProviderCall.objects.filter(outcome="running").aexists()

    await wait_until(is_settled)
    assert not await Message.objects.aexists()


async def test_no_question_is_begun_in_what_is_being_deleted(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="Yes.")
    first = await site.ask()
    path = f"/api/conversations/{first['conversation']}/messages/"
    await actions.delete_conversation(get_runner(), site.user, (await Conversation.objects.aget()).pk)
    responses = await asyncio.gather(*(site.post(path, {"content": "And?"}) for _ in range(3)))
    assert [response.status_code for response in responses] == [404] * 3
    assert len(provider.requests) == 1
