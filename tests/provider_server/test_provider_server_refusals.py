"""The provider server refuses what the providers refuse."""

from __future__ import annotations

import asyncio

import pytest

from tests.provider_server import ProviderServer
from tests.support.raw import QUESTION, STREAMED, Raw


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        pytest.param(STREAMED, {"Authorization": ""}, 401, id="no key"),
        pytest.param(b"{", {}, 400, id="no JSON"),
        pytest.param({**STREAMED, "model": ""}, {}, 400, id="no model"),
        pytest.param({**STREAMED, "messages": []}, {}, 400, id="no messages"),
    ],
)
async def test_a_request_that_the_api_would_not_take_is_refused(
    raw: Raw, path: str, body: object, headers: dict[str, str], status: int
) -> None:
    await raw.ask(body, path, headers)
    assert (await raw.read_until(b"\r\n")).startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize(
    ("messages", "complaint"),
    [
        ([{"role": "system", "content": "x"}], b"messages.0.role"),
        ([{"role": "user", "content": " "}], b"must be non-empty"),
        ([*QUESTION, {"role": "assistant", "content": "Because "}], b"trailing whitespace"),
    ],
)
async def test_anthropic_is_particular_about_messages(raw: Raw, messages: object, complaint: bytes) -> None:
    await raw.ask({**STREAMED, "messages": messages}, "/v1/messages", {"Connection": "close"})
    assert complaint in await raw.to_the_end()


async def test_a_server_with_a_key_refuses_every_other() -> None:
    async with ProviderServer(api_key="sk-right") as strict:
        reader, writer = await asyncio.open_connection("127.0.0.1", strict.port)
        client = Raw(reader, writer)
        await client.ask(STREAMED)
        assert (await client.read_until(b"\r\n")).startswith(b"HTTP/1.1 401 ")
        writer.transport.abort()
