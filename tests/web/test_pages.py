"""The pages, as a browser gets them: whole without htmx, the same parts with it, and honest when something is wrong."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import AsyncClient
from pytest_django import Settings

from chat.models import Conversation, Message
from tests.provider_server import ProviderServer, Script
from tests.support.site import Site
from tests.support.waiting import wait_until

HTMX = {"hx-request": "true"}


async def send(site: Site, content: str = "Hello", *, htmx: bool = True, **fields: str) -> HttpResponse:
    form = {"content": content, "turn": str(uuid.uuid4()), **fields}
    response: Any = await site.client.post("/send/", form, headers=HTMX if htmx else {})
    return response  # type: ignore[no-any-return]


async def load_page(site: Site, path: str) -> str:
    response = await site.get(path)
    assert response.status_code == 200
    return response.content.decode()


async def test_a_new_chat_has_a_composer_and_no_conversation(site: Site) -> None:
    page = await load_page(site, "/")
    assert 'id="composer"' in page
    assert 'name="turn"' in page
    assert not await Conversation.objects.aexists()


async def test_the_first_question_makes_the_conversation_and_its_title(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(gate_after=0)
    response = await send(site, "Why is the sky blue?\nPlease be short.")
    conversation = await Conversation.objects.aget()
    html = response.content.decode()
    assert conversation.title == "Why is the sky blue?"
    assert response.headers["HX-Push-Url"] == f"/c/{conversation.pk}/"
    assert "Why is the sky blue?\nPlease be short." in html
    assert 'hx-target="#composer-hidden"' in html
    assert 'hx-target="#new-row"' in html


async def test_the_upstream_call_begins_before_the_page_opens_its_stream(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(gate_after=0)
    response = await send(site)
    await provider.wait_for_requests(1)
    assert re.search(r'hx-sse:connect="/answers/[0-9a-f-]{36}/stream/\?after=0"', response.content.decode())


async def test_a_second_question_stays_on_its_page(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="Yes.")
    first = await site.ask()
    response = await send(site, "And?", conversation=first["conversation"])
    assert "HX-Push-Url" not in response.headers
    assert 'hx-target="#new-row"' not in response.content.decode()


async def test_without_scripts_the_page_is_reloaded(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="Yes.")
    response = await send(site, htmx=False)
    conversation = await Conversation.objects.aget()
    assert (response.status_code, response.headers["Location"]) == (302, f"/c/{conversation.pk}/")


@pytest.mark.parametrize("content", ["", "   \n "])
async def test_an_empty_question_is_refused_under_the_composer(site: Site, content: str) -> None:
    response = await send(site, content)
    assert (response.status_code, response.headers["HX-Retarget"]) == (422, "#composer-error")
    assert b"Write a message first." in response.content
    assert not await Message.objects.aexists()


async def test_a_question_that_is_too_long_is_refused_with_its_length(site: Site, settings: Settings) -> None:
    settings.CHAT_MAX_PROMPT_CHARS = 10
    response = await send(site, "x" * 11)
    assert response.status_code == 422
    assert b"11 characters; at most 10" in response.content


async def test_a_refused_question_is_still_in_the_box_without_scripts(site: Site, settings: Settings) -> None:
    settings.CHAT_MAX_PROMPT_CHARS = 10
    response = await send(site, "twelve chars", htmx=False)
    assert response.status_code == 422
    assert "twelve chars" in response.content.decode()


async def test_a_model_that_is_not_offered_is_refused(site: Site) -> None:
    response = await send(site, model="openai:secret")
    assert (response.status_code, await Message.objects.aexists()) == (422, False)


async def test_another_question_during_an_answer_is_refused_and_kept(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(gate_after=0)
    conversation = await site.begin_conversation()
    await site.begin(conversation=conversation)
    response = await send(site, "And?", conversation=conversation)
    assert (response.status_code, response.headers["HX-Retarget"]) == (409, "#composer-error")


async def test_the_page_of_a_live_answer_goes_on_where_its_text_ends(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="One two three", chunk_size=4, gate_after=8)
    answer = await site.begin()

    async def is_written() -> bool:
        return (await Message.objects.aget(pk=answer)).position == 8

    await wait_until(is_written)
    page = await load_page(site, f"/c/{(await site.answer(answer))['conversation']}/")
    assert f'hx-sse:connect="/answers/{answer}/stream/?after=8"' in page
    assert "One two" in page
    assert 'data-status="streaming"' in page


async def test_a_finished_answer_has_no_stream(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="All of it.")
    answer = await site.ask()
    page = await load_page(site, f"/c/{answer['conversation']}/")
    assert "hx-sse:connect" not in page
    assert 'data-status="complete"' in page


async def test_an_interrupted_answer_says_why_and_how_much_is_kept(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="One two three", drop_after=7)
    answer = await site.ask()
    page = await load_page(site, f"/c/{answer['conversation']}/")
    assert answer["error"]["message"].replace("'", "&#x27;") in page
    assert "7 characters kept" in page
    assert f"/answers/{answer['id']}/retry/" in page


async def test_retry_gives_the_new_attempt_in_the_place_of_the_old(site: Site, provider: ProviderServer) -> None:
    provider.enqueue(Script(status=500))
    provider.script = Script(gate_after=0)
    failed = await site.ask()
    response = await site.client.post(f"/answers/{failed['id']}/retry/", headers=HTMX)
    html = response.content.decode()
    assert response.status_code == 200
    assert 'data-status="queued"' in html
    assert failed["id"] not in re.findall(r'id="answer-([0-9a-f-]{36})"', html)


async def test_the_sidebar_lists_ones_own_conversations(site: Site, provider: ProviderServer) -> None:
    await send(site, "The first question")
    assert "The first question" in await load_page(site, "/")


@pytest.mark.parametrize("markup", ["<script>alert(1)</script>", '<img src=x onerror="alert(1)">', "{{ 7|add:7 }}"])
async def test_a_question_is_shown_as_it_was_typed(site: Site, provider: ProviderServer, markup: str) -> None:
    provider.script = Script(gate_after=0)
    html = (await send(site, markup)).content.decode()
    assert markup not in html or markup.startswith("{{")
    assert "<script>" not in html
    assert "<img" not in html


async def test_a_page_names_no_other_origin(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="[a](https://example.org/) ![b](https://example.org/b.png) https://example.net")
    answer = await site.ask()
    response = await site.get(f"/c/{answer['conversation']}/")
    loads = re.findall(
        r'<(?:script|img|link|iframe|video|audio|source|object|embed)[^>]*?(?:src|href)="([^"]*)"',
        response.content.decode(),
    )
    assert loads
    assert all(address.startswith("/") for address in loads)
    assert "script-src 'self'" in response.headers["Content-Security-Policy"]
    assert "unsafe" not in response.headers["Content-Security-Policy"]


async def test_every_response_has_a_request_id(site: Site) -> None:
    assert (await site.get("/", x_request_id="from-the-proxy")).headers["X-Request-ID"] == "from-the-proxy"
    forged = await site.get("/", x_request_id="two words")
    assert re.fullmatch("[0-9a-f]{12}", forged.headers["X-Request-ID"])


async def test_a_page_that_names_no_icon_has_the_one_of_the_site(site: Site, settings: Settings) -> None:
    """The admin's pages name none, so a browser asks for the one that every site has."""
    settings.SERVESTATIC_USE_FINDERS = True
    stranger = AsyncClient()
    led = await stranger.get("/favicon.ico")
    assert led.status_code == 302
    icon = await stranger.get(led.headers["Location"])
    assert (icon.status_code, icon.headers["Content-Type"]) == (200, "image/svg+xml")


