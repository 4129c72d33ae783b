"""Leaving is not Stop: an answer goes on without its reader, and is cut off only when nobody comes back for long."""

from __future__ import annotations

from django.utils import timezone
from pytest_django import Settings

from chat.models import Message
from tests.provider_server import ProviderServer, Script
from tests.support.site import Site
from tests.support.waiting import wait_until


async def is_over(site: Site, answer: str) -> bool:
    return (await site.answer(answer))["status"] not in {"queued", "streaming"}


async def test_an_answer_outlives_its_reader(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="One two three.", chunk_size=4, gate_after=4)
    answer = await site.begin()
    async for _, event in site.follow(answer):
        if event["type"] == "token":
            break
    provider.release()
    await wait_until(lambda: is_over(site, answer))
    whole = await site.answer(answer)
    assert (whole["status"], whole["text"]) == ("complete", "One two three.")


async def test_an_answer_that_nobody_watches_is_cut_off(
    site: Site, provider: ProviderServer, settings: Settings
) -> None:
    settings.CHAT_ABANDON_AFTER = 0.3
    provider.script = Script(text="One two three.", chunk_size=4, gate_after=4)
    answer = await site.begin()
    request = await provider.wait_for_requests(1)
    await provider.wait_until_closed(request, 5)
    await wait_until(lambda: is_over(site, answer))
    cut = await site.answer(answer)
    assert (cut["status"], cut["error"]["code"], cut["text"]) == ("interrupted", "abandoned", "One ")


async def test_a_reader_keeps_an_answer_alive(site: Site, provider: ProviderServer, settings: Settings) -> None:
    settings.CHAT_ABANDON_AFTER = 0.3
    provider.script = Script(text="a b c d e f g h ", chunk_size=2, delay_between=0.15)
    events = await site.read_events(await site.begin())
    assert events[-1].event["type"] == "done"


async def test_a_reader_in_another_process_keeps_an_answer_alive(
    site: Site, provider: ProviderServer, settings: Settings
) -> None:
    settings.CHAT_ABANDON_AFTER = 0.5
    provider.script = Script(text="a b c d e f g h ", chunk_size=2, delay_between=0.15)
    answer = await site.begin()

    async def is_over_while_watched_elsewhere() -> bool:
        await Message.objects.live().filter(pk=answer).aupdate(watched_at=timezone.now())
        return await is_over(site, answer)

    await wait_until(is_over_while_watched_elsewhere)
    assert (await site.answer(answer))["status"] == "complete"


async def test_with_a_limit_of_zero_no_answer_is_abandoned(
    site: Site, provider: ProviderServer, settings: Settings
) -> None:
    settings.CHAT_ABANDON_AFTER = 0
    provider.script = Script(text="a b c d ", chunk_size=2, delay_between=0.15)
    answer = await site.begin()
    await wait_until(lambda: is_over(site, answer))
    assert (await site.answer(answer))["status"] == "complete"
