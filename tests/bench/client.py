"""A load client in a process of its own: a `Job` as JSON on its input, a `Reading` for each stream on its output."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass, field
from typing import Literal, Self
from uuid import uuid4

import aiohttp
import uvloop

from tests.bench.provider import STAMP, calculate_seconds_since, make_stamp

Target = Literal["provider", "json", "page"]

_STREAM = re.compile(r'hx-sse:connect="([^"]+)"')
_CSRF = "c" * 32  # any will do, as long as cookie and form have the same


@dataclass(frozen=True, slots=True)
class Visitor:
    """A conversation and what its user is known by."""

    conversation: str = ""
    token: str = ""
    session: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """One stream for each visitor. `target` is what is spoken at `url`: a provider's API (a pass-through speaks it
    too), the site's JSON events, or what its page does. Times in seconds.
    """

    target: Target
    url: str
    question: str
    tokens: int
    starts: list[float]
    """When each stream begins, by `time.monotonic`."""
    visitors: list[Visitor]

    @classmethod
    def read(cls, text: str) -> Self:
        fields = json.loads(text)
        return cls(**{**fields, "visitors": [Visitor(**visitor) for visitor in fields["visitors"]]})


@dataclass(slots=True)
class Reading:
    """What one stream was like. Times in seconds."""

    first: float | None = None
    """From the question to the first word, less what the provider took from the question's arrival to that word."""
    delays: list[float] = field(default_factory=list)
    """From each token's sending to its arrival."""
    complete: bool = False
    """Every token came, once and in order, and the stream ended as it should."""
    trouble: str = ""


class Listening:
    """Finds the stamps in a stream; each token has a later one than those before it.

    A page is sent its tail again and again: what it has seen is nothing new. A token that is lost or late is missing
    in the count.
    """

    def __init__(self, job: Job, asked: int) -> None:
        self.reading = Reading()
        self._job = job
        self._asked = asked
        self._newest = 0
        self._rest = b""
        self._in_order = True
        self._last = b""

    def feed(self, chunk: bytes) -> None:
        now = make_stamp()
        *whole, self._rest = (self._rest + chunk).rsplit(b"\n", 1)
        for lines in whole:
            self._last = lines.rstrip()[-200:] or self._last
            self._take([int(found) for found in STAMP.findall(lines)], now)

    def _take(self, stamps: list[int], now: int) -> None:
        if stamps and not self._newest:
            arrived, *stamps = stamps
            self.reading.first = calculate_seconds_since(stamps[0], now) + calculate_seconds_since(self._asked, arrived)
            self._newest = arrived
        for one in stamps:
            if one > self._newest:
                self._newest = one
                self.reading.delays.append(calculate_seconds_since(one, now))
            elif self._job.target != "page":
                self._in_order = False

    def finish(self) -> Reading:
        is_ended = b"[DONE]" in self._last if self._job.target == "provider" else b"done" in self._last
        reading = self.reading
        reading.complete = self._in_order and is_ended and len(reading.delays) == self._job.tokens
        if not reading.complete:
            reading.trouble = f"{len(reading.delays)} of {self._job.tokens}, in order: {self._in_order}, {self._last!r}"
        return reading


async def stream_provider(http: aiohttp.ClientSession, job: Job, visitor: Visitor) -> AsyncIterator[bytes]:
    body = {
        "model": "m",
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [{"role": "user", "content": job.question}],
    }
    async with http.post(f"{job.url}/v1/chat/completions", json=body, headers={"authorization": "Bearer sk"}) as found:
        async for chunk in found.content.iter_any():
            yield chunk


async def stream_json_events(http: aiohttp.ClientSession, job: Job, visitor: Visitor) -> AsyncIterator[bytes]:
    path = f"{job.url}/api/conversations/{visitor.conversation}/messages/"
    headers = {"authorization": f"Bearer {visitor.token}", "accept": "text/event-stream"}
    async with http.post(path, json={"content": job.question}, headers=headers) as found:
        async for chunk in found.content.iter_any():
            yield chunk


async def stream_page(http: aiohttp.ClientSession, job: Job, visitor: Visitor) -> AsyncIterator[bytes]:
    async with send_form(http, job, visitor, "text/html, text/event-stream") as stream:
        async for chunk in stream.content.iter_any():
            yield chunk


async def ask_on_page(http: aiohttp.ClientSession, job: Job, visitor: Visitor) -> str:
    """Send the form and return the URL of the answer's stream."""
    async with send_form(http, job, visitor, "text/html") as turn:
        found = _STREAM.search(await turn.text())
        assert found, f"{turn.status}: no stream in the turn"
    return job.url + found[1]


def send_form(
    http: aiohttp.ClientSession, job: Job, visitor: Visitor, accept: str
) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
    """Send what the composer's form sends, and return its response, with the stream if `accept` names SSE."""
    headers = {**make_cookies(visitor), "hx-request": "true", "x-csrftoken": _CSRF, "accept": accept}
    form = {"content": job.question, "conversation": visitor.conversation, "turn": str(uuid4())}
    return http.post(f"{job.url}/send/", data=form, headers=headers)


def make_cookies(visitor: Visitor) -> dict[str, str]:
    """Return the headers of a browser that is logged in."""
    return {"cookie": f"sessionid={visitor.session}; csrftoken={_CSRF}"}


TARGETS = {"provider": stream_provider, "json": stream_json_events, "page": stream_page}


async def listen(http: aiohttp.ClientSession, job: Job, visitor: Visitor, start: float) -> Reading:
    await asyncio.sleep(max(0, start - time.monotonic()))
    listening = Listening(job, make_stamp())
    try:
        async for chunk in TARGETS[job.target](http, job, visitor):
            listening.feed(chunk)
    except (aiohttp.ClientError, AssertionError) as error:
        return Reading(trouble=f"{type(error).__name__}: {error}")
    return listening.finish()


async def run(job: Job) -> list[Reading]:
    """Run all streams of a job, each from its start time, and return their readings."""
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as http:
        streams = zip(job.visitors, job.starts, strict=True)
        return await asyncio.gather(*(listen(http, job, visitor, start) for visitor, start in streams))


if __name__ == "__main__":
    readings = uvloop.run(run(Job.read(sys.stdin.read())))
    # A buffered file of its own: with PYTHONUNBUFFERED set, `print` lost what was beyond the pipe's 64 KiB.
    with open(sys.stdout.fileno(), "w", closefd=False) as output:
        json.dump([asdict(reading) for reading in readings], output)
