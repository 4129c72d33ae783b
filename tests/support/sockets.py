"""WebSockets of the site, as a program opens them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from channels.auth import AuthMiddlewareStack
from channels.testing import WebsocketCommunicator

from chat.api import websocket
from tests.support.site import Json, Site
from tests.support.waiting import PATIENCE


class Socket:
    """One WebSocket, as a program has it."""

    def __init__(self, communicator: Any) -> None:
        self._communicator = communicator

    async def say(self, **frame: Any) -> None:
        await self._communicator.send_json_to(frame)

    async def say_text(self, text: str) -> None:
        """Send a frame as it stands, JSON or not."""
        await self._communicator.send_to(text_data=text)

    async def receive(self) -> Json:
        frame: Json = await self._communicator.receive_json_from(PATIENCE)
        return frame

    async def receive_to_the_end(self) -> list[Json]:
        frames = [await self.receive()]
        while frames[-1]["type"] not in {"done", "error"}:
            frames.append(await self.receive())
        return frames

    async def read_close_code(self) -> int:
        message = await self._communicator.receive_output(PATIENCE)
        assert message["type"] == "websocket.close"
        return int(message["code"])


@asynccontextmanager
async def open_socket(headers: dict[str, str]) -> AsyncIterator[Socket]:
    communicator = make_socket(headers)
    accepted, _ = await communicator.connect(PATIENCE)
    assert accepted
    yield Socket(communicator)
    await communicator.disconnect()


def make_socket(headers: dict[str, str]) -> Any:
    raw = [(name.encode(), value.encode()) for name, value in {"host": "testserver", **headers}.items()]
    return WebsocketCommunicator(AuthMiddlewareStack(websocket.serve_socket), "/ws/chat/", raw)


def make_session_headers(site: Site) -> dict[str, str]:
    return {"cookie": f"sessionid={site.client.cookies['sessionid'].value}"}


def join_text(frames: list[Json]) -> str:
    return "".join(frame["content"] for frame in frames if frame["type"] == "token")
