"""An answer whose end waits behind hundreds of others keeps its lease, and no other process ends it."""

from __future__ import annotations

from datetime import datetime

from chat.generation.process import get_runner
from chat.models import Message
from tests.provider_server import ProviderServer, Script
from tests.support.site import Site
from tests.support.waiting import wait_until


async def test_an_answer_whose_end_waits_renews_its_lease_until_it_is_complete(
    site: Site, provider: ProviderServer
) -> None:
    provider.script = Script(text="All of it.")
    settling = get_runner().resources.settling
    while not settling.locked():  # as if other ends were being written
        await settling.acquire()
    answer = await site.begin()

    async def read_lease() -> datetime | None:
        kept = await Message.objects.aget(pk=answer)
        return kept.lease_until if kept.text == "All of it." else None

    async def has_text() -> bool:
        return await read_lease() is not None

    await wait_until(has_text)
    first = await read_lease()
    assert first is not None

    async def is_renewed() -> bool:
        until = await read_lease()
        return until is not None and until > first

    await wait_until(is_renewed)
    settling.release()
    await wait_until(lambda: has_ended(answer))
    settling.release()
    assert (await site.answer(answer))["status"] == "complete"


async def has_ended(answer: str) -> bool:
    return not (await Message.objects.aget(pk=answer)).is_live
