"""On paper: the whole conversation, nothing cut off at the edge, and none of the page's buttons."""

from __future__ import annotations

from playwright.sync_api import BrowserContext, ViewportSize, expect

from tests.browser.every_page import LINES, begin_conversation, share_conversation
from tests.provider_server import ProviderServer

# What a sheet of A4 has between its margins, in CSS pixels.
SHEET: ViewportSize = {"width": 718, "height": 1046}

# An element that clips what it holds cannot be scrolled on paper, and one beyond the edge is lost.
FIND_LOST = """() => [...document.querySelectorAll("main, main *")].filter(element => {
    if (!element.checkVisibility() || element.closest(".visually-hidden, svg, math")) return false;
    if (element.matches(".stretch")) return false; // as wide as what may leave the column
    const { right, width } = element.getBoundingClientRect();
    const { overflowX, overflowY } = getComputedStyle(element);
    const clips = (overflow, whole, seen) => overflow !== "visible" && whole > seen + 1;
    return width > 0 && (right > innerWidth + 1 ||
        clips(overflowX, element.scrollWidth, element.clientWidth) ||
        clips(overflowY, element.scrollHeight, element.clientHeight));
}).map(element => element.outerHTML.slice(0, 120))"""


def test_a_conversation_is_printed_whole(context: BrowserContext, provider: ProviderServer) -> None:
    page = context.new_page()
    conversation = begin_conversation(page, provider)
    for path in (conversation, f"{conversation}print/", share_conversation(page, conversation)):
        page.set_viewport_size({"width": 1100, "height": 750})
        page.goto(path)
        page.wait_for_load_state("networkidle")
        page.set_viewport_size(SHEET)
        page.emulate_media(media="print")
        expect(page.locator(".question:visible")).to_have_count(2)
        expect(page.locator(".text pre code")).to_have_text(LINES)
        assert page.evaluate(FIND_LOST) == [], path
        expect(page.locator("button, input, textarea, select").and_(page.locator(":visible"))).to_have_text(
            ["What can an answer be?"] if path == conversation else []  # the title, which opens a menu on the screen
        )
        expect(page.locator("th").last).to_be_visible()
        expect(page.locator(".foot[data-status=interrupted] .ended")).to_be_visible()
        page.emulate_media(media="screen")


def test_a_wide_table_of_the_page_for_paper_scrolls_in_its_own_box_on_a_phone(
    context: BrowserContext, provider: ProviderServer
) -> None:
    page = context.new_page()
    path = f"{begin_conversation(page, provider)}print/"
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(path)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    table = page.locator("table").last
    table.evaluate("table => { table.scrollLeft = table.scrollWidth; }")
    expect(page.locator("th").last).to_be_in_viewport()
