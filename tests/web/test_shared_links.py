"""Every route of a shared link, by who asks and the state of the link; what is refused is one 404."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import IntegrityError
from django.test import AsyncClient
from django.utils import timezone
from pytest_django import Settings

from chat.accounts.link_guesses import MAX_MISSES
from chat.conversations.shares import copy_shared, find_secret
from chat.generation.process import get_process, make_process
from chat.models import Conversation, Message, ProviderCall, Share, User
from tests.provider_server import ProviderServer, Script
from tests.support.site import Json, Site
from tests.support.statements import hear_statements

TEXT = "The sky is blue because of Rayleigh."
ROLES = ("owner", "other", "anonymous", "staff")


@pytest.fixture(autouse=True)
def sharing(settings: Settings) -> None:
    settings.CHAT_SHARING = "link"


class World:
    """A conversation with one whole answer, a link to it, and the browsers of everybody who may come by."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.browsers: dict[str, AsyncClient] = {"owner": site.client, "anonymous": AsyncClient()}

    async def fill(self, provider: ProviderServer, **options: Any) -> World:
        provider.script = Script(text=TEXT)
        self.answer = await self.site.ask("Why is the sky blue?")
        for role in ("other", "staff"):
            user = await User.objects.acreate_user(
                f"{role}-person", is_superuser=role == "staff", is_staff=role == "staff"
            )
            self.browsers[role] = AsyncClient()
            await self.browsers[role].aforce_login(user)
        self.made = await self.make(**options)
        return self

    async def make(self, **options: Any) -> Json:
        made = await self.site.post(f"/api/conversations/{self.answer['conversation']}/shares/", options)
        assert made.status_code == 201, made.content
        return json.loads(made.content)  # type: ignore[no-any-return]

    @property
    def path(self) -> str:
        return get_path(self.made)

    @property
    def routes(self) -> dict[str, tuple[str, str]]:
        return {
            "page": ("GET", self.path),
            "stream": ("GET", f"{self.path}answers/{self.answer['id']}/stream/"),
            "copy": ("POST", f"{self.path}copy/"),
        }


def get_path(made: Json) -> str:
    return str(made["url"]).partition("testserver")[2]


async def call(client: AsyncClient, method: str, path: str, **headers: str) -> tuple[int, bytes]:
    response: Any = await client.generic(method, path, headers=headers)
    if response.streaming:
        return response.status_code, b"".join([chunk async for chunk in response])
    return response.status_code, response.content


async def leave_as_it_is(world: World, settings: Settings) -> None:
    pass


async def revoke(world: World, settings: Settings) -> None:
    path = f"/api/conversations/{world.answer['conversation']}/shares/{world.made['id']}/"
    assert (await call(world.site.client, "DELETE", path))[0] == 204


async def expire(world: World, settings: Settings) -> None:
    await Share.objects.aupdate(expires_at=timezone.now() - timedelta(seconds=1))


async def delete(world: World, settings: Settings) -> None:
    await sync_to_async(Conversation.objects.filter(pk=world.answer["conversation"]).delete)()


async def delete_for_now(world: World, settings: Settings) -> None:
    await Conversation.objects.aupdate(deleted_at=timezone.now())


async def deactivate(world: World, settings: Settings) -> None:
    await User.objects.filter(pk=world.site.user.pk).aupdate(is_active=False)


async def switch_off(world: World, settings: Settings) -> None:
    settings.CHAT_SHARING = "off"


async def keep_in_the_team(world: World, settings: Settings) -> None:
    settings.CHAT_SHARING = "team"


Change = Callable[[World, Settings], Awaitable[None]]
ENDS: list[Change] = [revoke, expire, delete, delete_for_now, deactivate, switch_off]


