"""`GET /api/search/`: its body, its pages, and its refusals."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from asgiref.sync import sync_to_async

from chat.api.response_shapes import SearchReply
from chat.models import Message, User
from tests.provider_server import ProviderServer, Script
from tests.support.searching import index_all, keep_turn
from tests.support.site import Site


async def search(site: Site, **fields: str) -> tuple[int, dict[str, Any]]:
    query = "&".join(f"{name}={quote(value, errors='replace')}" for name, value in fields.items())
    response = await site.get(f"/api/search/?{query}")
    return response.status_code, json.loads(response.content)


async def test_a_hit_says_where_it_is(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="Because of <b>Rayleigh</b>.")
    answer = await site.ask("Why is the sky blue?")
    status, found = await search(site, q="rayleigh bec")
    assert status == 200
    msgspec.convert(found, SearchReply)
    (hit,) = found["results"]
    message, conversation = answer["id"], answer["conversation"]
    assert (hit["conversation"], hit["message"], hit["title"]) == (conversation, message, "Why is the sky blue?")
    assert (hit["role"], hit["status"], hit["model"]) == ("assistant", "complete", answer["model"])
    assert hit["snippet"] == "<mark>Bec</mark>ause of &lt;b&gt;<mark>Rayleigh</mark>&lt;/b&gt;."
    assert hit["url"] == f"/c/{conversation}/?at={message}#answer-{message}"
    assert (found["next"], found["complete"]) == (None, True)


async def test_the_pages_follow_one_another(site: Site, user: User) -> None:
    @sync_to_async
    def prepare() -> None:
        for number in range(45):
            keep_turn(user, "", f"needle {number}")
        index_all()

    await prepare()
    shown: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        _, found = await search(site, q="needle", cursor=cursor)
        shown += [hit["message"] for hit in found["results"]]
        cursor = found["next"]
    assert len(shown) == len(set(shown)) == 45


async def test_days_are_included(site: Site, provider: ProviderServer) -> None:
    answer = await site.ask("needle")
    at = (await Message.objects.aget(pk=answer["id"])).created_at.date()
    today, tomorrow = str(at), str(at + timedelta(days=1))
    yesterday = str(at - timedelta(days=1))
    sizes = [
        len((await search(site, q="needle", role="user", **days))[1]["results"])
        for days in ({"from": today, "to": today}, {"from": tomorrow}, {"to": yesterday}, {"from": "0001-01-01"})
    ]
    assert sizes == [1, 0, 0, 1]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"q": ""}, "q"),
        ({"q": " \n"}, "q"),
        ({"q": "a", "cursor": "x"}, "cursor"),
        ({"q": "a", "cursor": "1.2"}, "cursor"),
        ({"q": "a", "cursor": "99999999999999999999.0.1"}, "cursor"),
        ({"q": "a", "cursor": "²3.0.1"}, "cursor"),
        ({"q": "a", "role": "admin"}, "role"),
        ({"q": "a", "status": "lost"}, "status"),
        ({"q": "a", "from": "yesterday"}, "from"),
        ({"q": "a", "to": "2026-13-01"}, "to"),
    ],
)
async def test_an_invalid_search_is_a_400_that_names_the_field(site: Site, fields: dict[str, str], field: str) -> None:
    status, body = await search(site, **fields)
    assert (status, body["error"]["code"], body["error"]["field"]) == (400, "bad_request", field)


@pytest.mark.parametrize("query", ["\x00", "\ud800", '"', "*", "AND", "NEAR(", "a" * 10_000, '"a ' * 3000, "!!!"])
async def test_any_other_query_is_answered(site: Site, query: str) -> None:
    assert await search(site, q=query) == (200, {"results": [], "next": None, "complete": True})


async def test_a_stranger_finds_nothing(site: Site, provider: ProviderServer) -> None:
    await site.ask("needle")
    await site.client.aforce_login(await User.objects.acreate_user("stranger"))
    assert (await search(site, q="needle"))[1]["results"] == []
