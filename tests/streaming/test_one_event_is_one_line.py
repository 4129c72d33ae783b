"""An event is one line for every reader of lines, whatever line ends a model writes."""

from __future__ import annotations

import json

import pytest
from channels.auth import AuthMiddlewareStack
from channels.testing import WebsocketCommunicator

from chat.api import websocket
from tests.provider_server import ProviderServer, Script
from tests.support.site import NDJSON, SSE, Site, join_text
from tests.support.waiting import PATIENCE

# What `str.splitlines` and the readers of other languages take for line ends.
LINE_ENDS = ["\u0085", "\u2028", "\u2029", "\r", "\n", "\r\n", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e"]


@pytest.mark.parametrize("media_type", [SSE, NDJSON])
@pytest.mark.parametrize("end", LINE_ENDS)
async def test_a_stream_has_no_line_end_in_an_event(
    site: Site, provider: ProviderServer, media_type: str, end: str
) -> None:
    text = f"one{end}two"
    provider.script = Script(text=text)
    answer = (await site.ask())["id"]
    response = await site.stream(f"/api/answers/{answer}/events/", accept=media_type)
    body = b"".join([chunk async for chunk in response]).decode()
    assert body.splitlines() == body.removesuffix("\n").split("\n")
    assert join_text(await site.read_events(answer, media_type=media_type)) == text


async def test_a_frame_of_the_socket_is_one_line(site: Site, provider: ProviderServer) -> None:
    text = "one" + "".join(LINE_ENDS) + "two"
    provider.script = Script(text=text)
    answer = (await site.ask())["id"]
    cookie = f"sessionid={site.client.cookies['sessionid'].value}".encode()
    headers = [(b"host", b"testserver"), (b"cookie", cookie)]
    socket = WebsocketCommunicator(AuthMiddlewareStack(websocket.serve_socket), "/ws/chat/", headers)
    await socket.connect(PATIENCE)
    await socket.send_json_to({"type": "follow", "answer": answer})
    frames = [await socket.receive_from(PATIENCE)]
    while json.loads(frames[-1])["type"] != "done":
        frames.append(await socket.receive_from(PATIENCE))
    await socket.disconnect()
    assert all(frame.splitlines() == [frame] for frame in frames)
    assert "".join(event.get("content", "") for event in map(json.loads, frames)) == text
