"""Readers of the other kinds: a WebSocket, and a page as a browser has it."""

from __future__ import annotations

import asyncio
import re
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.faults.load import RECONNECT, Load, Reading
from tests.support.page import Page
from tests.support.partials import PARTIAL
from tests.support.server import Server, log_in_demo
from tests.support.site import Positioned

_PART = re.compile(r'<div class="text" id="part-[0-9a-f-]{36}-(\d+)" dir="auto">')
_DIV = re.compile(r"<(/?)div\b")


async def follow_by_socket(load: Load, answer: str) -> Reading:
    """Follow an answer to its end over WebSockets, at any server for each connection."""
    reading = Reading(answer)
    while not reading.ends:
        with suppress(aiohttp.ClientError, TimeoutError):
            await _read_socket(load, reading, load.choose_server())
        if not reading.ends:
            await asyncio.sleep(RECONNECT)
    return reading


async def _read_socket(load: Load, reading: Reading, server: Server) -> None:
    reading.connections += 1
    async with load.http.ws_connect(f"{server.url}/ws/chat/") as socket:
        await socket.send_json({"type": "follow", "answer": reading.answer, "after": reading.position})
        async for message in socket:
            frame: dict[str, Any] = message.json()
            if "position" in frame:
                reading.take(Positioned(frame["position"], frame))
            if reading.ends:
                return


@dataclass(eq=False)
class PageReading:
    """What a page shows of one answer."""

    answer: str
    texts: dict[int, Page] = field(default_factory=lambda: {0: Page()})
    """By their places among the answer's parts; a page has the first one from the beginning."""
    position: int = 0
    is_over: bool = False
    torn: list[str] = field(default_factory=list)
    """Where it was sent back, or the whole answer again, as is done to a page that shows what is not so."""

    @property
    def html(self) -> list[str]:
        return [self.texts[index].html for index in sorted(self.texts)]

    def take(self, position: int, data: str) -> None:
        if position < self.position:
            self.torn.append(f"from {self.position} back to {position}")
        self.position = position
        for target, how, html in PARTIAL.findall(data):
            if target == f"#answer-{self.answer}" or (target == f"#parts-{self.answer}" and how == "innerHTML"):
                self.torn.append(f"the whole answer was sent again at {position}")
            elif target == f"#parts-{self.answer}":
                self.texts |= read_texts(html)
            elif target.startswith(f"#part-{self.answer}-"):
                number, _, selector = target.removeprefix(f"#part-{self.answer}-").partition(" ")
                self.texts[int(number)].swap(selector, how, html)


def read_texts(html: str) -> dict[int, Page]:
    """Return the texts among an answer's parts."""
    found = {}
    for part in _PART.finditer(html):
        depth = 1
        for tag in _DIV.finditer(html, part.end()):
            depth += -1 if tag[1] else 1
            if not depth:
                found[int(part[1])] = Page(html[part.end() : tag.start()])
                break
    return found


async def log_in(server: Server) -> dict[str, str]:
    """Return the header by which a browser of the user is known to every server."""
    with closing(await asyncio.to_thread(log_in_demo, server)) as browser:
        return {"cookie": "; ".join(f"{name}={value}" for name, value in browser.cookies.items())}


async def follow_by_page(load: Load, answer: str, login: dict[str, str]) -> PageReading:
    """Follow an answer to its end as an open page does, at any server for each connection."""
    reading = PageReading(answer)
    connector = load.make_connector()
    async with aiohttp.ClientSession(headers=login, timeout=load.http.timeout, connector=connector) as http:
        while not reading.is_over:
            with suppress(aiohttp.ClientError, TimeoutError):
                await _read_page(http, reading, load.choose_server())
            if not reading.is_over:
                await asyncio.sleep(RECONNECT)
    return reading


async def _read_page(http: aiohttp.ClientSession, reading: PageReading, server: Server) -> None:
    headers = {"last-event-id": str(reading.position)} if reading.position else {}
    buffer = b""
    async with http.get(f"{server.url}/answers/{reading.answer}/stream/?after=0", headers=headers) as response:
        if response.status != 200:
            return
        async for chunk in response.content.iter_any():
            *messages, buffer = (buffer + chunk).split(b"\n\n")
            for message in messages:
                lines = [line.partition(": ") for line in message.decode().split("\n")]
                if ("event", ": ", "done") in lines:
                    reading.is_over = True
                    return
                data = "\n".join(value for name, _, value in lines if name == "data")
                for value in (value for name, _, value in lines if name == "id"):
                    reading.take(int(value), data)


async def load_page(load: Load, server: Server, conversation: str, answer: str, login: dict[str, str]) -> list[str]:
    """Return the texts of an answer on its conversation's page, as a reload shows them."""
    async with (
        aiohttp.ClientSession(headers=login) as http,
        http.get(f"{server.url}/c/{conversation}/") as response,
    ):
        html = await response.text()
    texts = read_texts(html[html.index(f'id="parts-{answer}"') :])
    return [texts[index].html for index in sorted(texts)]
