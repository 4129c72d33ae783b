"""The WebSocket does what the API does, for the same users, and tells those who watch of new turns."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from pytest_django import Settings

from chat.api import websocket
from chat.models import ApiToken, User
from tests.provider_server import ProviderServer, Script
from tests.support.site import Json, Site
from tests.support.sockets import Socket, join_text, make_session_headers, make_socket, open_socket
from tests.support.waiting import PATIENCE


@pytest.fixture
async def socket(site: Site) -> AsyncIterator[Socket]:
    async with open_socket(make_session_headers(site)) as socket:
        yield socket


async def test_a_question_is_answered_in_band(socket: Socket, site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="Because of the air.")
    conversation = await site.begin_conversation()
    await socket.say(type="send", conversation=conversation, content="Why is the sky blue?")
    frames = await socket.receive_to_the_end()
    assert (frames[0]["type"], frames[0]["conversation"]) == ("start", conversation)
    assert {frame["answer"] for frame in frames} == {frames[0]["answer"]}
    assert join_text(frames) == "Because of the air."
    assert frames[-1] | {"position": 0} == {
        "type": "done",
        "status": "complete",
        "reason": "stop",
        "answer": frames[0]["answer"],
        "position": 0,
    }
    assert (await site.answer(frames[0]["answer"]))["status"] == "complete"


async def test_a_question_without_a_conversation_begins_one(socket: Socket, site: Site) -> None:
    await socket.say(type="send", content="Hello")
    start = (await socket.receive_to_the_end())[0]
    response = await site.get(f"/api/conversations/{start['conversation']}/")
    assert [message["role"] for message in json.loads(response.content)["messages"]] == ["user", "assistant"]


async def test_the_same_turn_twice_is_one_call(socket: Socket, site: Site, provider: ProviderServer) -> None:
    turn, conversation = str(uuid4()), await site.begin_conversation()
    for _ in range(2):
        await socket.say(type="send", conversation=conversation, content="Once", turn=turn)
    frames = await socket.receive_to_the_end()
    assert frames[-1]["type"] == "done"
    assert len(provider.requests) == 1


@pytest.mark.parametrize("after", [0, 1, 7, 19])
async def test_following_goes_on_from_a_position(
    socket: Socket, site: Site, provider: ProviderServer, after: int
) -> None:
    provider.script = Script(text="Because of the air.")
    answer = (await site.ask())["id"]
    await socket.say(type="follow", answer=answer, after=after)
    frames = await socket.receive_to_the_end()
    assert join_text(frames) == "Because of the air."[after:]
    assert frames[-1]["position"] == len("Because of the air.") + 2
    assert (frames[0]["type"] == "start") == (after == 0)


async def test_two_answers_come_side_by_side(socket: Socket, site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="One two three four", chunk_size=4, gate_after=8)
    answers = [await site.begin(), await site.begin()]
    for answer in answers:
        await socket.say(type="follow", answer=answer)
    texts = dict.fromkeys(answers, "")
    while set(texts.values()) != {"One two "}:
        frame = await socket.receive()
        texts[frame["answer"]] += frame.get("content", "")
    provider.release()
    ended = 0
    while ended < 2:
        frame = await socket.receive()
        texts[frame["answer"]] += frame.get("content", "")
        ended += frame["type"] == "done"
    assert set(texts.values()) == {"One two three four"}


async def test_a_socket_follows_so_many_answers_and_one_of_them_from_another_position(
    socket: Socket, site: Site, provider: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "MAX_FOLLOWED", 2)
    provider.script = Script(text="One two three four", chunk_size=4, gate_after=8)
    answers = [await site.begin(), await site.begin()]
    await socket.say(type="watch")
    for answer in [*answers, answers[0]]:
        await socket.say(type="follow", answer=answer, after=1, id=answer)
        frame = await socket.receive()
        while frame["type"] != "ack":
            assert "code" not in frame
            frame = await socket.receive()


async def test_a_socket_that_follows_as_many_as_it_may_asks_nothing_more(
    socket: Socket, site: Site, provider: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "MAX_FOLLOWED", 1)
    provider.script = Script(text="One two three four", gate_after=8)
    await socket.say(type="send", content="First")
    assert (await socket.receive())["type"] == "start"
    await socket.say(type="send", content="Second", id=2)
    while "id" not in (frame := await socket.receive()):
        pass
    assert (frame["type"], frame["code"]) == ("error", "too_many")
    assert len(provider.requests) == 1


async def test_stop_ends_the_answer(socket: Socket, site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="One two three four", chunk_size=4, gate_after=8)
    await socket.say(type="send", content="Count")
    start = await socket.receive()
    await socket.say(type="stop", answer=start["answer"])
    assert (await socket.receive_to_the_end())[-1]["status"] == "stopped"


async def test_those_who_watch_are_told_of_a_new_turn(socket: Socket, site: Site) -> None:
    await socket.say(type="watch")
    await socket.say(type="nonsense")  # frames are obeyed in order: after its refusal the socket watches
    await socket.receive()
    conversation = await site.begin_conversation()
    answer = await site.ask("Why?\nTell me.", conversation)
    notice = await socket.receive()
    question = answer["parent"]
    assert notice == {
        "type": "turn",
        "conversation": conversation,
        "question": question,
        "answer": answer["id"],
        "title": "Why?",
        "shown": True,
        "continues": False,
    }


async def test_those_who_watch_are_told_which_branch_is_shown(socket: Socket, site: Site) -> None:
    first = await site.ask("Why?")
    second = await site.retry(first["id"])
    await site.answer(second)
    await socket.say(type="watch")
    await socket.say(type="nonsense")
    await socket.receive()
    told = {"type": "branch", "conversation": first["conversation"]}
    await site.client.post(f"/messages/{first['id']}/show/")
    assert await socket.receive() == {**told, "leaf": first["id"]}
    await site.get(f"/c/{first['conversation']}/?at={second}")  # as a hit of the search opens it
    assert (await socket.receive())["change"] == "read"
    assert await socket.receive() == {**told, "leaf": second}


async def test_those_who_watch_since_a_moment_are_told_of_the_turns_since_then(socket: Socket, site: Site) -> None:
    """What is asked between a page's making and its watch would be missed for ever."""
    conversation, later = await site.begin_conversation(), await site.begin_conversation()
    await site.ask("Before", conversation)
    known = json.loads((await site.get("/api/conversations/")).content)["conversations"][0]["updated_at"]
    first, second = await site.ask("Since", conversation), await site.ask("Elsewhere", later)
    await socket.say(type="watch", since=known)
    notices = [await socket.receive(), await socket.receive()]
    assert [(notice["type"], notice["answer"]) for notice in notices] == [("turn", first["id"]), ("turn", second["id"])]
    assert notices[0]["title"] == "Before"
    third = await site.ask("From now on", conversation)
    assert (await socket.receive())["answer"] == third["id"]


