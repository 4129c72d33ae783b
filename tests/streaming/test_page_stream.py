"""A page that loses its stream at any message and comes back is the page that was reloaded."""

from __future__ import annotations

import asyncio
import re

import pytest
from asgiref.sync import sync_to_async
from pytest_django import Settings

from chat.generation.process import get_runner
from chat.models import Message
from chat.rendering.document import render, render_snapshot
from chat.streaming.own_turn import render_answer, render_foot
from tests.corpus import CORPUS
from tests.provider_server import ProviderServer, Script
from tests.support.lost_answers import keep_lost_answer
from tests.support.page import Page
from tests.support.partials import PARTIAL
from tests.support.site import Site
from tests.support.waiting import wait_until

FOOT = re.compile(r'<footer class="foot".*?</footer>', re.DOTALL)


def read_words(html: str) -> str:
    """Return the words of HTML, as a reader sees them."""
    return " ".join(re.sub("<[^>]+>", " ", html).split())


async def read_messages(site: Site, answer: str, after: int | None = None) -> list[tuple[int, str]]:
    """Return the page's messages from a position on, each with the position behind it."""
    headers = {} if after is None else {"last_event_id": str(after)}
    response = await site.stream(f"/answers/{answer}/stream/?after=0", **headers)
    body = b"".join([chunk async for chunk in response]).decode()
    found = []
    for message in body.split("\n\n"):
        lines = [line.partition(": ") for line in message.split("\n")]
        data = "\n".join(value for name, _, value in lines if name == "data")
        position = [int(value) for name, _, value in lines if name == "id"]
        if position:
            found.append((position[0], data))
    return found


def apply(page: Page, message: str, answer: str) -> None:
    for target, how, html in PARTIAL.findall(message):
        if target.startswith(f"#part-{answer}-0"):
            page.swap(target.removeprefix(f"#part-{answer}-0").strip(), how, html)


@pytest.mark.parametrize("name", CORPUS)
async def test_every_message_is_a_place_to_come_back_to(site: Site, provider: ProviderServer, name: str) -> None:
    text = CORPUS[name][:1500]
    provider.script = Script(text=text, chunk_size=9, delay_between=0.002)
    answer = await site.begin()
    whole = await read_messages(site, answer)
    page = Page()
    for position, data in whole:
        apply(page, data, answer)
        if position > len(text):
            break
        back = Page(page.html)
        for _, later in await read_messages(site, answer, position):
            apply(back, later, answer)
        assert back.html == render(text)
    assert page.html == render(text)


async def test_a_page_loaded_in_the_middle_goes_on_from_what_it_shows(site: Site, provider: ProviderServer) -> None:
    text = "- one\n- two **bold** words\n\n```python\nx = 1\ny = 2\n```\n\nThe end."
    cut = text.index("y = ")
    provider.script = Script(text=text, chunk_size=1, gate_after=cut)
    answer = await site.begin()

    async def is_written() -> bool:
        return (await Message.objects.aget(pk=answer)).position == cut

    await wait_until(is_written)
    page = Page(render_snapshot(text[:cut]))
    provider.release()
    for _, data in await read_messages(site, answer, cut):
        apply(page, data, answer)
    assert page.html == render(text)


@pytest.mark.parametrize("beyond", [1, 30, 200])
async def test_a_page_that_has_seen_more_than_was_kept_is_shown_what_was_kept(
    site: Site, provider: ProviderServer, beyond: int
) -> None:
    """A process that is killed has shown what it had not written yet."""
    text = "The first paragraph.\n\nThe second one, which"
    provider.script = Script(text=text, drop_after=len(text))
    answer = (await site.ask())["id"]
    [(_, message)] = await read_messages(site, answer, len(text) + beyond)
    loaded = await sync_to_async(lambda: Message.objects.select_related("conversation").get(pk=answer))()
    article = await sync_to_async(render_answer)(loaded)
    [change, (line, *_)] = PARTIAL.findall(message)
    assert change == (f"#answer-{answer}", "outerHTML", article)
    assert line == "#cost-line"
    assert render(text) in article


async def test_the_last_message_brings_the_foot_and_takes_the_wire_away(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="One two", drop_after=4)
    answer = await site.begin()
    last = (await read_messages(site, answer))[-1][1]
    foot = next(html for target, _, html in PARTIAL.findall(last) if target == f"#foot-{answer}")
    written = await Message.objects.select_related("conversation").aget(pk=answer)
    assert foot == await sync_to_async(render_foot)(written)
    assert 'data-status="interrupted"' in foot
    assert "hx-sse" not in foot


async def test_an_answer_that_was_finished_after_an_interruption_says_so_live_and_reloaded(
    site: Site, provider: ProviderServer, settings: Settings
) -> None:
    settings.CHAT_FINISH_LOST = 1
    provider.script = Script(text=" and what was not.", gate_after=4)
    answer = await sync_to_async(keep_lost_answer)(site.user)
    get_runner().supervisor.sweeper.sweep_soon()

    async def is_gone_on_with() -> bool:
        return (await Message.objects.aget(pk=answer.pk)).position == 19  # 17 characters, and 2 for the joint

    await wait_until(is_gone_on_with)
    reading = asyncio.ensure_future(read_messages(site, str(answer.pk)))
    provider.release()
    last = (await asyncio.wait_for(reading, 10))[-1][1]
    foot = next(html for target, _, html in PARTIAL.findall(last) if target == f"#foot-{answer.pk}")
    assert "Finished after an interruption" in foot
    page = (await site.get(f"/c/{answer.conversation_id}/")).content.decode()
    [reloaded] = FOOT.findall(page)
    assert read_words(foot) == read_words(reloaded)


async def test_a_finished_answer_sends_its_end_and_done(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="All.")
    answer = (await site.ask())["id"]
    response = await site.stream(f"/answers/{answer}/stream/?after=4")
    body = b"".join([chunk async for chunk in response])
    assert body.endswith(b"event: done\ndata: done\n\n")


async def test_the_stream_is_held_back_by_nobody(site: Site, provider: ProviderServer) -> None:
    answer = (await site.ask())["id"]
    for path in (f"/answers/{answer}/stream/", f"/api/answers/{answer}/events/"):
        response = await site.stream(path, accept_encoding="gzip")
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.headers["X-Accel-Buffering"] == "no"
        assert "no-cache" in response.headers["Cache-Control"]
        assert "Content-Encoding" not in response.headers
