"""Programs that ask and follow, at any server of a cluster, and note what they receive."""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import uuid4

import aiohttp

from tests.provider_server import ProviderServer, RecordedRequest
from tests.support.server import Cluster, Server
from tests.support.site import NDJSON, SSE, Json, Positioned, from_ndjson, from_sse

LIVE = ("queued", "streaming")

R = TypeVar("R")

# A reader that cannot connect tries again after this; the pages wait longer.
RECONNECT = 0.1

# The positions of the joint where another process goes on with an answer.
JOINT = 2

# A response that says nothing for so long has been forgotten by its server: the site sends a heartbeat every 15 s.
SILENCE = 40.0

# Text with characters of one to four bytes, and some that a careless split would tear.
WORDS = ("the", "answer", "Zoë", "日本語", "naïve", "👩‍👩‍👧", "e\u0301", "🇩🇪", "word", "sky", "\n\n", "`code`")


def write_prose(chance: random.Random, characters: int) -> str:
    """Return a text of so many code points that no other call returns."""
    words = [uuid4().hex]
    length = len(words[0])
    while length < characters:
        words.append(chance.choice(WORDS))
        length += len(words[-1]) + 1
    return " ".join(words)[:characters]


@dataclass(eq=False)
class Reading:
    """What one client received of one answer."""

    answer: str
    text: str = ""
    position: int = 0
    ends: list[Json] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)
    """Events that did not begin where the one before them ended, so that there was a gap or a repeat."""
    heard: list[tuple[float, int]] = field(default_factory=list)
    """Moments, each with the number of characters received until then."""
    connections: int = 0
    has_skipped_joint: bool = False

    def take(self, positioned: Positioned) -> None:
        position, event = positioned
        kind = event["type"]
        if self.ends:
            self.torn.append(f"{event} after the end")
        width = {"start": 0, "notice": 0, "token": len(event.get("content", ""))}.get(kind, 1)
        if event.get("code") == "resumed" and kind == "notice" and position == self.position + JOINT:
            width = JOINT  # programs are not sent the events of the joint
        # A reader may have had text that was lost with its process: the end's position is then before the reader's.
        is_ahead = kind in {"done", "error"} and position < self.position
        if kind == "token" and position == self.position + width + JOINT and not self.has_skipped_joint:
            self.has_skipped_joint, width = True, width + JOINT  # the joint came while this reader was disconnected
        if position != self.position + width and not is_ahead:
            self.torn.append(f"{kind} of {width} leads from {self.position} to {position}")
        self.position = position
        if kind == "token":
            self.text += event["content"]
            self.heard.append((time.monotonic(), len(self.text)))
        if kind in {"done", "error"}:
            self.ends.append(event)

    @property
    def status(self) -> str:
        """The answer's status, as its last event tells it."""
        assert len(self.ends) == 1, (self.ends, self.torn)
        return str(self.ends[0].get("status", "interrupted"))

    def calculate_delay(self, recorded: RecordedRequest) -> float:
        """Return by how many seconds this reader was later than the provider, at worst."""
        worst, index = 0.0, 0
        for moment, sent in recorded.timeline:
            while index < len(self.heard) and self.heard[index][1] < sent:
                index += 1
            had = self.heard[index][0] if index < len(self.heard) else time.monotonic()
            worst = max(worst, had - moment)
        return worst


@dataclass(eq=False)
class Asked:
    """A question that was sent."""

    server: Server
    conversation: str
    content: str
    text: str
    """What the provider has to say."""
    answer: str = ""


