"""Every way an upstream call can end has its status and its code, keeps the text, and makes one row on the ledger."""

from __future__ import annotations

from uuid import UUID

import pytest

from chat.core.errors import CODES
from chat.generation.process import get_runner
from chat.models import ProviderCall
from chat.providers.registry import Pool
from tests.provider_server import ProviderServer, Script
from tests.support.services import find_free_port
from tests.support.site import Site, join_text

# What is tried here is the same on every database.
pytestmark = pytest.mark.sqlite

TEXT = "Zürich in four words: 東京 🚀 end."
SAID = 12

FAULTS = {
    "drop": (Script(text=TEXT, drop_after=SAID), "upstream_error", TEXT[:SAID]),
    "drop before the first word": (Script(text=TEXT, drop_after=0), "upstream_error", ""),
    "end of file without an end marker": (Script(text=TEXT, eof_after=SAID), "upstream_error", TEXT[:SAID]),
    "401": (Script(status=401), "auth_failed", ""),
    "403": (Script(status=403), "auth_failed", ""),
    "400": (Script(status=400), "bad_request", ""),
    "404": (Script(status=404), "bad_request", ""),
    "429": (Script(status=429, retry_after=7), "rate_limited", ""),
    "500": (Script(status=500), "upstream_error", ""),
    "529": (Script(status=529), "upstream_error", ""),
    "HTML with status 200": (Script(html_page=True), "upstream_error", ""),
    "malformed JSON": (Script(text=TEXT, malformed_json_after=SAID), "upstream_error", TEXT[:SAID]),
    "an error in the middle": (Script(text=TEXT, error_event_after=SAID), "upstream_error", TEXT[:SAID]),
    "content filter": (Script(text=TEXT, finish_reason="content_filter"), "content_filter", TEXT),
    "context length": (Script(context_length=True), "context_length", ""),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_interrupts_the_answer(site: Site, provider: ProviderServer, model: str, name: str) -> None:
    script, code, text = FAULTS[name]
    provider.script = script
    answer = await site.ask(model=model)
    assert (answer["status"], answer["error"], answer["text"]) == (
        "interrupted",
        {"code": code, "message": CODES[code].message, "retryable": CODES[code].retryable},
        text,
    )
    assert len(provider.requests) == 1
    call = await ProviderCall.objects.aget(answer=UUID(answer["id"]))
    assert (call.outcome, call.error_code, call.model) == ("interrupted", code, model)


@pytest.mark.parametrize("name", ["drop", "429", "content filter"])
async def test_the_last_event_is_the_error(site: Site, provider: ProviderServer, name: str) -> None:
    script, code, text = FAULTS[name]
    provider.script = script
    events = await site.read_events(await site.begin())
    assert join_text(events) == text
    assert [event["type"] for _, event in events].count("error") == 1
    assert events[-1].event["code"] == code


async def test_a_line_without_end_is_not_swallowed(site: Site, provider: ProviderServer, model: str) -> None:
    provider.script = Script(text=TEXT, long_line=50_000_000)
    answer = await site.ask(model=model)
    assert (answer["status"], answer["error"]["code"]) == ("interrupted", "upstream_error")


async def test_a_provider_that_cannot_be_reached_interrupts_the_answer(
    site: Site, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    nowhere = {"api_key": "sk-test", "base_url": f"http://127.0.0.1:{find_free_port()}"}
    pool = Pool({"openai": nowhere, "anthropic": nowhere})
    monkeypatch.setattr(get_runner().resources, "pool", pool)
    answer = await site.ask(model=model)
    await pool.aclose()
    assert (answer["status"], answer["error"]["code"]) == ("interrupted", "unreachable")


async def test_a_providers_message_about_its_failure_is_not_shown(
    site: Site, provider: ProviderServer, caplog: pytest.LogCaptureFixture, model: str
) -> None:
    provider.script = Script(status=401)
    answer = await site.ask(model=model)
    assert answer["error"]["message"] == CODES["auth_failed"].message
    assert "sk-test" not in caplog.text
    assert "sk-ant-test" not in caplog.text
    assert str(answer["id"]) in caplog.text


@pytest.mark.parametrize("split", [1, 2, 3, 7])
async def test_bytes_cut_anywhere_are_the_same_text(
    site: Site, provider: ProviderServer, model: str, split: int
) -> None:
    provider.script = Script(text=TEXT, chunk_size=1, http_chunk_size=split)
    answer = await site.ask(model=model)
    assert (answer["status"], answer["text"]) == ("complete", TEXT)


async def test_an_answer_cut_by_its_length_is_complete_and_says_so(
    site: Site, provider: ProviderServer, model: str
) -> None:
    provider.script = Script(text=TEXT, finish_reason="length")
    answer = await site.ask(model=model)
    assert (answer["status"], answer["finish_reason"], answer["error"]) == ("complete", "length", None)


async def test_characters_that_a_database_cannot_hold_are_replaced(
    site: Site, provider: ProviderServer, model: str
) -> None:
    provider.script = Script(text="a\x00b")
    answer = await site.ask("nul \x00 and half \ud83d a pair", model=model)
    assert (answer["status"], answer["text"]) == ("complete", "a\ufffdb")


async def test_a_failure_of_our_own_is_an_interruption_too(
    site: Site, provider: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat.providers.openai_chat.ChatCompletionsAdapter.build_request", lambda self, prompt: 1 / 0)
    answer = await site.ask()
    assert (answer["status"], answer["error"]["code"]) == ("interrupted", "upstream_error")
