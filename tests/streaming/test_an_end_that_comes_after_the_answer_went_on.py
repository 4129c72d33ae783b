"""An end is written, then its readers are told. Whoever comes in between, for what another process has continued since,
is told nothing of that end: whichever way it reads, it has the rest.
"""

from __future__ import annotations

import asyncio
import json
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async
from django.http import StreamingHttpResponse
from pytest_django import Settings

from chat.conversations.offered_tools import store_with_tools
from chat.conversations.turns import keep_continuation
from chat.core.events import Terminal, Token, Usage
from chat.generation import store
from chat.generation.process import get_runner
from chat.generation.store import AnswerSnapshot
from chat.generation.verdict import Verdict
from chat.models import Message, Status
from tests.provider_server import ProviderServer, Script
from tests.support.site import NDJSON, SSE, Json, Site
from tests.support.waiting import wait_until

HALF = Script(text="One two three", chunk_size=4, drop_after=8)
REST = "the rest."


class EndOnItsWay:
    """An end of this process's that the database has, and that its readers are told of when a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        broker = get_runner().broker
        self._close = broker.close
        self._may_close, self._is_closed = asyncio.Event(), asyncio.Event()
        monkeypatch.setattr(broker, "close", self._close_late)

    async def _close_late(self, answer: str, fence: int, usage: Usage, terminal: Terminal) -> None:
        await self._may_close.wait()
        await self._close(answer, fence, usage, terminal)
        self._is_closed.set()

    async def arrive(self) -> None:
        self._may_close.set()
        await self._is_closed.wait()


def continue_elsewhere(site: Site, answer: str) -> None:
    """Continue the answer as another process does: this process is told nothing."""
    ended = Message.objects.select_related("conversation", "parent").get(pk=answer)
    started = store_with_tools(lambda model: (), lambda: keep_continuation(site.user, ended, ended.model))
    assert started.is_new


def end_elsewhere(answer: str) -> None:
    kept = Message.objects.get(pk=answer)
    transcript = kept.restore_transcript()
    transcript.append([Token(REST)])
    snapshot = AnswerSnapshot.from_transcript(UUID(answer), kept.fence, transcript, kept.first_token_at)
    assert store.settle(snapshot, Verdict(Status.COMPLETE, "stop"), [])


async def find_shared_path(site: Site, answer: Json) -> str:
    made = await site.post(f"/api/conversations/{answer['conversation']}/shares/", {"audience": "link"})
    assert made.status_code == 201, made.content
    return str(json.loads(made.content)["url"]).partition("testserver")[2]


async def read_into(read: bytearray, response: StreamingHttpResponse) -> None:
    async for chunk in response:
        read.extend(chunk)


@pytest.mark.parametrize("way", [SSE, NDJSON, "page", "page without a script", "shared page"])
async def test_a_reader_who_comes_before_a_late_end_gets_the_rest(
    way: str, site: Site, provider: ProviderServer, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    settings.CHAT_SHARING = "link"
    late_end = EndOnItsWay(monkeypatch)
    provider.enqueue(HALF)
    answer = await site.begin("Count")

    async def is_interrupted() -> bool:
        return bool((await site.answer(answer))["status"] == "interrupted")

    await wait_until(is_interrupted)
    stored = await site.answer(answer)
    paths = {
        "page": f"/answers/{answer}/stream/",
        "page without a script": f"/c/{stored['conversation']}/live/",
        "shared page": f"{await find_shared_path(site, stored)}answers/{answer}/stream/",
    }
    await sync_to_async(continue_elsewhere)(site, answer)
    path, accepted = (paths[way], "*/*") if way in paths else (f"/api/answers/{answer}/events/", way)
    response = await site.stream(path, accept=accepted)
    read = bytearray()
    reading = asyncio.ensure_future(read_into(read, response))
    await wait_until(lambda: b"two" in read)
    await late_end.arrive()
    await asyncio.sleep(0.2)  # time for its readers to be told
    assert not reading.done(), read.decode()
    await sync_to_async(end_elsewhere)(answer)
    await asyncio.wait_for(reading, 10)
    assert REST in read.decode()
