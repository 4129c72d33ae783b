"""The bench's provider: OpenAI's chat completions at an exact pace, at little cost to the machine it shares.

What is asked for is a JSON object in the last message:

    {"tokens": 200, "rate": 50, "first": 0.2}         stamped: each token says when it was sent
    {"characters": 200000, "rate": 2000, "first": 0}  Markdown, a token of four characters each
    {…, "of": "list"}                                 one that never ends: paragraphs, list, table, code
    {…, "thinking": 100}                              so many tokens of reasoning before the answer, at the same rate
    {…, "tool": "calculate"}                          a call of this tool first, and the answer when its result has come

`first` is in seconds, `rate` in tokens a second. `make_stamp` makes a stamp. The first token has two: when the question
arrived, and when the token was sent. Stamps stand in headings, paragraphs, lists and code, so that a site that renders
Markdown has to render them.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import Iterator
from itertools import count, cycle
from typing import Any, cast

import uvloop

STAMP = re.compile(rb"(?:(?<![\w-])|(?<=\\n))[1-9]\d{7}(?![\w-])")
"""Eight digits, and no part of a UUID or of a longer number; in JSON a line end before them is a backslash and an n."""

_FROM, _TURN = 10_000_000, 90_000_000

# A little of everything that answers are made of.
MARKDOWN = """\
## Why the sky is blue

Sunlight is **scattered** by the air, and *blue* light more than red, because its wavelength is shorter. What arrives
from the side is what was scattered on the way, and it is seen from every direction at once.

