"""What belongs to someone else answers like what does not exist; who is not logged in gets nothing but the way in."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import AsyncClient

from chat.models import ApiToken, Message, User
from tests.provider_server import ProviderServer, Script
from tests.support.site import Site

ROUTES = [
    ("GET", "/c/{conversation}/"),
    ("GET", "/api/conversations/{conversation}/"),
    ("POST", "/api/conversations/{conversation}/messages/"),
    ("GET", "/api/answers/{answer}/"),
    ("GET", "/api/answers/{answer}/events/"),
    ("POST", "/api/answers/{answer}/stop/"),
    ("POST", "/api/answers/{answer}/retry/"),
    ("POST", "/answers/{answer}/retry/"),
    ("POST", "/messages/{answer}/show/"),
    ("GET", "/answers/{answer}/stream/"),
    ("GET", "/c/{conversation}/export.md"),
    ("GET", "/c/{conversation}/export.json"),
    ("GET", "/c/{conversation}/print/"),
    ("GET", "/api/conversations/{conversation}/export/"),
]


async def call(client: AsyncClient, method: str, path: str, **headers: str) -> tuple[int, bytes]:
    body = json.dumps({"content": "Hello"} if path.endswith("/messages/") else {})
    response: Any = await client.generic(method, path, body, content_type="application/json", headers=headers)
    if response.streaming:
        return response.status_code, b"".join([chunk async for chunk in response])
    return response.status_code, response.content


@pytest.mark.parametrize(("method", "route"), ROUTES)
async def test_a_strangers_id_is_like_one_that_does_not_exist(
    site: Site, provider: ProviderServer, method: str, route: str
) -> None:
    mine = await site.ask()
    stranger = AsyncClient()
    await stranger.aforce_login(await User.objects.acreate_user("stranger"))
    found = route.format(conversation=mine["conversation"], answer=mine["id"])
    missing = route.format(conversation=uuid.uuid4(), answer=uuid.uuid4())
    status, body = await call(stranger, method, found)
    assert (status, body) == await call(stranger, method, missing)
    assert mine["text"].encode() not in body
    assert status == 404 or body == b"event: done\ndata: gone\n\n"
    assert await Message.objects.acount() == 2


@pytest.mark.parametrize("route", ["/answers/{answer}/stream/", "/api/answers/{answer}/events/"])
async def test_a_live_answer_of_another_user_is_not_found(site: Site, provider: ProviderServer, route: str) -> None:
    provider.script = Script(gate_after=0)
    live = await site.begin()
    stranger = AsyncClient()
    await stranger.aforce_login(await User.objects.acreate_user("stranger"))
    found = await call(stranger, "GET", route.format(answer=live))
    assert found == await call(stranger, "GET", route.format(answer=uuid.uuid4()))


@pytest.mark.parametrize(("method", "route"), ROUTES)
async def test_without_a_login_there_is_only_the_way_in(
    site: Site, provider: ProviderServer, method: str, route: str
) -> None:
    mine = await site.ask()
    status, body = await call(AsyncClient(), method, route.format(conversation=mine["conversation"], answer=mine["id"]))
    assert status == (401 if route.startswith("/api/") else 302)
    assert mine["text"].encode() not in body


@pytest.mark.parametrize(("method", "route"), [each for each in ROUTES if each[1].startswith("/api/")])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Basic YTpi"},
        {"authorization": "Bearer x"},
        {"authorization": "Bearer "},
        {"cookie": "sessionid=x"},
    ],
    ids=["nothing", "basic", "a wrong token", "no token", "a session that ended"],
)
async def test_a_program_without_a_login_is_told_how_to_log_in(
    site: Site, provider: ProviderServer, method: str, route: str, headers: dict[str, str]
) -> None:
    """Also before it is told of a CSRF token, which belongs to a session."""
    path = route.format(conversation=uuid.uuid4(), answer=uuid.uuid4())
    client = AsyncClient(enforce_csrf_checks=True)
    response = await getattr(client, method.lower())(path, headers=headers)
    assert (response.status_code, json.loads(response.content)["error"]["code"]) == (401, "unauthorized")
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_a_stream_of_a_session_that_ended_says_login(site: Site, provider: ProviderServer) -> None:
    mine = await site.ask()
    stream = f"/answers/{mine['id']}/stream/"
    assert await call(AsyncClient(), "GET", stream, accept="text/event-stream") == (
        200,
        b"event: done\ndata: login\n\n",
    )


async def test_a_form_of_a_session_that_ended_is_refused_where_it_was_typed(site: Site) -> None:
    response = await AsyncClient().post("/send/", {"content": "Hello"}, headers={"hx-request": "true"})
    assert response.status_code == 401
    assert response.headers["HX-Retarget"] == "#composer-error"
    assert b"no longer logged in" in response.content


async def test_someone_elses_conversation_takes_no_question(site: Site, provider: ProviderServer) -> None:
    mine = await site.ask()
    stranger = AsyncClient()
    await stranger.aforce_login(await User.objects.acreate_user("stranger"))
    response = await stranger.post("/send/", {"content": "Hello", "conversation": mine["conversation"]})
    assert response.status_code == 404
    await stranger.post("/stop/", {"conversation": mine["conversation"]})
    assert await Message.objects.acount() == 2


async def test_a_bearer_token_has_its_users_rights(site: Site, provider: ProviderServer) -> None:
    mine = await site.ask()
    token = await sync_to_async(ApiToken.issue)(site.user, "test")
    path = f"/api/answers/{mine['id']}/"
    status, body = await call(AsyncClient(), "GET", path, authorization=f"Bearer {token}")
    assert status == 200
    assert json.loads(body) == mine
    for wrong in ("", "x", token[:-1], f"{token}x"):
        assert (await call(AsyncClient(), "GET", path, authorization=f"Bearer {wrong}"))[0] == 401


async def test_a_token_that_is_wrong_is_not_helped_by_a_session(site: Site, provider: ProviderServer) -> None:
    mine = await site.ask()
    status, _ = await call(site.client, "GET", f"/api/answers/{mine['id']}/", authorization="Bearer x")
    assert status == 401


async def test_a_session_needs_its_csrf_token_and_a_bearer_does_not(site: Site) -> None:
    client = AsyncClient(enforce_csrf_checks=True)
    await client.aforce_login(site.user)
    status, body = await call(client, "POST", "/api/conversations/")
    assert (status, json.loads(body)["error"]["code"]) == (403, "csrf")
    token = await sync_to_async(ApiToken.issue)(site.user, "test")
    bearer = AsyncClient(enforce_csrf_checks=True)
    for scheme in ("Bearer", "bearer"):
        status, _ = await call(bearer, "POST", "/api/conversations/", authorization=f"{scheme} {token}")
        assert status == 201
