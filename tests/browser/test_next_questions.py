"""What is sent while an answer is written waits below it, in every tab, and is asked when the answer is complete."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import BrowserContext, Locator, Page, expect

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


def click_twice(page: Page, button: Locator, see_change: Callable[[], None]) -> None:
    """Click twice, as slowly as some do: what the first click leads to is seen before the second one."""
    box = button.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    for count in (1, 2):
        page.mouse.down(click_count=count)
        page.mouse.up(click_count=count)
        see_change()


def test_the_second_click_of_a_double_click_is_not_for_the_button_that_has_come(
    page: Page, provider: ProviderServer
) -> None:
    provider.script = Script(text="one two three")
    ask(page, "Zero")
    expect_foot(page, "complete")
    provider.script = Script(text="one two three", chunk_size=4, gate_after=4)
    page.fill("#content", "One")
    click_twice(page, page.locator(".send"), expect(page.locator(".stop")).to_be_visible)
    for number, question in enumerate(("Two", "Three"), 1):
        ask(page, question)
        expect(page.locator("#queue .words")).to_have_count(number)
    first = page.get_by_role("button", name="Remove question 1 of 2")
    click_twice(page, first, lambda: expect(page.locator("#queue li")).to_have_count(1))
    page.wait_for_timeout(200)
    expect(page.locator("#queue .words")).to_have_text(["Three"])
    expect(page.locator(".stop")).to_be_visible()
    provider.release()
    expect(page.locator("#thread .question > p")).to_have_text(["Zero", "One", "Three"])
    expect(page.locator(".foot[data-status=stopped]")).to_have_count(0)
