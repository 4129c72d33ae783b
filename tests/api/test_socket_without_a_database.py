"""While the database gives no connection, a socket's frames are refused with a sentence, at once and without asking it
again; the socket stays open, and goes on when the database is back.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from django.db import OperationalError
from psycopg_pool import PoolTimeout

from chat.accounts import visitors
from chat.api import websocket
from chat.conversations import actions
from chat.models import Message
from chat.observability.circuit import MOMENT, Circuit
from chatsite import socket_logins
from tests.support.site import Json, Site
from tests.support.sockets import Socket, make_session_headers, open_socket
from tests.support.stopped_clock import StoppedClock
from tests.support.waiting import PATIENCE

FRAMES = [
    {"type": "send", "content": "Hello"},
    {"type": "follow", "answer": "0b8ff1bd-9b4e-4b5c-8a42-3c6c59a6b3a5"},
    {"type": "stop", "answer": "0b8ff1bd-9b4e-4b5c-8a42-3c6c59a6b3a5"},
]


class Database:
    """What the site asks of its database, which may be away."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.is_away = False
        self.asked = 0
        for module, name in [
            (websocket, "get_owned_answer"),
            (websocket, "find_user_by_token"),
            (socket_logins, "find_user_by_session"),
            (visitors, "find_user_by_session"),
        ]:
            patch.setattr(module, name, self._wrap(getattr(module, name)))
        for name in ("ask", "stop_answer"):
            patch.setattr(actions, name, self._wrap_async(getattr(actions, name)))

    def _look(self) -> None:
        self.asked += 1
        if self.is_away:
            raise OperationalError("couldn't get a connection after 5.00 sec") from PoolTimeout()

    def _wrap(self, work: Any) -> Any:
        def look(*args: Any) -> Any:
            self._look()
            return work(*args)

        return look

    def _wrap_async(self, work: Any) -> Any:
        async def look(*args: Any) -> Message:
            self._look()
            answer: Message = await work(*args)
            return answer

        return look


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> StoppedClock:
    clock = StoppedClock()
    circuit = Circuit(clock)
    for module in (websocket, socket_logins, visitors):
        monkeypatch.setattr(module, "get_circuit", lambda: circuit)
    return clock


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch, clock: StoppedClock) -> Database:
    return Database(monkeypatch)


@pytest.fixture
async def socket(site: Site) -> AsyncIterator[Socket]:
    async with open_socket(make_session_headers(site)) as socket:
        yield socket


async def receive_refusal(socket: Socket, frame: Json) -> Json:
    await socket.say(**frame)
    return await socket.receive()


@pytest.mark.parametrize("frame", FRAMES, ids=[frame["type"] for frame in FRAMES])
async def test_a_frame_is_refused_until_the_database_is_back(
    database: Database, clock: StoppedClock, socket: Socket, frame: Json
) -> None:
    database.is_away = True
    refusals = [await receive_refusal(socket, frame) for _ in range(20)]
    assert database.asked == 1
    assert refusals == [refusals[0]] * 20
    assert refusals[0] == {
        "type": "error",
        "code": "unavailable",
        "message": "The site cannot reach its database right now. Try again in a moment.",
        "retryable": True,
        "retry_after": 5,
    }
    clock.now += MOMENT
    assert (await receive_refusal(socket, frame))["code"] == "unavailable"
    assert (await receive_refusal(socket, frame))["code"] == "unavailable"
    assert database.asked == 2
    database.is_away = False
    clock.now += MOMENT
    # A refusal of another kind does not keep the next frame from trying.
    assert (await receive_refusal(socket, {"type": "follow", "answer": "x"}))["code"] == "not_found"
    await socket.say(type="send", content="Hello")
    frames = await socket.receive_to_the_end()
    assert (frames[0]["type"], frames[-1]["type"]) == ("start", "done")


async def test_frames_that_need_no_database_are_served(database: Database, socket: Socket) -> None:
    database.is_away = True
    await receive_refusal(socket, FRAMES[0])
    await socket.say(type="watch")
    assert (await receive_refusal(socket, {"type": "dance"}))["code"] == "bad_request"


@pytest.mark.parametrize("way", ["session", "token"])
async def test_a_socket_that_is_opened_meanwhile_is_told_and_closed(
    database: Database, clock: StoppedClock, site: Site, way: str
) -> None:
    headers = make_session_headers(site) if way == "session" else {"authorization": "Bearer some-token"}
    raw = [(name.encode(), value.encode()) for name, value in {"host": "testserver", **headers}.items()]
    database.is_away = True
    for _ in range(10):
        communicator = WebsocketCommunicator(socket_logins.add_login(websocket.serve_socket), "/ws/chat/", headers=raw)
        assert (await communicator.connect(PATIENCE))[0]
        frame = await communicator.receive_json_from(PATIENCE)
        assert (frame["code"], frame["retryable"], "answer" in frame) == ("unavailable", True, False)
        message = await communicator.receive_output(PATIENCE)
        assert (message["type"], message["code"]) == ("websocket.close", websocket.TRY_AGAIN_LATER)
    assert database.asked == 1
    database.is_away = False
    clock.now += MOMENT
    again = WebsocketCommunicator(socket_logins.add_login(websocket.serve_socket), "/ws/chat/", headers=raw)
    assert (await again.connect(PATIENCE))[0] == (way == "session")
    await again.disconnect()


async def test_logins_are_not_looked_up_while_it_is_away(
    database: Database, clock: StoppedClock, socket: Socket, monkeypatch: pytest.MonkeyPatch, site: Site
) -> None:
    """Nobody knows whether they have ended: the sockets stay."""
    visitor = visitors.Visitor(site.user.pk, session=site.client.cookies["sessionid"].value)
    database.is_away = True
    assert [await visitor.may_go_on() for _ in range(10)] == [True] * 10
    assert database.asked == 1
    database.is_away = False
    clock.now += MOMENT
    await sync_to_async(site.client.session.flush)()
    assert not await visitor.may_go_on()
