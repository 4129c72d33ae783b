"""A conversation is one entry in the browser's history, however long it streams: Back leads to the page before it."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.browser.chat_page import ask, expect_foot
from tests.provider_server import ProviderServer, Script

MANY_MESSAGES = "".join(f"Paragraph {number} of many.\n\n" for number in range(40))


def count_entries(page: Page) -> int:
    count: int = page.evaluate("history.length")
    return count


def test_back_leads_to_the_page_before_the_first_question(page: Page, provider: ProviderServer) -> None:
    start, before = page.url, count_entries(page)
    provider.script = Script(text=MANY_MESSAGES, chunk_size=27, delay_between=0.06)
    ask(page)
    expect_foot(page, "complete")
    assert count_entries(page) == before + 1
    conversation = page.url
    page.go_back()
    expect(page.locator(".turn")).to_have_count(0)
    assert page.url == start
    page.go_forward()
    expect(page.locator(".turn")).to_have_count(1)
    assert page.url == conversation


def test_later_questions_add_no_entry(page: Page, provider: ProviderServer) -> None:
    ask(page)
    expect_foot(page, "complete")
    before = count_entries(page)
    provider.script = Script(text=MANY_MESSAGES, chunk_size=27, delay_between=0.01)
    ask(page)
    expect(page.locator(".foot[data-status=complete]")).to_have_count(2, timeout=20_000)
    page.get_by_role("button", name="Retry", exact=True).last.click()
    expect(page.locator(".foot").last).to_contain_text("2 of 2", timeout=20_000)
    expect_foot(page, "complete")
    assert count_entries(page) == before