async def test_nobody_is_told_of_another_users_turn(socket: Socket, site: Site) -> None:
    other = await sync_to_async(User.objects.create_user)("eve", password="x")
    await socket.say(type="watch")
    await (await sync_to_async(Site)(other)).ask()
    await socket.say(type="nonsense")
    assert (await socket.receive())["code"] == "bad_request"


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ({}, "bad_request"),
        ({"type": "dance"}, "bad_request"),
        ({"type": "send"}, "bad_request"),
        ({"type": "send", "content": "  "}, "bad_request"),
        ({"type": "send", "content": "x", "model": "openai:none"}, "bad_request"),
        ({"type": "send", "content": "x", "conversation": str(uuid4())}, "not_found"),
        ({"type": "follow"}, "bad_request"),
        ({"type": "follow", "answer": "x"}, "not_found"),
        ({"type": "follow", "answer": ["x"]}, "not_found"),
        ({"type": "stop", "answer": str(uuid4())}, "not_found"),
        ({"type": "watch", "since": "0001-01-01T00:00:00+14:00"}, "bad_request"),
        ({"type": "watch", "since": "9999-12-31T23:59:59-14:00"}, "bad_request"),
    ],
)
async def test_a_bad_frame_is_refused_and_the_socket_goes_on(socket: Socket, frame: Json, code: str) -> None:
    await socket.say(**frame)
    refusal = await socket.receive()
    assert (refusal["type"], refusal["code"]) == ("error", code)
    await socket.say(type="send", content="Still there?")
    assert (await socket.receive_to_the_end())[-1]["type"] == "done"


async def test_frames_that_are_no_json_are_refused(socket: Socket) -> None:
    await socket.say_text("{")
    assert (await socket.receive())["code"] == "bad_request"


