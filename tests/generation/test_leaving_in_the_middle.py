"""A client that leaves at any moment of a request leaves nothing behind, or the whole of what it asked for.

Every address of the site is covered: one that can change something has an entry in `REQUESTS`, and a test finds those
that have none. A client then disconnects at the `await`s of that request, one after the other: at every one with
`make faults`, at every second one with `make test`, on PostgreSQL at those that SQLite leaves out.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import pytest
from asgiref.sync import iscoroutinefunction, sync_to_async
from channels.auth import AuthMiddlewareStack
from django.apps import apps
from django.contrib.auth.models import Group
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.core.management.color import no_style
from django.db import connection, models
from django.test import AsyncClient
from django.test.client import encode_multipart
from django.urls import NoReverseMatch, URLPattern, URLResolver, get_resolver, reverse
from django.utils import timezone
from pytest_django import Settings

from chat.api.websocket import serve_socket
from chat.conversations.exchange.files import sign
from chat.models import (
    SUM_TABLES,
    Alert,
    ApiToken,
    Budget,
    Conversation,
    Dismissal,
    ExchangeJob,
    Message,
    NextQuestion,
    ProviderCall,
    Rating,
    RetryBatch,
    Share,
    User,
)
from chatsite.servers.handler import Handler
from tests.faults import choose_length
from tests.provider_server import ProviderServer, Script
from tests.support.leaving import Exchange, Suspensions
from tests.support.site import Site
from tests.support.waiting import wait_until

UNSAFE = ("POST", "PUT", "PATCH", "DELETE")
CSRF = "c" * 32

# The ids of the rows that requests are tried with. Together those rows are called the world.
IDS = {
    name: UUID(int=number)
    for number, name in enumerate(
        ("conversation", "question", "answer", "whole", "other", "batch", "asking", "live question", "share"), start=1
    )
}
SECRET = "s" * 43
SCRIPT = Script(text="One two three.", chunk_size=4, gate_after=4)


@dataclass(frozen=True)
class Request:
    """A request that changes something. `needs` is what has to be there: a `live` answer, for example."""

    form: Mapping[str, Any] = field(default_factory=dict)
    json: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    file: bytes | None = None
    needs: str = ""
    is_anonymous: bool = False
    method: str = "POST"


HTMX = {"hx-request": "true"}
ASKED = {"content": "Why is the sky blue?", "turn": str(IDS["asking"])}
LEAVING = {"code": "timeout", "reason": "An outage."}
WHOLE = {"answer_id": IDS["whole"]}
STREAM = {"accept": "text/event-stream"}

REQUESTS: dict[str, list[Request]] = {
    "api-conversations": [Request(json={})],
    "api-conversation": [Request(json={"title": "Another", "pinned": True}, method="PATCH"), Request(method="DELETE")],
    "api-restore": [Request(json={}, needs="deleted")],
    "api-messages": [
        Request(json=ASKED),
        Request(json=ASKED, headers=STREAM),
        Request(json=ASKED, headers={"prefer": "respond-async"}),
        Request(json={**ASKED, "edits": str(IDS["question"])}),
    ],
    "api-stop": [Request(json={}, needs="live")],
    "api-continue": [Request(json={}), Request(json={}, parameters=WHOLE)],
    "api-retry": [Request(json={})],
    "send": [
        Request(ASKED),
        Request(ASKED, headers=HTMX),
        Request(ASKED, headers=HTMX | STREAM),
        Request({**ASKED, "conversation": str(IDS["conversation"])}, headers=HTMX),
        Request({**ASKED, "content": " "}),
        Request({**ASKED, "conversation": str(IDS["conversation"])}, headers=HTMX, needs="live"),
    ],
    "edit-next": [Request({"text": "Another question"}, headers=HTMX, needs="next")],
    "remove-next": [Request(headers=HTMX, needs="next")],
    "send-next": [Request(headers=HTMX, needs="next")],
    "stop": [Request({"conversation": str(IDS["conversation"])}, needs="live")],
    "retry": [Request({"turn": str(IDS["asking"])}), Request({"turn": str(IDS["asking"])}, headers=HTMX)],
    "continue": [Request(), Request(headers=HTMX | STREAM)],
    "show": [Request(parameters={"message_id": IDS["other"]})],
    "delete": [Request(), Request(needs="live")],
    "conversation-change": [Request({"title": "Another"}), Request({"archived": "true"}, headers=HTMX)],
    "restore": [Request(needs="deleted")],
    "seen": [Request(needs="unread")],
    "rate": [Request({"rating": "up"}), Request({"rating": "up"}, headers=HTMX), Request({"rating": ""})],
    "rating": [Request({"value": "down", "comment": "Wrong.", "may_be_read": "on"})],
    "api-rating": [Request(json={"value": "up"}), Request(method="DELETE")],
    "staff-rating-read": [Request(needs="rating")],
    "staff-ratings-comments": [Request({}, needs="rating")],
    "conversation-shares": [Request({"ends": "7"}, headers=HTMX)],
    "revoke-share": [Request(needs="share")],
    "shared-copy": [Request({"turn": str(IDS["asking"])}, needs="share")],
    "api-shares": [Request(json={})],
    "api-share": [Request(method="DELETE", needs="share")],
    "dismiss-alert": [Request(needs="alert"), Request(needs="alert", headers=HTMX)],
    "conversation-settings": [Request({"title": "Another title", "system_prompt": "Be brief."})],
    "staff-retry": [Request({**LEAVING, "turn": str(IDS["asking"])})],
    "staff-dismiss": [Request(LEAVING)],
    "staff-read": [Request()],
    "staff-undo": [Request(needs="dismissed")],
    "staff-batch-stop": [Request(needs="batch")],
    "staff-batch-resume": [Request(needs="paused batch")],
    # These pages take up a batch that no process works on.
    "staff": [Request(method="GET", needs="batch")],
    "staff-batch": [Request(method="GET", needs="batch")],
    "staff-batch-stream": [Request(method="GET", needs="batch")],
    "login": [Request({"username": "boss", "password": "secret"}, is_anonymous=True)],
    "logout": [Request()],
    "admin:login": [Request({"username": "boss", "password": "secret"}, is_anonymous=True)],
    "admin:logout": [Request()],
    "admin:password_change": [
        Request({"old_password": "secret", "new_password1": "Xk29-dwarf", "new_password2": "Xk29-dwarf"})
    ],
    "admin:auth_user_password_change": [
        Request({"password1": "Xk29-dwarf", "password2": "Xk29-dwarf", "usable_password": "true"})
    ],
    "admin:auth_group_add": [Request({"name": "Another group"})],
    "admin:auth_group_change": [Request({"name": "Another name"})],
    "admin:auth_group_changelist": [Request({"action": "delete_selected", "_selected_action": "1", "post": "yes"})],
    "admin:auth_group_delete": [Request({"post": "yes"})],
    "admin:chat_apitoken_delete": [Request({"post": "yes"})],
    "admin:chat_user_delete": [Request({"post": "yes"}), Request({"post": "yes"}, needs="live")],
    "admin:chat_conversation_delete": [Request({"post": "yes"}), Request({"post": "yes"}, needs="live")],
    "data-export": [Request({"turn": str(IDS["asking"])})],
    "data-import": [Request({"turn": str(IDS["asking"])}, file=b"[]")],
    "data-delete": [Request(needs="job")],
    "usage_keep": [Request({"name": "Mine", "query": "period=30"})],
    "admin:chat_modelhealth_test": [Request({"model": "demo:tour"})],
}


def list_routes() -> Iterator[tuple[str, Any]]:
    """Yield the name and the view of every address of the site."""

    def walk(resolver: URLResolver, spaces: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
        for pattern in resolver.url_patterns:
            if isinstance(pattern, URLPattern):
                yield ":".join((*spaces, pattern.name or f"({pattern.pattern})")), pattern.callback
            else:
                yield from walk(pattern, (*spaces, pattern.namespace) if pattern.namespace else spaces)

    return walk(get_resolver(), ())


def make_address(route: str, parameters: Mapping[str, Any]) -> str:
    """Return the path of a route in the world of these tests."""
    known: dict[str, Any] = {
        "conversation_id": IDS["conversation"],
        "question_id": IDS["question"],
        "answer_id": IDS["answer"],
        "message_id": IDS["answer"],
        "batch_id": IDS["batch"],
        "alert_id": 1,
        "rating_id": 1,
        "next_id": 1,
        "share_id": IDS["share"],
        "secret": SECRET,
        "pk": 1,
        "job_id": IDS["batch"],
        "token": sign("import", "1"),
        "by": "user",
        "object_id": IDS["conversation"] if "chat_conversation" in route else 1,
        "id": 1,
        "content_type_id": 1,
        "app_label": "chat",
        **parameters,
    }
    for wanted in (
        (),
        *((name,) for name in known),
        ("conversation_id", "question_id"),
        ("conversation_id", "share_id"),
        ("secret", "answer_id"),
        ("content_type_id", "object_id"),
    ):
        try:
            return reverse(route, kwargs={name: known[name] for name in wanted})
        except NoReverseMatch:
            continue
    raise AssertionError(f"{route} has parameters that these tests do not know: name them in `make_address`")


# The world


def make_world(needs: str) -> AsyncClient:
    """Empty the database, make what a request `needs`, and return the browser of the one user, who is on the staff.

    The user has one conversation, with an answer that failed and two that are whole.
    """
    call_command("flush", verbosity=0, interactive=False, inhibit_post_migrate=True)
    ContentType.objects.clear_cache()
    boss = User.objects.create_superuser("boss", password="secret", pk=1)
    Group.objects.create(pk=1, name="A group")
    ApiToken.objects.create(pk=1, user=boss, name="A program", digest="d")
    forget_given_ids()
    conversation = Conversation.objects.create(pk=IDS["conversation"], user=boss, title="A title")
    question = add_message(conversation, "question", None, role="user", text="A question")
    add_message(conversation, "whole", question, status="complete", finish_reason="length", text="Whole")
    add_message(conversation, "other", question, status="complete", finish_reason="stop", text="Other")
    answer = add_message(conversation, "answer", question, status="interrupted", error_code="timeout", text="Part")
    Conversation.objects.filter(pk=conversation.pk).update(leaf=answer)
    if needs == "deleted":
        Conversation.objects.filter(pk=conversation.pk).update(deleted_at=timezone.now())
    if needs == "unread":
        Conversation.objects.filter(pk=conversation.pk).update(answered_at=timezone.now())
    if needs == "dismissed":
        Dismissal.objects.create(answer=answer, by=boss, note="Known.")
    if needs.endswith("batch"):
        batch = RetryBatch.objects.create(pk=IDS["batch"], requested_by=boss, reason="An outage.", scope="all")
        if needs == "paused batch":
            RetryBatch.objects.filter(pk=batch.pk).update(paused_at=timezone.now(), pause=RetryBatch.Pause.FAILURES)
        batch.items.create(answer=answer, due_at=timezone.now())
    if needs == "job":
        ExchangeJob.objects.create(pk=IDS["batch"], user=boss, kind="export", finished_at=timezone.now())
    if needs == "rating":
        Rating.objects.create(pk=1, answer=answer, user=boss, value="down", comment="Wrong.", may_be_read=True)
    if needs == "next":
        NextQuestion.objects.create(pk=1, conversation=conversation, text="The next", model="openai:gpt-test")
    if needs == "share":
        Share.objects.create(
            pk=IDS["share"],
            conversation=conversation,
            leaf=answer,
            digest=Share.compute_digest(SECRET),
            audience="team",
        )
    if needs == "alert":
        budget = Budget.objects.create(name="Of the boss", scope="user", user=boss, tokens=1000)
        until = timezone.now() + timedelta(days=1)
        Alert.objects.create(pk=1, budget=budget, meter="m", threshold=50, sentence="Half is used.", until=until)
    browser = AsyncClient()
    browser.force_login(boss)
    return browser


def forget_given_ids() -> None:
    """Set PostgreSQL's sequences past the ids that were given above, or the next row would get one of them."""
    with connection.cursor() as cursor:
        for statement in connection.ops.sequence_reset_sql(no_style(), [User, Group, ApiToken]):
            cursor.execute(statement)


