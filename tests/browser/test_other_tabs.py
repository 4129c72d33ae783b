"""What one tab, device or program asks, the user's other pages show, while it happens."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

import httpx2
import pytest
from playwright.sync_api import BrowserContext, Page, Route, WebSocketRoute, expect

from tests.browser.chat_page import ask, expect_foot, read_thread
from tests.browser.relay import Relay
from tests.browser.requests import count_requests
from tests.provider_server import ProviderServer, Script
from tests.support.server import Server


@pytest.fixture
def other(context: BrowserContext, page: Page, provider: ProviderServer) -> Page:
    """A second tab, and both show a conversation with one turn."""
    provider.script = Script(text="Yes.")
    ask(page, "The first question")
    expect_foot(page, "complete")
    other = context.new_page()
    other.goto(page.url)
    return other


def test_a_turn_streams_in_the_other_tab_too(page: Page, other: Page, provider: ProviderServer) -> None:
    provider.script = Script(text="one two three", chunk_size=4, gate_after=4)
    ask(page, "And then?")
    expect(other.locator("#thread .question > p").last).to_have_text("And then?")
    expect(other.locator(".text").last).to_contain_text("one")
    expect(other.locator(".stop")).to_be_visible()
    provider.release()
    for tab in (page, other):
        expect(tab.locator(".foot[data-status=complete]")).to_have_count(2)
        expect(tab.locator(".turn")).to_have_count(2)
    assert read_thread(page) == read_thread(other)
    other.reload()
    assert read_thread(page) == read_thread(other)


def test_a_turn_between_the_making_of_a_page_and_its_watch_is_shown(
    page: Page, context: BrowserContext, provider: ProviderServer
) -> None:
    """The other tab's scripts come only after the question was asked and answered."""
    provider.script = Script(text="Yes.")
    ask(page, "The first question")
    expect_foot(page, "complete")
    other = context.new_page()
    held: list[Route] = []
    other.route(re.compile(r"/news\b[^/]*\.js"), lambda route: held.append(route))  # noqa: PLW0108 - as below
    other.goto(page.url, wait_until="commit")
    ask(page, "And then?")
    expect(page.locator(".foot[data-status=complete]")).to_have_count(2)
    expect(other.locator(".turn")).to_have_count(1)
    for script in held:
        script.continue_()
    expect(other.locator(".foot[data-status=complete]")).to_have_count(2)
    assert read_thread(page) == read_thread(other)


def test_the_tab_that_asks_shows_the_turn_once(page: Page, other: Page) -> None:
    for number in range(2, 5):
        ask(page if number % 2 else other, f"Question {number}")
        for tab in (page, other):
            expect(tab.locator(".foot[data-status=complete]")).to_have_count(number)
    for tab in (page, other):
        expect(tab.locator(".turn")).to_have_count(4)
    assert read_thread(page) == read_thread(other)


def test_a_notice_that_overtakes_its_response_shows_the_turn_once(page: Page, other: Page, server: Server) -> None:
    def respond_late(route: Any) -> None:
        response = route.fetch()
        page.wait_for_timeout(1000)
        route.fulfill(response=response)

    page.route("**/send/", respond_late)
    ask(page, "And then?")
    expect(other.locator(".turn")).to_have_count(2)
    expect(page.locator(".turn")).to_have_count(2)
    page.wait_for_timeout(1000)
    expect(page.locator(".turn")).to_have_count(2)
    expect(page.locator("#composer textarea")).to_have_value("")


def test_a_question_whose_response_was_lost_is_recognised(page: Page, other: Page) -> None:
    def lose(route: Any) -> None:
        route.fetch()
        route.abort()

    page.route("**/send/", lose)
    ask(page, "And then?")
    expect(page.locator(".turn")).to_have_count(2)
    expect_foot(page, "complete")
    expect(page.locator("#composer-error")).to_be_empty()
    expect(page.locator("#composer textarea")).to_have_value("")
    page.unroute("**/send/")
    ask(page, "A third one")
    for tab in (page, other):
        expect(tab.locator(".turn")).to_have_count(3)


