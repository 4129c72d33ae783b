"""Without a script: a page comes in pieces until its answer has ended, and an expired login loses no text."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

from django.test import AsyncClient
from pytest_django import Settings

from chat.models import Conversation, Message, NextQuestion
from tests.provider_server import ProviderServer, Script
from tests.support.databases import serve_new_site
from tests.support.server import log_in_demo
from tests.support.site import Site


async def begin(site: Site, content: str = "Why?") -> str:
    response = await site.client.post("/send/", {"content": content, "turn": str(uuid4())})
    assert response.status_code == 302
    page = await site.get(response.headers["Location"])
    [address] = re.findall(r'<meta http-equiv="refresh"\s+content="0; url=([^"]+)">', page.content.decode())
    return str(address)


async def test_the_page_grows_with_the_answer_and_ends_with_a_composer(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="One **two** three", chunk_size=4, gate_after=8)
    response = await site.stream(await begin(site))
    page, before = "", ""
    async for chunk in response:
        page += chunk.decode()
        if not before and "One" in page:
            before = page
            provider.release()
    assert "</html>" not in before
    assert "Stop</button>" in before
    last = page.rpartition("snapshot")[2]
    assert "<strong>two</strong> three" in last
    assert 'data-status="complete"' in last
    assert 'id="composer"' in last
    assert page.rstrip().endswith("</html>")
    assert page.count("<html") == 1


def test_the_page_ends_with_a_composer_on_a_server(tmp_path: Path) -> None:
    """A server empties a request when its response begins, which a test client does not."""
    with (
        ProviderServer.run_in_thread(Script(text="One two three", chunk_size=4, gate_after=8)) as provider,
        serve_new_site("daphne", tmp_path, OPENAI_BASE_URL=provider.openai_url, CHAT_MODELS="openai:m") as (server, _),
        closing(log_in_demo(server)) as browser,
    ):
        form = {"content": "Why?", "turn": str(uuid4()), "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
        conversation = browser.post("/send/", data=form).headers["Location"]
        with browser.stream("GET", f"{conversation}live/") as response:
            provider.release()
            page = response.read().decode()
        assert 'data-status="complete"' in page
        assert 'id="composer"' in page
        assert page.rstrip().endswith("</html>")
        assert "Traceback" not in server.log.read_text()


async def test_stop_ends_the_page(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="One two three", chunk_size=4, gate_after=4)
    response = await site.stream(await begin(site))
    page, stopped = "", False
    async for chunk in response:
        page += chunk.decode()
        if not stopped and "One" in page:
            stopped = True
            conversation = re.findall(r'name="conversation" value="([0-9a-f-]{36})"', page)[0]
            assert (await site.client.post("/stop/", {"conversation": conversation})).status_code == 302
    assert "You stopped this answer." in page


async def test_without_a_live_answer_the_plain_page_is_shown(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="Yes.")
    answer = await site.ask("One?")
    for path in (f"/c/{answer['conversation']}/live/",):
        response = await site.get(path)
        assert (response.status_code, response.headers["Location"]) == (302, f"/c/{answer['conversation']}/")
    assert (await site.get(f"/c/{uuid4()}/live/")).status_code == 404


async def test_what_is_refused_is_a_page_that_leads_back(
    site: Site, provider: ProviderServer, settings: Settings
) -> None:
    """It was a sentence on an empty page, or one whose link led to an address that only forms are sent to."""
    provider.script = Script(text="Half", drop_after=2)
    answer = await site.ask("One?")
    settings.CHAT_USER_REQUESTS_PER_MINUTE = 1
    provider.script = Script(text="Half", gate_after=0)
    await site.begin("Two?", conversation=answer["conversation"])
    await site.client.post(
        "/send/", {"content": "Three?", "conversation": answer["conversation"], "turn": str(uuid4()), "waits": "1"}
    )
    kept = await NextQuestion.objects.aget()
    for path, form in (
        (f"/answers/{answer['id']}/retry/", {}),
        (f"/answers/{answer['id']}/continue/", {}),
        (f"/answers/{answer['id']}/rate/", {"rating": "sideways"}),
        (f"/next/{kept.pk}/edit/", {"text": " "}),
    ):
        refused = await site.client.post(path, form)
        assert 400 <= refused.status_code < 500, path
        page = refused.content.decode()
        assert 'role="alert"' in page, path
        [back] = re.findall(r'href="([^"]+)">Back<', page)
        assert (await site.get(back)).status_code == 200, path
    provider.release()


async def test_the_head_of_a_page_that_grows_is_answered_at_once(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="One two three", chunk_size=4, gate_after=4)
    address = await begin(site)
    head: Any = await site.client.head(address)
    assert (head.status_code, head.headers["Content-Type"], head.content) == (200, "text/html; charset=utf-8", b"")
    provider.release()


async def test_an_expired_login_loses_no_text(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="Yes.")
    form = {"content": "A <long> question", "turn": str(uuid4()), "model": "openai:gpt-test"}
    response = await AsyncClient().post("/send/", form)
    page = response.content.decode()
    assert response.status_code == 401
    assert "A &lt;long&gt; question</textarea>" in page
    assert f'name="turn" value="{form["turn"]}"' in page
    assert not await Conversation.objects.aexists()


async def test_a_form_from_before_a_login_loses_no_text_unless_another_site_sent_it(site: Site) -> None:
    client = AsyncClient(enforce_csrf_checks=True)
    await client.aforce_login(site.user)
    form = {"content": "A question"}
    response = await client.post("/send/", form)
    assert response.status_code == 403
    assert "A question</textarea>" in response.content.decode()
    response = await client.post("/send/", form, headers={"sec-fetch-site": "cross-site"})
    assert "A question" not in response.content.decode()
    assert not await Message.objects.aexists()
