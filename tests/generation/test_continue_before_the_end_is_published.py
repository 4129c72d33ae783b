"""Continue may come as soon as the database has an answer's end, while its readers are still to be told of it."""

from __future__ import annotations

import asyncio

import pytest

from chat.core.events import Terminal, Usage
from chat.generation.process import get_runner
from tests.provider_server import ProviderServer, Script
from tests.support.site import Site
from tests.support.waiting import wait_until

HALF = Script(text="One two three", chunk_size=4, drop_after=8)
REST = Script(text="three four.", chunk_size=4, gate_after=4)


async def test_the_earlier_end_does_not_close_the_log_of_the_answer_that_goes_on(
    site: Site, provider: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With Redis an end is published after a round trip, and once it ended the answer that had gone on meanwhile."""
    broker = get_runner().resources.broker
    close, may_close = broker.close, asyncio.Event()

    async def close_late(answer: str, fence: int, usage: Usage, terminal: Terminal) -> None:
        await may_close.wait()
        await close(answer, fence, usage, terminal)

    monkeypatch.setattr(broker, "close", close_late)
    provider.enqueue(HALF, REST)
    answer = await site.begin("Count")

    async def is_interrupted() -> bool:
        return bool((await site.answer(answer))["status"] == "interrupted")

    await wait_until(is_interrupted)
    continuing = asyncio.ensure_future(site.post(f"/api/answers/{answer}/continue/"))

    async def is_continued() -> bool:
        return bool((await site.answer(answer))["status"] != "interrupted")

    await wait_until(is_continued)
    may_close.set()
    assert (await continuing).status_code == 202
    await wait_until(lambda: len(provider.requests) == 2)
    provider.release()
    await site.read_events(answer)
    whole = await site.answer(answer)
    assert (whole["status"], whole["text"], whole["error"]) == ("complete", "One two three four.", None)
