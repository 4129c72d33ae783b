"""What a page fetches when it hears of a turn that another tab, device or program has begun."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import AsyncClient

from chat.models import Conversation, Message, User
from tests.provider_server import ProviderServer, Script
from tests.support.site import Json, Site

HTMX = {"hx-request": "true"}
pytestmark = pytest.mark.usefixtures("provider")


async def get(site: Site, path: str, *, htmx: bool = True) -> HttpResponse:
    response: Any = await site.client.get(path, headers=HTMX if htmx else {})
    return response  # type: ignore[no-any-return]


def read_turn_id(answer: Json, **query: str) -> str:
    return f"/c/{answer['conversation']}/turns/{answer['parent']}/" + "".join(f"?{k}={v}" for k, v in query.items())


async def test_a_turn_comes_with_its_newest_answer_and_a_fresh_form(site: Site, provider: ProviderServer) -> None:
    first = await site.ask("Why?")
    provider.script = Script(gate_after=0)
    second = await site.retry(first["id"])
    html = (await get(site, read_turn_id(first))).content.decode()
    assert "Why?" in html
    assert f'id="answer-{second}"' in html
    assert f'hx-sse:connect="/answers/{second}/stream/?after=0"' in html
    assert first["id"] not in html.replace(f"retry/{first['id']}", "")
    assert 'hx-target="#composer-hidden"' in html
    assert f'value="{first["conversation"]}"' in html


async def test_a_turn_that_follows_what_is_shown_is_given(site: Site) -> None:
    first = await site.ask()
    second = await site.ask("And?", first["conversation"])
    assert (await get(site, read_turn_id(second, after=first["id"]))).status_code == 200


@pytest.mark.parametrize("after", ["", str(uuid.UUID(int=1)), "nonsense"])
async def test_a_turn_that_does_not_follow_what_is_shown_is_refused(site: Site, after: str) -> None:
    first = await site.ask()
    second = await site.ask("And?", first["conversation"])
    assert (await get(site, read_turn_id(second, after=after))).status_code == 409


async def test_a_strangers_turn_is_like_one_that_does_not_exist(site: Site) -> None:
    mine = await site.ask()
    stranger = AsyncClient()
    await stranger.aforce_login(await User.objects.acreate_user("stranger"))
    found: Any = await stranger.get(read_turn_id(mine), headers=HTMX)
    missing: Any = await stranger.get(f"/c/{uuid.uuid4()}/turns/{uuid.uuid4()}/", headers=HTMX)
    assert (found.status_code, found.content) == (404, missing.content)


async def test_a_turn_belongs_to_its_conversation_and_is_a_question(site: Site) -> None:
    one, other = await site.ask(), await site.ask()
    for question in (other["parent"], one["id"]):
        assert (await get(site, f"/c/{one['conversation']}/turns/{question}/")).status_code == 404


async def test_the_list_says_where_each_conversation_stands(site: Site) -> None:
    one, other = await site.ask("One"), await site.ask("Other")
    html = (await get(site, f"/conversations/?current={one['conversation']}")).content.decode()
    assert html.count('class="conversation"') == 2
    assert html.index(other["id"]) < html.index(one["id"])
    assert html.count("aria-current") == 1
    assert html.index("aria-current") > html.index(f"/c/{one['conversation']}/")
    assert "aria-current" not in (await get(site, "/conversations/?current=nonsense")).content.decode()


async def test_the_list_holds_nothing_of_others(site: Site) -> None:
    stranger = await User.objects.acreate_user("stranger")
    await Conversation.objects.acreate(user=stranger, title="A secret")
    assert b"A secret" not in (await get(site, "/conversations/")).content


async def test_without_htmx_both_lead_to_a_whole_page(site: Site) -> None:
    mine = await site.ask()
    response = await get(site, read_turn_id(mine), htmx=False)
    assert (response.status_code, response.headers["Location"]) == (302, f"/c/{mine['conversation']}/")
    assert b"</html>" in (await get(site, "/conversations/", htmx=False)).content


async def test_without_a_login_htmx_gets_no_page_to_swap_in(site: Site) -> None:
    mine = await site.ask()
    for path in (read_turn_id(mine), "/conversations/", f"/c/{mine['conversation']}/"):
        headers = {**HTMX, "accept": "text/html, text/event-stream"}
        response: Any = await AsyncClient().get(path, headers=headers)
        assert response.status_code == 401
        assert b"<form" not in response.content
    assert await Message.objects.acount() == 2
