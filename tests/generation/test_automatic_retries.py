"""A call that its provider turns away before the first word is tried again, in sight of the user."""

from __future__ import annotations

import asyncio
import json
import time
from itertools import pairwise
from typing import Any

import pytest
from pytest_django import Settings

from chat.core.errors import ChatError
from chat.core.events import Usage
from chat.generation import upstream_call
from chat.models import ProviderCall
from chat.providers.base import Prompt
from tests.provider_server import ProviderServer, Script
from tests.support.site import Json, Site

# What is tried here is the same on every database.
pytestmark = pytest.mark.sqlite

OVERLOADED = Script(status=503)
BUSY = Script(status=429)


@pytest.fixture
def site(site: Site, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Site:
    settings.CHAT_MAX_RETRIES = 2
    monkeypatch.setattr(upstream_call, "BACKOFF", 0.1)
    return site


async def list_rows(answer: Json) -> list[tuple[str, str, int]]:
    rows = ProviderCall.objects.filter(answer=answer["id"]).order_by("pk")
    return [(row.outcome, row.error_code, row.output_tokens) async for row in rows]


@pytest.mark.parametrize("refusal", [429, 500, 502, 503, 504, 529])
async def test_the_second_try_answers(site: Site, provider: ProviderServer, model: str, refusal: int) -> None:
    provider.enqueue(Script(status=refusal))
    provider.script = Script(text="Here I am.")
    answer = await site.ask(model=model)
    assert (answer["status"], answer["text"], answer["error"]) == ("complete", "Here I am.", None)
    assert len(provider.requests) == 2
    assert [outcome for outcome, _, _ in await list_rows(answer)] == ["interrupted", "complete"]


async def test_every_try_is_on_the_ledger_and_a_refused_one_costs_nothing(site: Site, provider: ProviderServer) -> None:
    provider.enqueue(BUSY, OVERLOADED)
    provider.script = Script(text="12345678", usage=Usage(3, 2))
    answer = await site.ask()
    assert await list_rows(answer) == [
        ("interrupted", "rate_limited", 0),
        ("interrupted", "upstream_error", 0),
        ("complete", "", 2),
    ]
    assert (answer["usage"]["input_tokens"], answer["usage"]["output_tokens"]) == (3, 2)


async def test_tries_are_bounded_and_the_last_error_counts(site: Site, provider: ProviderServer) -> None:
    provider.script = BUSY
    answer = await site.ask()
    assert (answer["status"], answer["error"]["code"]) == ("interrupted", "rate_limited")
    assert len(provider.requests) == 3
    assert len(await list_rows(answer)) == 3


async def test_after_the_first_word_nothing_is_tried_silently(site: Site, provider: ProviderServer) -> None:
    provider.enqueue(Script(text="Half an answer", chunk_size=4, drop_after=5))
    answer = await site.ask()
    assert (answer["status"], answer["error"]["code"]) == ("interrupted", "upstream_error")
    assert len(provider.requests) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_failures_that_no_retry_cures_are_not_retried(site: Site, provider: ProviderServer, status: int) -> None:
    provider.script = Script(status=status)
    answer = await site.ask()
    assert answer["status"] == "interrupted"
    assert len(provider.requests) == 1


async def test_our_own_patience_with_silence_is_not_doubled(
    site: Site, provider: ProviderServer, settings: Settings
) -> None:
    settings.CHAT_FIRST_TOKEN_TIMEOUT = settings.CHAT_IDLE_TIMEOUT = 0.3
    provider.script = Script(text="Never", stall_after=0)
    answer = await site.ask()
    assert answer["error"]["code"] == "timeout"
    assert len(provider.requests) == 1


async def test_the_provider_says_how_long_to_wait_and_readers_are_told(site: Site, provider: ProviderServer) -> None:
    provider.enqueue(Script(status=429, retry_after=1))
    began = time.monotonic()
    events = [event for _, event in await site.read_events(await site.begin())]
    assert 1 <= time.monotonic() - began < 5
    notice = next(event for event in events if event["type"] == "notice")
    assert notice["code"] == "retrying"
    assert notice["message"] == "High demand, trying again in 1 s."
    assert 1 <= notice["retry_after"] <= 1.3
    assert events[-1]["type"] == "done"


async def test_a_provider_that_wants_more_patience_than_there_is_gets_none(
    site: Site, provider: ProviderServer
) -> None:
    provider.script = Script(status=429, retry_after=3600)
    answer = await site.ask()
    assert answer["error"]["code"] == "rate_limited"
    assert len(provider.requests) == 1


def refuse_in_words(words: str, status: int) -> Script:
    body = json.dumps({"error": {"code": "rate_limit_exceeded", "message": words}})
    raw = body if status != 200 else f"data: {body}\n\n"
    return Script(status=status, raw=raw, raw_type="application/json" if status != 200 else "text/event-stream")


@pytest.mark.parametrize("status", [429, 200])
async def test_a_wait_that_is_named_in_words_alone_is_kept_too(
    site: Site, provider: ProviderServer, status: int
) -> None:
    provider.enqueue(refuse_in_words("Rate limit reached. Please try again in 1.054s.", status))
    events = [event for _, event in await site.read_events(await site.begin())]
    notice = next(event for event in events if event["type"] == "notice")
    assert 1 <= notice["retry_after"] <= 1.4
    provider.script = refuse_in_words("Limit of tokens per day reached. Please try again in 7m12s.", status)
    asked = len(provider.requests)
    answer = await site.ask()
    assert (answer["error"]["code"], len(provider.requests)) == ("rate_limited", asked + 1)


async def test_stop_ends_the_wait(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(status=429, retry_after=30)
    answer = await site.begin()
    async for _, event in site.follow(answer):
        if event["type"] == "notice":
            stopped = await asyncio.wait_for(site.stop(answer), 5)
            assert stopped["status"] == "stopped"
    assert len(provider.requests) == 1
    assert await list_rows(stopped) == [("interrupted", "rate_limited", 0)]


def list_waits(error: ChatError) -> list[float]:
    found = []
    for tries in range(4):
        call = upstream_call.UpstreamCall(ProviderCall(), Prompt("m", ()))
        call.fail(error)
        wait: Any = call.compute_pause_before_retry(error, tries)
        found.append(wait)
    return found


def test_waits_double_with_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream_call, "BACKOFF", 1.0)
    found = list_waits(ChatError("upstream_error"))
    assert all(2**tries <= wait <= 2**tries + upstream_call.JITTER for tries, wait in enumerate(found))
    assert all(later > earlier for earlier, later in pairwise(found))
    assert len({tuple(list_waits(ChatError("upstream_error"))) for _ in range(5)}) > 1


def test_the_providers_wait_is_kept_to() -> None:
    assert all(7 <= wait <= 7 + upstream_call.JITTER for wait in list_waits(ChatError("rate_limited", retry_after=7)))
