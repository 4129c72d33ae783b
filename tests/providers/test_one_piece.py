"""An answer that arrives whole at once is sent in one piece; streaming would only cost there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from django.db import DatabaseError

from chat.generation import store
from chat.generation.process import get_runner
from chat.tools.toolbox import Toolbox
from tests.conftest import ANTHROPIC
from tests.provider_server import Call, ProviderServer, Script
from tests.support.site import NDJSON, SSE, Site, from_ndjson, from_sse

WHOLE = Script(text="Forty-two.", gather_writes=True)


async def read_writes(site: Site, accept: str = SSE, **fields: str) -> list[list[str]]:
    """Ask, and return the types of the events in each write of the streamed response; the first event is the start."""
    path = f"/api/conversations/{await site.begin_conversation()}/messages/"
    response: object = await site.post(path, {"content": "Hello", **fields}, accept=accept)
    parse = from_sse if accept == SSE else from_ndjson
    return [[event["type"] for _, event in parse(chunk)[0]] async for chunk in iterate_chunks(response)]


async def iterate_chunks(response: object) -> AsyncIterator[bytes]:
    async for chunk in response:  # type: ignore[attr-defined]
        yield chunk


@pytest.mark.parametrize("accept", [SSE, NDJSON])
async def test_a_short_answer_is_one_write(site: Site, provider: ProviderServer, model: str, accept: str) -> None:
    provider.script = WHOLE
    assert await read_writes(site, accept, model=model) == [["start"], ["token", "usage", "done"]]


async def test_an_answer_that_comes_in_pieces_is_sent_as_it_comes(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="Forty-two.", chunk_size=5, delay_between=0.2)
    assert await read_writes(site) == [["start"], ["token"], ["token"], ["usage", "done"]]


async def test_tools_that_are_called_at_once_are_shown_before_they_run(site: Site, provider: ProviderServer) -> None:
    get_runner().resources.toolbox = Toolbox(["tests.generation.test_tool_loop.slow"])
    calls = [Call("slow", '{"seconds": 0.5}')]
    provider.enqueue(Script(text="I look.", tool_calls=calls, gather_writes=True))
    provider.script = WHOLE
    told = await read_writes(site)
    assert told[1] == ["token", "tool_call", "tool_arguments"]


async def test_a_whole_answer_is_shown_though_its_end_cannot_be_written_yet(
    site: Site, provider: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = asyncio.Event()
    settle = store.settle

    def fail_until_shown(*args: object) -> bool:
        if not shown.is_set():
            raise DatabaseError
        return settle(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "settle", fail_until_shown)
    provider.script = WHOLE
    answer = await site.begin(model=ANTHROPIC)
    async with asyncio.timeout(10):
        async for _, event in site.follow(answer):
            if event["type"] == "token":
                assert json.dumps(event) == '{"type": "token", "content": "Forty-two."}'
                shown.set()
    assert (await site.answer(answer))["status"] == "complete"
