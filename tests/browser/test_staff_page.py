"""The staff's page in a real browser: an outage is one row, and one button."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.login import log_in
from tests.provider_server import ProviderServer, Script
from tests.support.server import Server

# 200 answers take 4 s here; a loaded machine may need many times that.
LONG = 120_000

MAKE_OUTAGE = """
from django.contrib.auth.models import Permission
from chat.models import Conversation, Message, User
helper = User.objects.create_user("helper", password="helper-password")
helper.user_permissions.set(Permission.objects.filter(codename__in=["retry_answer", "read_conversations"]))
demo = User.objects.get(username="demo")
others = [User.objects.create_user(f"user{number}") for number in range(9)]
for number in range(200):
    conversation = Conversation.objects.create(user=([demo] + others)[number % 10], title=f"Question {number}")
    question = Message.objects.create(conversation=conversation, role="user", text=f"Question {number}?")
    answer = Message.objects.create(conversation=conversation, parent=question, role="assistant", text="Half an ans",
        position=11, status="interrupted", error_code="upstream_error", model="openai:gpt-test",
        outline=[["token", 11]])
    Conversation.objects.filter(pk=conversation.pk).update(leaf=answer)
    if number == 0:
        print(conversation.pk)
"""


@pytest.fixture(scope="module")
def conversation(server: Server) -> str:
    """An outage of 200 answers; the id of a conversation of the user demo that it broke."""
    return server.manage("shell", "--no-imports", "-c", MAKE_OUTAGE).split()[-1]


def log_in_helper(browser: Browser, server: Server, *, javascript: bool = True) -> BrowserContext:
    context = browser.new_context(base_url=server.url, java_script_enabled=javascript)
    log_in(context, "helper")
    return context


@pytest.fixture
def desk(browser: Browser, server: Server, conversation: str) -> Iterator[Page]:
    """The staff's browser. An error in the page's script, or a refusal by its policy, fails the test."""
    errors: list[str] = []
    context = log_in_helper(browser, server)
    page = context.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto("/staff/")
    yield page
    context.close()
    assert errors == []


def test_the_answers_of_a_group_unfold_and_are_paged(desk: Page) -> None:
    expect(desk.locator(".outage")).to_have_count(1)
    expect(desk.locator(".outage .count")).to_contain_text("200")
    desk.click(".answers > summary")
    expect(desk.locator(".outage .list > li[id]")).to_have_count(50)
    desk.click(".outage .more a")
    expect(desk.locator(".outage .list > li[id]")).to_have_count(100)
    expect(desk.locator(".outage .list")).to_have_count(1)


def test_a_text_is_shown_in_its_place(desk: Page) -> None:
    desk.click(".answers > summary")
    row = desk.locator(".outage .list > li").first
    expect(row).not_to_contain_text("Half an ans")
    row.get_by_role("button", name="Read").click()
    expect(row.locator(".words").last).to_have_text("Half an ans")
    expect(row).to_contain_text("Your reading is recorded")


def test_one_answer_is_dismissed_and_brought_back_without_javascript(
    browser: Browser, server: Server, conversation: str
) -> None:
    context = log_in_helper(browser, server, javascript=False)
    page = context.new_page()
    page.goto("/staff/")
    page.click(".answers > summary")
    page.click(".answers .rows a")
    row = page.locator(".list > li").first
    row.locator(".dismiss > summary").click()
    row.locator(".dismiss input[name=reason]").fill("Known")
    row.locator(".dismiss .do").click()
    expect(page.locator(".said")).to_have_text("1 answer dismissed.")
    expect(page.locator(".outage .count")).to_contain_text("199")
    page.goto("/staff/?state=dismissed")
    expect(page.locator(".list > li")).to_contain_text("Known")
    page.click(".list button")
    page.goto("/staff/")
    expect(page.locator(".outage .count")).to_contain_text("200")
    context.close()


def test_an_outage_of_200_answers_is_retried_in_one_go_from_the_page(
    desk: Page, page: Page, provider: ProviderServer, conversation: str
) -> None:
    page.goto(f"/c/{conversation}/")
    expect(page.locator(".foot[data-status=interrupted]")).to_be_visible()
    before = len(provider.requests)
    provider.script = Script(text="The whole answer, this time.", delay_first=0.05)
    desk.click(".outage .acts > .retry > summary")
    desk.fill(".outage .acts > .retry input[name=reason]", "The provider was down from nine to ten.")
    desk.click(".outage .acts > .retry .do")
    desk.wait_for_url(re.compile("/staff/batches/"))
    bar = desk.get_by_role("progressbar")
    expect(bar).to_have_attribute("aria-valuemax", "200")
    seen = set()
    while (value := float(bar.get_attribute("aria-valuenow") or 0)) < 100:
        seen.add(value)
        desk.wait_for_timeout(50)
    assert len(seen) > 3, "the bar moved while the page was looked at"
    desk.reload()
    assert float(bar.get_attribute("aria-valuenow") or 0) >= 100
    expect(desk.locator("[data-state=finished]")).to_be_visible(timeout=LONG)
    expect(desk.locator(".figures .good")).to_have_text("200 complete")
    assert len(provider.requests) - before == 200
    desk.goto("/staff/")
    expect(desk.locator(".none")).to_contain_text("No open failures")
    page.reload()
    expect(page.locator(".text")).to_contain_text("The whole answer, this time.")
    expect(page.locator(".attempts")).to_contain_text("Attempt 2 of 2")
