"""The sidebar lists all conversations by day and says how each stands; its menu works without scripts too."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone
from pytest_django import Settings

from chat.conversations.listing import PIECE
from chat.models import Conversation, User
from chat.web.time_zones import name_day
from tests.provider_server import ProviderServer, Script
from tests.support.site import Site

HTMX = {"hx-request": "true"}


async def load_html(site: Site, path: str, **headers: str) -> str:
    response: Any = await site.client.get(path, headers=headers)
    assert response.status_code == 200, path
    return str(response.content.decode())


async def post(site: Site, path: str, form: dict[str, str] | None = None, **headers: str) -> Any:
    return await site.client.post(path, form or {}, headers=headers)


async def make(site: Site, count: int, **fields: Any) -> list[Conversation]:
    """Make conversations an hour apart and return them, the newest first."""
    rows = [Conversation(user=site.user, title=f"Number {number}", **fields) for number in range(count)]
    await Conversation.objects.abulk_create(rows, batch_size=500)
    for number, row in enumerate(rows):
        row.updated_at = timezone.now() - timedelta(hours=number)
    await Conversation.objects.abulk_update(rows, ["updated_at"], batch_size=300)
    return rows


def list_conversations(html: str) -> list[str]:
    return re.findall(r'data-conversation="([0-9a-f-]{36})"', html)


def find_older_link(html: str) -> str:
    found = re.search(r'hx-get="([^"]+)"[^>]*>Older<', html)
    return found[1].replace("&amp;", "&") if found else ""


@pytest.mark.parametrize("headers", [HTMX, {}], ids=["htmx", "without scripts"])
async def test_every_conversation_is_reached_once_by_older(site: Site, headers: dict[str, str]) -> None:
    rows = await make(site, 2 * PIECE + 7)
    pinned = rows[-1]
    await Conversation.objects.filter(pk=pinned.pk).aupdate(pinned_at=timezone.now())
    found: list[str] = []
    path = "/conversations/"
    while path:
        html = await load_html(site, path, **headers)
        part = html if headers else html.partition('class="sheet"')[2]
        found += list_conversations(part)
        path = find_older_link(part)
    assert found == [str(pinned.pk), *(str(row.pk) for row in rows[:-1])]


async def test_a_day_has_one_heading_also_where_a_piece_begins_within_it(site: Site) -> None:
    await make(site, PIECE + 5)
    await Conversation.objects.aupdate(updated_at=timezone.now() - timedelta(days=40))
    html = await load_html(site, "/conversations/", **HTMX)
    assert html.count('class="day"') == 1
    assert 'class="day"' not in await load_html(site, find_older_link(html), **HTMX)


NOW = datetime(2026, 3, 31, 0, 30, tzinfo=ZoneInfo("Europe/Berlin"))  # 22:30 of the day before in UTC


@pytest.mark.parametrize(
    ("at", "name"),
    [
        (datetime(2026, 3, 30, 22, 10, tzinfo=UTC), "Today"),
        (datetime(2026, 3, 30, 21, 50, tzinfo=UTC), "Yesterday"),
        (datetime(2026, 4, 1, 12, tzinfo=UTC), "Today"),  # by the clock of another server, which is ahead
        (datetime(2026, 3, 28, 12, tzinfo=UTC), "Previous 7 days"),  # with a change to summer time in between
        (datetime(2026, 3, 24, 12, tzinfo=UTC), "Previous 7 days"),
        (datetime(2026, 3, 23, 12, tzinfo=UTC), "This month"),
        (datetime(2026, 2, 28, 12, tzinfo=UTC), "February"),
        (datetime(2025, 12, 31, 22, 59, tzinfo=UTC), "December 2025"),
        (datetime(2025, 12, 31, 23, 1, tzinfo=UTC), "January"),
    ],
)
def test_a_day_begins_and_is_named_where_its_reader_is(at: datetime, name: str) -> None:
    assert name_day(at.astimezone(NOW.tzinfo), NOW) == name


@pytest.mark.parametrize(
    ("cookie", "site_zone", "zone"),
    [
        ("Pacific/Kiritimati", "UTC", "Pacific/Kiritimati"),
        ("", "Pacific/Pago_Pago", "Pacific/Pago_Pago"),
        ("../../etc/passwd", "Pacific/Pago_Pago", "Pacific/Pago_Pago"),
        ("Nowhere/Town", "Pacific/Pago_Pago", "Pacific/Pago_Pago"),
        ("Europe", "Pacific/Pago_Pago", "Pacific/Pago_Pago"),
    ],
)
async def test_the_list_is_in_the_zone_of_its_reader_or_of_the_site(
    site: Site, settings: Settings, cookie: str, site_zone: str, zone: str
) -> None:
    settings.CHAT_TIME_ZONE = site_zone
    site.client.cookies["timezone"] = cookie
    [row] = await make(site, 1)
    for ago in range(0, 48, 5):
        at = timezone.now() - timedelta(hours=ago)
        await Conversation.objects.filter(pk=row.pk).aupdate(updated_at=at)
        expected = name_day(at.astimezone(ZoneInfo(zone)), timezone.now().astimezone(ZoneInfo(zone)))
        assert f'<li class="day">{expected}</li>' in await load_html(site, "/conversations/", **HTMX)


async def test_a_row_says_that_it_is_answered_unread_or_interrupted(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="Half of it", drop_after=4)
    failed = await site.ask("One?")
    provider.script = Script(text="Yes.")
    unread = await site.ask("Two?")
    provider.script = Script(gate_after=0)
    live = await site.answer(await site.begin("Three?"))
    marks = {}
    for answer in (failed, unread, live):
        html = await load_html(site, f"/conversations/rows/?id={answer['conversation']}")
        marks[answer["id"]] = re.findall(r'class="mark (\w+)"', html)
    assert marks == {failed["id"]: ["failed"], unread["id"]: ["unread"], live["id"]: ["streaming"]}


@pytest.mark.parametrize("way", ["page", "seen"])
async def test_an_answer_that_was_seen_is_read_and_the_next_one_is_not(
    site: Site, provider: ProviderServer, way: str
) -> None:
    provider.script = Script(text="Yes.")
    answer = await site.ask("Why?")
    path = f"/c/{answer['conversation']}/"
    rows = f"/conversations/rows/?id={answer['conversation']}"
    assert "data-unread" in await load_html(site, rows)
    if way == "page":
        await load_html(site, path)
    else:
        assert (await post(site, f"{path}seen/")).status_code == 204
    assert "data-unread" not in await load_html(site, rows)
    await site.ask("And?", answer["conversation"])
    assert "data-unread" in await load_html(site, rows)


async def test_rows_are_of_ones_own_and_gone_ones_have_none(site: Site) -> None:
    theirs = await Conversation.objects.acreate(user=await User.objects.acreate_user("eve"), title="A secret")
    [mine, deleted] = await make(site, 2)
    await Conversation.objects.filter(pk=deleted.pk).aupdate(deleted_at=timezone.now())
    query = "&".join(f"id={key}" for key in (theirs.pk, deleted.pk, "nonsense", mine.pk))
    assert list_conversations(await load_html(site, f"/conversations/rows/?{query}")) == [str(mine.pk)]


@pytest.mark.parametrize(
    "place",
    [
        *("x", "open_2026", "open_2026-01-01T00:00:00_x", "never_2026-01-01T00:00:00+00:00_x"),
        f"open_9999-12-31T23:00:00-12:00_{UUID(int=1)}",  # the year 10000 of UTC
    ],
)
async def test_a_place_that_no_list_gave_is_not_found(site: Site, place: str) -> None:
    for path in ("/conversations/", "/archive/"):
        response: Any = await site.client.get(path, {"before": place})
        assert response.status_code == 404


async def test_the_menu_renames_pins_archives_and_deletes_without_scripts(site: Site) -> None:
    [row] = await make(site, 1)
    path = f"/c/{row.pk}/"
    menu = await load_html(site, f"{path}menu/")
    assert "</html>" in menu
    forms = re.findall(
        r'<form method="post"\s+action="([^"]+)".*?<button ([^>]*)>', menu.partition("menu-items")[2], re.S
    )
    assert [action for action, _ in forms] == [f"{path}change/", f"{path}change/", f"{path}delete/"]
    assert (await post(site, f"{path}change/", {"title": "Another"})).status_code == 302
    assert (await post(site, f"{path}change/", {"pinned": "true"})).status_code == 302
    page = await load_html(site, "/")
    assert page.index("Pinned") < page.index("Another")
    assert (await post(site, f"{path}change/", {"archived": "true"})).headers["Location"] == "/"
    assert str(row.pk) not in await load_html(site, "/")
    assert str(row.pk) in (await load_html(site, "/archive/")).partition('class="sheet"')[2]
    assert (await post(site, f"{path}change/", {"archived": "false"})).headers["Location"] == "/archive/"
    deleted = await post(site, f"{path}delete/")
    assert deleted.headers["Location"] == f"/?deleted={row.pk}"
    assert f'action="{path}restore/"' in await load_html(site, deleted.headers["Location"])
    assert (await post(site, f"{path}restore/")).headers["Location"] == path
    assert "Another" in await load_html(site, path)


@pytest.mark.parametrize("title", ["", " \u200b ", "x" * 81])
async def test_a_title_that_cannot_be_kept_is_refused(site: Site, title: str) -> None:
    [row] = await make(site, 1)
    assert (await post(site, f"/c/{row.pk}/change/", {"title": title}, **HTMX)).status_code == 422
    await row.arefresh_from_db()
    assert row.title == "Number 0"


async def test_undo_is_offered_for_ones_own_only_and_no_longer_than_it_works(site: Site) -> None:
    theirs = await Conversation.objects.acreate(
        user=await User.objects.acreate_user("eve"), title="A secret", deleted_at=timezone.now()
    )
    [late] = await make(site, 1, deleted_at=timezone.now() - timedelta(seconds=30))
    for key in (theirs.pk, late.pk, "nonsense"):
        assert 'class="undo"' not in await load_html(site, f"/?deleted={key}")
    for key in (theirs.pk, late.pk):
        assert (await post(site, f"/c/{key}/restore/")).status_code == 404
