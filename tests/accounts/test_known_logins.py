"""A login that this process knows counts no longer than any other, whatever is asked with it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from asgiref.sync import sync_to_async
from django.contrib.sessions.models import Session
from django.test import AsyncClient
from django.utils import timezone

from chat.generation.process import get_runner
from chat.models import ApiToken, Conversation, Message, NextQuestion, User
from tests.provider_server import ProviderServer, Script
from tests.support.site import SSE, Site
from tests.support.waiting import wait_until

pytestmark = pytest.mark.database


def delete_sessions() -> None:
    Session.objects.all().delete()


def end_sessions() -> None:
    Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))


def change_password() -> None:
    user = User.objects.get()
    user.set_password("another one")
    user.save()


def deactivate() -> None:
    User.objects.update(is_active=False)  # no signal tells of it


def revoke_tokens() -> None:
    ApiToken.objects.all().delete()


ENDS_OF_SESSIONS = (delete_sessions, end_sessions, change_password, deactivate)
ENDS_OF_TOKENS = (revoke_tokens, deactivate)


async def ask_on_page(site: Site, token: str, fields: dict[str, str]) -> Any:
    headers = {"hx-request": "true", "accept": f"text/html, {SSE}"}
    kind = "application/x-www-form-urlencoded"
    return await site.client.post("/send/", urlencode(fields), content_type=kind, headers=headers)


async def ask_by_session(site: Site, token: str, fields: dict[str, str]) -> Any:
    path = f"/api/conversations/{fields['conversation']}/messages/"
    body, headers = {"content": fields["content"]}, {"prefer": "respond-async"}
    return await site.client.post(path, body, content_type="application/json", headers=headers)


async def ask_by_token(site: Site, token: str, fields: dict[str, str]) -> Any:
    path = f"/api/conversations/{fields['conversation']}/messages/"
    headers = {"authorization": f"Bearer {token}", "prefer": "respond-async"}
    body = {"content": fields["content"]}
    return await AsyncClient().post(path, body, content_type="application/json", headers=headers)


NOBODYS = "0" * 8 + "-0000-4000-8000-" + "0" * 12
QUESTIONS: dict[str, dict[str, str]] = {
    "in the same conversation": {"content": "More"},
    "that waits": {"content": "More", "waits": "1"},
    "instead of the answer": {"content": "More", "waits": "1", "now": "1"},
    "of nothing": {"content": ""},
    "in nobody's conversation": {"content": "More", "conversation": NOBODYS},
}
CASES = [
    *((ask_on_page, end) for end in ENDS_OF_SESSIONS),
    *((ask_by_session, end) for end in ENDS_OF_SESSIONS),
    *((ask_by_token, end) for end in ENDS_OF_TOKENS),
]


@pytest.mark.parametrize(("ask", "end"), CASES)
async def test_a_login_that_ended_can_neither_ask_nor_read(
    site: Site, provider: ProviderServer, ask: Callable[[Site, str, dict[str, str]], Any], end: Callable[[], None]
) -> None:
    """Its answer is still being written: a question may wait, may stop it, or may be refused, and none of them does."""
    token = await sync_to_async(ApiToken.issue)(site.user, "program")
    await site.ask()
    conversation = str((await Conversation.objects.aget()).pk)
    provider.script = Script(gate_after=0)
    assert (await ask(site, token, {"content": "Go on", "conversation": conversation, "waits": "1"})).status_code < 300
    messages = await Message.objects.acount()
    await sync_to_async(end)()
    for name, question in QUESTIONS.items():
        response = await ask(site, token, {"conversation": conversation, **question})
        assert response.status_code == 401, name
        assert b"busy" not in response.content, name
        assert b"not found" not in response.content.lower(), name
    assert await Message.objects.acount() == messages
    assert not await NextQuestion.objects.aexists()
    assert get_runner().live_answers == 1
    provider.release()


@pytest.mark.parametrize(("ask", "end"), CASES)
async def test_a_question_after_the_login_ended_is_refused_even_when_no_answer_is_live(
    site: Site, provider: ProviderServer, ask: Callable[[Site, str, dict[str, str]], Any], end: Callable[[], None]
) -> None:
    token = await sync_to_async(ApiToken.issue)(site.user, "program")
    conversation = (await site.ask())["conversation"]
    question = {"content": "Go on", "conversation": conversation, "waits": "1"}
    assert (await ask(site, token, question)).status_code < 300
    await wait_until(lambda: get_runner().live_answers == 0)
    messages = await Message.objects.acount()
    await sync_to_async(end)()
    assert (await ask(site, token, question)).status_code == 401
    assert await Message.objects.acount() == messages


async def test_a_first_question_of_a_new_chat_is_not_kept_after_the_login_ended(
    site: Site, provider: ProviderServer
) -> None:
    assert (await ask_on_page(site, "", {"content": "Hello"})).status_code == 200
    conversations = await Conversation.objects.acount()
    await sync_to_async(deactivate)()
    assert (await ask_on_page(site, "", {"content": "Hello"})).status_code == 401
    assert await Conversation.objects.acount() == conversations


async def test_the_digest_of_a_token_is_no_sessions_key(site: Site, provider: ProviderServer) -> None:
    """Only the digest is kept of a token, so that nobody logs in with what a copy of the database holds."""
    token = await sync_to_async(ApiToken.issue)(site.user, "program")
    conversation = (await site.ask())["conversation"]
    question = {"content": "Go on", "conversation": conversation}
    assert (await ask_by_token(site, token, question)).status_code < 300
    await wait_until(lambda: get_runner().live_answers == 0)
    messages = await Message.objects.acount()
    site.client.cookies["sessionid"] = ApiToken.compute_digest(token)
    for ask in (ask_on_page, ask_by_session):
        assert (await ask(site, "", question)).status_code == 401
    assert await Message.objects.acount() == messages


async def test_the_fields_that_a_page_sent_are_kept_for_after_the_login(site: Site, provider: ProviderServer) -> None:
    await ask_on_page(site, "", {"content": "Hello"})
    await sync_to_async(delete_sessions)()
    response = await site.client.post("/send/", {"content": "What I wrote"})  # without a script
    assert response.status_code == 401
    assert b"What I wrote" in response.content
