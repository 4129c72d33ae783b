"""A question, its retry and its continuation are one request each; a page whose stream breaks asks for the rest."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.browser.chat_page import ask, expect_foot
from tests.browser.requests import count_requests
from tests.provider_server import ProviderServer, Script

ROUND_TRIP = 700  # milliseconds


def test_the_answer_comes_on_the_connection_of_its_question(page: Page, provider: ProviderServer) -> None:
    provider.script = Script(text="One two three")
    with count_requests(page, "/stream/") as streams, count_requests(page, "/send/") as sent:
        ask(page)
        expect_foot(page, "complete")
    assert (len(sent), streams) == (1, [])
    expect(page.locator(".text")).to_have_text("One two three")
    provider.script = Script(text="Otherwise " * 40, chunk_size=10, eof_after=150)
    with count_requests(page, "/stream/") as streams:
        page.get_by_role("button", name="Retry", exact=True).click()
        expect_foot(page, "interrupted")
        provider.script = Script(text="and the end")
        page.get_by_role("button", name="Continue").click()
        expect_foot(page, "complete")
    assert streams == []
    expect(page.locator(".parts")).to_contain_text("and the end")


def test_a_question_from_a_page_that_lost_its_stream_goes_on_by_itself(page: Page, provider: ProviderServer) -> None:
    provider.script = Script(text="One two", chunk_size=4, gate_after=4)
    ask(page)
    expect(page.locator(".text")).to_have_text("One")
    with count_requests(page, "/stream/?after=4") as streams:
        page.context.set_offline(True)
        page.context.set_offline(False)
        provider.release()
        expect_foot(page, "complete")
    expect(page.locator(".text")).to_have_text("One two")
    assert len(streams) <= 1


# Sends what the composer holds, and returns the milliseconds until the answer has a word.
SEND = """() => new Promise((resolve) => {
    const begun = performance.now();
    new MutationObserver(() => {
        if (document.querySelector("#thread .text")?.textContent.trim()) resolve(performance.now() - begun);
    }).observe(document.getElementById("thread"), {childList: true, subtree: true, characterData: true});
    document.querySelector("#composer .send").click();
})"""


def test_the_first_word_comes_within_one_round_trip(page: Page, provider: ProviderServer) -> None:
    provider.script = Script(text="One two", chunk_size=4)
    line = page.context.new_cdp_session(page)
    line.send("Network.enable")
    line.send(
        "Network.emulateNetworkConditions",
        {"offline": False, "latency": ROUND_TRIP, "downloadThroughput": -1, "uploadThroughput": -1},
    )
    page.fill("#composer textarea", "Hello")
    ms = page.evaluate(SEND)
    print("MS", ms)
    assert ROUND_TRIP < ms < 2 * ROUND_TRIP
    expect_foot(page, "complete")
