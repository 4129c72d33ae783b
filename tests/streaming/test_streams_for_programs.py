"""Streams hold what a program can parse and nothing else, and say where they begin and end."""

from __future__ import annotations

import json

import pytest
from pytest_django import Settings

from tests.provider_server import ProviderServer, Script
from tests.support.site import NDJSON, SSE, Site
from tests.support.waiting import wait_until


async def read_lines(site: Site, provider: ProviderServer, path: str, pings: int) -> list[str]:
    """Return the lines of a stream whose provider is silent until the reader has waited for long enough."""
    stream, lines = await site.stream(path, accept=NDJSON), b""
    chunks = aiter(stream)
    while b'"token"' not in lines:
        lines += await anext(chunks)
    while lines.count(b'"ping"') < pings:
        lines += await anext(chunks)
    provider.release()
    async for chunk in chunks:
        lines += chunk
    assert lines.endswith(b"\n")
    return lines.decode().removesuffix("\n").split("\n")


@pytest.mark.parametrize(("query", "pings"), [("", 0), ("?ping=1", 2), ("?ping=true", 1), ("?ping=0", 0)])
async def test_every_line_of_ndjson_is_an_object(
    site: Site, provider: ProviderServer, settings: Settings, query: str, pings: int
) -> None:
    settings.CHAT_HEARTBEAT = 0.05
    provider.script = Script(text="One two", chunk_size=4, gate_after=4)
    answer = await site.begin()
    lines = [
        json.loads(line) for line in await read_lines(site, provider, f"/api/answers/{answer}/events/{query}", pings)
    ]
    assert (sum(line["type"] == "ping" for line in lines) >= 1) == (pings > 0)
    assert {line["position"] for line in lines if line["type"] == "ping"} <= {0, 4}
    assert [line["type"] for line in lines if line["type"] != "ping"] == ["start", "token", "token", "usage", "done"]


@pytest.mark.parametrize("media_type", [SSE, NDJSON])
async def test_the_start_names_the_conversation(site: Site, provider: ProviderServer, media_type: str) -> None:
    answer = await site.ask()
    start = (await site.read_events(answer["id"], media_type=media_type))[0].event
    assert start == {
        "type": "start",
        "answer": answer["id"],
        "model": answer["model"],
        "conversation": answer["conversation"],
    }


@pytest.mark.parametrize("media_type", [SSE, NDJSON])
async def test_a_position_past_the_end_is_none(site: Site, provider: ProviderServer, media_type: str) -> None:
    answer = await site.ask()
    end, path = answer["position"] + 2, f"/api/answers/{answer['id']}/events/"
    for past in (end + 1, end + 1000):
        told = await site.get(f"{path}?after={past}", accept=media_type)
        assert (told.status_code, json.loads(told.content)["error"]["field"]) == (400, "after")
        reconnected = await site.get(path, accept=media_type, last_event_id=str(past))
        assert (reconnected.status_code, reconnected.content) == (204, b"")
    assert (await site.get(f"{path}?after={end}", accept=media_type)).status_code == 204


async def test_positions_stay_what_they_are_however_often_one_reconnects(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="One two three")
    answer = (await site.ask())["id"]
    whole = await site.read_events(answer)
    seen, position = whole[:1], 0
    for _ in range(50):
        rest = await site.read_events(answer, position)
        seen.append(next(each for each in rest if each.event["type"] != "start"))
        position = seen[-1].position
        if seen[-1].event["type"] in {"done", "error"}:
            break
    assert seen[-1] == whole[-1]
    assert {each.position for each in seen} <= {each.position for each in whole}


async def test_a_stopped_answer_ends_for_the_same_reason_everywhere(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="One two", chunk_size=4, gate_after=4)
    answer = await site.begin()
    await provider.wait_for_requests(1)
    stopped = await site.stop(answer)
    event = (await site.read_events(answer))[-1].event
    assert (event["status"], event["reason"]) == ("stopped", stopped["finish_reason"]) == ("stopped", "stopped")
    assert (await site.answer(answer))["finish_reason"] == "stopped"


async def test_a_live_answer_says_how_old_its_text_is(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="One two", chunk_size=4, gate_after=4)
    answer = await site.begin()

    async def is_written() -> bool:
        return bool((await site.answer(answer))["text"])

    await wait_until(is_written)
    checkpoint = (await site.answer(answer))["checkpoint"]
    assert 0 <= checkpoint["age_ms"] < 60_000
    provider.release()
    await site.read_events(answer)
    assert (await site.answer(answer))["checkpoint"] is None
