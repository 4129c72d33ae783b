"""Silence has an end: a notice first, then an interruption with the code `timeout` and the text kept."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from tests.provider_server import ProviderServer, Script
from tests.support.site import Site, join_text


async def test_a_provider_without_a_sign_of_life_times_out(
    site: Site, provider: ProviderServer, settings: Settings, model: str
) -> None:
    settings.CHAT_FIRST_TOKEN_TIMEOUT = 0.2
    provider.script = Script(delay_headers=60)
    answer = await site.ask(model=model)
    assert (answer["status"], answer["error"]["code"], answer["text"]) == ("interrupted", "timeout", "")
    [request] = provider.requests
    await provider.wait_until_closed(request, 2)


async def test_pings_alone_do_not_keep_an_answer_for_ever(
    site: Site, provider: ProviderServer, settings: Settings, model: str
) -> None:
    settings.CHAT_THINKING_TIMEOUT = 0.5
    provider.script = Script(stall_after=0, ping_interval=0.05)
    answer = await site.ask(model=model)
    assert (answer["status"], answer["error"]["code"], answer["text"]) == ("interrupted", "timeout", "")


async def test_pings_keep_an_answer_whose_model_thinks(
    site: Site, provider: ProviderServer, settings: Settings, model: str
) -> None:
    settings.CHAT_FIRST_TOKEN_TIMEOUT = settings.CHAT_IDLE_TIMEOUT = 1
    provider.script = Script(text="At last.", stall_after=0, stall_for=2.5, ping_interval=0.1)
    answer = await site.ask(model=model)
    assert (answer["status"], answer["text"]) == ("complete", "At last.")


async def test_a_text_that_stops_in_the_middle_is_not_kept_by_pings(
    site: Site, provider: ProviderServer, settings: Settings, model: str
) -> None:
    settings.CHAT_IDLE_TIMEOUT = 0.3
    provider.script = Script(text="Once upon a time", stall_after=4, ping_interval=0.05)
    answer = await site.ask(model=model)
    assert (answer["status"], answer["error"]["code"], answer["text"]) == ("interrupted", "timeout", "Once")
    assert answer["error"]["retryable"]


async def test_an_answer_that_never_ends_is_cut_off(
    site: Site, provider: ProviderServer, settings: Settings, model: str
) -> None:
    settings.CHAT_TOTAL_TIMEOUT = 0.5
    provider.script = Script(text="word " * 1000, chunk_size=5, delay_between=0.05)
    answer = await site.ask(model=model)
    assert (answer["status"], answer["error"]["code"]) == ("interrupted", "timeout")
    assert ("word " * 1000).startswith(answer["text"])
    assert answer["text"]


async def test_words_that_come_slowly_are_in_time(
    site: Site, provider: ProviderServer, settings: Settings, model: str
) -> None:
    settings.CHAT_FIRST_TOKEN_TIMEOUT = settings.CHAT_IDLE_TIMEOUT = 1.0
    provider.script = Script(text="a b c d e f g ", chunk_size=2, delay_between=0.25)
    answer = await site.ask(model=model)
    assert (answer["status"], answer["text"]) == ("complete", "a b c d e f g ")


@pytest.mark.parametrize("said", ["", "Once"])
async def test_readers_are_told_of_silence_once(
    site: Site, provider: ProviderServer, settings: Settings, said: str
) -> None:
    settings.CHAT_IDLE_NOTICE = 0.1
    settings.CHAT_FIRST_TOKEN_TIMEOUT = settings.CHAT_IDLE_TIMEOUT = 2
    provider.script = Script(text="Once upon a time", stall_after=len(said))
    events = await site.read_events(await site.begin())
    kinds = [event["type"] for _, event in events]
    assert kinds.count("notice") == 1
    notice = next(event for _, event in events if event["type"] == "notice")
    assert (notice["code"], notice["retry_after"]) == ("stalled", None)
    assert kinds[-1] == "error"
    assert join_text(events) == said


async def test_the_answer_longer_than_the_site_allows_is_cut(
    site: Site, provider: ProviderServer, settings: Settings
) -> None:
    settings.CHAT_MAX_ANSWER_CHARS = 100
    provider.script = Script(text="x" * 500, chunk_size=10)
    answer = await site.ask()
    assert (answer["status"], answer["error"]["code"]) == ("interrupted", "too_long")
    assert 100 <= len(answer["text"]) <= 500
