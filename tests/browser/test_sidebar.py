"""The sidebar in a browser: rows change in place, in every tab at once, by mouse, keyboard and finger."""

from __future__ import annotations

import re
import uuid

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Route, expect

from tests.browser.chat_page import ask, expect_foot
from tests.browser.login import Cookies, log_in_once
from tests.provider_server import ProviderServer, Script
from tests.support.server import Server

MANY = """
from datetime import timedelta
from django.utils import timezone
from chat.models import Conversation, User
user = User.objects.get(username="demo")
rows = [Conversation(user=user, title=f"Old {number}") for number in range(130)]
Conversation.objects.bulk_create(rows)
for number, row in enumerate(rows):
    Conversation.objects.filter(pk=row.pk).update(updated_at=timezone.now() - timedelta(days=3, hours=number))
"""

TO_THE_END = """() => {
    const list = document.querySelector("#conversations");
    list.scrollTop = list.scrollHeight;
    return !list.querySelector(":scope > .older");
}"""


@pytest.fixture
def title(page: Page, provider: ProviderServer) -> str:
    """The title of a conversation with one turn, which the page shows."""
    provider.script = Script(text="Yes.")
    title = f"What is {uuid.uuid4()}?"
    ask(page, title)
    expect_foot(page, "complete")
    return title


@pytest.fixture
def other(context: BrowserContext, title: str) -> Page:
    """A second tab, with an empty chat."""
    other = context.new_page()
    other.goto("/")
    return other


def find_row(page: Page, title: str) -> Locator:
    return page.locator("#conversations > .conversation").filter(has_text=title)


def open_menu(page: Page, title: str) -> Locator:
    find_row(page, title).hover()
    find_row(page, title).locator(".more").click()
    menu = page.locator("#conversation-menu")
    expect(menu).to_be_visible()
    return menu


def test_a_conversation_is_renamed_in_place_and_everywhere(page: Page, other: Page, title: str) -> None:
    open_menu(other, title).get_by_text("Rename").click()
    field = other.locator("input.rename")
    expect(field).to_have_value(title)
    field.fill("never mind")
    other.keyboard.press("Escape")
    expect(find_row(other, title)).to_have_count(1)
    other.keyboard.press("F2")
    field.fill("A better name")
    other.keyboard.press("Enter")
    expect(page.locator("#heading")).to_have_text("A better name")
    for tab in (page, other):
        expect(find_row(tab, "A better name")).to_have_count(1)
        expect(find_row(tab, title)).to_have_count(0)
    expect(find_row(other, "A better name").locator(".title")).to_be_focused()


def test_a_deletion_is_seen_everywhere_and_undone(page: Page, other: Page, title: str) -> None:
    open_menu(other, title).get_by_text("Delete").click()
    expect(find_row(other, title)).to_have_count(0)
    expect(find_row(page, title)).to_have_count(0)
    expect(page.locator("#undo")).to_have_text("This conversation was deleted.")
    other.locator("#undo").get_by_role("button", name="Undo").click()
    for tab in (page, other):
        expect(find_row(tab, title)).to_have_count(1)
    expect(other.locator("#undo")).to_be_hidden()


def test_deleting_a_conversation_on_its_page_leads_to_a_new_chat_with_undo(page: Page, title: str) -> None:
    address = page.url
    open_menu(page, title).get_by_text("Delete").click()
    expect(page).not_to_have_url(address)
    expect(find_row(page, title)).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(page).to_have_url(address)
    expect(page.locator(".text")).to_have_text("Yes.")


def test_a_row_is_marked_while_it_is_answered_and_until_it_is_seen(
    page: Page, other: Page, title: str, provider: ProviderServer
) -> None:
    page.bring_to_front()
    expect(find_row(other, title).locator(".mark")).to_have_count(0)
    other.bring_to_front()
    page.evaluate("Object.defineProperty(document, 'hidden', { configurable: true, get: () => true })")
    provider.script = Script(text="one two", chunk_size=4, gate_after=4)
    ask(page, "And then?")
    expect(find_row(other, title).locator(".mark.streaming")).to_have_count(1)
    provider.release()
    expect(find_row(other, title).locator(".mark.unread")).to_have_count(1)
    page.evaluate("Object.defineProperty(document, 'hidden', { configurable: true, get: () => false })")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(find_row(other, title).locator(".mark")).to_have_count(0)
    provider.script = Script(text="one two", drop_after=4)
    ask(page, "And now?")
    expect(find_row(other, title).locator(".mark.failed")).to_have_count(1)


