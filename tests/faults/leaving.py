"""Requests as bytes, and clients that leave within milliseconds of having sent one."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx2

from tests.support.server import Server

# A client leaves at most so many seconds after the last byte of its request.
STAYS = 0.02

# With a linger of 0 s a close is a reset: what is on its way is thrown away.
RESET = struct.pack("ii", 1, 0)

# RFC 6455, section 1.3: any key will do. A mask of zeros leaves a frame as it is.
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
TEXT_FRAME, MASKED, MASK, LONGEST_SHORT, LONG = b"\x81", 0x80, bytes(4), 125, 126


@dataclass(frozen=True)
class Request:
    """What a client sends: one HTTP request, or the handshake of a WebSocket and then a frame."""

    first: bytes
    frame: bytes = b""


@dataclass(frozen=True)
class Sender:
    """A client of one server: a browser that is logged in, and a program with its token."""

    browser: httpx2.Client
    token: str

    def submit(self, path: str, fields: Mapping[str, str], *, is_htmx: bool = False) -> Request:
        """Return a form as a page of the site sends it."""
        body = urlencode({**fields, "csrfmiddlewaretoken": self.browser.cookies["csrftoken"]}).encode()
        cookies = "; ".join(f"{name}={value}" for name, value in self.browser.cookies.items())
        headers = {"Cookie": cookies, "Content-Type": "application/x-www-form-urlencoded"}
        return Request(write_request("POST", path, headers | ({"HX-Request": "true"} if is_htmx else {}), body))

    def post(self, path: str, fields: Mapping[str, Any], **headers: str) -> Request:
        """Return a request of a program."""
        known = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        return Request(write_request("POST", path, {**known, **headers}, json.dumps(fields).encode()))

    def say(self, frame: Mapping[str, Any]) -> Request:
        """Return a frame that a program sends over a WebSocket of its own."""
        data = json.dumps(frame).encode()
        opening = write_request("GET", "/ws/chat/", {**UPGRADE, "Authorization": f"Bearer {self.token}"})
        is_long = len(data) > LONGEST_SHORT
        length = struct.pack("!BH", MASKED | LONG, len(data)) if is_long else bytes([MASKED | len(data)])
        return Request(opening, TEXT_FRAME + length + MASK + data)


def write_request(method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """Return the bytes of an HTTP request."""
    length = {"Content-Length": str(len(body))} if body else {}
    lines = "".join(f"{name}: {value}\r\n" for name, value in {"Host": "127.0.0.1", **length, **headers}.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + body


async def send_and_leave(server: Server, request: Request, chance: random.Random) -> None:
    """Send all of a request, and close the connection soon after its last byte, by chance with a reset."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    if chance.random() < 0.5:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.write(request.first)
    if request.frame:
        opened = await reader.readuntil(b"\r\n\r\n")
        assert b" 101 " in opened.splitlines()[0], opened
        writer.write(request.frame)
    await writer.drain()
    await asyncio.sleep(chance.uniform(0, STAYS))
    writer.transport.abort()
