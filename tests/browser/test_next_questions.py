"""What is sent while an answer is written waits below it, in every tab, and is asked when the answer is complete."""

from __future__ import annotations

from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.chat_page import ask, expect_foot
from tests.provider_server import ProviderServer, Script


def test_questions_of_two_tabs_wait_and_are_asked_in_order(
    context: BrowserContext, page: Page, provider: ProviderServer
) -> None:
    provider.script = Script(text="one two three", chunk_size=4, gate_after=4)
    ask(page, "Zero")
    expect(page.locator(".text").last).to_contain_text("one")
    other = context.new_page()
    other.goto(page.url)
    for tab, text in ((page, "First"), (other, "Second")):
        ask(tab, text)
        for each in (page, other):
            expect(each.locator("#queue .words").last).to_have_text(text)
        expect(tab.locator("#content")).to_have_value("")
    page.reload()
    expect(page.locator("#queue .words")).to_have_text(["First", "Second"])
    provider.script = Script(text="Done.")
    provider.release()
    for tab in (page, other):
        expect(tab.locator("#thread .question > p")).to_have_text(["Zero", "First", "Second"])
        expect(tab.locator("#queue li")).to_have_count(0)
    expect_foot(page, "complete")


def test_ctrl_enter_stops_the_answer_and_sends_at_once(page: Page, provider: ProviderServer) -> None:
    provider.script = Script(text="one two three", chunk_size=4, gate_after=4)
    ask(page, "Zero")
    expect(page.locator(".text").last).to_contain_text("one")
    provider.script = Script(text="Done.")
    page.locator("#content").fill("Now")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#thread .question > p")).to_have_text(["Zero", "Now"])
    expect(page.locator(".foot[data-status=stopped]")).to_have_count(1)
    expect(page.locator(".foot[data-status=complete]")).to_have_count(1)
