"""The server is restarted, as a deployment does it, under a page that streams."""

from __future__ import annotations

import time

from playwright.sync_api import Page, expect

from tests.browser.chat_page import ask, expect_foot
from tests.browser.relay import Relay
from tests.browser.requests import count_requests
from tests.provider_server import ProviderServer, Script
from tests.support.server import Server

LONG = Script(text="word " * 4000, chunk_size=5, delay_between=0.02)


def test_the_answer_ends_honestly_and_its_text_is_kept(page: Page, provider: ProviderServer, server: Server) -> None:
    provider.script = LONG
    ask(page)
    expect(page.locator(".text")).to_contain_text("word word")
    server.terminate(15)
    server.start()
    expect_foot(page, "interrupted")
    expect(page.locator(".foot")).to_contain_text("server_restart")
    shown = page.inner_text(".text")
    page.reload()
    expect_foot(page, "interrupted")
    assert page.inner_text(".text") == shown
    assert shown.startswith("word word")


def test_the_same_page_asks_the_new_server(page: Page, provider: ProviderServer, server: Server) -> None:
    provider.script = LONG
    ask(page)
    expect(page.locator(".text")).to_contain_text("word word")
    server.terminate(15)
    server.start()
    expect_foot(page, "interrupted")
    provider.script = Script(text="All of it.")
    page.click(".retry")
    expect_foot(page, "complete")
    expect(page.locator(".text")).to_have_text("All of it.")


def test_an_answer_goes_on_within_two_seconds_of_the_network(
    page: Page, provider: ProviderServer, relay: Relay
) -> None:
    """Two seconds, whenever in the page's retries the network is back; and no word is lost or repeated."""
    provider.script = Script(text="".join(f"{number} " for number in range(3000)), chunk_size=5, delay_between=0.01)
    page.goto(relay.url)
    ask(page)
    expect(page.locator(".text")).to_contain_text("0 1 2 3")
    for seconds in (0, 1, 3, 5):
        relay.cut()
        page.wait_for_timeout(1000 * seconds)
        before = page.inner_text(".text")
        relay.mend()
        began = time.monotonic()
        page.wait_for_function("length => document.querySelector('.text').innerText.length > length", arg=len(before))
        assert time.monotonic() - began < 2
    page.click(".stop")
    expect_foot(page, "stopped")
    numbers = page.inner_text(".text").split()
    assert len(numbers) > 10
    assert numbers[:-1] == [str(number) for number in range(len(numbers) - 1)]


def test_a_lost_connection_is_said_and_not_asked_for_without_end(
    page: Page, provider: ProviderServer, relay: Relay
) -> None:
    provider.script = LONG
    page.goto(relay.url)
    ask(page)
    expect(page.locator(".text")).to_contain_text("word word")
    relay.cut()
    expect(page.locator("#connection")).to_contain_text("Connection lost, reconnecting", timeout=2000)
    with count_requests(page, "/stream/") as requests:
        page.wait_for_timeout(10_000)
    assert 5 <= len(requests) <= 15
    relay.mend()
    expect(page.locator("#connection")).to_contain_text("Connected again", timeout=2500)
    expect(page.locator("#connection")).to_be_empty(timeout=5000)
    page.click(".stop")


def test_a_connection_that_is_mended_at_once_is_not_worth_a_word(
    page: Page, provider: ProviderServer, relay: Relay
) -> None:
    """Streams end by design after 4 MiB or 15 minutes, and proxies cut what is idle."""
    provider.script = LONG
    page.goto(relay.url)
    ask(page)
    expect(page.locator(".text")).to_contain_text("word word")
    page.evaluate(
        """() => {
            window.said = [];
            const bar = document.querySelector("#connection");
            new MutationObserver(() => said.push(bar.textContent)).observe(bar, {childList: true});
        }"""
    )
    with count_requests(page, "/stream/") as requests:
        relay.cut()
        relay.mend()
        page.wait_for_timeout(3000)
    assert len(requests) >= 1
    assert page.evaluate("said.filter(Boolean)") == []
    page.click(".stop")
