"""Who may open what: each page of the staff and of the admin, for each role."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from asgiref.sync import sync_to_async
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.test import AsyncClient
from django.urls import get_resolver

from chat.models import Conversation, Message, ProviderCall, Reading, RetryBatch, User
from tests.provider_server import ProviderServer
from tests.support.site import Site

# What is tried here is the same on every database.
pytestmark = pytest.mark.sqlite

# What each role gets. A user without the permission cannot tell a page of the staff from one that does not exist.
ROLES = ("anonymous", "user", "clerk", "retrier", "reader", "critic", "admin")


class Route(NamedTuple):
    method: str
    path: str
    allowed: frozenset[str]
    fields: dict[str, str]
    status: int


def make_route(method: str, path: str, allowed: str, status: int = 200, **fields: str) -> Route:
    return Route(method, path, frozenset(allowed.split()), fields, status)


RETRIERS = "retrier reader admin"

STAFF = [
    make_route("GET", "/staff/", RETRIERS),
    make_route("GET", "/staff/?state=dismissed", RETRIERS),
    make_route("GET", "/staff/group/?code=timeout&model=openai:gpt-test", RETRIERS),
    make_route("POST", "/staff/retry/", RETRIERS, 302, answer="{answer}", reason="Outage"),
    make_route("POST", "/staff/dismiss/", RETRIERS, 302, answer="{answer}", reason="Known"),
    make_route("POST", "/staff/answers/{answer}/read/", "reader admin"),
    make_route("POST", "/staff/answers/{dismissed}/undo/", RETRIERS, 302),
    make_route("GET", "/staff/batches/{batch}/", RETRIERS),
    make_route("GET", "/staff/batches/{batch}/stream/", RETRIERS),
    make_route("POST", "/staff/batches/{batch}/stop/", RETRIERS, 302),
    make_route("POST", "/staff/batches/{batch}/resume/", RETRIERS, 302),
    make_route("GET", "/staff/batches/", RETRIERS),
    make_route("GET", "/staff/ratings/", "critic admin"),
    make_route("GET", "/staff/ratings.csv", "critic admin"),
    make_route("POST", "/staff/ratings/comments.csv", "admin"),
    make_route("POST", "/staff/ratings/{rating}/read/", "admin"),
]

LISTS = [
    *(
        "conversation",
        "message",
        "providercall",
        "user",
        "apitoken",
        "reading",
        "dismissal",
        "retrybatch",
        "batchlogentry",
    ),
    *("alert", "budget", "delivery", "limit", "meter", "modelaccess", "modelfallback", "modelprice", "share"),
]

ADMIN = [
    make_route("GET", "/admin/", "clerk admin"),
    *(make_route("GET", f"/admin/chat/{name}/", "admin") for name in (*LISTS, "modelhealth")),
    make_route("GET", "/admin/chat/message/{answer}/change/", "admin"),
    make_route("GET", "/admin/chat/conversation/{conversation}/change/", "admin"),
    make_route("GET", "/admin/autocomplete/?app_label=chat&model_name=conversation&field_name=user&term=a", "admin"),
    make_route("POST", "/admin/chat/modelhealth/test/", "admin", 302, model="demo:tour"),
]


@pytest.fixture
def failed(user: User) -> dict[str, str]:
    """The ids that routes name: a failed answer, one that was dismissed and rated, and a batch that is over."""
    conversation = Conversation.objects.create(user=user, title="A secret title")
    found = {"conversation": str(conversation.pk)}
    for name in ("answer", "dismissed"):
        question = Message.objects.create(conversation=conversation, role="user", text="A secret question")
        answer = Message.objects.create(
            conversation=conversation,
            parent=question,
            role="assistant",
            status="interrupted",
            error_code="timeout",
            model="openai:gpt-test",
            text="A secret answer",
        )
        found[name] = str(answer.pk)
    answer.dismissals.create(note="Known")
    batch = RetryBatch.objects.create(reason="Outage", scope="All", finished_at=answer.created_at)
    rating = answer.ratings.create(user=user, value="down", may_be_read=True, comment="A secret comment", model="m:n")
    return {**found, "batch": str(batch.pk), "rating": str(rating.pk)}


def make_user(role: str) -> User | None:
    if role == "anonymous":
        return None
    if role == "admin":
        return User.objects.create_superuser("root")
    user = User.objects.create_user(role, is_staff=role == "clerk")
    wanted = {
        "retrier": ["retry_answer"],
        "reader": ["retry_answer", "read_conversations"],
        "critic": ["view_rating"],
    }.get(role, [])
    user.user_permissions.set(Permission.objects.filter(codename__in=wanted))
    return user


async def call(role: str, asked: Route, ids: dict[str, str]) -> Any:
    client = AsyncClient()
    login = await sync_to_async(make_user)(role)
    if login is not None:
        await client.aforce_login(login)
    fields = {name: value.format(**ids) for name, value in asked.fields.items()}
    send: Callable[..., Any] = client.post if asked.method == "POST" else client.get
    return await send(asked.path.format(**ids), fields) if fields else await send(asked.path.format(**ids))


async def read_body(response: Any) -> str:
    if response.streaming:
        return b"".join([chunk async for chunk in response]).decode()
    return str(response.content.decode())


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("asked", STAFF, ids=lambda asked: f"{asked.method} {asked.path}")
async def test_staff_pages_open_for_the_roles_that_may_and_no_others(
    site: Site, provider: ProviderServer, failed: dict[str, str], asked: Route, role: str
) -> None:
    response = await call(role, asked, failed)
    if role in asked.allowed:
        assert response.status_code == asked.status
        return
    if role == "anonymous":
        assert response.status_code == 302
        assert response.headers["Location"].startswith("/accounts/login/")
    else:
        assert response.status_code == 404
        missing = await site.get("/no/such/page/")
        assert response.content == missing.content
    assert "secret" not in await read_body(response)
    assert not await ProviderCall.objects.aexists()
    assert not await Reading.objects.aexists()
    assert await RetryBatch.objects.acount() == 1
    assert not await RetryBatch.objects.filter(stopped_at__isnull=False).aexists()


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("asked", ADMIN, ids=lambda asked: f"{asked.method} {asked.path}")
async def test_admin_pages_open_for_the_roles_that_may_and_no_others(
    site: Site, provider: ProviderServer, failed: dict[str, str], asked: Route, role: str
) -> None:
    response = await call(role, asked, failed)
    if role in asked.allowed:
        assert response.status_code == asked.status
        return
    assert response.status_code == (403 if role == "clerk" else 302)
    if response.status_code == 302:
        assert "/login/" in response.headers["Location"]
    assert "secret" not in await read_body(response)
    assert not await ProviderCall.objects.aexists()


@pytest.mark.parametrize("asked", [entry for entry in STAFF if entry.method == "POST"], ids=lambda asked: asked.path)
async def test_actions_are_not_done_by_a_link(site: Site, failed: dict[str, str], asked: Route) -> None:
    response = await call("admin", Route("GET", asked.path, frozenset(), {}, 405), failed)
    assert response.status_code == 405


@pytest.mark.parametrize("asked", [entry for entry in STAFF if entry.method == "POST"], ids=lambda asked: asked.path)
async def test_actions_need_the_forms_token(site: Site, failed: dict[str, str], asked: Route) -> None:
    client = AsyncClient(enforce_csrf_checks=True)
    root = await sync_to_async(make_user)("admin")
    assert root is not None
    await client.aforce_login(root)
    fields = {name: value.format(**failed) for name, value in asked.fields.items()}
    assert (await client.post(asked.path.format(**failed), fields)).status_code == 403


async def test_the_staffs_text_needs_the_second_permission_on_the_page_too(site: Site, failed: dict[str, str]) -> None:
    for role, shown in (("retrier", False), ("reader", True)):
        for asked in STAFF[:3]:
            page = await read_body(await call(role, asked, failed)) if role == "retrier" else ""
            assert "secret" not in page
            await User.objects.filter(username=role).adelete()
        page = await read_body(await call(role, STAFF[2], failed))
        assert ("/read/" in page) is shown


async def test_a_missing_answer_or_batch_is_like_a_page_that_does_not_exist(site: Site) -> None:
    ids = {"answer": str(uuid.uuid4()), "dismissed": str(uuid.uuid4()), "batch": str(uuid.uuid4())}
    for asked in (STAFF[5], STAFF[6], STAFF[7], STAFF[9]):
        assert (await call("admin", asked, ids)).status_code == 404
        await User.objects.filter(username="root").adelete()


def test_no_route_of_the_staff_is_left_out() -> None:
    """A new address under /staff/ has to be added to the table above."""
    names = {name for name in get_resolver().reverse_dict if isinstance(name, str) and name.startswith("staff")}
    assert len(names) == len({asked.path.partition("?")[0] for asked in STAFF})


def test_no_list_of_the_admin_is_left_out() -> None:
    registered = {model._meta.model_name for model in admin.site._registry if model._meta.app_label == "chat"}
    assert registered == {*LISTS, "modelhealth"}
