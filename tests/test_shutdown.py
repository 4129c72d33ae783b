"""A server that is told to stop loses nothing: answers finish while there is time, the rest is interrupted."""

from __future__ import annotations

import asyncio
import json

from chat.generation import runner
from tests.provider_server import ProviderServer, Script
from tests.site import Site, text_of
from tests.waiting import eventually


async def test_an_answer_that_ends_in_time_is_complete(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="One two", chunk_size=4, gate_after=4)
    answer = await site.begin()
    await provider.wait_for_requests(1)
    draining = asyncio.ensure_future(runner().drain(10))
    await eventually(lambda: runner().draining)
    provider.release()
    await asyncio.wait_for(draining, 10)
    assert (await site.answer(answer))["status"] == "complete"


async def test_an_answer_that_does_not_is_interrupted_with_its_text(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="One two", chunk_size=4, gate_after=4)
    answer = await site.begin()
    reading = asyncio.ensure_future(site.events(answer))
    request = await provider.wait_for_requests(1)
    async for position, _ in site.follow(answer):
        if position == 4:
            break
    await runner().drain(0.1)
    cut = await site.answer(answer)
    assert (cut["status"], cut["error"]["code"], cut["text"]) == ("interrupted", "server_restart", "One ")
    events = await asyncio.wait_for(reading, 10)
    assert (text_of(events), events[-1].event["code"]) == ("One ", "server_restart")
    await provider.wait_closed(request, 0.5)


async def test_a_server_that_drains_takes_no_new_question(site: Site, provider: ProviderServer) -> None:
    conversation = await site.conversation()
    runner().draining = True
    response = await site.post(f"/api/conversations/{conversation}/messages/", {"content": "Hello"})
    assert response.status_code == 503
    assert json.loads(response.content)["error"]["code"] == "draining"
    page = await site.client.post("/send/", {"content": "Hello"}, headers={"hx-request": "true"})
    assert (page.status_code, page.headers["HX-Retarget"]) == (503, "#composer-error")
    assert (await site.get("/healthz")).status_code == 503
    assert provider.requests == []