class Load:
    """All clients of a test. Responses with a status of 500 or above are kept in `failures`."""

    def __init__(
        self, cluster: Cluster, provider: ProviderServer, chance: random.Random, tls: ssl.SSLContext | None = None
    ) -> None:
        self.cluster = cluster
        self._tls = tls
        self.provider = provider
        self.chance = chance
        self.failures: list[str] = []
        self._asked: list[Asked] = []
        self._calls: dict[str, list[RecordedRequest]] = defaultdict(list)
        self._looked_at = len(provider.requests)
        self._tasks: list[asyncio.Task[Any]] = []
        self._readings: dict[str, list[Reading]] = defaultdict(list)

    async def __aenter__(self) -> Self:
        self.http = aiohttp.ClientSession(
            connector=self.make_connector(),
            headers={"authorization": f"Bearer {self.cluster.token}"},
            timeout=aiohttp.ClientTimeout(total=None, connect=10, sock_read=SILENCE),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(self._tidy(asked) for asked in self._asked))
        await self.http.close()
        await asyncio.sleep(0)  # the loop closes the transports in its next turn

    async def _tidy(self, asked: Asked) -> None:
        """Stop the answer if it still has an upstream call, so that the next test does not meet it."""
        if not all(recorded.is_over for recorded in self.find_requests(asked)):
            with suppress(aiohttp.ClientError, TimeoutError):
                await self.send_request("POST", self.choose_server(), f"/api/answers/{asked.answer}/stop/")

    def make_connector(self) -> aiohttp.TCPConnector:
        """Return a connector that opens a connection for each request and trusts a proxy's certificate (`tls`)."""
        return aiohttp.TCPConnector(limit=0, force_close=True, ssl=self._tls or True)

    def choose_server(self) -> Server:
        return self.chance.choice(self.cluster.servers)

    # Asking

    async def begin_question(self, characters: int, server: Server | None = None, **script: Any) -> Asked:
        """Make a conversation, and return a question for it that is not sent yet.

        The provider will answer it with a text that is like no other, in the way that the fields of `Script` say.
        """
        server = server or self.choose_server()
        made = await self.call("POST", server, "/api/conversations/")
        text = write_prose(self.chance, characters)
        return Asked(server, made["id"], json.dumps({"text": text, **script}), text)

    async def ask(self, characters: int, server: Server | None = None, **script: Any) -> Asked:
        """Ask, without waiting for the answer."""
        asked = await self.begin_question(characters, server, **script)
        return await self.send(asked)

    async def send(self, asked: Asked, **fields: Any) -> Asked:
        path = f"/api/conversations/{asked.conversation}/messages/"
        body = {"content": asked.content, **fields}
        accepted = await self.call("POST", asked.server, path, body, prefer="respond-async")
        asked.answer = accepted["answer"]
        self._asked.append(asked)
        return asked

    async def call(self, method: str, server: Server, path: str, body: Json | None = None, **headers: str) -> Any:
        """Send a request and return its JSON; fail unless the status is 2xx."""
        status, answer = await self.send_request(method, server, path, body, **headers)
        assert 200 <= status < 300, f"{method} {path}: {status} {answer}"
        return answer

    async def send_request(
        self, method: str, server: Server, path: str, body: Json | None = None, **headers: str
    ) -> tuple[int, Any]:
        data = json.dumps(body or {}) if method == "POST" else None
        named = {"content-type": "application/json", **headers} if data else headers
        async with self.http.request(method, server.url + path, data=data, headers=named) as response:
            text = await response.text()
            if response.status >= 500:
                self.failures.append(f"{method} {path}: {response.status} {text[:200]}")
            try:
                return response.status, json.loads(text)
            except ValueError:
                return response.status, text

    # Following

    def follow_in_background(self, answer: str, **how: Any) -> asyncio.Task[Reading]:
        """Follow an answer in the background, until the test is over; see `follow`."""
        reading = Reading(answer)
        self._readings[answer].append(reading)
        return self.start_in_background(self.follow(answer, reading=reading, **how))

    def start_in_background(self, work: Coroutine[Any, Any, R]) -> asyncio.Task[R]:
        """Do something in the background, until the test is over."""
        task = asyncio.ensure_future(work)
        self._tasks.append(task)
        return task

    def list_readings(self, answer: str) -> list[Reading]:
        """Return what each background follower of an answer has received so far."""
        return self._readings[answer]

    async def follow(
        self,
        answer: str,
        *,
        pick: Callable[[], Server] | None = None,
        cuts: int = 0,
        characters: int = 0,
        media_type: str = "",
        reading: Reading | None = None,
    ) -> Reading:
        """Read to the end, at a server that `pick` names for each connection (any, if not given).

        The connection is cut `cuts` times, at random places of an answer that has so many `characters`.
        """
        reading = reading or Reading(answer)
        places = sorted(self.chance.randrange(1, characters) for _ in range(cuts))
        while not reading.ends:
            server = (pick or self.choose_server)()
            before = reading.position
            with suppress(aiohttp.ClientError, TimeoutError):
                kind = media_type or self.chance.choice((SSE, NDJSON))
                await self._read(reading, server, kind, places)
            if reading.position == before:
                await asyncio.sleep(RECONNECT)
        return reading

    async def _read(self, reading: Reading, server: Server, media_type: str, cuts: list[int]) -> None:
        path = f"{server.url}/api/answers/{reading.answer}/events/"
        headers = {"accept": media_type}
        if reading.position:
            headers["last-event-id"] = str(reading.position)
        reading.connections += 1
        parse = from_sse if media_type == SSE else from_ndjson
        buffer = b""
        async with self.http.get(path, headers=headers) as response:
            if response.status != 200:
                if response.status >= 500:
                    self.failures.append(f"GET {path}: {response.status}")
                return
            async for chunk in response.content.iter_any():
                events, buffer = parse(buffer + chunk)
                for positioned in events:
                    reading.take(positioned)
                    if cuts and reading.position >= cuts[0]:
                        while cuts and cuts[0] <= reading.position:
                            cuts.pop(0)
                        response.close()
                        return

    # What the database holds, and what the provider did

    async def answer(self, answer: str, server: Server | None = None) -> Json:
        found: Json = await self.call("GET", server or self.choose_server(), f"/api/answers/{answer}/")
        return found

    async def wait_for_end(self, answer: str, within: float, server: Server | None = None) -> Json:
        """Wait until an answer is terminal, and return it; fail when it is not after `within` seconds."""
        end = time.monotonic() + within
        while True:
            with suppress(aiohttp.ClientError, TimeoutError):
                found = await self.answer(answer, server)
                if found["status"] not in LIVE:
                    return found
            assert time.monotonic() < end, f"{answer} is not terminal after {within:g} s"
            await asyncio.sleep(0.1)

    def find_requests(self, asked: Asked) -> list[RecordedRequest]:
        """Return the upstream calls for a question, in their order."""
        new = self.provider.requests[self._looked_at :]
        self._looked_at += len(new)
        for recorded in new:
            self._calls[recorded.prompt].append(recorded)
        return self._calls[asked.content]

    async def wait_for_characters(self, asked: Asked, characters: int = 1) -> RecordedRequest:
        """Wait until so many characters of a question's first upstream call were sent, and return that call."""
        await self.provider.wait_until(lambda: bool(self.find_requests(asked)), 30)
        recorded = self.find_requests(asked)[0]
        await self.provider.wait_for_characters(recorded, characters, 30)
        return recorded