def add_message(conversation: Conversation, name: str, parent: Message | None, **fields: Any) -> Message:
    fields = {"role": "assistant", "model": "openai:gpt-test", "position": len(fields["text"]), **fields}
    return Message.objects.create(pk=IDS[name], conversation=conversation, parent=parent, **fields)


# Columns whose values are different each time: only whether there is a value is compared.
BESIDE = {
    "session_key",
    "object_id",
    "session_data",
    "password",
    "owner",
    "fence",
    "first_token_ms",
    "total_ms",
    "counted",
    "digest",
    "size",
}


def read_world() -> dict[str, list[str]]:
    """Return all rows of the database, by model, without what is different each time."""
    rows = {
        model.__name__: [format_row(row) for row in model._default_manager.all()]
        for model in apps.get_models(include_auto_created=True)
    }
    sessions = [" ".join(sorted(row.get_decoded())) for row in Session.objects.all()]
    # The sums of the ledger are written some seconds later, so they are not compared.
    later = {"ContentType", "Permission", *(model.__name__ for model in SUM_TABLES)}
    found = {name: sorted(rows[name]) for name in rows.keys() - later if rows[name]}
    return {**found, "Session": sorted(sessions)}


# Columns that are not compared, as they depend on the moment. A Stop is only written for an owner that has not stopped
# yet, and a follower who leaves may or may not have been noted.
UNTOLD = {"stop_requested_at", "watched_at"}

