"""A socket ends with the first thing that it can send no more, and only a fault of the site is logged as one."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from channels.auth import AuthMiddlewareStack

from chat.api.websocket import serve_socket
from chatsite.servers.request_guard import Guard
from tests.provider_server import ProviderServer, Script
from tests.support.site import Site
from tests.support.sockets import make_session_headers
from tests.support.waiting import PATIENCE, wait_until


class Client:
    """A client that asks, and whose connection fails in a manner of its own at the first word of the answer."""

    def __init__(self, fail: Callable[[], None]) -> None:
        self._fail = fail
        self._frames: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._frames.put_nowait({"type": "websocket.connect"})
        self._frames.put_nowait({"type": "websocket.receive", "text": json.dumps({"type": "send", "content": "Why?"})})
        self.answer = ""

    async def receive(self) -> dict[str, Any]:
        return await self._frames.get()

    async def send(self, message: dict[str, Any]) -> None:
        if message["type"] != "websocket.send":
            return
        frame = json.loads(message["text"])
        self.answer = frame.get("answer", self.answer)
        if frame["type"] == "token":
            self._fail()


def leave() -> None:
    raise OSError("Connection lost")


def fail_otherwise() -> None:
    raise ValueError("a fault of the site")


@pytest.mark.parametrize(("fail", "levels"), [(leave, []), (fail_otherwise, ["ERROR"])], ids=["left", "a fault"])
async def test_a_socket_ends_with_a_frame_that_cannot_be_sent(
    site: Site, provider: ProviderServer, caplog: pytest.LogCaptureFixture, fail: Callable[[], None], levels: list[str]
) -> None:
    provider.script = Script(text="Because of Rayleigh.", chunk_size=4, gate_after=8)
    client = Client(fail)
    headers = [(b"host", b"testserver"), (b"cookie", make_session_headers(site)["cookie"].encode())]
    scope = {"type": "websocket", "path": "/ws/chat/", "headers": headers, "subprotocols": []}
    with caplog.at_level(logging.INFO):
        async with asyncio.timeout(PATIENCE):
            await Guard(AuthMiddlewareStack(serve_socket))(scope, client.receive, client.send)
        provider.release()

        async def is_complete() -> bool:
            return bool((await site.answer(client.answer))["status"] == "complete")

        await wait_until(is_complete)
    assert [record.levelname for record in caplog.records if record.levelno > logging.INFO] == levels