def test_a_draft_in_the_other_tab_stays_and_can_be_sent(page: Page, other: Page) -> None:
    other.fill("#composer textarea", "Something else")
    ask(page, "And then?")
    expect(other.locator(".turn")).to_have_count(2)
    expect_foot(other, "complete")
    expect(other.locator("#composer textarea")).to_have_value("Something else")
    other.press("#composer textarea", "Enter")
    for tab in (page, other):
        expect(tab.locator(".turn")).to_have_count(3)
        expect(tab.locator("#thread .question > p").last).to_have_text("Something else")


def test_a_retry_takes_the_place_of_its_answer(page: Page, other: Page, provider: ProviderServer) -> None:
    ask(page, "And then?")
    for tab in (page, other):
        expect(tab.locator(".foot[data-status=complete]")).to_have_count(2)
    provider.script = Script(text="No.")
    page.locator(".retry").first.click()
    for tab in (page, other):
        expect(tab.locator(".turn")).to_have_count(1)
        expect(tab.locator(".text")).to_have_text("No.")
        expect(tab.locator(".foot")).to_contain_text("Attempt 2 of 2")


def test_a_turn_on_another_branch_brings_its_branch(page: Page, other: Page, provider: ProviderServer) -> None:
    """The other tab still shows the second attempt, when this one goes on from the first."""
    provider.script = Script(text="No.")
    page.click(".retry")
    for tab in (page, other):
        expect(tab.locator(".text")).to_have_text("No.")
        expect_foot(tab, "complete")
    page.click(".previous")
    expect(page.locator(".text")).to_have_text("Yes.")
    ask(page, "And then?")
    for tab in (page, other):
        expect(tab.locator(".turn")).to_have_count(2)
        expect(tab.locator(".text").first).to_have_text("Yes.")
    expect_foot(other, "complete")


def answer_again_and_go_on(page: Page, other: Page, provider: ProviderServer) -> None:
    """Have the first question answered once more, and ask another one after that answer; both tabs show it."""
    provider.script = Script(text="No.")
    page.click(".retry")
    for tab in (page, other):
        expect(tab.locator(".text")).to_have_text("No.")
        expect_foot(tab, "complete")
    ask(page, "And then?")
    for tab in (page, other):
        expect(tab.locator(".foot[data-status=complete]")).to_have_count(2)


def test_a_question_goes_on_from_the_branch_that_another_tab_shows_and_brings_it(
    page: Page, other: Page, provider: ProviderServer
) -> None:
    """This tab hears of nothing: it shows the second attempt and what follows, when the other one shows the first."""
    page.route_web_socket("**/ws/chat/", lambda socket: socket.close())
    page.reload()
    answer_again_and_go_on(page, other, provider)
    other.locator(".previous").first.click()
    expect(other.locator(".turn")).to_have_count(1)
    ask(page, "A third one")
    expect(page.locator("#thread .question > p")).to_have_text(["The first question", "A third one"])
    expect(page.locator(".text").first).to_have_text("Yes.")
    expect_foot(page, "complete")
    expect(page.locator("#content")).to_have_value("")


def test_a_tab_that_only_watches_shows_the_branch_that_another_one_shows(
    page: Page, other: Page, provider: ProviderServer
) -> None:
    answer_again_and_go_on(page, other, provider)
    page.locator(".previous").first.click()
    for tab in (page, other):
        expect(tab.locator(".turn")).to_have_count(1)
        expect(tab.locator(".text")).to_have_text("Yes.")
    other.locator(".next").first.click()
    for tab in (page, other):
        expect(tab.locator(".turn")).to_have_count(2)
        expect(tab.locator(".text").first).to_have_text("No.")
    assert read_thread(page) == read_thread(other)