def test_pinned_and_archived_rows_move(page: Page, other: Page, title: str) -> None:
    open_menu(other, title).get_by_text("Pin", exact=True).click()
    for tab in (page, other):
        expect(tab.locator("#conversations > .day").first).to_have_text("Pinned")
        expect(tab.locator("#conversations > .conversation").first).to_contain_text(title)
    archive = other.context.new_page()
    archive.goto("/archive/")
    open_menu(other, title).get_by_text("Archive", exact=True).click()
    for tab in (page, other, archive):
        expect(find_row(tab, title)).to_have_count(0)
    expect(archive.locator("main .conversation").filter(has_text=title)).to_have_count(1)


def test_older_ones_come_as_the_list_is_scrolled_and_by_keys_alone(page: Page, server: Server) -> None:
    server.manage("shell", "-v", "0", "-c", MANY)
    page.reload()
    rows = page.locator("#conversations > .conversation")
    expect(rows.filter(has_text="Old 0")).to_have_count(1)
    page.wait_for_function(TO_THE_END, polling=100)
    expect(rows.filter(has_text="Old 129")).to_have_count(1)
    found = page.evaluate("[...document.querySelectorAll('#conversations > .conversation')].map(r => r.dataset)")
    assert len({each["conversation"] for each in found}) == len(found)
    assert [each["key"] for each in found] == sorted((each["key"] for each in found), reverse=True)
    days = page.locator("#conversations > .day").all_inner_texts()
    assert len(set(days)) == len(days)
    rows.filter(has_text="Old 127").locator(".title").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Rename")).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(page.locator("#conversation-menu .delete")).to_be_focused()
    page.keyboard.press("Escape")
    expect(rows.filter(has_text="Old 127").locator(".more")).to_be_focused()


def test_its_width_and_whether_it_is_hidden_are_remembered(page: Page) -> None:
    def measure_width() -> float:
        box = page.locator("#sidebar").bounding_box()
        return box["width"] if box else 0

    def load_late(route: Route) -> None:
        response = route.fetch()
        page.wait_for_timeout(500)
        route.fulfill(response=response)

    page.route(re.compile("sidebar_width"), load_late)
    assert 272 <= measure_width() <= 288
    page.locator("#sidebar-edge").focus()
    page.keyboard.press("ArrowRight")  # before what moves the edge has come
    expect(page.locator("#sidebar-edge")).to_have_attribute("aria-valuenow", "296")
    assert measure_width() == 296
    page.unroute(re.compile("sidebar_width"))
    page.reload()
    assert measure_width() == 296
    page.locator("#hide-sidebar").click()
    expect(page.locator("#sidebar")).to_be_hidden()
    page.reload()
    expect(page.locator("#sidebar")).to_be_hidden()
    page.locator(".bar .menu").click()
    expect(page.locator("#sidebar")).to_be_visible()


def test_on_a_phone_it_is_a_drawer_with_the_same_menu(browser: Browser, server: Server, cookies: Cookies) -> None:
    context = browser.new_context(
        base_url=server.url, viewport={"width": 390, "height": 750}, has_touch=True, is_mobile=True
    )
    log_in_once(context, "demo", cookies)
    page = context.new_page()
    page.goto("/")
    expect(page.locator("#sidebar")).to_be_hidden()
    page.locator(".bar .menu").tap()
    more = page.locator("#conversations > .conversation > .more").first
    box = more.bounding_box()
    assert box is not None
    assert min(box["width"], box["height"]) >= 44
    more.tap()
    expect(page.locator("#conversation-menu")).to_be_visible()
    expect(page.locator("#sidebar")).to_be_visible()
    page.get_by_role("link", name="Rename").tap()
    expect(page.locator("input.rename")).to_be_focused()
    context.close()