# Seconds after which a socket is taken for one that hangs.
PATIENCE = 30.0

# How many awaits there are from one at which a client leaves to the next.
EVERY = choose_length(2, 1)

# Far more than any request has: a test whose request never ends would go on for ever.
MAX_AWAITS = 500


def format_row(row: models.Model) -> str:
    fields = (each for each in row._meta.concrete_fields if each.name not in UNTOLD)
    return " ".join(f"{each.name}={format_value(each, row)!r}" for each in fields)


def format_value(each: models.Field[Any, Any], row: models.Model) -> Any:
    value = getattr(row, each.attname)
    is_other = each.primary_key or each.name in BESIDE
    if isinstance(each, models.DateTimeField | models.ForeignKey | models.UUIDField) or is_other:
        return value is not None
    return value


async def begin_world(needs: str, provider: ProviderServer) -> AsyncClient:
    """Make the world of a request; the live answer that it may need waits until the request is over."""
    browser = await sync_to_async(make_world)(needs)
    provider.script = SCRIPT
    if needs == "live":
        site = await sync_to_async(Site)(await User.objects.aget())
        await site.begin(conversation=str(IDS["conversation"]))
    return browser


async def read_settled_world(provider: ProviderServer) -> dict[str, list[str]]:
    """Wait until nothing is under way in the world any more, and return it."""

    async def is_settled() -> bool:
        provider.release()
        waiting = NextQuestion.objects.exclude(conversation__leaf__status__in=("stopped", "interrupted"))
        if await waiting.aexists():  # before the live ones are looked for: it may become one at any moment
            return False
        if await Message.objects.live().aexists() or await ProviderCall.objects.filter(outcome="running").aexists():
            return False
        if await ExchangeJob.objects.filter(finished_at=None).aexists():
            return False
        return not await RetryBatch.objects.filter(owner__gt="", finished_at=None).aexists()

    await wait_until(is_settled)
    return await sync_to_async(read_world)()


