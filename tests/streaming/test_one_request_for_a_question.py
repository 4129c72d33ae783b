"""A page's question, retry and continuation bring the turn's HTML and its stream in one response, if asked so."""

from __future__ import annotations

import re

import pytest
from django.http import HttpResponse, StreamingHttpResponse

from chat.models import Message
from tests.provider_server import ProviderServer, Script
from tests.support.site import Site

PAGE = {"hx-request": "true", "accept": "text/html, text/event-stream"}


async def post(site: Site, path: str, fields: dict[str, str], **headers: str) -> HttpResponse | StreamingHttpResponse:
    response: object = await site.client.post(path, fields, headers={**PAGE, **headers})
    assert isinstance(response, HttpResponse | StreamingHttpResponse)
    return response


async def read_messages(response: HttpResponse | StreamingHttpResponse) -> list[str]:
    """Return what the messages of a stream say, without those that keep the connection open."""
    assert isinstance(response, StreamingHttpResponse)
    body = b"".join([chunk async for chunk in response]).decode()
    messages = [message for message in body.split("\n\n") if message and not message.startswith(":")]
    return ["\n".join(re.findall(r"^data: (.*)$", message, re.MULTILINE)) for message in messages]


async def ask(site: Site) -> tuple[str, list[str]]:
    """Ask over the page, and return the answer's id and the messages."""
    messages = await read_messages(await post(site, "/send/", {"content": "Hello"}))
    answer = await Message.objects.answers().order_by("-created_at").afirst()
    assert answer is not None
    return str(answer.pk), messages


async def test_the_turn_comes_first_and_then_the_same_stream_as_by_a_request_of_its_own(
    site: Site, provider: ProviderServer
) -> None:
    provider.script = Script(text="One two three")
    answer, (turn, *changes) = await ask(site)
    assert f'id="answer-{answer}"' in turn
    assert f"/answers/{answer}/stream/?after=0" in turn, "a page whose connection breaks knows where to go on"
    assert "One two three" in "".join(changes)
    assert changes[-1] == "done"
    response = await site.stream(f"/answers/{answer}/stream/?after=0")
    assert (await read_messages(response))[-1] == "done"


async def test_a_first_question_names_the_address_of_its_conversation(site: Site, provider: ProviderServer) -> None:
    response = await post(site, "/send/", {"content": "Hello"})
    await read_messages(response)
    answer = await Message.objects.answers().aget()
    assert response.headers["HX-Push-Url"] == f"/c/{answer.conversation_id}/"
    assert response.headers["Content-Type"] == "text/event-stream"
    assert response.headers["X-Accel-Buffering"] == "no"


@pytest.mark.parametrize("accept", ["", "*/*", "text/html", "text/html, text/event-stream;q=0"])
async def test_a_program_that_does_not_ask_for_a_stream_gets_html(
    site: Site, provider: ProviderServer, accept: str
) -> None:
    response = await post(site, "/send/", {"content": "Hello"}, accept=accept)
    assert isinstance(response, HttpResponse)
    assert response.headers["Content-Type"].startswith("text/html")
    assert b'class="turn"' in response.content


async def test_without_a_script_a_question_leads_to_its_page(site: Site, provider: ProviderServer) -> None:
    response = await site.client.post("/send/", {"content": "Hello"}, headers={"accept": PAGE["accept"]})
    assert response.status_code == 302


async def test_a_refused_question_is_no_stream(site: Site) -> None:
    response = await post(site, "/send/", {"content": ""})
    assert (response.status_code, response.headers["HX-Retarget"]) == (422, "#composer-error")


async def test_a_question_that_is_sent_again_after_its_end_is_no_stream(site: Site, provider: ProviderServer) -> None:
    turn = "6f5b2c1e-0000-4000-8000-000000000001"
    await read_messages(await post(site, "/send/", {"content": "Hello", "turn": turn}))
    again = await post(site, "/send/", {"content": "Hello", "turn": turn})
    assert isinstance(again, HttpResponse)
    assert again.status_code == 200
    assert len(provider.requests) == 1


async def test_a_retry_is_one_request_too(site: Site, provider: ProviderServer) -> None:
    answer, _ = await ask(site)
    provider.script = Script(text="Otherwise")
    html, *changes = await read_messages(await post(site, f"/answers/{answer}/retry/", {}))
    assert 'class="answer"' in html
    assert "Otherwise" in "".join(changes)
    assert changes[-1] == "done"


async def test_a_continuation_is_one_request_too(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="One two", eof_after=7)
    answer, _ = await ask(site)
    assert (await Message.objects.aget(pk=answer)).status == "interrupted"
    provider.script = Script(text=" three")
    html, *changes = await read_messages(await post(site, f"/answers/{answer}/continue/", {}))
    assert "One two" in html
    assert "three" in "".join(changes)
    assert changes[-1] == "done"
