"""On a slow network the scripts come one after the other, and the page goes on with its answer all the same."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.test_chat_page import ask, foot, thread
from tests.provider_server import ProviderServer, Script

TEXT = "One two **three** four"


@pytest.mark.parametrize("late", ["htmx-4", "hx-sse-4", "chat/chat"])
def test_a_page_that_is_loaded_in_the_middle_of_an_answer_follows_it(
    late: str, page: Page, provider: ProviderServer
) -> None:
    """Seen behind nginx, where each script has its own way: one page of twenty stood still."""
    provider.script = Script(text=TEXT, chunk_size=4, gate_after=4)
    ask(page)
    expect(page.locator(".text")).to_have_text("One")

    def delay(route: Route) -> None:
        time.sleep(0.5)
        route.continue_()

    page.route(f"**/{late}*.js", delay)
    page.reload(wait_until="commit")
    expect(page.locator(".text")).to_have_text("One")
    provider.release()
    foot(page, "complete")
    streamed = thread(page)
    page.unroute_all()
    page.reload()
    assert thread(page) == streamed
