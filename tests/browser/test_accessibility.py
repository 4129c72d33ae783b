"""axe-core finds nothing on any page, in the light and in the dark theme."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.every_page import begin_conversation, begin_queue, list_pages, share_conversation
from tests.provider_server import ProviderServer
from tests.support.server import Server

AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")

# Django's own admin lets colours fade from one to the next; what marks a live answer moves without an end.
RUN = """async () => {
    const fading = document.getAnimations().filter(({ effect }) => effect.getComputedTiming().endTime < Infinity);
    await Promise.all(fading.map(({ finished }) => finished.catch(() => {})));
    const { violations } = await axe.run(document, { resultTypes: ["violations"] });
    return violations.map(({ id, nodes }) =>
        [id, nodes.slice(0, 3).map(({ html, failureSummary }) => `${html.slice(0, 200)} ${failureSummary}`)]);
}"""

Faults = dict[str, Any]


def find_faults(page: Page, name: str) -> Faults:
    """Return what axe-core finds on a page in each theme that it finds something in."""
    # As the browser's own tools do, and so past the page's policy, which allows no other script.
    page.evaluate(AXE)
    faults = {}
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
        if found := page.evaluate(RUN):
            faults[f"{name}, {theme}"] = found
    return faults


# The page of the fixture is not taken: axe-core tries styles that the policy refuses, and the fixture hears of it.


def test_nothing_is_found_on_any_page(context: BrowserContext, provider: ProviderServer) -> None:
    page = context.new_page()
    conversation = begin_conversation(page, provider)
    paths = list_pages(conversation, share_conversation(page, conversation))
    begin_queue(page, provider)
    faults = find_faults(page, "a live answer, and questions that wait")
    provider.release()
    for path in paths:
        page.goto(path)
        faults |= find_faults(page, path)
    assert faults == {}


def test_nothing_is_found_in_what_opens(context: BrowserContext, provider: ProviderServer) -> None:
    page = context.new_page()
    page.goto(begin_conversation(page, provider))
    faults = find_faults(page, "a page before anything opens")

    def look(name: str, shown: str, act: Callable[[], None]) -> None:
        act()
        expect(page.locator(shown)).to_be_visible()
        faults.update(find_faults(page, name))
        page.keyboard.press("Escape")
        expect(page.locator(shown)).to_be_hidden()

    page.locator("#scroller").focus()
    look("keys", "#shortcuts", lambda: page.keyboard.press("?"))
    look("search", "#search-dialog", lambda: page.keyboard.press("Control+k"))
    look(
        "a conversation's menu",
        "#conversation-menu",
        lambda: page.locator(".conversation > .more").first.press("Enter"),
    )
    look("the page's menu", "#title-menu", lambda: page.click("#heading"))
    look("the account's menu", "#account-menu", lambda: page.click(".account button"))
    look("retry otherwise", "#otherwise", lambda: page.locator(".otherwise").last.press("Enter"))
    look("facts", ".pop[id^=facts]:popover-open", lambda: page.locator(".actions .about").last.press("Enter"))
    look("an editor", ".editor", lambda: page.keyboard.press("Alt+Shift+E"))

    def open_panel() -> None:
        page.click("#heading")
        page.get_by_role("link", name="Settings").click()

    def open_shares() -> None:
        page.click("#heading")
        page.get_by_role("link", name="Share").click()

    look("settings", "#panel", open_panel)
    look("shared links", "#share-dialog", open_shares)
    page.set_viewport_size({"width": 360, "height": 640})
    faults |= find_faults(page, "a phone's page")
    look("a phone's list", "#sidebar", lambda: page.click(".bar .menu"))
    assert faults == {}


def test_nothing_is_found_on_a_strangers_pages(browser: Browser, server: Server) -> None:
    context = browser.new_context(base_url=server.url)
    page = context.new_page()
    faults: Faults = {}
    for path in ("/accounts/login/", "/s/a-link-that-leads-nowhere/", "/no/such/page/"):
        page.goto(path)
        faults |= find_faults(page, path)
    assert faults == {}
    context.close()
