"""Who asks on a page follows the answer at once: its login was looked up a moment ago, and is not looked up again (that
this costs no statement is in test_statements.py).
"""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import AsyncClient
from pytest_django import Settings

from chat.accounts import visitors
from chat.models import Message, User
from tests.provider_server import ProviderServer, Script
from tests.support.site import SSE, Site

GONE, LOGIN = b"event: done\ndata: gone\n\n", b"event: done\ndata: login\n\n"


@pytest.fixture
async def stream(site: Site, provider: ProviderServer) -> str:
    """The stream of an answer that was asked for on a page and has not begun."""
    provider.script = Script(text="One two three", chunk_size=4, gate_after=0)
    await site.client.post("/send/", {"content": "Hello"}, headers={"hx-request": "true"})
    return f"/answers/{(await Message.objects.live().aget()).pk}/stream/"


async def read(client: AsyncClient, stream: str) -> Any:
    return await client.get(stream, headers={"accept": SSE})


async def test_a_login_of_another_session_is_looked_up(site: Site, stream: str) -> None:
    elsewhere = AsyncClient()
    await elsewhere.aforce_login(site.user)
    assert (await read(elsewhere, stream)).streaming
    await elsewhere.alogout()
    assert (await read(elsewhere, stream)).content == LOGIN


async def test_a_stranger_gets_what_does_not_exist(stream: str) -> None:
    stranger = AsyncClient()
    assert (await read(stranger, stream)).content == LOGIN
    await stranger.aforce_login(await User.objects.acreate_user("stranger"))
    assert (await read(stranger, stream)).content == GONE


async def test_the_second_request_for_a_stream_has_its_login_looked_up(site: Site, stream: str) -> None:
    assert (await read(site.client, stream)).streaming
    assert (await read(site.client, stream)).streaming
    await sync_to_async(site.client.session.flush)()
    assert (await read(site.client, stream)).content == LOGIN


async def test_a_late_first_request_has_its_login_looked_up(
    site: Site, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visitors, "CHECK_EVERY", 0)
    await sync_to_async(site.client.session.flush)()
    assert (await read(site.client, stream)).content == LOGIN


async def test_a_login_that_ends_meanwhile_cuts_the_stream_off(
    site: Site, stream: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.CHAT_HEARTBEAT = 0.05
    response = await read(site.client, stream)
    await sync_to_async(site.client.session.flush)()
    monkeypatch.setattr(visitors, "CHECK_EVERY", 0.05)
    chunks = [chunk async for chunk in response]
    assert b"One" not in b"".join(chunks)
