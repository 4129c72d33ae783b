"""Without a script a conversation is written, followed, stopped and edited, and a login that is lost keeps the text."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.login import Cookies, log_in_once
from tests.provider_server import ProviderServer, Script
from tests.support.server import Server


@pytest.fixture
def page(browser: Browser, server: Server, cookies: Cookies) -> Iterator[Page]:
    context = browser.new_context(base_url=server.url, java_script_enabled=False)
    log_in_once(context, "demo", cookies)
    page = context.new_page()
    page.goto("/")
    yield page
    context.close()


def send(page: Page, text: str) -> None:
    page.fill("#content", text)
    page.click("#composer .send", no_wait_after=True)


def test_a_conversation_needs_no_script(page: Page, provider: ProviderServer) -> None:
    expect(page.locator("[data-example]").first).to_be_hidden()
    expect(page.get_by_text("what this site is for")).to_be_hidden()
    expect(page.get_by_label("Width of the list")).to_be_hidden()
    answers = page.locator(".text:visible")
    provider.script = Script(text="One two three", chunk_size=4, gate_after=4)
    send(page, "Is there an answer without a script?")
    expect(answers).to_contain_text("One")
    expect(page.locator("#composer")).to_have_count(0)  # it comes with the end of the answer
    page.get_by_role("button", name="Stop").click(no_wait_after=True)
    expect(page.locator(".ended")).to_contain_text("You stopped this answer.")

    provider.script = Script(text="The second attempt.\n\n```sh\nls\n```")
    page.get_by_role("button", name="Retry", exact=True).click(no_wait_after=True)
    expect(answers).to_contain_text("The second attempt.")
    expect(page.locator("pre")).to_have_text("ls\n")
    expect(page.get_by_role("button", name="Copy")).to_have_count(0)  # of what can be seen
    conversation = page.url.partition("live/")[0]
    page.goto(f"{conversation}shares/")
    page.get_by_role("button", name="Make a link").click()
    page.goto(page.locator(".address input").input_value())
    expect(page.locator("pre")).to_have_text("ls\n")
    expect(page.get_by_role("button", name="Copy", exact=True)).to_have_count(0)
    page.goto(conversation)
    expect(page.locator(".answer .attempts")).to_contain_text("Attempt 2 of 2")
    page.locator(".answer .previous").click(no_wait_after=True)
    expect(page.locator(".answer .attempts")).to_contain_text("Attempt 1 of 2")

    page.locator("a.edit").click(no_wait_after=True)
    expect(page.locator("#content")).to_have_value("Is there an answer without a script?")
    provider.script = Script(text="Another answer.")
    send(page, "Another wording")
    expect(answers).to_have_text("Another answer.")
    expect(page.locator("#thread .question > p")).to_have_text("Another wording")
    expect(page.locator(".wordings .attempts")).to_contain_text("Wording 2 of 2")

    page.context.clear_cookies(name="sessionid")
    send(page, "A text that nobody wants to write again")
    expect(page.get_by_role("heading", name="You are logged out")).to_be_visible()
    expect(page.locator("textarea")).to_have_value("A text that nobody wants to write again")
