"""A row of the sidebar that could not be fetched is asked for again: a proxy or the site refused for a moment."""

from __future__ import annotations

import re
import uuid

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from tests.browser.chat_page import ask, expect_foot
from tests.provider_server import ProviderServer, Script


@pytest.mark.parametrize("status", [429, 502])
def test_a_row_whose_request_is_refused_for_a_moment_comes_a_little_later(
    page: Page, context: BrowserContext, provider: ProviderServer, status: int
) -> None:
    other = context.new_page()
    refused: list[str] = []

    def refuse_first(route: Route) -> None:
        if refused:
            return route.fallback()
        refused.append(route.request.url)
        return route.fulfill(status=status, content_type="text/html", body="<h1>nginx</h1>")

    other.route(re.compile("/conversations/rows/"), refuse_first)
    other.goto("/")
    provider.script = Script(text="Yes.")
    title = f"What is {uuid.uuid4()}?"
    ask(page, title)
    expect_foot(page, "complete")
    row = other.locator("#conversations > .conversation").filter(has_text=title)
    expect(row).to_have_count(1, timeout=15_000)
    assert refused
