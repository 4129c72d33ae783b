"""A laptop sleeps, a tab is frozen, a router forgets: nobody tells the browser, and the page finds out by itself."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.chat_page import ask, expect_foot
from tests.browser.relay import Relay
from tests.browser.requests import count_requests
from tests.provider_server import ProviderServer, Script

HEARTBEAT = 2


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    return {"CHAT_HEARTBEAT": str(HEARTBEAT)}


def begin_answer(page: Page, provider: ProviderServer, relay: Relay) -> None:
    """Begin an answer that has said `one` and goes on when the provider is released."""
    provider.script = Script(text="one two three", chunk_size=4, gate_after=4)
    page.goto(relay.url)
    ask(page)
    expect(page.locator(".text")).to_contain_text("one")


def test_a_page_that_slept_goes_on_within_two_seconds(page: Page, provider: ProviderServer, relay: Relay) -> None:
    """The connections died in the sleep without a word to the browser; the clock is an hour later."""
    page.clock.install()
    begin_answer(page, provider, relay)
    relay.sleep()
    provider.release()
    page.wait_for_timeout(1000)
    assert "three" not in page.inner_text(".text")
    began = time.monotonic()
    page.clock.fast_forward(3_600_000)
    expect_foot(page, "complete")
    assert time.monotonic() - began < 2
    expect(page.locator(".text")).to_have_text("one two three")


def test_a_frozen_page_catches_up_within_two_seconds(
    page: Page, context: BrowserContext, provider: ProviderServer, relay: Relay
) -> None:
    begin_answer(page, provider, relay)
    tools = context.new_cdp_session(page)
    tools.send("Page.setWebLifecycleState", {"state": "frozen"})
    relay.cut()
    relay.mend()
    provider.release()
    time.sleep(3 * HEARTBEAT)
    tools.send("Page.setWebLifecycleState", {"state": "active"})
    began = time.monotonic()
    expect_foot(page, "complete")
    assert time.monotonic() - began < 2
    expect(page.locator(".text")).to_have_text("one two three")


def test_a_stream_that_says_nothing_for_two_heartbeats_is_asked_for_again(
    page: Page, provider: ProviderServer, relay: Relay
) -> None:
    begin_answer(page, provider, relay)
    relay.sleep()
    provider.release()
    began = time.monotonic()
    expect_foot(page, "complete")
    assert time.monotonic() - began < 3 * HEARTBEAT + 2
    expect(page.locator(".text")).to_have_text("one two three")


def test_dead_connections_in_the_pool_of_the_browser_are_found_out(
    page: Page, provider: ProviderServer, relay: Relay
) -> None:
    begin_answer(page, provider, relay)
    relay.swallow()
    provider.release()
    expect_foot(page, "complete")
    expect(page.locator(".text")).to_have_text("one two three")


def test_a_silent_model_is_no_dead_stream(page: Page, provider: ProviderServer, relay: Relay) -> None:
    begin_answer(page, provider, relay)
    with count_requests(page, "/stream/") as requests:
        page.wait_for_timeout(5 * HEARTBEAT * 1000)
    assert requests == []
    provider.release()
    expect_foot(page, "complete")


def test_a_page_that_is_gone_back_to_goes_on(page: Page, provider: ProviderServer, relay: Relay) -> None:
    """Whether the browser kept it as it was or reloads it."""
    begin_answer(page, provider, relay)
    page.goto("about:blank")
    provider.release()
    page.go_back()
    expect_foot(page, "complete")
    expect(page.locator(".text")).to_have_text("one two three")
