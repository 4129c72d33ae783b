"""An answer's text, which comes twenty times a second, is not taken for what a search on its page waits for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

from playwright.sync_api import Page, Route, expect

from tests.browser.chat_page import ask, expect_foot
from tests.provider_server import ProviderServer, Script

ENDLESS = Script(text="More and more. " * 2000, chunk_size=15, delay_between=0.03)


@contextmanager
def hold_requests(page: Page, matches: Callable[[str], bool]) -> Iterator[None]:
    """Hold the requests whose address matches, until the block has ended and more of the answer has come."""
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route(matches, hold)
    yield
    length = len(page.locator(".text").last.inner_text())
    while not held or len(page.locator(".text").last.inner_text()) < length + 50:
        page.wait_for_timeout(50)
    for route in held:
        route.continue_()
    page.unroute(matches)


def test_enter_in_the_search_waits_for_the_hits_of_its_text(page: Page, provider: ProviderServer) -> None:
    earlier, wanted = f"earlier{uuid4().hex[:8]}", f"wanted{uuid4().hex[:8]}"
    for word in (earlier, wanted):
        page.goto("/")
        ask(page, f"A question about {word}")
        expect_foot(page, "complete")
    address = page.url
    provider.script = ENDLESS
    page.goto("/")
    ask(page)
    expect(page.locator(".text")).to_contain_text("More and more.")
    page.keyboard.press("Control+k")
    page.keyboard.type(earlier)
    expect(page.locator("#search-dialog .hits mark").first).to_have_text(earlier)
    with hold_requests(page, lambda url: f"q={wanted}" in url):
        page.keyboard.press("Control+a")
        page.keyboard.type(wanted)
        page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(re.escape(address)))