def test_a_tab_that_edits_a_question_keeps_it_when_another_one_shows_another_branch(
    page: Page, other: Page, server: Server, provider: ProviderServer
) -> None:
    provider.script = Script(text="No.")
    page.click(".retry")
    for tab in (page, other):
        expect(tab.locator(".text")).to_have_text("No.")
        expect_foot(tab, "complete")
    other.locator("#thread .question").hover()
    other.locator("#thread .question .edit").click()
    other.fill(".editor textarea", "A better question")
    page.click(".previous")
    expect(page.locator(".text")).to_have_text("Yes.")
    address = f"{server.url}/api/conversations/{page.url.split('/')[-2]}/"
    token = server.manage("apitoken", "demo")
    httpx2.patch(address, json={"title": "Told later"}, headers={"Authorization": f"Bearer {token}"})
    expect(other.locator("#heading")).to_have_text("Told later")
    expect(other.locator(".editor textarea")).to_have_value("A better question")


def test_a_new_conversation_appears_in_the_list_of_a_new_chat(page: Page, context: BrowserContext) -> None:
    other = context.new_page()
    other.goto("/")
    other.fill("#composer textarea", "A draft")
    title = f"Question {uuid.uuid4()}"
    ask(page, title)
    expect(other.locator("#conversations a").first).to_have_text(title)
    expect(other.locator("#thread .turn")).to_have_count(0)
    expect(other.locator("#composer textarea")).to_have_value("A draft")
    expect(other.locator("#conversations [aria-current]")).to_have_count(0)
    expect(page.locator("#conversations [aria-current]")).to_have_text(title)


def test_questions_of_a_program_are_shown_too(page: Page, server: Server, provider: ProviderServer) -> None:
    provider.script = Script(text="Yes.")
    ask(page, "The first question")
    expect_foot(page, "complete")
    token = server.manage("apitoken", "demo")
    address = f"{server.url}/api/conversations/{page.url.split('/')[-2]}/messages/"
    httpx2.post(address, json={"content": "From a program"}, headers={"Authorization": f"Bearer {token}"})
    expect(page.locator("#thread .question > p").last).to_have_text("From a program")
    expect(page.locator(".foot[data-status=complete]")).to_have_count(2)


def test_questions_asked_while_the_socket_was_away_are_fetched(
    page: Page, other: Page, relay: Relay, provider: ProviderServer
) -> None:
    other.goto(f"{relay.url}/c/{page.url.split('/')[-2]}/")
    other.wait_for_timeout(1000)
    other.clock.install()
    relay.cut()
    for number in (2, 3):
        ask(page, f"Question {number}")
        expect(page.locator(".foot[data-status=complete]")).to_have_count(number)
    relay.mend()
    other.clock.fast_forward(60_000)
    expect(other.locator(".turn")).to_have_count(3, timeout=10_000)
    assert read_thread(other) == read_thread(page)
    expect(other.locator("#connection")).to_be_empty()


def test_without_sockets_the_page_works_and_hardly_asks(page: Page, provider: ProviderServer) -> None:
    provider.script = Script(text="Yes.")
    page.route_web_socket("**/ws/chat/", lambda socket: socket.close())
    page.goto("/")
    with count_requests(page, "/ws/") as requests:
        ask(page)
        expect_foot(page, "complete")
        page.wait_for_timeout(15_000)
    assert len(requests) <= 3
    expect(page.locator("#connection")).to_be_empty()


def test_a_new_title_is_shown_where_its_conversation_is(page: Page, provider: ProviderServer) -> None:
    sockets: list[WebSocketRoute] = []
    sent: list[str | bytes] = []

    def serve(socket: WebSocketRoute) -> None:
        sockets.append(socket)
        socket.on_message(lambda frame: sent.append(frame))  # noqa: PLW0108 - Playwright marks what it is given

    provider.script = Script(text="Yes.")
    page.route_web_socket("**/ws/chat/", serve)
    page.goto("/")
    ask(page)
    expect_foot(page, "complete")
    assert [json.loads(frame)["type"] for frame in sent] == ["watch"]
    conversation = page.url.split("/")[-2]
    for shown, title in ((str(uuid.uuid4()), "Another"), (conversation, "Light and air")):
        sockets[0].send(json.dumps({"type": "title", "conversation": shown, "title": title}))
    expect(page.locator("#heading")).to_have_text("Light and air")
    expect(page).to_have_title("Light and air · Chatsite")