async def test_a_missing_page_is_a_page(site: Site) -> None:
    response = await site.get("/nothing/here/")
    assert response.status_code == 404
    assert b"<html" in response.content


async def test_a_conversation_whose_model_is_gone_says_so_until_another_one_has_answered(
    site: Site, settings: Settings
) -> None:
    answer = await site.ask(model="anthropic:messages-test")
    path = f"/c/{answer['conversation']}/"
    settings.CHAT_MODELS = ["openai:gpt-test"]
    assert "messages-test is no longer available." in await load_page(site, path)
    await site.ask("Again", answer["conversation"])
    assert "no longer available" not in await load_page(site, path)


async def test_a_title_turns_nothing_round_on_the_page(site: Site) -> None:
    """Neither a new one, nor one that was kept when titles still held such signs."""
    await send(site, "Is \u202eevil\u2066 this\u200b?")
    conversation = await Conversation.objects.aget()
    assert conversation.title == "Is evil this?"
    await Conversation.objects.aupdate(title="Is \u202eevil\u2066 this?")
    page = await load_page(site, f"/c/{conversation.pk}/")
    head, body = page.split("</head>")
    assert "<title>Is evil this? · Chatsite</title>" in head
    assert body.count("Is evil this?") == 3  # the heading, the sidebar, and what its menu is called
    assert page.count("\u202e") == 1  # in the question itself, which is a block of its own
