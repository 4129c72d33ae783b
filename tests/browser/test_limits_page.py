"""A refused question stays in the box until it may be sent; the page of one's usage fits every screen."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import Page, expect

from tests.browser.chat_page import ask, expect_foot
from tests.provider_server import ProviderServer, Script
from tests.support.server import Server

# Seconds: the time limit of the server's cache (`CACHES` in its settings); this process has none.
KNOWN_FOR = 5


def limit(server: Server, requests_per_minute: int) -> None:
    """Limit the requests per minute of the user `demo`, and wait until the server knows it."""
    code = (
        "from chat.models import Limit, User; Limit.objects.update_or_create(user=User.objects.get(username='demo'), "
        f"defaults={{'requests_per_minute': {requests_per_minute}}})"
    )
    server.manage("shell", "--no-imports", "-c", code)
    time.sleep(KNOWN_FOR)


def test_a_refused_question_stays_in_the_box_and_can_be_sent_later(
    page: Page, server: Server, provider: ProviderServer
) -> None:
    provider.script = Script(text="Yes.")
    limit(server, 1)
    ask(page)
    expect_foot(page, "complete")
    ask(page, "And a question that took long to write?")
    expect(page.locator("#composer-error")).to_contain_text(
        "You have used this minute's 1 request. You can continue in"
    )
    expect(page.locator("#composer textarea")).to_have_value("And a question that took long to write?")
    expect(page.locator("#thread .turn")).to_have_count(1)
    page.click(".retry")
    expect(page.locator("#composer-error")).to_contain_text("You have used this minute's 1 request.")
    limit(server, 0)
    page.focus("#composer textarea")
    page.keyboard.press("Enter")
    expect(page.locator("#thread .turn")).to_have_count(2)
    expect(page.locator("#composer-error")).to_be_empty()
    expect(page.locator("#composer textarea")).to_have_value("")
    expect_foot(page, "complete")


@pytest.mark.parametrize("width", [320, 390, 1100])
def test_the_usage_page_is_reached_from_the_sidebar_and_scrolls_in_one_direction_only(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 700})
    if width < 832:
        page.click(".menu")
    page.click("#sidebar .account button")
    page.click("text=Usage")
    expect(page.locator("h2")).to_have_text("Usage and limits")
    expect(page.locator("#sidebar")).to_be_visible(visible=width >= 832)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.eval_on_selector("#scroller", "element => element.scrollWidth <= element.clientWidth")
    if width < 832:
        page.click(".menu")
        expect(page.locator("#sidebar")).to_be_visible()
