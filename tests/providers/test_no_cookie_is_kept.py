"""A cookie that a provider sets, or a proxy before it, is not sent with the next call, which is another person's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from chat.providers.anthropic import AnthropicProvider
from chat.providers.base import Provider
from chat.providers.openai_provider import OpenAIProvider
from tests.contracts.hearing import KEY, Heard, complete, hear
from tests.support.odd_answers import write_stream

Ask = Callable[[Provider], Awaitable[Heard]]


class SettingServer:
    """Answers every request, sets a cookie with each answer, and keeps the heads of the requests."""

    def __init__(self, name: str, cookie: bytes) -> None:
        self.heads: list[bytes] = []
        self.port = 0
        body = write_stream(name, "Hi.", "stop" if name == "openai" else "end_turn").encode()
        labels = b"content-type: text/event-stream\r\nset-cookie: " + cookie
        self._answer = b"HTTP/1.1 200 OK\r\n%b\r\ncontent-length: %d\r\n\r\n%b" % (labels, len(body), body)

    async def respond(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            self.heads.append(head.lower())
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            writer.write(self._answer)


# Of a load balancer; of a proxy that greets in German, and in Latin-1.
@pytest.fixture(params=[b"AWSALB=x1y2z3; Path=/", "gruss=schön; Path=/".encode(), b"gruss=sch\xf6n; Path=/"])
async def server(request: pytest.FixtureRequest, name: str) -> AsyncIterator[SettingServer]:
    found = SettingServer(name, request.param)
    listening = await asyncio.start_server(found.respond, "127.0.0.1", 0)
    found.port = listening.sockets[0].getsockname()[1]
    yield found
    listening.close()


@pytest.mark.parametrize("name", ["openai", "anthropic"])
@pytest.mark.parametrize("ask", [hear, complete])
async def test_no_cookie_is_kept_for_the_next_call(name: str, server: SettingServer, ask: Ask) -> None:
    base = f"http://127.0.0.1:{server.port}"
    provider: Provider = (
        OpenAIProvider(api_key=KEY, base_url=f"{base}/v1", api="chat")
        if name == "openai"
        else AnthropicProvider(api_key=KEY, base_url=base)
    )
    for _ in range(2):
        heard = await ask(provider)
        assert (heard.error, heard.text) == (None, "Hi.")
    await provider.aclose()
    assert len(server.heads) == 2
    assert not any(b"\r\ncookie:" in head for head in server.heads)
