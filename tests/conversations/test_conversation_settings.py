"""A conversation has a title, a prompt and parameters of its own, and can be deleted for good."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone
from pytest_django import Settings

from chat.conversations.deletions import delete_expired
from chat.models import Conversation, Message, ProviderCall, User
from tests.provider_server import ProviderServer, Script
from tests.support.site import Site


async def save(site: Site, conversation: str, **fields: str) -> int:
    form = {"title": "T", "system_prompt": "", "temperature": "", "max_tokens": "", **fields}
    response = await site.client.post(f"/c/{conversation}/settings/", form)
    return int(response.status_code)


async def test_the_model_is_told_what_the_conversation_says(site: Site, provider: ProviderServer, model: str) -> None:
    conversation = await site.begin_conversation()
    assert await save(site, conversation, system_prompt="Be brief.", temperature="0.5", max_tokens="77") == 302
    await site.ask("Hello", conversation, model=model)
    body = provider.requests[0].body
    told = body.get("system") or body["messages"][0]["content"]
    assert "Be brief." in str(told)
    assert body["temperature"] == 0.5
    assert 77 in (body.get("max_tokens"), body.get("max_completion_tokens"))


async def test_the_sites_prompt_is_told_where_there_is_no_other(
    site: Site, provider: ProviderServer, settings: Settings
) -> None:
    settings.CHAT_SYSTEM_PROMPT = "You are the library's assistant."
    answer = await site.ask()
    assert provider.requests[0].body["messages"][0] == {
        "role": "system",
        "content": "You are the library's assistant.",
    }
    await save(site, answer["conversation"], system_prompt="Be brief.")
    await site.ask("Again", answer["conversation"])
    assert provider.requests[1].body["messages"][0]["content"] == "Be brief."


async def test_a_model_has_its_longest_answer(site: Site, provider: ProviderServer, settings: Settings) -> None:
    settings.CHAT_MAX_TOKENS = {"anthropic:messages-test": 123}
    await site.ask(model="anthropic:messages-test")
    assert provider.requests[0].body["max_tokens"] == 123


@pytest.mark.parametrize(
    ("field", "value"), [("temperature", "3"), ("temperature", "x"), ("max_tokens", "0"), ("title", "x" * 81)]
)
async def test_a_bad_value_is_refused_and_stands_in_its_field(site: Site, field: str, value: str) -> None:
    conversation = await site.begin_conversation()
    response = await site.client.post(f"/c/{conversation}/settings/", {"title": "T", field: value})
    assert response.status_code == 422
    assert value in response.content.decode()
    assert (await Conversation.objects.aget(pk=conversation)).title == ""


async def test_deleting_removes_the_messages_and_keeps_the_ledger(site: Site) -> None:
    answer = await site.ask()
    response = await site.client.post(f"/c/{answer['conversation']}/delete/")
    assert response.status_code == 302
    assert (await site.get(f"/c/{answer['conversation']}/")).status_code == 404
    await Conversation.objects.aupdate(deleted_at=timezone.now() - timedelta(minutes=1))
    assert await sync_to_async(delete_expired)() == 1
    assert not await Message.objects.aexists()
    assert [call.outcome async for call in ProviderCall.objects.all()] == ["complete"]


async def test_deleting_stops_what_is_being_answered(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="One two three", chunk_size=4, gate_after=4)
    answer = await site.begin()
    request = await provider.wait_for_requests(1)
    conversation = (await site.answer(answer))["conversation"]
    await site.client.post(f"/c/{conversation}/delete/")
    await provider.wait_until_closed(request, 5)
    assert (await Message.objects.aget(pk=answer)).status == "stopped"


@pytest.mark.parametrize("path", ["settings", "delete"])
async def test_nobody_changes_what_is_not_theirs(site: Site, path: str) -> None:
    other = await User.objects.acreate(username="eve")
    theirs = await Conversation.objects.acreate(user=other)
    for conversation in (theirs.pk, uuid4()):
        assert (await site.client.post(f"/c/{conversation}/{path}/", {"title": "Mine"})).status_code == 404
    assert await Conversation.objects.filter(pk=theirs.pk, title="").aexists()
