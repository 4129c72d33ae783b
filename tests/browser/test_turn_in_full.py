"""What a turn can be, in a real browser: reasoning, tools, a wait for the next try, Continue, another wording."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.browser.chat_page import ask
from tests.provider_server import Call, ProviderServer, Script


def expect_end(page: Page, status: str = "complete") -> None:
    expect(page.locator(".foot").last).to_have_attribute("data-status", status, timeout=15_000)


def strip_markup(html: str) -> str:
    """Return the HTML without what a reader's own click has opened, and without the template's line breaks."""
    return re.sub(r"\s+", "", html.replace(' open=""', ""))


def test_reasoning_and_tools_stand_where_they_came_and_survive_a_reload(page: Page, provider: ProviderServer) -> None:
    calls = [Call("calculator", '{"expression": "12 * 7"}'), Call("nonesuch", '{"q": "x"}', id="call_2")]
    provider.enqueue(
        Script(text="Let me see.", reasoning="They want a number.", tool_calls=calls), Script(text="It is 84.")
    )
    ask(page, "What is 12 * 7?")
    expect_end(page)
    parts = page.locator(".parts > :has(p, summary)")
    kinds = ["reasoning", "text", "tool", "tool", "text"]
    expect(parts).to_have_class([re.compile(kind) for kind in kinds])
    expect(page.locator(".reasoning > summary")).to_have_text(re.compile("Thought for"))
    expect(page.locator(".tool > summary").first).to_contain_text("12 * 7")
    expect(page.locator(".tool > summary.failed")).to_contain_text("failed")
    page.locator(".tool > summary").first.click()
    expect(page.locator(".tool .result").first).to_have_text("84")
    streamed = page.locator(".parts").inner_html()
    page.reload()
    expect(parts).to_have_class([re.compile(kind) for kind in kinds])
    assert strip_markup(page.locator(".parts").inner_html()) == strip_markup(streamed)
    expect(page.locator(".text:has(p)")).to_have_text(["Let me see.", "It is 84."])


def test_a_model_that_thinks_is_seen_to_think(page: Page, provider: ProviderServer) -> None:
    provider.script = Script(text="Done.", reasoning="Thinking about it. " * 5, gate_after=0)
    ask(page, "Think!")
    expect(page.locator(".reasoning > summary")).to_have_text(re.compile(r"Thinking… \d+ s"), timeout=10_000)
    other = page.context.new_page()  # one that gets the turn as a whole, as after a sleep
    other.goto("/")
    other.evaluate(
        "turn => document.getElementById('thread').append(document.createRange().createContextualFragment(turn))",
        page.inner_html("#thread"),
    )
    counted = other.locator(".reasoning > summary").inner_text()
    expect(other.locator(".reasoning > summary")).not_to_have_text(counted)
    provider.release()
    expect_end(page)
    expect(page.locator(".reasoning > summary")).to_have_text(re.compile("Thought for"))


def test_a_wait_for_the_next_try_is_counted_down(page: Page, provider: ProviderServer) -> None:
    provider.enqueue(Script(status=429, retry_after=4))
    provider.script = Script(text="Here at last.")
    ask(page, "Are you busy?")
    notice = page.locator("[data-countdown]")
    expect(notice).to_have_text(re.compile("High demand, trying again in [34] s"))
    expect(notice).to_have_text(re.compile("trying again in [12] s"), timeout=5_000)
    expect_end(page)
    expect(notice).to_have_count(0)
    expect(page.locator(".text").last).to_have_text("Here at last.")


def test_continue_goes_on_where_the_answer_broke(page: Page, provider: ProviderServer) -> None:
    provider.enqueue(Script(text="A half of the whole", chunk_size=6, drop_after=7))
    provider.script = Script(text="and the rest.")
    ask(page, "Tell me")
    expect_end(page, "interrupted")
    page.click("button.continue")
    expect_end(page)
    expect(page.locator(".text .joint")).to_have_count(1)
    expect(page.locator(".text").last).to_contain_text("and the rest.")
    expect(page.locator(".answer")).to_have_count(1)


def test_continue_is_offered_at_the_end_of_the_conversation_alone(page: Page, provider: ProviderServer) -> None:
    provider.enqueue(Script(text="A half of the whole", chunk_size=6, drop_after=7))
    provider.script = Script(text="Another one.")
    ask(page, "Tell me")
    expect_end(page, "interrupted")
    expect(page.locator("button.continue")).to_be_visible()
    ask(page, "Something else, then")
    expect_end(page)
    expect(page.locator("button.continue").and_(page.locator(":visible"))).to_have_count(0)
    page.reload()
    expect(page.locator("#thread .answer")).to_have_count(2)
    expect(page.locator("button.continue")).to_have_count(0)


def test_another_wording_is_a_branch_and_the_old_one_is_two_clicks_away(page: Page, provider: ProviderServer) -> None:
    provider.script = Script(text="First.")
    ask(page, "Old wording")
    expect_end(page)
    provider.script = Script(text="Second.")
    page.hover("#thread .question")
    page.click("#thread .question a.edit")
    expect(page.locator(".editor textarea")).to_have_value("Old wording")
    page.keyboard.press("Escape")
    expect(page.locator("#thread .question a.edit")).to_be_focused()
    page.keyboard.press("Enter")
    page.fill(".editor textarea", "New wording")
    page.keyboard.press("Enter")
    expect(page.locator(".wordings .attempts")).to_contain_text("Wording 2 of 2")
    expect_end(page)
    expect(page.locator("#thread .question > p")).to_have_text("New wording")
    page.click(".wordings .previous")
    expect(page.locator("#thread .question > p")).to_have_text("Old wording")
    expect(page.locator(".text").last).to_have_text("First.")