@pytest.mark.parametrize("end", ENDS)
async def test_a_link_that_has_ended_is_like_one_that_never_was(
    end: Change, site: Site, provider: ProviderServer, settings: Settings
) -> None:
    world = await World(site).fill(provider, audience="link")
    await end(world, settings)
    unknown = "u" * 43
    for method, path in world.routes.values():
        secret = world.path.split("/")[2]
        for role in ROLES:
            browser = world.browsers[role]
            found = await call(browser, method, path)
            assert found[0] == 404, (role, path)
            assert found == await call(browser, method, path.replace(secret, unknown)), (role, path)
            assert b"Rayleigh" not in found[1]


# By the audience of a link and what the operator allows: the status of the page, the stream and a copy for each role.
ALLOWED = dict.fromkeys(ROLES, (200, 200, 302))
TO_LOGIN = {**ALLOWED, "anonymous": (302, 302, 302)}


@pytest.mark.parametrize(
    ("audience", "change", "expected"),
    [
        ("link", leave_as_it_is, ALLOWED),
        ("team", leave_as_it_is, TO_LOGIN),
        ("link", keep_in_the_team, TO_LOGIN),
        ("team", keep_in_the_team, TO_LOGIN),
    ],
)
async def test_an_open_link_is_read_by_those_whom_it_is_for(
    audience: str,
    change: Change,
    expected: dict[str, tuple[int, ...]],
    site: Site,
    provider: ProviderServer,
    settings: Settings,
) -> None:
    world = await World(site).fill(provider, audience=audience)
    await change(world, settings)
    for role, statuses in expected.items():
        found = [await call(world.browsers[role], *route) for route in world.routes.values()]
        assert [status for status, _ in found] == list(statuses), role
        if statuses[0] == 200:
            assert TEXT.encode() in found[0][1]
            assert not re.search(rb"\bada\b", found[0][1])  # its owner's name
    anonymous = await world.browsers["anonymous"].get(world.path)
    if anonymous.status_code == 302:
        assert anonymous.headers["Location"].startswith("/accounts/login/?next=/s/")


@pytest.mark.parametrize("role", ["other", "anonymous", "staff"])
async def test_only_the_owner_makes_lists_and_revokes(role: str, site: Site, provider: ProviderServer) -> None:
    world = await World(site).fill(provider, audience="link")
    browser, conversation, share = world.browsers[role], world.answer["conversation"], world.made["id"]
    expected = {"other": 404, "staff": 404, "anonymous": 401}[role]
    api = f"/api/conversations/{conversation}/shares/"
    for method, path in (("GET", api), ("POST", api), ("DELETE", f"{api}{share}/")):
        found = await call(browser, method, path)
        assert found[0] == expected, path
        assert found == await call(browser, method, path.replace(conversation, str(uuid.uuid4())))
    for method, path in (
        ("GET", f"/c/{conversation}/shares/"),
        ("POST", f"/c/{conversation}/shares/"),
        ("POST", f"/account/shares/{share}/revoke/"),
    ):
        status, body = await call(browser, method, path)
        assert status == (302 if role == "anonymous" else 404), path
        assert b"/s/" not in body
    status, body = await call(browser, "GET", "/account/shares/")
    assert world.path.encode() not in body
    assert (await Share.objects.aget()).revoked_at is None


async def test_a_shared_page_is_for_no_search_engine_no_cache_and_no_referrer(
    site: Site, provider: ProviderServer
) -> None:
    world = await World(site).fill(provider, audience="link")
    page = await AsyncClient().get(world.path)
    missing = await AsyncClient().get("/s/" + "x" * 43 + "/")
    for response in (page, missing):
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert "noindex" in response.headers["X-Robots-Tag"]
        assert {"private", "no-store"} <= {each.strip() for each in response.headers["Cache-Control"].split(",")}
    assert b'<meta name="robots" content="noindex' in page.content
    robots = await AsyncClient().get("/robots.txt")
    assert (robots.status_code, b"Disallow: /s/" in robots.content) == (200, True)