@pytest.mark.parametrize("kind", ["follow", "stop"])
async def test_a_strangers_answer_is_refused_like_one_that_does_not_exist(
    socket: Socket, site: Site, kind: str
) -> None:
    other = await sync_to_async(User.objects.create_user)("eve", password="x")
    theirs = (await (await sync_to_async(Site)(other)).ask())["id"]
    refusals = []
    for answer in (theirs, str(uuid4())):
        await socket.say(type=kind, answer=answer)
        refusals.append(await socket.receive())
    assert refusals[0] == refusals[1]
    assert refusals[0]["code"] == "not_found"


async def test_a_program_comes_with_a_bearer_token(site: Site) -> None:
    token = await sync_to_async(ApiToken.issue)(site.user, "program")
    async with open_socket({"authorization": f"Bearer {token}"}) as socket:
        await socket.say(type="send", content="Hello")
        assert (await socket.receive_to_the_end())[-1]["type"] == "done"


@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": "Bearer wrong"}, {"cookie": "sessionid=wrong"}],
    ids=["nobody", "a wrong token", "no such session"],
)
async def test_a_socket_without_a_login_is_refused(site: Site, headers: dict[str, str]) -> None:
    accepted, _ = await make_socket(headers).connect(PATIENCE)
    assert not accepted


@pytest.mark.parametrize(
    ("origin", "is_let_in"),
    [
        ("http://testserver", True),
        ("https://chat.example.org", True),
        ("https://a.trusted.example", True),
        ("http://chat.example.org", False),
        ("http://evil.example", False),
        ("http://testserver.evil.example", False),
        ("null", False),
        ("http://[", False),
        ("http://testserver]", False),
    ],
)
async def test_only_the_sites_own_pages_open_sockets(
    site: Site, settings: Settings, origin: str, is_let_in: bool
) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["https://chat.example.org", "https://*.trusted.example"]
    communicator = make_socket({**make_session_headers(site), "origin": origin})
    accepted, _ = await communicator.connect(PATIENCE)
    assert accepted == is_let_in
    await communicator.disconnect()


@pytest.mark.parametrize("host", ["[", "testserver]", "[::1"])
async def test_a_socket_at_what_is_no_host_is_refused(site: Site, host: str) -> None:
    accepted, _ = await make_socket({**make_session_headers(site), "host": host}).connect(PATIENCE)
    assert not accepted


@pytest.mark.parametrize("end", ["the session ends", "the user is deactivated", "the password changes"])
async def test_a_socket_is_cut_off_when_its_user_may_not_go_on(
    site: Site, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr(websocket, "CHECK_EVERY", 0.05)
    async with open_socket(make_session_headers(site)) as socket:
        await sync_to_async(end_by)(site, end)
        assert await socket.read_close_code() == websocket.UNAUTHORIZED


def end_by(site: Site, end: str) -> None:
    """End the user's login in the way that `end` names."""
    if end == "the session ends":
        site.client.session.flush()
    elif end == "the user is deactivated":
        User.objects.filter(pk=site.user.pk).update(is_active=False)
    else:
        site.user.set_password("another")
        site.user.save()


@pytest.mark.parametrize("end", ["the session ends", "the user is deactivated", "the password changes"])
async def test_a_stream_is_cut_off_when_its_user_may_not_go_on(
    site: Site, settings: Settings, monkeypatch: pytest.MonkeyPatch, provider: ProviderServer, end: str
) -> None:
    monkeypatch.setattr(websocket, "CHECK_EVERY", 0.05)
    settings.CHAT_HEARTBEAT = 0.05
    provider.script = Script(text="One two three", chunk_size=4, gate_after=4)
    seen = ""
    async for _, event in site.follow(await site.begin()):
        seen += event.get("content", "")
        if seen == "One ":
            await sync_to_async(end_by)(site, end)
    assert seen == "One "


async def test_a_stream_by_token_is_cut_off_when_the_token_is_taken_back(
    site: Site, settings: Settings, monkeypatch: pytest.MonkeyPatch, provider: ProviderServer
) -> None:
    monkeypatch.setattr(websocket, "CHECK_EVERY", 0.05)
    settings.CHAT_HEARTBEAT = 0.05
    provider.script = Script(text="One two three", chunk_size=4, gate_after=4)
    token = await sync_to_async(ApiToken.issue)(site.user, "program")
    answer = await site.begin()
    response = await site.stream(f"/api/answers/{answer}/events/", authorization=f"Bearer {token}")
    seen = b""
    async for chunk in response:
        if b"One " not in seen and b"One " in seen + chunk:
            await ApiToken.objects.all().adelete()
        seen += chunk
    assert b"One " in seen
    assert b'"done"' not in seen
