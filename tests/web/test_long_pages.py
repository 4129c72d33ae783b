"""A long conversation is shown in pieces: its end at once, what was said before on request."""

from __future__ import annotations

import re

from asgiref.sync import sync_to_async

from chat.models import MESSAGES_SHOWN, Message
from tests.support.long_conversations import fill_conversation
from tests.support.site import Site

EARLIER = re.compile(r'hx-get="([^"]+before=[0-9a-f-]{36})"')


async def load_page(site: Site, path: str, **headers: str) -> str:
    return (await site.get(path, **headers)).content.decode()


def list_numbers(html: str) -> list[int]:
    """Return the numbers of the questions that are shown, in their order."""
    return [int(number) for number in re.findall(r'<p dir="auto">(\d+)\?', html)]


async def test_the_page_shows_the_end(site: Site) -> None:
    conversation = await sync_to_async(fill_conversation)(site, 100)
    shown = list_numbers(await load_page(site, f"/c/{conversation}/"))
    assert shown == list(range(100 - MESSAGES_SHOWN // 2, 100))


async def test_going_back_piece_by_piece_shows_everything_once(site: Site) -> None:
    conversation = await sync_to_async(fill_conversation)(site, 100)
    html = await load_page(site, f"/c/{conversation}/")
    shown = list_numbers(html)
    while (found := EARLIER.search(html)) and len(shown) <= 100:
        html = await load_page(site, found[1], hx_request="true")
        assert "<html" not in html
        shown = list_numbers(html) + shown
    assert shown == list(range(100))


async def test_without_scripts_it_is_a_page_of_its_own(site: Site) -> None:
    conversation = await sync_to_async(fill_conversation)(site, 50)
    found = EARLIER.search(await load_page(site, f"/c/{conversation}/"))
    assert found
    html = await load_page(site, found[1])
    assert "<html" in html
    assert list_numbers(html) == list(range(10, 30))


async def test_a_short_conversation_is_whole(site: Site) -> None:
    conversation = await sync_to_async(fill_conversation)(site, 20)
    html = await load_page(site, f"/c/{conversation}/")
    assert list_numbers(html) == list(range(20))
    assert not EARLIER.search(html)


async def test_a_place_that_is_none_is_the_end(site: Site) -> None:
    conversation = await sync_to_async(fill_conversation)(site, 5)
    assert list_numbers(await load_page(site, f"/c/{conversation}/?before=x")) == list(range(5))


async def test_a_page_of_another_branch_goes_back_on_its_own(site: Site) -> None:
    """Another tab has switched the branch meanwhile."""
    conversation = await sync_to_async(fill_conversation)(site, 50)
    found = EARLIER.search(await load_page(site, f"/c/{conversation}/"))
    assert found
    first = str(await Message.objects.values_list("pk", flat=True).afirst())
    await site.ask("Another beginning", conversation, edits=first)
    assert list_numbers(await load_page(site, f"/c/{conversation}/")) == []
    assert list_numbers(await load_page(site, found[1], hx_request="true")) == list(range(10, 30))