# The tests


def make_scope(path: str, asked: Request, browser: AsyncClient) -> tuple[dict[str, Any], bytes]:
    cookies = f"csrftoken={CSRF}"
    if not asked.is_anonymous:
        cookies += f"; sessionid={browser.cookies['sessionid'].value}"
    is_json = asked.json is not None
    body = b"" if asked.method == "GET" else (json.dumps(asked.json) if is_json else urlencode(asked.form)).encode()
    kind = "application/json" if is_json else "application/x-www-form-urlencoded"
    if asked.file is not None:
        body = encode_multipart("b", {**asked.form, "file": SimpleUploadedFile("a.json", asked.file)})
        kind = "multipart/form-data; boundary=b"
    headers = {
        "host": "testserver",
        "cookie": cookies,
        "x-csrftoken": CSRF,
        "content-type": kind,
        "content-length": str(len(body)),
        **asked.headers,
    }
    scope = {
        "type": "http",
        "method": asked.method,
        "path": path,
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    return scope, body


def find_differences(found: dict[str, list[str]], *others: dict[str, list[str]]) -> list[list[str]]:
    """Return, for each other world, the rows that only one of the two has."""
    every = [{row for rows in each.values() for row in rows} for each in (found, *others)]
    return [sorted(every[0] ^ other) for other in every[1:]]


class Asking:
    """One request, made again and again in a world that is always the same."""

    def __init__(self, route: str, asked: Request, provider: ProviderServer) -> None:
        self._asked, self._provider = asked, provider
        self._path = make_address(route, asked.parameters)
        self._application = Handler()

    async def make_untouched_world(self) -> dict[str, list[str]]:
        """Make the world without the request, and return it."""
        await begin_world(self._asked.needs, self._provider)
        return await read_settled_world(self._provider)

    async def ask(self, leave_at: int | None) -> tuple[Exchange, dict[str, list[str]]]:
        browser = await begin_world(self._asked.needs, self._provider)
        if self._asked.needs != "live":
            self._provider.script = Script(text="One two three.")
        exchange = Exchange(*make_scope(self._path, self._asked, browser), leave_at)
        await exchange.run(self._application)
        return exchange, await read_settled_world(self._provider)


# These write at the same time as an answer's own process, which may be a deadlock on PostgreSQL, so they are tried on
# both databases, the others on SQLite alone.
BESIDE_AN_ANSWER = {"send", "api-messages", "retry", "continue", "staff-retry"}


def list_requests() -> Iterator[Any]:
    """Yield the route and the number of each request, marked with the databases on which it is tried."""
    for route, requests in REQUESTS.items():
        for number, asked in enumerate(requests):
            is_beside = asked.needs == "live" or (route in BESIDE_AN_ANSWER and number == 0)
            marks = () if is_beside or route == "admin:auth_group_add" else (pytest.mark.sqlite,)
            yield pytest.param(route, number, marks=marks, id=f"{route}-{number}")


def choose_first_await() -> int:
    return int(connection.vendor == "postgresql") % EVERY


@pytest.mark.parametrize(("route", "number"), list(list_requests()))
async def test_a_client_that_leaves_at_any_await_leaves_nothing_or_all_of_it(
    route: str, number: int, site: Site, provider: ProviderServer, settings: Settings
) -> None:
    asking = Asking(route, REQUESTS[route][number], provider)
    nothing = await asking.make_untouched_world()
    stayed, everything = await asking.ask(None)
    assert stayed.status in {200, 201, 202, 204, 302, 409, 422}
    leave_at, has_left = choose_first_await(), True
    while has_left:
        exchange, found = await asking.ask(leave_at)
        has_left = exchange.has_left
        assert found in (nothing, everything), (
            f"left at await {leave_at}: {find_differences(found, nothing, everything)}"
        )
        leave_at += EVERY
        assert leave_at < MAX_AWAITS
    assert leave_at > 5


async def test_every_address_that_changes_something_is_driven(site: Site) -> None:
    """An address without an entry in `REQUESTS` takes no method that may change anything, or is a page of the admin
    that runs in one thread from beginning to end, of a kind that has an entry.
    """
    undriven = {}
    for route, view in list_routes():
        is_admins = route.startswith("admin:") or make_address(route, {}).startswith("/admin/")
        if route in REQUESTS or (is_admins and not iscoroutinefunction(view)):
            continue
        path = make_address(route, {})
        statuses = {method: (await site.client.generic(method, path)).status_code for method in UNSAFE}
        if set(statuses.values()) - {405}:
            undriven[route] = statuses
    assert undriven == {}, "these take what may change something: name a request for each in REQUESTS"


async def test_every_request_is_of_an_address_that_there_is() -> None:
    assert REQUESTS.keys() <= {route for route, _ in list_routes()}


# The WebSocket


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "send", **ASKED},
        {"type": "send", **ASKED, "conversation": str(IDS["conversation"])},
        {"type": "stop", "answer": "live"},
    ],
    ids=["send", "send-further", "stop"],
)
async def test_a_socket_that_is_cut_at_any_await_leaves_nothing_or_all_of_it(
    frame: dict[str, Any], site: Site, provider: ProviderServer
) -> None:
    """The server cancels the socket's task, as daphne does with one that takes long."""
    needs = "live" if frame["type"] == "stop" else ""

    async def ask(leave_at: int | None) -> tuple[bool, dict[str, list[str]]]:
        browser = await begin_world(needs, provider)
        live = await Message.objects.live().afirst()
        if live is None:
            provider.script = Script(text="One two three.")
        asked = {name: str(live.pk) if live and value == "live" else value for name, value in frame.items()}
        has_left = await say(asked, browser, leave_at)
        return has_left, await read_settled_world(provider)

    await begin_world(needs, provider)
    nothing = await read_settled_world(provider)
    _, everything = await ask(None)
    leave_at, has_left = choose_first_await(), True
    while has_left:
        has_left, found = await ask(leave_at)
        assert found in (nothing, everything), (
            f"left at await {leave_at}: {find_differences(found, nothing, everything)}"
        )
        leave_at += EVERY
        assert leave_at < MAX_AWAITS
    assert leave_at > 5