async def test_the_database_alone_opens_no_link(site: Site, provider: ProviderServer, settings: Settings) -> None:
    """And a link works on, and is shown to its owner, after the site's key was changed to another one."""
    world = await World(site).fill(provider, audience="link")
    secret = world.path.split("/")[2]
    assert len(secret) == 43  # 256 bits
    share = await Share.objects.aget()
    assert secret not in str([getattr(share, field.attname) for field in share._meta.fields])
    old, settings.SECRET_KEY = settings.SECRET_KEY, "another key"
    assert find_secret(share) == ""
    assert (await AsyncClient().get(world.path)).status_code == 200
    settings.SECRET_KEY_FALLBACKS = [old]
    assert find_secret(share) == secret


async def test_after_too_many_wrong_links_every_link_is_refused(
    site: Site, provider: ProviderServer, settings: Settings
) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "guesses"}}
    world = await World(site).fill(provider, audience="link")
    anonymous = AsyncClient()
    for number in range(MAX_MISSES):
        assert (await anonymous.get(f"/s/{number:043d}/")).status_code == 404
    for path in ("/s/" + "y" * 43 + "/", world.path):
        refused = await anonymous.get(path)
        assert (refused.status_code, int(refused.headers["Retry-After"]) > 0) == (429, True)
    assert (await world.browsers["other"].get(world.path)).status_code == 200
    assert (await AsyncClient().get(world.path, headers={"x-forwarded-for": "198.51.100.7"})).status_code == 200


# What a link shows


async def test_later_turns_are_shown_only_where_that_was_chosen(site: Site, provider: ProviderServer) -> None:
    world = await World(site).fill(provider, audience="link")
    follows = get_path(await world.make(audience="link", goes_on=True))
    provider.script = Script(text="A later answer.")
    later = await site.ask("And later?", conversation=world.answer["conversation"])
    _, then = await call(AsyncClient(), "GET", world.path)
    _, now = await call(AsyncClient(), "GET", follows)
    assert (b"A later answer." in then, b"A later answer." in now) == (False, True)
    assert (await call(AsyncClient(), "GET", f"{world.path}answers/{later['id']}/stream/"))[0] == 404
    assert (await call(AsyncClient(), "GET", f"{follows}answers/{later['id']}/stream/"))[0] == 200
    state = re.search(rb'data-state="([^"]+)"', now)
    assert state is not None
    assert (await call(AsyncClient(), "GET", f"{follows}?state={state[1].decode()}"))[0] == 204
    assert (await call(AsyncClient(), "GET", f"{follows}?state=other"))[0] == 200


async def test_another_branch_is_never_shown(site: Site, provider: ProviderServer) -> None:
    world = await World(site).fill(provider, audience="link")
    follows = get_path(await world.make(audience="link", goes_on=True))
    provider.script = Script(text="Another attempt.")
    attempt = await site.retry(world.answer["id"])
    await site.read_events(attempt)
    for path in (world.path, follows):
        status, page = await call(AsyncClient(), "GET", path)
        assert (status, b"Another attempt." in page) == (200, False)


THOUGHTFUL = Script(text=TEXT, reasoning="SECRET-THOUGHT")


@pytest.mark.parametrize("is_shown", [False, True])
async def test_reasoning_is_shown_only_where_that_was_chosen(
    is_shown: bool, site: Site, provider: ProviderServer
) -> None:
    """On the page, in the stream that replays the answer, and in a copy."""
    world = await World(site).fill(provider, audience="link")
    provider.script = THOUGHTFUL
    world.answer = await site.ask("Think.", model="anthropic:messages-test")
    world.made = await world.make(audience="link", reasoning=is_shown)
    for name in ("page", "stream"):
        _, body = await call(AsyncClient(), *world.routes[name])
        assert (b"SECRET-THOUGHT" in body) == is_shown, name
        assert b"Rayleigh" in body
    await call(world.browsers["other"], *world.routes["copy"])
    copied = [m async for m in Message.objects.filter(conversation__user__username="other-person", role="assistant")]
    assert [("SECRET-THOUGHT" in m.reasoning, m.text) for m in copied] == [(is_shown, TEXT)]


