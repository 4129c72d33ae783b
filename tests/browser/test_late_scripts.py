"""What a page loads: little, once a release; and when its scripts come late it goes on with its answer all the same."""

from __future__ import annotations

import gzip
import re
import time

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.chat_page import ask, expect_foot, read_thread
from tests.provider_server import ProviderServer, Script

TEXT = "One two **three** four"


FILES = """() => performance.getEntriesByType("resource").map(file =>
    [new URL(file.name).pathname, file.encodedBodySize, file.transferSize])"""


def test_a_new_page_is_light_and_the_next_asks_for_no_file(page: Page) -> None:
    """Bytes as they are transferred, but for the page itself, which a proxy compresses; the font is not counted."""
    files = {path: size for path, size, _ in page.evaluate(FILES)}
    shared = sum(size for path, size in files.items() if not path.endswith(".woff2"))
    assert any(path.endswith("/chat/chat.js") for path in files)
    assert shared + len(gzip.compress(page.content().encode())) <= 60_000
    page.goto("/")
    assert [path for path, _, transferred in page.evaluate(FILES) if transferred] == []


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
    expect_foot(page, "complete")
    streamed = read_thread(page)
    page.unroute_all()
    page.reload()
    assert read_thread(page) == streamed


def test_a_key_whose_script_cannot_be_loaded_says_so(page: Page) -> None:
    page.route("**/shortcuts.js", lambda route: route.abort())
    page.locator("#scroller").focus()
    page.keyboard.press("?")
    expect(page.locator("#connection")).to_contain_text("could not be loaded")
    page.unroute_all()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()


def test_keys_and_clicks_wait_for_the_script_that_they_need(page: Page, provider: ProviderServer) -> None:
    provider.script = Script(text="```python\nprint(1)\n```\n")
    ask(page)
    expect_foot(page, "complete")

    def delay(route: Route) -> None:
        time.sleep(0.5)
        route.continue_()

    page.route(re.compile(r"/(open_menu|code_buttons)\.js$"), delay)
    page.reload()
    page.locator("#heading").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#title-menu a").nth(1)).to_be_focused()
    page.keyboard.press("Escape")
    page.click(".code .wrap")
    expect(page.locator(".code")).to_have_class(re.compile("wrapped"))


@pytest.mark.parametrize("sent_by", ["Enter", "the button"])
def test_a_question_is_sent_before_the_scripts_have_come(sent_by: str, page: Page, provider: ProviderServer) -> None:
    provider.script = Script(text="Yes.")
    page.route("**/chat/chat.js", lambda route: None)  # it does not come before the question is sent
    page.goto("/", wait_until="commit")
    page.fill("#content", "Are you there?")
    if sent_by == "Enter":
        page.keyboard.press("Shift+Enter")
        expect(page.locator("#content")).to_have_value("Are you there?\n")
        page.keyboard.press("Enter")
    else:
        page.click("#composer .send", no_wait_after=True)
    page.wait_for_url("**/c/*/", wait_until="commit")
    page.unroute_all()
    page.reload()
    expect(page.locator("#thread .question > p")).to_have_text("Are you there?")
    expect_foot(page, "complete")
