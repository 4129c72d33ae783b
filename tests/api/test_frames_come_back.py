"""Over one WebSocket, a client knows which of its frames each of the site's is about."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest

from chat.generation.process import get_runner
from tests.provider_server import ProviderServer, Script
from tests.support.site import Site
from tests.support.sockets import Socket, make_session_headers, make_socket, open_socket
from tests.support.waiting import PATIENCE


@pytest.fixture
async def socket(site: Site) -> AsyncIterator[Socket]:
    async with open_socket(make_session_headers(site)) as socket:
        yield socket


async def test_the_start_has_the_id_and_the_turn_of_its_question(socket: Socket, provider: ProviderServer) -> None:
    turn = str(uuid4())
    await socket.say(type="send", content="Hello", id="q-1", turn=turn)
    start, *rest = await socket.receive_to_the_end()
    assert (start["type"], start["id"], start["turn"]) == ("start", "q-1", turn)
    assert not any("id" in frame for frame in rest)
    await socket.say(type="send", content="Hello", id=2, turn=turn, conversation=start["conversation"])


async def test_a_refusal_has_the_id_of_its_frame(socket: Socket) -> None:
    for frame, code in (
        ({"type": "send", "id": 7}, "bad_request"),
        ({"type": "dance", "id": "x"}, "bad_request"),
        ({"type": "stop", "answer": str(uuid4()), "id": "s"}, "not_found"),
        ({"type": "watch", "id": "w", "more": 1}, "bad_request"),
    ):
        await socket.say(**frame)
        refusal = await socket.receive()
        assert (refusal["type"], refusal["code"], refusal["id"]) == ("error", code, frame["id"])
        assert refusal["retryable"] is False


@pytest.mark.parametrize(
    "text",
    [
        '{"type": "watch", "type": "watch"}',
        '{"type": "watch", "id": {}}',
        '{"type": []}',
        f'{{"type": "watch", "id": "{"x" * 201}"}}',
    ],
)
async def test_a_frame_is_held_to_its_shape(socket: Socket, text: str) -> None:
    await socket.say_text(text)
    refusal = await socket.receive()
    assert (refusal["code"], "id" in refusal) == ("bad_request", False)


async def test_stop_and_watch_are_acknowledged_to_whom_gave_an_id(socket: Socket, provider: ProviderServer) -> None:
    provider.script = Script(text="One two three four", chunk_size=4, gate_after=8)
    await socket.say(type="watch", id="w")
    assert await socket.receive() == {"type": "ack", "of": "watch", "id": "w"}
    await socket.say(type="send", content="Count")
    answer = ""
    while not answer:
        answer = (await socket.receive()).get("answer", "")
    await socket.say(type="stop", answer=answer, id="s")
    frames: list[dict[str, Any]] = []
    while not frames or frames[-1]["type"] != "ack":
        frames.append(await socket.receive())
    assert frames[-1] == {"type": "ack", "of": "stop", "answer": answer, "status": "stopped", "id": "s"}


async def test_a_client_without_ids_is_told_what_it_always_was(socket: Socket, site: Site) -> None:
    answer = (await site.ask())["id"]
    await socket.say(type="stop", answer=answer)
    await socket.say(type="watch")
    await socket.say(type="nonsense")
    assert (await socket.receive())["code"] == "bad_request"


async def test_a_refusal_says_truly_whether_to_try_again(socket: Socket, provider: ProviderServer, site: Site) -> None:
    provider.script = Script(gate_after=0)
    conversation = await site.begin_conversation()
    await site.begin(conversation=conversation)
    await socket.say(type="send", content="Too soon", conversation=conversation)
    busy = await socket.receive()
    assert (busy["code"], busy["retryable"]) == ("busy", True)
    await get_runner().drain(0)
    await socket.say(type="send", content="Too late")
    draining = await socket.receive()
    assert (draining["code"], draining["retryable"]) == ("draining", True)
    assert draining["retry_after"] > 0


async def test_a_turn_with_another_question_is_refused(socket: Socket, provider: ProviderServer) -> None:
    turn = str(uuid4())
    await socket.say(type="send", content="Hello", turn=turn)
    await socket.receive_to_the_end()
    await socket.say(type="send", content="Goodbye", turn=turn)
    refusal = await socket.receive()
    assert (refusal["code"], refusal["field"], refusal["turn"]) == ("turn_taken", "turn", turn)


async def test_a_position_past_the_end_is_refused(socket: Socket, site: Site) -> None:
    answer = await site.ask()
    await socket.say(type="follow", answer=answer["id"], after=answer["position"] + 3, id="f")
    refusal = await socket.receive()
    assert (refusal["code"], refusal["field"], refusal["id"]) == ("bad_request", "after", "f")
    await socket.say(type="follow", answer=answer["id"], after=1, id="g")
    assert await socket.receive() == {"type": "ack", "of": "follow", "answer": answer["id"], "id": "g"}


async def test_a_frame_that_is_too_large_closes_with_its_own_code(socket: Socket) -> None:
    await socket.say_text("ü" * 600_000)
    assert await socket.read_close_code() == 1009


async def test_a_handshake_without_a_login_is_a_401(site: Site) -> None:
    communicator = make_socket({})
    communicator.scope["extensions"] = {"websocket.http.response": {}}
    await communicator.send_input({"type": "websocket.connect"})
    start = await communicator.receive_output(PATIENCE)
    headers = dict(start["headers"])
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 401)
    assert headers[b"www-authenticate"] == b'Bearer realm="chat"'
    assert b'"unauthorized"' in (await communicator.receive_output(PATIENCE))["body"]
