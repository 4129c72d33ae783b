"""A page that its browser shows again as it was sends an old turn with another text: that is asked too, once."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

from chat.models import Conversation, Message, NextQuestion, Role
from tests.provider_server import ProviderServer, Script
from tests.support.site import Site


async def send(site: Site, **fields: Any) -> int:
    """Send the form as a page without a script does; return the status."""
    return (await site.client.post("/send/", fields)).status_code


async def list_questions() -> list[str]:
    questions = Message.objects.filter(role=Role.USER).order_by("created_at").values_list("text", flat=True)
    return [text async for text in questions]


async def test_in_a_new_chat_it_begins_another_one(site: Site, provider: ProviderServer) -> None:
    turn = str(uuid.uuid4())
    assert await send(site, content="First", turn=turn) == 302
    assert await send(site, content="Second", turn=turn) == 302
    assert await list_questions() == ["First", "Second"]
    assert await Conversation.objects.acount() == 2


@pytest.mark.parametrize("waits", [{}, {"waits": "1"}], ids=["at once", "in turn"])
async def test_in_a_conversation_it_is_the_next_question(
    site: Site, provider: ProviderServer, waits: dict[str, str]
) -> None:
    conversation, turn = await site.begin_conversation(), str(uuid.uuid4())
    await site.ask("First", conversation=conversation, turn=turn)
    assert await send(site, content="Second", conversation=conversation, turn=turn, **waits) == 302
    assert await list_questions() == ["First", "Second"]
    assert await Conversation.objects.acount() == 1


async def test_while_the_first_is_answered_it_waits(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(gate_after=0)
    conversation, turn = await site.begin_conversation(), str(uuid.uuid4())
    await site.begin("First", conversation=conversation, turn=turn)
    assert await send(site, content="Second", conversation=conversation, turn=turn, waits="1") < 400
    assert [kept.text async for kept in NextQuestion.objects.all()] == ["Second"]


async def test_sent_now_it_stops_the_answer_under_way_and_is_asked_once(site: Site, provider: ProviderServer) -> None:
    conversation, turn = await site.begin_conversation(), str(uuid.uuid4())
    await site.ask("First", conversation=conversation, turn=turn)
    provider.script = Script(gate_after=0)
    await site.begin("Second", conversation=conversation)
    for _ in range(2):
        form = {"content": "Third\r\nline", "conversation": conversation, "turn": turn, "waits": "1", "now": "1"}
        assert await send(site, **form) == 302
    assert await list_questions() == ["First", "Second", "Third\nline"]
    statuses = Message.objects.answers().order_by("created_at").values_list("status", flat=True)
    assert [status async for status in statuses][:2] == ["complete", "stopped"]
    assert await Message.objects.live().acount() == 1


async def test_sent_many_times_it_is_asked_once(site: Site, provider: ProviderServer) -> None:
    turn = str(uuid.uuid4())
    await send(site, content="First", turn=turn)
    await asyncio.gather(*(send(site, content="Second\r\nline", turn=turn) for _ in range(5)))
    assert await list_questions() == ["First", "Second\nline"]


async def test_the_same_text_with_a_browsers_line_ends_is_the_same_question(
    site: Site, provider: ProviderServer
) -> None:
    turn = str(uuid.uuid4())
    for content in ("a\r\nb", "a\r\nb", "a\nb"):
        await send(site, content=content, turn=turn)
    assert len(await list_questions()) == 1