async def test_a_copy_is_the_readers_own_and_has_nothing_of_the_owners(site: Site, provider: ProviderServer) -> None:
    world = await World(site).fill(provider, audience="link")
    await Conversation.objects.aupdate(system_prompt="PRIVATE", temperature=1.5, effort="high")
    calls = await ProviderCall.objects.acount()
    other = await User.objects.aget(username="other-person")
    turn = str(uuid.uuid4())
    first, second = [await world.browsers["other"].post(f"{world.path}copy/", {"turn": turn}) for _ in range(2)]
    assert (first.status_code, first.headers["Location"]) == (302, second.headers["Location"])
    copy = await Conversation.objects.aget(user=other)
    assert (copy.system_prompt, copy.temperature, copy.effort) == ("", None, "")
    assert [(m.role, m.text, m.status) async for m in copy.messages.all()] == [
        ("user", "Why is the sky blue?", "complete"),
        ("assistant", TEXT, "complete"),
    ]
    assert await ProviderCall.objects.acount() == calls
    reader = await sync_to_async(Site)(other)
    await reader.ask("Go on.", conversation=str(copy.pk))
    assert b"Go on." not in (await call(AsyncClient(), "GET", world.path))[1]


async def test_a_reader_who_has_deleted_their_copy_gets_another_one(site: Site, provider: ProviderServer) -> None:
    world = await World(site).fill(provider, audience="link")
    turn, copies = str(uuid.uuid4()), []
    for _ in range(3):
        response = await world.browsers["other"].post(f"{world.path}copy/", {"turn": turn})
        copies.append(response.headers["Location"])
        assert (await world.browsers["other"].get(copies[-1])).status_code == 200
        await Conversation.objects.filter(user__username="other-person").aupdate(deleted_at=timezone.now())
    assert len(set(copies)) == 3


async def test_a_reader_whose_deleted_copy_is_swept_as_they_ask_again_gets_another_one(
    site: Site, provider: ProviderServer
) -> None:
    await World(site).fill(provider, audience="link")
    turn = uuid.uuid4()
    reader = await User.objects.aget(username="other-person")
    share = await Share.objects.select_related("conversation").aget()
    first = await sync_to_async(copy_shared)(reader, share, turn)
    await Conversation.objects.filter(pk=first.pk).aupdate(deleted_at=timezone.now())

    def sweep_after_refusal(sql: str) -> None:
        """Delete the row after it has refused a second one of its key, and before it is looked at."""
        if sql.startswith("INSERT") and "chat_conversation" in sql:
            refused.append(sql)
        elif refused and not swept and "SELECT" in sql and "chat_conversation" in sql:
            swept.append(sql)
            Conversation.objects.filter(pk=first.pk).delete()

    refused: list[str] = []
    swept: list[str] = []
    with hear_statements(sweep_after_refusal):
        second = await sync_to_async(copy_shared)(reader, share, turn)
    assert swept
    assert (await Conversation.objects.aget(user=reader)).pk == second.pk
    assert await second.messages.acount() == 2


async def test_a_reader_whose_account_is_deleted_meanwhile_gets_no_copy(site: Site, provider: ProviderServer) -> None:
    world = await World(site).fill(provider, audience="link")
    reader = await User.objects.aget(username="other-person")
    share = await Share.objects.select_related("conversation").aget()
    await User.objects.filter(pk=reader.pk).adelete()
    with pytest.raises(IntegrityError):
        await sync_to_async(copy_shared)(reader, share, uuid.uuid4())
    assert world.answer["conversation"] == str((await Conversation.objects.aget()).pk)


# Live


async def read_until(chunks: Any, wanted: bytes) -> bytes:
    """Read a stream until something has come."""
    read = b""
    while wanted not in read:
        read += await asyncio.wait_for(anext(chunks), 5)
    return read