1. the intensity goes with `1/λ⁴`, as [Rayleigh](https://en.wikipedia.org/wiki/Rayleigh_scattering) found;
2. so violet and blue reach us from *every* direction;
3. and a sunset, seen through more air, is red.

| Colour | Wavelength | Scattered |
|---|---|---|
| violet | 400 nm | 9.4 |
| red | 700 nm | 1 |

```python
def intensity(wavelength: float) -> float:
    return wavelength ** -4
```

"""

# Blocks that go on and on: for each kind, what stands before the first line, and the line that is repeated.
ENDLESS = {
    "paragraphs": ("", "Sunlight is **scattered** by the air, and *blue* light more than `red`, line {} of many.\n\n"),
    "list": ("", "- an item of a **long** list, number {}, with a [link](https://example.org/) and a few words\n"),
    "table": ("| Row | Colour | Wavelength |\n|---|---|---|\n", "| {} | *violet* and blue | 400 nm |\n"),
    "code": ("```python\n", "    wavelengths[{}] = intensity(colour) ** -4  # as Rayleigh found\n"),
}


def make_stamp() -> int:
    """Return the time in tenths of a millisecond, on the clock that all processes of a machine share.

    It turns over in 2.5 hours.
    """
    return _FROM + time.monotonic_ns() // 100_000 % _TURN


def calculate_seconds_since(stamped: int, now: int) -> float:
    """Return the seconds between two stamps."""
    return ((now - stamped + _TURN // 2) % _TURN - _TURN // 2) / 10_000


def _list_layout() -> Iterator[tuple[str, str]]:
    """Yield what stands before and after each stamp, as the inside of a JSON string."""
    yield "## ", " "
    yield from [("", " ")] * 4
    yield "", r"\n\n"
    for number in range(40):
        yield ("**", "** ") if number % 10 == 5 else ("", r"\n\n" if number == 39 else " ")
    for item in range(3):
        yield "- ", " "
        yield from [("", " ")] * 8
        yield "", r"\n\n" if item == 2 else r"\n"
    yield r"```python\n", " "
    yield from [("", " "), ("", " "), ("", r"\n")] * 4
    yield "", r"\n```\n\n"


LAYOUT = tuple(_list_layout())

_BEFORE = (
    b'data: {"id":"chatcmpl-C9xkQ2mV7bTgH3rLpW8sYdNfZ0aJu","object":"chat.completion.chunk","created":1760000000,'
    b'"model":"m","service_tier":"default","system_fingerprint":"fp_560af6e559","choices":[{"index":0,"delta":'
)
_THOUGHT = _BEFORE + b'{"reasoning_content":"I wonder "},"logprobs":null,"finish_reason":null}],"usage":null}\n\n'
_CALL = (
    _BEFORE + b'{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"%b","arguments":"%b"}}]}'
)
_ARGUMENTS = {"calculate": rb"{\"expression\":\"6*7\"}"}
_AFTER = b',"logprobs":null,"finish_reason":null}],"usage":null}\n\n'
_END = (
    _BEFORE + b'{},"logprobs":null,"finish_reason":"stop"}],"usage":null}\n\n',
    b'data: {"id":"chatcmpl-C9xkQ2mV7bTgH3rLpW8sYdNfZ0aJu","object":"chat.completion.chunk","created":1760000000,'
    b'"model":"m","choices":[],"usage":{"prompt_tokens":12,"completion_tokens":34,"total_tokens":46}}\n\n',
    b"data: [DONE]\n\n",
)
_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


def write_stamped(tokens: int, asked: int) -> Iterator[bytes]:
    """Yield so many tokens, each made when it is asked for, each with a later stamp than the one before."""
    last = asked
    for number, (before, after) in zip(range(tokens), cycle(LAYOUT), strict=False):
        received = f"{asked} " if number == 0 else ""
        last = max(make_stamp(), last + 1)
        yield f"{before}{received}{last}{after}".encode()


def write_endless_block(kind: str, characters: int) -> str:
    """Return one block of this kind, with at least so many characters."""
    first, line = ENDLESS[kind]
    return first + "".join(line.format(number) for number in range(characters // len(line) + 1))


def write_markdown(characters: int, kind: str = "") -> Iterator[bytes]:
    """Yield so many characters, four a token, of one endless block or of the Markdown again and again."""
    text = (write_endless_block(kind, characters) if kind else MARKDOWN * (characters // len(MARKDOWN) + 1))[
        :characters
    ]
    for start in range(0, characters, 4):
        yield json.dumps(text[start : start + 4], ensure_ascii=False)[1:-1].encode()


def find_wanted(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the newest question asks for.

    User messages that are no JSON object are skipped: they ask for the rest of an answer that broke off.
    """
    said = [message["content"] for message in reversed(messages) if message["role"] == "user"]
    wanted: dict[str, Any] = json.loads(next(content for content in said if content.startswith("{")))
    return wanted


class Connection(asyncio.Protocol):
    """One client, one request after the other."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._received = b""
        self._answering: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's transport is no subclass of it

    def connection_lost(self, error: Exception | None) -> None:
        if self._answering is not None:
            self._answering.cancel()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if end and length and len(body) >= int(length[1]):
            asked, self._received = make_stamp(), b""
            messages = json.loads(body)["messages"]
            wanted = find_wanted(messages)
            if messages[-1]["role"] == "user" and "tool" in wanted:
                self._call(wanted["tool"])
                return
            self._answering = asyncio.get_running_loop().create_task(self._answer(wanted, asked))

    def _call(self, tool: str) -> None:
        """Answer at once with a call of a tool."""
        self.transport.write(_HEAD)
        self._write_chunk(_CALL % (tool.encode(), _ARGUMENTS[tool]) + _AFTER)
        for end in _END:
            self._write_chunk(end.replace(b'"stop"', b'"tool_calls"'))
        self.transport.write(b"0\r\n\r\n")

    async def _answer(self, wanted: dict[str, Any], asked: int) -> None:
        begun = time.monotonic() + wanted["first"]
        if "tokens" in wanted:
            pieces = write_stamped(wanted["tokens"], asked)
        else:
            pieces = write_markdown(wanted["characters"], wanted.get("of", ""))
        self.transport.write(_HEAD)
        self._write_chunk(_BEFORE + b'{"role":"assistant","content":"","refusal":null}' + _AFTER)
        for number in range(wanted.get("thinking", 0)):
            if (wait := begun + number / wanted["rate"] - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            self._write_chunk(_THOUGHT)
        begun = max(begun, time.monotonic())
        for number in count():
            if (wait := begun + number / wanted["rate"] - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            if (piece := next(pieces, None)) is None:
                break
            self._write_chunk(_BEFORE + b'{"content":"' + piece + b'"}' + _AFTER)
        for end in _END:
            self._write_chunk(end)
        self.transport.write(b"0\r\n\r\n")

    def _write_chunk(self, data: bytes) -> None:
        self.transport.write(b"%x\r\n%b\r\n" % (len(data), data))


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
