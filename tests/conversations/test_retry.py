"""Retry answers the same question once more, beside the earlier attempts."""

from __future__ import annotations

from uuid import UUID

from chat.models import Conversation, Message
from tests.provider_server import ProviderServer, Script
from tests.support.site import Site


async def test_a_retry_is_a_sibling_and_is_shown(site: Site, provider: ProviderServer, model: str) -> None:
    provider.enqueue(Script(text="Half an ans", drop_after=5))
    provider.script = Script(text="The whole answer.")
    failed = await site.ask("Why?", model=model)
    assert failed["error"]["retryable"]
    retried = await site.retry(failed["id"])
    await site.read_events(retried)
    second = await site.answer(retried)
    assert (second["status"], second["text"]) == ("complete", "The whole answer.")
    assert second["parent"] == failed["parent"]
    assert (await site.answer(failed["id"])) == failed
    conversation = await Conversation.objects.aget(pk=failed["conversation"])
    assert conversation.leaf_id == UUID(retried)


async def test_a_retry_asks_the_same_question_with_the_same_past(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="First.")
    first = await site.ask("One?")
    provider.enqueue(Script(status=500))
    failed = await site.ask("Two?", conversation=first["conversation"])
    await site.read_events(await site.retry(failed["id"]))
    asked = [request.body["messages"] for request in provider.requests]
    assert asked[2] == asked[1]
    assert [message["content"] for message in asked[2]] == ["One?", "First.", "Two?"]


async def test_a_complete_answer_may_be_asked_again(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="Again.")
    first = await site.ask()
    second = await site.retry(first["id"])
    await site.read_events(second)
    assert second != first["id"]
    assert await Message.objects.filter(parent=first["parent"]).acount() == 2


async def test_a_model_that_is_gone_is_replaced_by_the_default(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="Again.")
    first = await site.ask()
    await Message.objects.filter(pk=first["id"]).aupdate(model="openai:gone")
    second = await site.retry(first["id"])
    await site.read_events(second)
    assert (await site.answer(second))["model"] == "openai:gpt-test"


async def test_an_earlier_attempt_can_be_shown_again(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="Again.")
    first = await site.ask()
    await site.read_events(await site.retry(first["id"]))
    response = await site.client.post(f"/messages/{first['id']}/show/")
    assert response.status_code == 302
    conversation = await Conversation.objects.aget(pk=first["conversation"])
    assert conversation.leaf_id == UUID(first["id"])


async def test_the_next_question_follows_the_attempt_that_is_shown(site: Site, provider: ProviderServer) -> None:
    provider.enqueue(Script(text="First attempt."))
    provider.enqueue(Script(text="Second attempt."))
    provider.script = Script(text="Third.")
    first = await site.ask("One?")
    await site.read_events(await site.retry(first["id"]))
    await site.client.post(f"/messages/{first['id']}/show/")
    await site.ask("Two?", conversation=first["conversation"])
    said = [message["content"] for message in provider.requests[-1].body["messages"]]
    assert said == ["One?", "First attempt.", "Two?"]


async def test_an_earlier_attempt_is_shown_with_what_was_said_after_it(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="Yes.")
    first = await site.ask("One?")
    later = await site.ask("Two?", conversation=first["conversation"])
    await site.read_events(await site.retry(first["id"]))
    response = await site.client.post(f"/messages/{first['id']}/show/", headers={"hx-request": "true"})
    shown = response.content.decode()
    assert "One?" in shown
    assert "Two?" in shown
    conversation = await Conversation.objects.aget(pk=first["conversation"])
    assert conversation.leaf_id == UUID(later["id"])
