"""A session ends under an open page: the page says so, hardly asks, and goes on after a login in another tab."""

from __future__ import annotations

import json
import time
from uuid import uuid4

import pytest
from playwright.sync_api import BrowserContext, Page, WebSocketRoute, expect

from tests.browser.chat_page import ask, expect_foot
from tests.browser.relay import Relay
from tests.browser.requests import count_requests
from tests.provider_server import ProviderServer, Script
from tests.support.server import Server

END_SESSIONS = "from django.contrib.sessions.models import Session; Session.objects.all().delete()"


def log_in(context: BrowserContext, url: str, name: str = "demo") -> None:
    """Log in from another tab, which has the focus meanwhile."""
    tab = context.new_page()
    tab.goto(f"{url}/accounts/login/")
    tab.fill("[name=username]", name)
    tab.fill("[name=password]", "demo-password")
    tab.click("main button")
    tab.wait_for_selector("#composer")


def begin_answer(page: Page, provider: ProviderServer, relay: Relay) -> None:
    """Begin an answer that has said `one` and goes on when the provider is released."""
    provider.script = Script(text="one two three", chunk_size=4, gate_after=4)
    page.goto(relay.url)
    ask(page)
    expect(page.locator(".text")).to_contain_text("one")


def end_session(server: Server, relay: Relay) -> None:
    """End every session and cut the stream, which would go on until the server looks for its user again."""
    server.manage("shell", "-c", END_SESSIONS)
    relay.cut()
    relay.mend()


def test_a_page_without_a_session_says_so_and_hardly_asks(
    page: Page, provider: ProviderServer, server: Server, relay: Relay
) -> None:
    begin_answer(page, provider, relay)
    end_session(server, relay)
    expect(page.locator("#connection")).to_contain_text("You are logged out")
    with count_requests(page) as requests:
        page.wait_for_timeout(12_000)
    assert len(requests) <= 2
    expect(page.locator("#connection")).to_contain_text("You are logged out")
    expect(page.locator(".text")).to_contain_text("one")


def test_the_page_goes_on_within_two_seconds_of_a_login_in_another_tab(
    page: Page, context: BrowserContext, provider: ProviderServer, server: Server, relay: Relay
) -> None:
    begin_answer(page, provider, relay)
    relay.cut()
    provider.release()  # before its login ends, which would end the answer too
    server.manage("shell", "-c", END_SESSIONS)
    relay.mend()
    expect(page.locator("#connection")).to_contain_text("You are logged out", timeout=20_000)
    log_in(context, relay.url)
    began = time.monotonic()
    expect_foot(page, "complete")
    assert time.monotonic() - began < 2
    expect(page.locator(".text")).to_have_text("one two three")
    expect(page.locator("#connection")).to_be_empty(timeout=10_000)


def test_the_way_in_is_a_link_that_leaves_the_page_where_it_is(
    page: Page, context: BrowserContext, provider: ProviderServer, server: Server, relay: Relay
) -> None:
    begin_answer(page, provider, relay)
    end_session(server, relay)
    with context.expect_page() as opened:
        page.click("#connection a")
    expect(opened.value.locator("[name=password]")).to_be_visible()
    expect(page.locator(".text")).to_contain_text("one")


def test_a_question_that_was_refused_for_want_of_a_login_is_sent_after_it(
    page: Page, context: BrowserContext, provider: ProviderServer, server: Server
) -> None:
    provider.script = Script(text="Yes.")
    server.manage("shell", "-c", END_SESSIONS)
    ask(page, "Is anyone there?")
    expect(page.locator("#connection")).to_contain_text("You are logged out")
    expect(page.locator("#composer textarea")).to_have_value("Is anyone there?")
    with count_requests(page) as requests:
        page.wait_for_timeout(5000)
    assert requests == []
    log_in(context, server.url)
    expect(page.locator("#connection")).to_contain_text("logged in again", timeout=2000)
    page.bring_to_front()
    page.focus("#composer textarea")
    page.keyboard.press("Enter")
    expect_foot(page, "complete")
    expect(page.locator("#thread .question > p")).to_have_text("Is anyone there?")
    expect(page.locator("#composer-error")).to_be_empty()


