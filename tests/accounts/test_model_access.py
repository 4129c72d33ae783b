"""A user may choose the models that nobody restricted and those of their groups, on the page and in the API."""

from __future__ import annotations

import json

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group

from chat.models import ModelAccess
from tests.provider_server import ProviderServer, Script
from tests.support.site import Site

FINE = "anthropic:messages-test"


@pytest.fixture
def restricted(site: Site) -> Group:
    group = Group.objects.create(name="Researchers")
    ModelAccess.objects.create(model=FINE).groups.add(group)
    return group


async def load_home(site: Site) -> str:
    return (await site.get("/")).content.decode()


async def test_a_restricted_model_is_neither_offered_nor_answered(
    site: Site, provider: ProviderServer, restricted: Group
) -> None:
    assert "messages-test" not in await load_home(site)
    conversation = await site.begin_conversation()
    response = await site.post(f"/api/conversations/{conversation}/messages/", {"content": "Hi", "model": FINE})
    assert response.status_code == 400
    assert json.loads(response.content)["error"]["message"] == "This site does not offer that model."
    assert not provider.requests


async def test_a_member_of_the_group_may_use_a_restricted_model(site: Site, restricted: Group) -> None:
    await sync_to_async(site.user.groups.add)(restricted)
    assert "messages-test" in await load_home(site)
    assert (await site.ask(model=FINE))["model"] == FINE


async def test_a_retry_does_not_reach_a_restricted_model(site: Site, provider: ProviderServer) -> None:
    answer = await site.ask(model=FINE)
    group = await Group.objects.acreate(name="Researchers")
    await (await ModelAccess.objects.acreate(model=FINE)).groups.aadd(group)
    retried = await site.retry(answer["id"])
    await site.read_events(retried)
    assert (await site.answer(retried))["model"] == "openai:gpt-test"


async def test_a_retry_may_ask_another_model(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="Again.")
    answer = await site.ask()
    response = await site.post(f"/api/answers/{answer['id']}/retry/", {"model": FINE})
    retried = json.loads(response.content)["answer"]
    await site.read_events(retried)
    assert (await site.answer(retried))["model"] == FINE


async def test_a_user_without_any_model_gets_an_error(site: Site, restricted: Group) -> None:
    for model in ("openai:gpt-test", "demo:tour"):
        await ModelAccess.objects.acreate(model=model)
    conversation = await site.begin_conversation()
    response = await site.post(f"/api/conversations/{conversation}/messages/", {"content": "Hi"})
    assert response.status_code == 400
    assert "No model is available to you." in response.content.decode()
    assert (await site.get("/")).status_code == 200
