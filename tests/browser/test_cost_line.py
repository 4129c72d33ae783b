"""Below the composer stands what was spent, and what a dear question will cost: nothing moves, nothing is asked for."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, Request, expect

from tests.browser.chat_page import ask, expect_foot
from tests.provider_server import ProviderServer, Script


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    return {"CHAT_PRICES": "openai:gpt-test=10/50", "CHAT_USER_TOKENS_PER_DAY": "100000"}


def test_a_dear_question_is_estimated_while_it_is_written(page: Page, provider: ProviderServer) -> None:
    provider.script = Script(text="Yes.")
    line, composer = page.locator("#cost-line"), page.locator("#composer")
    height = composer.evaluate("each => each.offsetHeight")
    expect(line).to_contain_text("left today")
    ask(page)
    expect_foot(page, "complete")
    expect(line).to_contain_text("so far")
    said = line.inner_text()
    assert composer.evaluate("each => each.offsetHeight") == height
    page.reload()
    page.wait_for_load_state("networkidle")  # the list of conversations comes last
    requests: list[str] = []

    def note(request: Request) -> None:
        if request.resource_type != "script":  # the line's own comes with the first letter
            requests.append(request.url)

    page.on("request", note)
    box = page.locator("#composer textarea")
    box.fill("Short.")
    assert line.inner_text() == said
    box.fill("word" * 20_000)
    expect(line).to_contain_text("This question: about $0.25, for about 20,0")
    box.fill("")
    expect(line).to_have_text(said)
    assert composer.evaluate("each => each.offsetHeight") == height
    assert requests == []
