"""The search by keyboard alone: Ctrl K, words, arrows and Enter lead to the message; Escape leads back."""

from __future__ import annotations

import re
from uuid import uuid4

from playwright.sync_api import Page, Route, expect

from tests.browser.chat_page import ask, expect_foot
from tests.provider_server import ProviderServer, Script


def test_the_keyboard_alone_finds_and_opens_a_message(page: Page, provider: ProviderServer) -> None:
    sky, rayleigh = f"sky{uuid4().hex[:8]}", f"rayleigh{uuid4().hex[:8]}"  # a second try finds nothing of the first
    provider.script = Script(text=f"Because of {rayleigh}.\n\n" + "Much more of it.\n\n" * 60)
    ask(page, f"Why is the {sky} blue?")
    expect_foot(page, "complete")
    provider.script = Script(text="Another answer.\n\n" * 60)
    ask(page, "And at night?")
    expect(page.locator(".foot[data-status=complete]")).to_have_count(2, timeout=20_000)
    page.goto("/")
    page.keyboard.press("Control+k")
    field = page.locator("#search-dialog input[type=search]")
    expect(field).to_be_focused()
    page.keyboard.type(f"{sky} b")
    hits = page.locator("#search-dialog .hits li a")
    expect(hits).to_have_count(2)  # the title and the question
    expect(hits.first.locator("mark").first).to_have_text(re.compile(sky, re.IGNORECASE))
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(hits.nth(1)).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    expect(field).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#search-dialog")).to_be_hidden()
    page.keyboard.press("Control+k")
    page.keyboard.press("Control+a")
    page.keyboard.type(rayleigh)
    page.keyboard.press("Enter")  # before the results have come
    page.wait_for_url("**/c/*/?at=*")
    expect(page.locator(".answer:target")).to_be_in_viewport()
    expect(page.locator(".answer").last).not_to_be_in_viewport()
    page.locator("#latest").click()
    expect(page.locator(".foot").last).to_be_in_viewport()


def test_enter_waits_for_the_hits_of_all_that_was_typed(page: Page) -> None:
    def answer(route: Route, address: str) -> None:
        route.fulfill(content_type="text/html", body=f'<ol class="hits"><li><a href="{address}">A hit</a></li></ol>')

    asked: list[Route] = []

    def hold(route: Route) -> None:
        asked.append(route)

    page.route("**/search/?*", hold)
    page.keyboard.press("Control+k")
    page.keyboard.type("a")
    page.wait_for_timeout(500)
    page.keyboard.type("b")
    answer(asked.pop(), "/account/usage/")
    page.wait_for_timeout(50)
    page.keyboard.press("Enter")
    page.wait_for_timeout(500)
    for route in asked:
        answer(route, "/account/data/")
    page.wait_for_url("**/account/*/")
    assert page.url.endswith("/account/data/")


def test_without_javascript_the_field_leads_to_a_page(page: Page, provider: ProviderServer) -> None:
    provider.script = Script(text="A needle.")
    ask(page, "What is in the haystack?")
    expect_foot(page, "complete")
    browser = page.context.browser
    assert browser is not None
    plain = browser.new_context(
        base_url=page.url, java_script_enabled=False, storage_state=page.context.storage_state()
    ).new_page()
    plain.goto("/")
    plain.fill("#sidebar .find input", "needle")
    plain.keyboard.press("Enter")
    plain.click(".hits a >> nth=0")
    expect(plain.locator(".answer:target")).to_contain_text("A needle.")
    plain.context.close()