@pytest.mark.parametrize("end", [revoke, expire, delete, delete_for_now, deactivate])
async def test_a_reader_follows_a_live_answer_until_the_link_ends(
    end: Change, site: Site, provider: ProviderServer, settings: Settings
) -> None:
    world = await World(site).fill(provider, audience="link")
    provider.script = Script(text="Live words come. And more.", chunk_size=5, gate_after=12)
    live = await site.begin("Live?", conversation=world.answer["conversation"])
    world.made = await world.make(audience="link")
    assert f"/answers/{live}/stream/".encode() in (await call(AsyncClient(), "GET", world.path))[1]
    response: Any = await AsyncClient().get(f"{world.path}answers/{live}/stream/")
    chunks = aiter(response)
    await read_until(chunks, b"Live")
    await end(world, settings)
    rest = b"".join([chunk async for chunk in read_within(1.0, chunks)])
    assert rest.endswith(b"event: done\ndata: gone\n\n")
    assert b"And more" not in rest
    provider.release()


async def read_within(seconds: float, chunks: Any) -> Any:
    """Yield what comes of a stream, which must end within so many seconds, and two on a busy machine."""
    async with asyncio.timeout(seconds + 2):
        async for chunk in chunks:
            yield chunk


async def test_a_reader_has_the_end_without_the_owners_buttons(site: Site, provider: ProviderServer) -> None:
    world = await World(site).fill(provider, audience="link")
    provider.script = Script(text="Live words come. And more.", chunk_size=5, gate_after=12)
    live = await site.begin("Live?", conversation=world.answer["conversation"])
    made = await world.make(audience="link")
    response: Any = await AsyncClient().get(f"{get_path(made)}answers/{live}/stream/")
    chunks = aiter(response)
    await read_until(chunks, b"Live")
    provider.release()
    rest = b"".join([chunk async for chunk in chunks])
    assert b"more." in rest
    assert b'data-status="complete"' in rest
    assert rest.endswith(b"event: done\ndata: done\n\n") or b"event: done" in rest
    for private in (b"Retry", b"/rate/", b"cost-line", b"tokens"):
        assert private not in rest


