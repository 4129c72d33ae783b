"""A cheap model writes the title after the first answer; until then, and when it fails, it is the first question."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from chat.models import Conversation, ProviderCall
from tests.provider_server import ProviderServer, Script
from tests.site import Json, Site
from tests.waiting import eventually

ANSWER = Script(text="Because air scatters blue light.")


@pytest.fixture
def site(site: Site, settings: Settings) -> Site:
    settings.CHAT_TITLE_MODEL = "openai:small"
    return site


async def titled(answer: Json) -> str:
    return (await Conversation.objects.aget(pk=answer["conversation"])).title


async def settled(answer: Json) -> bool:
    """Whether the call for the title is on the ledger and has ended."""
    calls = ProviderCall.objects.filter(answer=answer["id"], purpose="title").exclude(outcome="running")
    return await calls.aexists()


async def test_the_title_comes_after_the_first_answer(site: Site, provider: ProviderServer) -> None:
    provider.enqueue(ANSWER, Script(text='"Why the sky is blue"\n'))
    answer = await site.ask("why is the sky blue, please tell me")
    await eventually(lambda: settled(answer))
    assert await titled(answer) == "Why the sky is blue"
    assert provider.requests[1].body["model"] == "small"
    assert "scatters" in str(provider.requests[1].body["messages"])


async def test_it_is_metered_apart_from_the_answer(site: Site, provider: ProviderServer) -> None:
    provider.enqueue(ANSWER, Script(text="A title"))
    answer = await site.ask("Why?")
    await eventually(lambda: settled(answer))
    calls = [(call.purpose, call.outcome, call.model) async for call in ProviderCall.objects.order_by("pk")]
    assert calls == [("answer", "complete", "openai:gpt-test"), ("title", "complete", "openai:small")]


async def test_a_failure_leaves_the_first_question(site: Site, provider: ProviderServer) -> None:
    provider.enqueue(ANSWER, Script(status=500))
    answer = await site.ask("Why?")
    await eventually(lambda: settled(answer))
    assert await titled(answer) == "Why?"
    assert (await site.answer(answer["id"]))["status"] == "complete"


async def test_a_title_of_the_users_own_is_left_alone(site: Site, provider: ProviderServer) -> None:
    provider.enqueue(ANSWER, Script(text="A title", gate_after=0))
    answer = await site.ask("Why?")
    await provider.wait_for_requests(2)
    await Conversation.objects.filter(pk=answer["conversation"]).aupdate(title="Mine")
    provider.release()
    await eventually(lambda: settled(answer))
    assert await titled(answer) == "Mine"


async def test_only_the_first_answer_asks_for_one(site: Site, provider: ProviderServer) -> None:
    provider.enqueue(ANSWER, Script(text="A title"), ANSWER)
    first = await site.ask("Why?")
    await eventually(lambda: settled(first))
    await site.ask("And red?", first["conversation"])
    assert len(provider.requests) == 3


async def test_an_interrupted_answer_asks_for_none(site: Site, provider: ProviderServer) -> None:
    provider.enqueue(Script(text="Half an ans", drop_after=4))
    await site.ask("Why?")
    assert len(provider.requests) == 1
