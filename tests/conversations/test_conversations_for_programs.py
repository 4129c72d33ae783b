"""A program lists its user's conversations piece by piece, renames, pins, archives, deletes and restores them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from asgiref.sync import sync_to_async
from django.test import AsyncClient
from django.utils import timezone

from chat.conversations import actions
from chat.models import Conversation, User
from tests.provider_server import ProviderServer, Script
from tests.support.site import Json, Site

LIST = "/api/conversations/"
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


async def send(site: Site, method: str, path: str, body: object = None) -> tuple[int, Json]:
    request: Any = site.client.generic(method, path, b"" if body is None else json.dumps(body), "application/json")
    response = await request
    return response.status_code, json.loads(response.content or b"{}")


async def get(site: Site, path: str) -> Json:
    response = await site.get(path)
    assert response.status_code == 200, response.content
    return cast("Json", json.loads(response.content))


async def make(site: Site, count: int, **fields: Any) -> list[str]:
    """Make conversations and return their ids, the newest first. Two at a time share their moment."""
    rows = [Conversation(user=site.user, title=f"Number {number}", **fields) for number in range(count)]
    await Conversation.objects.abulk_create(rows)
    for number, row in enumerate(rows):
        row.updated_at = BEGIN + timedelta(hours=number // 2)
    await Conversation.objects.abulk_update(rows, ["updated_at"])
    rows.sort(key=lambda row: (row.updated_at, row.pk.hex), reverse=True)
    return [str(row.pk) for row in rows]


def list_ids(piece: Json) -> list[str]:
    return [row["id"] for row in piece["conversations"]]


async def test_every_conversation_is_listed_once_newest_first(site: Site) -> None:
    made = await make(site, 23)
    found, path = [], f"{LIST}?limit=5"
    while path:
        piece = await get(site, path)
        found += list_ids(piece)
        path = f"{LIST}?limit=5&cursor={piece['next']}".replace("+", "%2B") if piece["next"] else ""
    assert found == made


async def test_the_list_says_what_the_sidebar_shows(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="Half of it", drop_after=4)
    failed = await site.ask("Why is the sky blue?")
    provider.script = Script(gate_after=0)
    live = await site.begin("And red?")
    first, second = (await get(site, LIST))["conversations"]
    assert (first["leaf"], first["streaming"], first["failed"], first["unread"]) == (live, True, False, False)
    assert (second["leaf"], second["streaming"], second["failed"], second["unread"]) == (
        failed["id"],
        False,
        True,
        True,
    )
    assert (second["title"], second["titled_by"]) == ("Why is the sky blue?", "rule")


async def test_the_list_is_filtered_by_either_flag(site: Site) -> None:
    pinned, archived, plain = await make(site, 3)
    for path, body in ((pinned, {"pinned": True}), (archived, {"archived": True})):
        assert (await send(site, "PATCH", f"{LIST}{path}/", body))[0] == 200
    for query, expected in {
        "pinned=true": [pinned],
        "pinned=false": [archived, plain],
        "archived=true": [archived],
        "archived=false": [pinned, plain],
        "archived=true&pinned=true": [],
    }.items():
        assert list_ids(await get(site, f"{LIST}?{query}")) == expected, query


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=101", "limit=x", "limit=", "cursor=x", "cursor=", "pinned=1", "archived=", "page=2"),
        f"cursor=all_0001-01-01T00:00:00%2B14:00_{UUID(int=1)}",  # the year 0 of UTC
    ],
)
async def test_a_query_that_cannot_be_meant_is_refused_by_name(site: Site, query: str) -> None:
    status, refusal = await send(site, "GET", f"{LIST}?{query}")
    assert status == 400
    assert f"`{query.partition('=')[0]}`" in refusal["error"]["message"]


async def test_a_change_is_kept_and_returned_and_moves_nothing(site: Site) -> None:
    newest, oldest = await make(site, 2)
    status, changed = await send(site, "PATCH", f"{LIST}{oldest}/", {"title": "  A\u202e title \n", "pinned": True})
    assert status == 200
    assert (changed["title"], changed["titled_by"], changed["pinned"]) == ("A title", "user", True)
    assert list_ids(await get(site, LIST)) == [newest, oldest]
    assert (await get(site, f"{LIST}{oldest}/"))["title"] == "A title"


async def test_pinned_and_archived_exclude_each_other(site: Site) -> None:
    [one] = await make(site, 1)
    path = f"{LIST}{one}/"
    for body, expected in (
        ({"pinned": True}, (True, False)),
        ({"archived": True}, (False, True)),
        ({"pinned": True}, (True, False)),
        ({"pinned": False, "archived": True}, (False, True)),
        ({"archived": False}, (False, False)),
        ({}, (False, False)),
    ):
        status, changed = await send(site, "PATCH", path, body)
        assert (status, (changed["pinned"], changed["archived"])) == (200, expected), body


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"name": "x"}, "`name`"),
        ({"title": "x", "leaf": None}, "`leaf`"),
        ({"title": 1}, "`title`"),
        ({"title": None}, "`title`"),
        ({"title": " \u200b"}, "`title`"),
        ({"title": "x" * 81}, "`title`"),
        ({"pinned": 1}, "`pinned`"),
        ({"pinned": "true"}, "`pinned`"),
        ({"archived": None}, "`archived`"),
        ({"pinned": True, "archived": True}, "`pinned`"),
        ([], "JSON object"),
        ("x", "JSON object"),
    ],
)
async def test_a_body_that_cannot_be_meant_is_refused_by_name_and_changes_nothing(
    site: Site, body: object, named: str
) -> None:
    [one] = await make(site, 1)
    status, refusal = await send(site, "PATCH", f"{LIST}{one}/", body)
    assert (status, refusal["error"]["code"]) == (400, "bad_request")
    assert named in refusal["error"]["message"]
    kept = await Conversation.objects.aget()
    assert (kept.title, kept.pinned_at, kept.archived_at) == ("Number 0", None, None)


async def test_a_deleted_conversation_is_gone_at_once_and_can_be_restored(site: Site) -> None:
    answer = await site.ask("Why is the sky blue?")
    path = f"{LIST}{answer['conversation']}/"
    assert (await send(site, "DELETE", path))[0] == 204
    missing = f"{LIST}{uuid4()}/"
    for method, at, body in (
        *(("GET", "", None), ("PATCH", "", {"title": "x"}), ("DELETE", "", None)),
        ("POST", "messages/", {"content": "And?"}),
    ):
        found, unknown = await send(site, method, path + at, body), await send(site, method, missing + at, body)
        assert found == unknown, method
        assert found[0] == 404
    for address in (f"/api/answers/{answer['id']}/", f"/api/answers/{answer['id']}/events/"):
        assert (await site.get(address)).status_code == 404
    for address in (f"/api/answers/{answer['id']}/retry/", f"/answers/{answer['id']}/retry/"):
        assert (await site.post(address)).status_code == 404
    assert list_ids(await get(site, LIST)) == []
    status, restored = await send(site, "POST", f"{path}restore/", {})
    assert (status, restored["title"]) == (200, "Why is the sky blue?")
    assert len((await get(site, path))["messages"]) == 2
    assert (await send(site, "POST", f"{path}restore/", {}))[0] == 404


@pytest.mark.parametrize(
    ("action", "method", "at", "body"),
    [("change_conversation", "PATCH", "", {"title": "x"}), ("restore_conversation", "POST", "restore/", {})],
)
async def test_what_another_device_deletes_meanwhile_is_not_found(
    site: Site, monkeypatch: pytest.MonkeyPatch, action: str, method: str, at: str, body: Json
) -> None:
    [made] = await make(site, 1)
    path = f"{LIST}{made}/"
    if action == "restore_conversation":
        await send(site, "DELETE", path)
    act = getattr(actions, action)

    async def act_before_a_deletion(*arguments: Any) -> None:
        await act(*arguments)
        await Conversation.objects.filter(pk=made).aupdate(deleted_at=timezone.now())

    monkeypatch.setattr(actions, action, act_before_a_deletion)
    assert (await send(site, method, path + at, body))[0] == 404


async def test_nobody_changes_what_is_not_theirs(site: Site) -> None:
    theirs = await Conversation.objects.acreate(user=await User.objects.acreate_user("eve"), title="A secret")
    path = f"{LIST}{theirs.pk}/"
    assert list_ids(await get(site, LIST)) == []
    for method, at, body in (("PATCH", "", {"title": "Mine"}), ("DELETE", "", None), ("POST", "restore/", {})):
        assert (await send(site, method, path + at, body))[0] == 404
    await theirs.arefresh_from_db()
    assert (theirs.title, theirs.deleted_at) == ("A secret", None)
    for method in ("GET", "POST"):
        response: Any = await AsyncClient().generic(method, LIST)
        assert response.status_code == 401


async def test_a_question_brings_a_conversation_back_from_the_archive(site: Site) -> None:
    answer = await site.ask()
    path = f"{LIST}{answer['conversation']}/"
    await send(site, "PATCH", path, {"archived": True})
    await site.ask("Again", answer["conversation"])
    assert list_ids(await get(site, f"{LIST}?archived=false")) == [answer["conversation"]]


async def test_a_title_given_by_hand_stays_whatever_is_asked(site: Site) -> None:
    conversation = await site.begin_conversation()
    await send(site, "PATCH", f"{LIST}{conversation}/", {"title": "Mine"})
    first = await site.ask("Why is the sky blue?", conversation)
    await site.retry(first["id"])
    kept = await sync_to_async(Conversation.objects.get)(pk=UUID(conversation))
    assert (kept.title, kept.titled_by) == ("Mine", "user")


async def test_a_deleted_conversation_is_not_found_and_its_links_lead_nowhere(site: Site) -> None:
    answer = await site.ask("Why is the sky blue?")
    shares = f"{LIST}{answer['conversation']}/shares/"
    status, share = await send(site, "POST", shares, {"audience": "team"})
    assert status == 201
    link = share["url"].partition("testserver")[2]
    for is_there in (True, False, True):
        found = await get(site, "/api/search/?q=sky")
        assert bool(found["results"]) == is_there
        assert (await site.get(link)).status_code == (200 if is_there else 404)
        path = f"{LIST}{answer['conversation']}/"
        await (send(site, "DELETE", path) if is_there else send(site, "POST", f"{path}restore/", {}))