async def test_readers_in_another_process_are_cut_off_too(
    site: Site, provider: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a word from the process that revokes: a notice may be lost."""
    other = make_process()
    world = await World(site).fill(provider, audience="link")
    provider.script = Script(text="Live words come.", chunk_size=5, gate_after=12)
    live = await site.begin("Live?", conversation=world.answer["conversation"])
    world.made = await world.make(audience="link")
    assert other.share_watch is not get_process().share_watch
    monkeypatch.setattr("chat.web.shares.get_process", lambda: other)
    response: Any = await AsyncClient().get(f"{world.path}answers/{live}/stream/")
    chunks = aiter(response)
    await read_until(chunks, b"Live")
    path = f"/api/conversations/{world.answer['conversation']}/shares/{world.made['id']}/"
    assert (await call(site.client, "DELETE", path))[0] == 204
    assert b"".join([chunk async for chunk in read_within(1.0, chunks)]).endswith(b"data: gone\n\n")
    provider.release()
    await other.runner.drain(0)


# The API and the admin


async def test_the_api_says_what_a_link_is(site: Site, provider: ProviderServer, settings: Settings) -> None:
    world = await World(site).fill(provider, audience="link", goes_on=True)
    path = f"/api/conversations/{world.answer['conversation']}/shares/"
    soon = (timezone.now() + timedelta(days=1)).isoformat()
    ends = await world.make(expires_at=soon, tools=True)
    assert (ends["audience"], ends["expires_at"], ends["tools"], ends["state"]) == ("team", soon, True, "open")
    assert (await call(site.client, "DELETE", f"{path}{ends['id']}/"))[0] == 204
    assert (await call(site.client, "DELETE", f"{path}{ends['id']}/"))[0] == 204
    listed = json.loads((await call(site.client, "GET", path))[1])["shares"]
    assert [(each["id"], each["state"]) for each in listed] == [(ends["id"], "revoked"), (world.made["id"], "open")]
    assert (listed[0]["url"], listed[1]["url"]) == (None, world.made["url"])
    for name, bad in (
        ("audience", "world"),
        ("audience", 3),
        ("goes_on", "yes"),
        ("expires_at", "tomorrow"),
        ("expires_at", "2999-01-01T00:00:00"),
        ("expires_at", "2001-01-01T00:00:00Z"),
    ):
        refused = await site.post(path, {name: bad})
        assert (refused.status_code, json.loads(refused.content)["error"]["field"]) == (400, name), bad
    empty = await site.begin_conversation()
    assert (await site.post(f"/api/conversations/{empty}/shares/", {})).status_code == 409
    settings.CHAT_SHARING = "team"
    refused = await site.post(path, {"audience": "link"})
    assert (refused.status_code, json.loads(refused.content)["error"]["field"]) == (400, "audience")
    settings.CHAT_SHARING = "off"
    refused = await site.post(path, {})
    assert (refused.status_code, json.loads(refused.content)["error"]["code"]) == (403, "sharing_off")


async def test_an_owner_makes_copies_and_revokes_links_on_pages(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text=TEXT)
    conversation = (await site.ask("Why?"))["conversation"]
    page = f"/c/{conversation}/shares/"
    sent = await site.client.post(page, {"audience": "link", "ends": "7", "reasoning": "on"})
    share = await Share.objects.aget()
    assert (share.audience, share.reasoning, share.tools, share.goes_on) == ("link", True, False, False)
    assert share.expires_at is not None
    assert sent.status_code == 302  # a reload makes no second link
    made = (await site.get(sent.headers["Location"])).content.decode()
    assert f"/s/{find_secret(share)}/" in made
    assert 'role="status"' in made
    for htmx in ({}, {"hx-request": "true"}):
        shown = await site.get(page, **htmx)
        assert find_secret(share).encode() in shown.content
    assert (await site.client.post(f"/account/shares/{share.pk}/revoke/")).status_code == 302
    listed = (await site.get("/account/shares/")).content.decode()
    assert "revoked" in listed
    assert find_secret(share) not in listed


async def test_a_form_that_cannot_be_taken_makes_no_link_and_says_why(
    site: Site, provider: ProviderServer, settings: Settings
) -> None:
    """The operator may have narrowed what is allowed since the page was loaded."""
    provider.script = Script(text=TEXT)
    conversation = (await site.ask("Why?"))["conversation"]
    settings.CHAT_SHARING = "team"
    for form in ({"audience": "link"}, {"ends": "8"}):
        refused = await site.client.post(f"/c/{conversation}/shares/", form)
        assert (refused.status_code, 'role="alert"' in refused.content.decode()) == (422, True), form
    assert not await Share.objects.aexists()


async def test_the_head_of_every_page_of_links_is_that_of_the_page(site: Site, provider: ProviderServer) -> None:
    world = await World(site).fill(provider, audience="link")
    stream = f"{world.path}answers/{world.answer['id']}/stream/"
    for path in (f"/c/{world.answer['conversation']}/shares/", "/account/shares/", world.path, stream):
        got: Any = await site.client.get(path)
        head: Any = await site.client.head(path)
        assert (head.status_code, head.headers["Content-Type"]) == (200, got.headers["Content-Type"]), path
        assert head.content == b""


async def test_administrators_see_links_without_their_addresses_and_can_revoke_them(
    site: Site, provider: ProviderServer
) -> None:
    world = await World(site).fill(provider, audience="link")
    staff, secret = world.browsers["staff"], world.path.split("/")[2]
    for path in ("/admin/", "/admin/chat/share/", f"/admin/chat/share/{world.made['id']}/change/"):
        status, body = await call(staff, "GET", path)
        assert (status, secret.encode() in body) == (200, False), path
    await staff.post("/admin/chat/share/", {"action": "revoke", "_selected_action": [world.made["id"]]})
    assert (await AsyncClient().get(world.path)).status_code == 404
