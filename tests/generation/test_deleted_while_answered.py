"""A conversation, or its user, that is deleted while it is answered: the call ends, and what it cost stays."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async
from django.contrib.admin import site as admin_site
from django.db import connection
from django.http import StreamingHttpResponse
from django.test import AsyncClient, RequestFactory

from chat.models import Conversation, Message, ProviderCall, User
from tests.provider_server import ProviderServer, Script
from tests.support.site import Site
from tests.support.waiting import PATIENCE, wait_until

SCRIPT = Script(text="12345678 and much more", chunk_size=8, gate_after=8)


def delete_rows(user: User) -> None:
    """Delete all messages and conversations by SQL, as a program does that does not use Django."""
    with connection.cursor() as cursor:
        for statement in (
            "UPDATE chat_conversation SET leaf_id = NULL",
            "UPDATE chat_providercall SET answer_id = NULL",
            "DELETE FROM chat_message",
            "DELETE FROM chat_conversation",
        ):
            cursor.execute(statement)


def delete_in_the_admin(user: User) -> None:
    admin_site.get_model_admin(User).delete_queryset(RequestFactory().post("/"), User.objects.filter(pk=user.pk))


WAYS: dict[str, Callable[[User], object]] = {
    "its user": lambda user: user.delete(),
    "users": lambda user: User.objects.all().delete(),
    "in the admin": delete_in_the_admin,
    "conversation": lambda user: Conversation.objects.get().delete(),
    "conversations": lambda user: Conversation.objects.all().delete(),
    "messages": lambda user: Message.objects.all().delete(),
    "the answer": lambda user: Message.objects.live().get().delete(),
    "rows": delete_rows,
}


async def is_settled() -> bool:
    return not await ProviderCall.objects.filter(outcome="running").aexists()


@pytest.mark.parametrize("way", WAYS)
async def test_deleting_a_conversation_ends_its_call_and_keeps_the_cost(
    site: Site, provider: ProviderServer, way: str
) -> None:
    provider.script = SCRIPT
    answer = await site.begin("1234")
    request = await provider.wait_for_requests(1)
    await wait_until(lambda: has_text(answer))
    await sync_to_async(WAYS[way])(site.user)
    await provider.wait_until_closed(request, 5)
    await wait_until(is_settled)
    call = await ProviderCall.objects.aget()
    assert (call.outcome, call.error_code, call.answer_id) == ("stopped", "", None)
    assert (call.estimated, call.input_tokens, call.output_tokens) == (True, 1, 2)


async def has_text(answer: str) -> bool:
    return await Message.objects.filter(pk=UUID(answer), text="12345678").aexists()


async def test_a_reader_is_told_that_the_conversation_is_gone(site: Site, provider: ProviderServer) -> None:
    provider.script = SCRIPT
    answer = await site.begin()
    response = await site.stream(f"/answers/{answer}/stream/", accept="text/event-stream")
    reading = asyncio.ensure_future(read(response))
    await wait_until(lambda: has_text(answer))
    await sync_to_async(Conversation.objects.all().delete)()
    assert (await asyncio.wait_for(reading, PATIENCE)).endswith(b"event: done\ndata: gone\n\n")


async def read(response: StreamingHttpResponse) -> bytes:
    return b"".join([chunk async for chunk in response])


@pytest.mark.parametrize("way", ["conversation", "the answer", "rows"])
async def test_a_program_that_waits_for_the_whole_answer_is_told_that_there_is_none(
    site: Site, provider: ProviderServer, way: str
) -> None:
    provider.script = SCRIPT
    conversation = await site.begin_conversation()
    asked = asyncio.create_task(site.post(f"/api/conversations/{conversation}/messages/", {"content": "1234"}))
    await provider.wait_for_requests(1)
    await wait_until(Message.objects.live().exclude(text="").aexists)
    await sync_to_async(WAYS[way])(site.user)
    assert (await asyncio.wait_for(asked, PATIENCE)).status_code == 404


async def test_an_answer_deleted_while_it_waits_for_a_slot_costs_nothing(site: Site, provider: ProviderServer) -> None:
    """Deleted on its page, between the question and the first word."""
    provider.script = Script(gate_after=0)
    conversation = await site.begin_conversation()
    await site.begin(conversation=conversation)
    client: AsyncClient = site.client
    assert (await client.post(f"/c/{conversation}/delete/")).status_code == 302
    await wait_until(is_settled)
    call = await ProviderCall.objects.aget()
    assert (call.outcome, call.output_tokens) == ("stopped", 0)
