"""The server dies under an open page: the page says so, keeps what it has, and tells the truth when it is back."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.chat_page import ask, expect_foot
from tests.provider_server import ProviderServer, Script
from tests.support.server import ROOT, Server


def test_a_server_that_is_killed_and_comes_back(page: Page, provider: ProviderServer, server: Server) -> None:
    provider.script = Script(text="word " * 2000, chunk_size=5, delay_between=0.02)
    ask(page)
    expect(page.locator(".text")).to_contain_text("word word")
    server.kill()
    expect(page.locator("#connection")).to_contain_text("reconnecting", timeout=15_000)
    expect(page.locator(".text")).to_contain_text("word word")
    server.start()
    expect_foot(page, "interrupted")
    expect(page.locator(".foot")).to_contain_text("disappeared")
    expect(page.locator("#connection")).to_be_empty(timeout=10_000)
    page.reload()
    expect_foot(page, "interrupted")


def test_a_question_that_cannot_be_sent_is_still_in_the_box(page: Page, server: Server) -> None:
    server.kill()
    ask(page, "Is anyone there?")
    expect(page.locator("#composer-error")).to_contain_text("could not be sent")
    expect(page.locator("#composer textarea")).to_have_value("Is anyone there?")
    expect(page.locator("#thread .turn")).to_have_count(0)
    server.start()
    page.reload()
    expect(page.locator("#composer textarea")).to_have_value("Is anyone there?")


def test_a_page_loaded_while_an_answer_is_dead_learns_its_end(
    page: Page, provider: ProviderServer, server: Server
) -> None:
    provider.script = Script(text="word " * 2000, chunk_size=5, delay_between=0.02)
    ask(page)
    expect(page.locator(".text")).to_contain_text("word word")
    server.kill()
    server.start()
    page.reload()
    expect_foot(page, "interrupted")


def test_the_extension_still_calls_its_events_as_the_script_expects() -> None:
    """htmx 4.0.1 renames them; the script listens to both, and this test notices the change."""
    script = (ROOT / "static" / "chat" / "stream.js").read_text()
    import django_htmx  # noqa: PLC0415

    extension = (Path(django_htmx.__file__).parent / "static/django_htmx/ext/hx-sse-4.js").read_text()
    for name in ("htmx:after:sse:connection", "htmx:after:sse:message", "htmx:sse:close"):
        assert f"'{name}'" in extension
        assert name in script
    for name in ("htmx:sse:after:connection", "htmx:sse:after:message"):
        assert name in script
