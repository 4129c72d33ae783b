"""How often the database is asked: a handful of statements for a question, none for its tokens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async
from django.test import AsyncClient
from pytest_django import Settings

from chat.generation.process import get_runner
from chat.models import ApiToken, Budget, Message
from tests.provider_server import ProviderServer, Script
from tests.support.site import SSE, Site, join_text
from tests.support.statements import hear_statements
from tests.support.waiting import wait_until

# Tables of what is cached for some seconds, so that few questions read them; in tests nothing is cached.
KNOWN = ("chat_limit", "chat_budget", "chat_user_groups", "chat_modelaccess", "chat_modelprice", "chat_refusal")
IS_ANY_METER_OPEN = 'AS "a" FROM "chat_meter"'
TRANSACTIONS = ("BEGIN", "SAVEPOINT", "RELEASE")


@pytest.fixture
async def statements(site: Site, settings: Settings) -> AsyncIterator[list[str]]:
    """The statements from now on, without those of the supervisor, which come at times of their own."""
    settings.CHAT_CHECKPOINT = 60
    await asyncio.sleep(0.3)  # the tick that had begun, and the next one, which reads the longer pause
    told: list[str] = []

    def note(sql: str) -> None:
        if not sql.startswith(TRANSACTIONS) and not any(name in sql for name in (*KNOWN, IS_ANY_METER_OPEN)):
            told.append(sql)

    with hear_statements(note):
        yield told


QUESTION = [
    "SELECT",  # the conversation, if the login still counts and no other question waits
    "SELECT",  # the branch that the question ends
    "UPDATE",  # the conversation
    "INSERT",  # the question and its answer
    "INSERT",  # the call, on the ledger
]


@pytest.fixture
def hand_overs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The calls that are handed over to threads from now on."""
    told: list[str] = []
    submit = ThreadPoolExecutor.submit

    def note_and_submit(pool: ThreadPoolExecutor, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        told.append(type(function).__qualname__)
        return submit(pool, function, *args, **kwargs)

    monkeypatch.setattr(ThreadPoolExecutor, "submit", note_and_submit)
    return told


async def ask_by_api(site: Site, token: str, conversation: str) -> None:
    path = f"/api/conversations/{conversation}/messages/"
    headers = {"accept": SSE}
    await site.client.post(path, {"content": "Hello"}, content_type="application/json", headers=headers)


async def ask_by_api_with_a_token(site: Site, token: str, conversation: str) -> None:
    path = f"/api/conversations/{conversation}/messages/"
    headers = {"accept": SSE, "authorization": f"Bearer {token}"}
    await AsyncClient().post(path, {"content": "Hello"}, content_type="application/json", headers=headers)


async def ask_on_page(site: Site, token: str, conversation: str) -> None:
    form = urlencode({"content": "Hello", "conversation": conversation, "waits": "1"})
    headers = {"hx-request": "true", "accept": f"text/html, {SSE}"}
    await site.client.post("/send/", form, content_type="application/x-www-form-urlencoded", headers=headers)


@pytest.mark.parametrize("is_limited", [False, True])
@pytest.mark.parametrize("ask", [ask_by_api, ask_by_api_with_a_token, ask_on_page])
async def test_a_question_costs_three_hand_overs_and_six_statements_with_every_limit_on(
    site: Site,
    settings: Settings,
    provider: ProviderServer,
    statements: list[str],
    hand_overs: list[str],
    ask: Callable[[Site, str, str], Awaitable[None]],
    is_limited: bool,
) -> None:
    """From its arrival to its first word, where the user has asked this process before; a new login costs more."""
    if is_limited:
        settings.CHAT_USER_REQUESTS_PER_MINUTE, settings.CHAT_USER_STREAMS = 1000, 100
        settings.CHAT_USER_TOKENS_PER_DAY, settings.CHAT_USER_COST_PER_MONTH = 10**9, Decimal(1000)
        await Budget.objects.acreate(name="Site", scope="site", tokens=10**12, cost=10**6)
    token = await sync_to_async(ApiToken.issue)(site.user, "program")
    conversation = (await site.ask())["conversation"]
    await ask(site, token, conversation)
    await wait_until(lambda: get_runner().live_answers == 0)
    provider.script = Script(gate_after=0)
    await asyncio.sleep(0.05)
    statements.clear()
    hand_overs.clear()
    await ask(site, token, conversation)
    assert len(hand_overs) <= 3, hand_overs  # the turn's, the page's for its HTML, and Django's own for each response
    await provider.wait_for_requests(3)
    assert [sql.split()[0] for sql in statements] == QUESTION + ["INSERT"] * is_limited, statements  # the meters
    provider.release()


async def test_a_users_first_question_asks_the_ledger_once_for_all_of_its_meters(
    site: Site, settings: Settings, provider: ProviderServer, statements: list[str]
) -> None:
    """Who has asked nothing before has used nothing, of whichever limit: 200 new users come in one moment."""
    settings.CHAT_USER_STREAMS, settings.CHAT_USER_TOKENS_PER_DAY = 100, 10**9
    settings.CHAT_USER_COST_PER_MONTH = Decimal(1000)
    provider.script = Script(gate_after=0)
    asking = asyncio.create_task(site.ask())
    await provider.wait_for_requests(1)
    assert [sql.split()[0] for sql in statements if 'FROM "chat_providercall"' in sql] == ["SELECT"], statements
    provider.release()
    await asking


async def test_the_page_of_an_answer_that_is_written_here_costs_its_login_alone(
    site: Site, provider: ProviderServer, statements: list[str]
) -> None:
    provider.script = Script(gate_after=0)
    answer = await site.begin()
    other = await sync_to_async(Site)(site.user)  # another browser of the same user
    statements.clear()
    await other.stream(f"/answers/{answer}/stream/?after=0")
    assert [sql.partition(" FROM ")[2].split()[0] for sql in statements] == ['"django_session"', '"chat_user"']


async def test_the_page_that_asked_follows_without_any_statement(
    site: Site, provider: ProviderServer, statements: list[str]
) -> None:
    provider.script = Script(gate_after=0)
    await site.client.post("/send/", {"content": "Hello"}, headers={"hx-request": "true"})
    answer = await Message.objects.live().aget()
    statements.clear()
    await site.stream(f"/answers/{answer.pk}/stream/", accept=SSE)
    assert statements == []


async def test_tokens_cost_no_statement(site: Site, provider: ProviderServer, statements: list[str]) -> None:
    provider.script = Script(text="word " * 100, chunk_size=5, delay_between=0.002)
    answer = await site.begin()
    statements.clear()
    events = []
    at_first_word: list[str] = []
    async for event in site.follow(answer):
        if event.event["type"] == "token":
            at_first_word = at_first_word or [*statements]
            at_last_word = [*statements]
        events.append(event)
    assert join_text(events) == "word " * 100
    assert at_last_word == at_first_word


async def test_the_end_of_an_answer_costs_three_statements(
    site: Site, provider: ProviderServer, statements: list[str]
) -> None:
    provider.script = Script(text="Yes.", gate_after=2)
    answer = await site.begin()
    request = await provider.wait_for_requests(1)
    await provider.wait_until_paused(request)
    statements.clear()
    provider.release()
    live = get_runner().find(UUID(answer))
    assert live is not None
    await live.ended
    assert [sql.split()[:2] for sql in statements] == [
        ["UPDATE", '"chat_message"'],
        ["UPDATE", '"chat_conversation"'],
        ["UPDATE", '"chat_providercall"'],
    ]
