"""A server that is told to stop loses nothing: answers finish while there is time, the rest is left to another one."""

from __future__ import annotations

import asyncio
import json
from uuid import UUID

from pytest_django import Settings

from chat.generation.process import get_runner, make_process
from chat.models import Message, ProviderCall
from tests.provider_server import ProviderServer, Script
from tests.provider_server.recorded_request import RecordedRequest
from tests.support.site import Positioned, Site, join_text
from tests.support.waiting import wait_until


async def test_an_answer_that_ends_in_time_is_complete(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="One two", chunk_size=4, gate_after=4)
    answer = await site.begin()
    await provider.wait_for_requests(1)
    draining = asyncio.ensure_future(get_runner().drain(10))
    await wait_until(lambda: get_runner().draining)
    provider.release()
    await asyncio.wait_for(draining, 10)
    assert (await site.answer(answer))["status"] == "complete"


async def drain_in_the_middle(
    site: Site, provider: ProviderServer
) -> tuple[str, asyncio.Future[list[Positioned]], RecordedRequest]:
    """Drain while "One " has come of an answer; return it, what its reader gets, and the provider's request."""
    provider.script = Script(text="One two", chunk_size=4, gate_after=4)
    answer = await site.begin()
    reading = asyncio.ensure_future(site.read_events(answer))
    request = await provider.wait_for_requests(1)
    async for position, _ in site.follow(answer):
        if position == 4:
            break
    await get_runner().drain(0.1)
    return answer, reading, request


async def test_an_answer_that_does_not_is_finished_by_another_process(
    site: Site, provider: ProviderServer, settings: Settings
) -> None:
    settings.CHAT_FINISH_LOST = 1
    answer, reading, _ = await drain_in_the_middle(site, provider)
    left = await Message.objects.aget(pk=answer)
    assert (left.status, left.owner, left.text) == ("streaming", "", "One ")
    provider.script = Script(text="three")
    other = make_process().runner
    other.prepare()
    events = await asyncio.wait_for(reading, 10)
    assert (join_text(events), events[-1].event["type"]) == ("One three", "done")
    assert [event["code"] for _, event in events if event["type"] == "notice"] == ["resumed"]
    calls = ProviderCall.objects.filter(answer=UUID(answer)).order_by("pk")
    assert [(call.outcome, call.error_code) async for call in calls] == [
        ("interrupted", "server_restart"),
        ("complete", ""),
    ]
    assert (await Message.objects.aget(pk=answer)).interrupted_by == "server_restart"
    await other.drain(0)


async def test_an_answer_that_may_not_be_left_is_interrupted_with_its_text(
    site: Site, provider: ProviderServer, settings: Settings
) -> None:
    settings.CHAT_FINISH_LOST = 0
    answer, reading, request = await drain_in_the_middle(site, provider)
    cut = await site.answer(answer)
    assert (cut["status"], cut["error"]["code"], cut["text"]) == ("interrupted", "server_restart", "One ")
    events = await asyncio.wait_for(reading, 10)
    assert (join_text(events), events[-1].event["code"]) == ("One ", "server_restart")
    await provider.wait_until_closed(request, 0.5)


async def test_a_server_that_drains_takes_no_new_question(site: Site, provider: ProviderServer) -> None:
    conversation = await site.begin_conversation()
    get_runner().draining = True
    response = await site.post(f"/api/conversations/{conversation}/messages/", {"content": "Hello"})
    assert response.status_code == 503
    assert json.loads(response.content)["error"]["code"] == "draining"
    page = await site.client.post("/send/", {"content": "Hello"}, headers={"hx-request": "true"})
    assert (page.status_code, page.headers["HX-Retarget"]) == (503, "#composer-error")
    assert (await site.get("/healthz")).status_code == 503
    assert provider.requests == []
