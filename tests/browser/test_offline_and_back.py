"""The network goes away and comes back: the page says so, asks nothing meanwhile, and goes on at once."""

from __future__ import annotations

import time

from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.chat_page import ask, expect_foot
from tests.browser.relay import Relay
from tests.browser.requests import count_requests
from tests.provider_server import ProviderServer, Script


def test_a_page_that_is_online_again_goes_on_within_two_seconds(
    page: Page, context: BrowserContext, provider: ProviderServer, relay: Relay
) -> None:
    provider.script = Script(text="one two three", chunk_size=4, gate_after=4)
    page.goto(relay.url)
    ask(page)
    expect(page.locator(".text")).to_contain_text("one")
    context.set_offline(True)
    relay.cut()
    expect(page.locator("#connection")).to_contain_text("You are offline")
    provider.release()
    with count_requests(page) as requests:
        page.wait_for_timeout(4000)
    assert requests == []
    relay.mend()
    began = time.monotonic()
    context.set_offline(False)
    expect_foot(page, "complete")
    assert time.monotonic() - began < 2
    expect(page.locator(".text")).to_have_text("one two three")
    expect(page.locator("#connection")).to_be_empty(timeout=10_000)


def test_text_that_still_arrives_is_shown_whatever_the_browser_believes(
    page: Page, context: BrowserContext, provider: ProviderServer
) -> None:
    """A site on this machine, or in a house without a way out, is there although the browser calls itself offline."""
    provider.script = Script(text="one two three", chunk_size=4, gate_after=4)
    ask(page)
    expect(page.locator(".text")).to_contain_text("one")
    context.set_offline(True)
    provider.release()
    expect_foot(page, "complete")
    context.set_offline(False)


def test_an_idle_page_says_that_it_is_offline_and_only_while_it_is(page: Page, context: BrowserContext) -> None:
    context.set_offline(True)
    expect(page.locator("#connection")).to_contain_text("You are offline")
    context.set_offline(False)
    expect(page.locator("#connection")).to_be_empty()


def test_a_question_asked_offline_stays_in_the_box(page: Page, context: BrowserContext) -> None:
    context.set_offline(True)
    ask(page, "Is anyone there?")
    expect(page.locator("#composer-error")).to_contain_text("could not be sent")
    expect(page.locator("#composer textarea")).to_have_value("Is anyone there?")
    context.set_offline(False)
    page.keyboard.press("Enter")
    expect(page.locator("#thread .question > p")).to_have_text("Is anyone there?")
