"""More tabs stream than a browser opens connections to a server that speaks HTTP/1.1: six."""

from __future__ import annotations

import time

from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.chat_page import ask, expect_foot
from tests.provider_server import ProviderServer, Script

TEXT = "".join(f"{number} " for number in range(10))


def test_eight_tabs_stream_and_the_site_still_answers(
    page: Page, context: BrowserContext, provider: ProviderServer
) -> None:
    provider.script = Script(text=TEXT, chunk_size=2, gate_after=10)
    tabs = [page, *(context.new_page() for _ in range(7))]
    for tab in tabs:
        if tab is not page:
            tab.goto("/")
        ask(tab)
        expect(tab.locator(".text")).to_contain_text("0 1 2 3 4", timeout=15_000)
    began = time.monotonic()
    ninth = context.new_page()
    ninth.goto("/")
    expect(ninth.locator("#composer")).to_be_visible()
    assert time.monotonic() - began < 5
    provider.release()
    for tab in tabs:
        expect_foot(tab, "complete")
        expect(tab.locator(".text")).to_have_text(TEXT.strip())
        expect(tab.locator("#connection")).to_be_empty()


def wait_for_more(tab: Page, length: int) -> str:
    """Return a tab's text when it is longer than it was."""
    until = time.monotonic() + 30
    while len(text := tab.inner_text(".text")) <= length:
        assert time.monotonic() < until, f"still {length} characters"
        tab.wait_for_timeout(250)
    return text


def test_a_tab_that_gives_way_still_reads_along(page: Page, context: BrowserContext, provider: ProviderServer) -> None:
    provider.script = Script(text="".join(f"{number} " for number in range(4000)), chunk_size=5, delay_between=0.05)
    tabs = [page, *(context.new_page() for _ in range(7))]
    for tab in tabs:
        if tab is not page:
            tab.goto("/")
        ask(tab)
        expect(tab.locator(".text")).to_contain_text("0 1 2 3", timeout=15_000)
    lengths = [len(tab.inner_text(".text")) for tab in tabs]
    # A tab that gives way waits for 4 s and reads for 0.8 s, and is served later where eight tabs keep a machine busy.
    for tab, length in zip(tabs, lengths, strict=True):
        words = wait_for_more(tab, length).split()
        assert words[:-1] == [str(number) for number in range(len(words) - 1)]
    for tab in tabs:
        tab.click(".stop")
        expect_foot(tab, "stopped")
