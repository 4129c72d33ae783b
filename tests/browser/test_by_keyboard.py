"""A conversation by keyboard alone: edited in its place, stopped from anywhere, its arrows and menus keep the focus."""

from __future__ import annotations

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.chat_page import ask, expect_foot, measure_distance, press_while_composing
from tests.provider_server import ProviderServer, Script


def test_editing_stopping_and_going_back_keep_the_page_and_the_focus(page: Page, provider: ProviderServer) -> None:
    provider.script = Script(text="```python\nprint(1)\n```\n\n- [x] done\n")
    ask(page, "Old wording")
    expect_foot(page, "complete")
    expect(page.get_by_role("button", name="Copy python code")).to_be_attached()
    page.evaluate("window.same = true")
    page.keyboard.press("Alt+Shift+C")
    expect(page.locator("#announcer")).to_have_text("Copied")
    page.keyboard.press("Alt+Shift+E")
    expect(page.locator(".editor textarea")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("a.edit")).to_be_focused()
    page.keyboard.press("Enter")
    provider.script = Script(text="One two three", chunk_size=4, gate_after=4)
    page.fill(".editor textarea", "New wording")
    page.keyboard.press("Enter")
    expect(page.locator(".text")).to_contain_text("One")
    page.locator(".named button").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#title-menu a").first).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Escape")  # closes the menu, and stops nothing
    expect(page.locator("#title-menu")).to_be_hidden()
    expect(page.locator(".stop")).to_be_visible()
    page.keyboard.press("Escape")
    expect_foot(page, "stopped")
    page.locator(".named button").press("Enter")
    page.get_by_role("link", name="Rename").press("Enter")
    expect(page.locator("#panel #id_title")).to_be_focused()
    press_while_composing(page, "Escape", "#panel #id_title", isComposing=True)
    expect(page.locator("#panel")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#panel")).to_be_hidden()
    page.locator(".named button").press("Enter")
    page.get_by_role("link", name="Settings").press("Enter")
    expect(page.locator("#panel .close")).to_be_focused()
    page.keyboard.press("Escape")
    page.locator(".wordings .previous").press("Enter")
    expect(page.locator(".wordings .next")).to_be_focused()
    expect(page.locator("#thread .question > p")).to_have_text("Old wording")
    page.locator(".retry").press("Enter")
    expect_foot(page, "complete")
    expect(page.locator("button.retry")).to_be_focused()
    page.locator("#scroller").focus()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    assert page.evaluate("window.same")


def test_the_focus_stays_beside_what_was_stopped_removed_edited_shared_or_moved(
    page: Page, provider: ProviderServer
) -> None:
    provider.script = Script(text="One two three", chunk_size=4, gate_after=4)
    ask(page, "Why is the sky blue?")
    expect(page.locator(".text")).to_contain_text("One")
    for number, question in enumerate(("First", "Second"), 1):
        ask(page, question)
        expect(page.locator("#queue .words")).to_have_count(number)
    page.get_by_label("Edit question 1 of 2").press("Enter")
    page.locator("#queue textarea").first.press("Escape")
    expect(page.locator(".stop")).to_be_visible()  # for whoever is writing there, Escape stops nothing
    page.get_by_role("button", name="Save").first.press("Enter")
    expect(page.get_by_label("Edit question 1 of 2")).to_be_focused()
    page.get_by_role("button", name="Remove question 1 of 2").press("Enter")
    expect(page.get_by_role("button", name="Remove question 1 of 1")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#content")).to_be_focused()
    page.locator(".stop").press("Enter")
    expect_foot(page, "stopped")
    expect(page.locator("#content")).to_be_focused()
    page.locator(".named button").press("Enter")
    page.get_by_role("link", name="Share").press("Enter")
    page.get_by_role("button", name="Make a link").press("Enter")
    expect(page.locator("#share-dialog [data-copy-link]")).to_be_focused()
    page.locator("#share-dialog").get_by_role("button", name="Revoke").press("Enter")
    expect(page.get_by_label("ends")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator(".named button")).to_be_focused()
    last = page.locator("#conversations .conversation").last
    last.locator(".more").press("Enter")
    page.get_by_role("button", name="Archive", exact=True).press("Enter")
    expect(page.locator(":is(.title, .new):focus")).to_be_visible()


def test_a_menu_whose_row_is_replaced_meanwhile_still_renames_it(page: Page, provider: ProviderServer) -> None:
    provider.script = Script(text="Because.")
    ask(page, "A title of its own")
    expect_foot(page, "complete")
    page.reload()
    row = page.locator("#conversations .conversation").first
    row.locator(".more").press("Enter")
    expect(page.locator("#conversation-menu")).to_be_visible()
    row.evaluate("row => row.replaceWith(row.cloneNode(true))")  # as at the answer's end
    page.keyboard.press("Enter")
    expect(row.locator(".rename")).to_be_focused()


def test_an_enter_that_is_held_down_sends_nothing_where_the_focus_has_come(
    page: Page, provider: ProviderServer
) -> None:
    provider.script = Script(text="Because.")
    ask(page, "Old wording")
    expect_foot(page, "complete")
    page.fill("#content", "A draft")
    page.locator("a.edit").focus()
    page.keyboard.down("Enter")
    expect(page.locator(".editor textarea")).to_be_focused()
    page.keyboard.down("Enter")
    page.keyboard.up("Enter")
    page.fill(".editor textarea", "New wording")
    page.keyboard.down("Enter")
    expect(page.locator("#content")).to_be_focused()
    page.keyboard.down("Enter")
    page.keyboard.up("Enter")
    page.wait_for_timeout(300)
    expect(page.locator("#content")).to_have_value("A draft")
    expect(page.locator("#thread .question > p")).to_have_text(["New wording"])


def test_earlier_turns_come_while_the_place_is_kept(
    page: Page, context: BrowserContext, provider: ProviderServer
) -> None:
    """Forty-five turns are three pieces; Home is where browsers hold no view by themselves."""
    provider.script = Script(text="Yes.\n\n" * 8)
    ask(page, "Question 0")
    expect_foot(page, "complete")
    conversation = page.url.rstrip("/").rpartition("/")[2]
    token = next(cookie["value"] for cookie in context.cookies() if cookie["name"] == "csrftoken")
    for number in range(1, 45):
        path = f"/api/conversations/{conversation}/messages/"
        sent = context.request.post(path, data={"content": f"Question {number}"}, headers={"X-CSRFToken": token})
        assert sent.ok, sent.text()
    page.reload()
    expect(page.locator(".turn").first).to_contain_text("Question 25")
    assert measure_distance(page) < 4
    page.locator("#scroller").focus()
    page.keyboard.press("Home")
    expect(page.locator(".turn").first).to_contain_text("Question 5")
    shown = page.evaluate(
        "[...document.querySelectorAll('.question > p')].find(p => p.getBoundingClientRect().bottom > 0).textContent"
    )
    assert shown in {"Question 24", "Question 25"}
    expect(page.locator("#announcer")).to_be_empty()  # they ended long ago


@pytest.mark.parametrize("path", ["/", "/account/usage/"])
def test_a_menu_opens_beside_its_button_on_each_page(page: Page, path: str) -> None:
    page.goto(path)
    button = page.locator(".account button").first
    button.press("Enter")
    menu = page.locator("#account-menu")
    expect(menu.locator("a").first).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(menu.locator("a").nth(1)).to_be_focused()
    above, below = menu.bounding_box(), button.bounding_box()
    assert above
    assert below
    assert abs(above["x"] - below["x"]) <= 8
    assert 0 <= below["y"] - (above["y"] + above["height"]) <= 8
    expect(menu.get_by_text("Keyboard shortcuts")).to_have_count(1 if path == "/" else 0)