async def say(frame: dict[str, Any], browser: AsyncClient, leave_at: int | None) -> bool:
    """Open a socket and send one frame; return whether the socket was cut, at await number `leave_at`."""
    session = browser.cookies["sessionid"].value
    headers = [(b"host", b"testserver"), (b"cookie", f"sessionid={session}".encode())]
    messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    accepted, done, has_left = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def send(message: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        accepted.set()
        if frame["type"] == "stop" or json.loads(message.get("text") or "{}").get("type") == "start":
            done.set()

    def leave() -> None:
        has_left.set()
        serving.get_loop().call_soon(serving.cancel)

    scope = {"type": "websocket", "path": "/ws/chat/", "headers": headers, "query_string": b""}
    suspensions = Suspensions(leave_at, leave)
    with suspensions.count():
        serving = asyncio.get_running_loop().create_task(_serve(scope, messages, send))
        await messages.put({"type": "websocket.connect"})
        await messages.put({"type": "websocket.receive", "text": json.dumps(frame)})
        if frame["type"] == "stop":
            await messages.put({"type": "websocket.disconnect", "code": 1000})
        else:
            over = asyncio.ensure_future(done.wait())
            await asyncio.wait([over, serving], return_when=asyncio.FIRST_COMPLETED, timeout=PATIENCE)
            over.cancel()
            await messages.put({"type": "websocket.disconnect", "code": 1000})
        _, left = await asyncio.wait([serving], timeout=PATIENCE)
        assert not left, "the socket is still served"
    await suspensions.wait_for_all()
    return has_left.is_set()


async def _serve(scope: dict[str, Any], messages: asyncio.Queue[dict[str, Any]], send: Any) -> None:
    await AuthMiddlewareStack(serve_socket)(scope, messages.get, send)