@pytest.mark.parametrize("knows", [True, False])
def test_rows_that_changed_about_the_logout_are_fetched_after_the_next_login(
    page: Page, context: BrowserContext, server: Server, knows: bool
) -> None:
    """Their page `knows` that it is logged out when it would fetch them, or hears it from that."""
    sockets: list[WebSocketRoute] = []
    page.route_web_socket("**/ws/chat/", lambda socket: sockets.append(socket))  # noqa: PLW0108 - Playwright marks it
    page.goto("/")
    page.wait_for_timeout(500)
    server.manage("shell", "-c", END_SESSIONS)
    page.fill("#composer textarea", "And the sea?")
    conversation = str(uuid4())
    with count_requests(page, conversation) as requests:
        sockets[0].send(json.dumps({"type": "conversation", "conversation": conversation}))
        page.wait_for_timeout(0 if knows else 1500)
        page.keyboard.press("Enter")
        expect(page.locator("#connection")).to_contain_text("You are logged out")
        page.wait_for_timeout(1500)
        assert len(requests) == (0 if knows else 1)
        requests.clear()
        log_in(context, server.url)
        expect(page.locator("#connection")).to_contain_text("logged in again", timeout=2000)
        page.wait_for_timeout(500)
    assert len(requests) == 1


@pytest.mark.parametrize("path", ["", "turns/00000000-0000-4000-8000-000000000000/"])
def test_the_login_form_never_lands_in_the_conversation(
    page: Page, provider: ProviderServer, server: Server, path: str
) -> None:
    """htmx follows redirects: what the page loads for itself is refused without one."""
    provider.script = Script(text="Yes.")
    ask(page)
    expect_foot(page, "complete")
    server.manage("shell", "-c", END_SESSIONS)
    page.evaluate("path => htmx.ajax('GET', location.pathname + path, {target: '#thread', source: '#thread'})", path)
    expect(page.locator("#connection")).to_contain_text("You are logged out")
    expect(page.locator("#thread [name=password]")).to_have_count(0)
    expect(page.locator("#thread .question")).to_have_count(1)


def test_an_answer_that_is_gone_is_asked_for_once(
    page: Page, provider: ProviderServer, server: Server, relay: Relay
) -> None:
    begin_answer(page, provider, relay)
    server.manage("shell", "-c", "from chat.models import Conversation; Conversation.objects.all().delete()")
    with count_requests(page, "/stream/") as requests:
        relay.cut()
        relay.mend()
        expect(page.locator("#connection")).to_contain_text("This answer is no longer available")
        page.wait_for_timeout(4000)
    assert len(requests) <= 2  # the first may have come just before the cut
    expect(page.locator(".send")).to_be_visible()


def test_an_idle_page_hears_of_the_end_of_its_session_and_of_the_next_login(
    page: Page, context: BrowserContext, server: Server
) -> None:
    """From its socket, which the server closes."""
    page.wait_for_timeout(500)
    server.manage("shell", "-c", END_SESSIONS)
    expect(page.locator("#connection")).to_contain_text("You are logged out", timeout=30_000)
    log_in(context, server.url)
    expect(page.locator("#connection")).to_contain_text("logged in again", timeout=2000)
    expect(page.locator("#connection")).to_be_empty(timeout=5000)


def test_a_page_that_has_gone_on_with_another_login_is_not_called_logged_out(
    page: Page, context: BrowserContext, provider: ProviderServer, server: Server
) -> None:
    """Its socket still has the login before, and ends a while later."""
    provider.script = Script(text="Yes.")
    page.wait_for_timeout(500)
    server.manage("shell", "-c", END_SESSIONS)
    log_in(context, server.url)
    ask(page)
    expect_foot(page, "complete")
    page.wait_for_timeout(15_000)
    expect(page.locator("#connection")).to_be_empty()
