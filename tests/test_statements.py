"""How often the database is asked: a handful of statements for a question, none for its tokens."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest
from django.db.backends.utils import CursorWrapper
from pytest_django import Settings

from chat.generation import runner
from chat.models import Message
from tests.provider_server import ProviderServer, Script
from tests.site import SSE, Site, text_of

# Known for some seconds, so that few questions ask for it; here nothing is.
KNOWN = ("chat_limit", "chat_modelaccess", "chat_modelprice")
TRANSACTIONS = ("BEGIN", "SAVEPOINT", "RELEASE")


@pytest.fixture
async def statements(site: Site, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked from now on, without the keeper, who asks at its own times."""
    settings.CHAT_CHECKPOINT = 60
    await asyncio.sleep(0.3)  # the keeper's last look
    told: list[str] = []
    execute = CursorWrapper.execute

    def heard(self: CursorWrapper, sql: Any, params: Any = None) -> Any:
        if not str(sql).startswith(TRANSACTIONS) and not any(name in str(sql) for name in KNOWN):
            told.append(str(sql))
        return execute(self, sql, params)

    monkeypatch.setattr(CursorWrapper, "execute", heard)
    return told


async def test_a_question_costs_five_statements_before_its_upstream_call_and_its_login_two(
    site: Site, provider: ProviderServer, statements: list[str]
) -> None:
    first = await site.ask()
    provider.script = Script(gate_after=0)
    statements.clear()
    await site.begin(conversation=first["conversation"])
    await provider.wait_for_requests(2)
    assert [sql.split()[0] for sql in statements] == [
        "SELECT",  # the session
        "SELECT",  # its user
        "SELECT",  # the conversation
        "SELECT",  # the branch that the question ends
        "UPDATE",  # the conversation
        "INSERT",  # the question and its answer
        "INSERT",  # the call, on the ledger
    ], statements


async def test_the_page_of_an_answer_that_is_written_here_costs_its_login_alone(
    site: Site, provider: ProviderServer, statements: list[str]
) -> None:
    provider.script = Script(gate_after=0)
    answer = await site.begin()
    statements.clear()
    await site.stream(f"/answers/{answer}/stream/?after=0")
    assert [sql.partition(" FROM ")[2].split()[0] for sql in statements] == ['"django_session"', '"chat_user"']


async def test_and_nothing_for_who_asked_on_it(site: Site, provider: ProviderServer, statements: list[str]) -> None:
    provider.script = Script(gate_after=0)
    await site.client.post("/send/", {"content": "Hello"}, headers={"hx-request": "true"})
    answer = await Message.objects.live().aget()
    statements.clear()
    await site.stream(f"/answers/{answer.pk}/stream/", accept=SSE)
    assert statements == []


async def test_tokens_cost_none(site: Site, provider: ProviderServer, statements: list[str]) -> None:
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
    assert text_of(events) == "word " * 100
    assert at_last_word == at_first_word


async def test_an_end_costs_three(site: Site, provider: ProviderServer, statements: list[str]) -> None:
    provider.script = Script(text="Yes.", gate_after=2)
    answer = await site.begin()
    request = await provider.wait_for_requests(1)
    await provider.wait_waiting(request)
    statements.clear()
    provider.release()
    live = runner()._live[UUID(answer)]
    await live.ended
    assert [sql.split()[:2] for sql in statements] == [
        ["UPDATE", '"chat_message"'],
        ["UPDATE", '"chat_conversation"'],
        ["UPDATE", '"chat_providercall"'],
    ]
