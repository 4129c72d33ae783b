"""A provider's list of models may be slow, endless, empty or no list at all: it costs nothing but itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from chat.core.errors import ChatError
from chat.providers import http_adapter
from chat.providers.anthropic import AnthropicProvider
from chat.providers.base import Provider
from chat.providers.openai_provider import OpenAIProvider
from tests.contracts.hearing import KEY

JSON = "application/json"


@asynccontextmanager
async def serve_list(
    body: bytes, status: int = 200, kind: str = JSON, *, for_ever: bytes = b"", then: str = ""
) -> AsyncIterator[str]:
    """Serve a response with this body, which goes on with `for_ever` without end, and yield the URL."""
    head = f"HTTP/1.1 {status} Said\r\nContent-Type: {kind}\r\n{then}Connection: close\r\n\r\n"
    answering: list[asyncio.Task[None] | None] = []

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answering.append(asyncio.current_task())
        with suppress(ConnectionError, asyncio.CancelledError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(head.encode() + body)
            while for_ever:
                writer.write(for_ever)
                await writer.drain()
                await asyncio.sleep(0.01 if len(for_ever) < 100 else 0)
        writer.close()

    server = await asyncio.start_server(respond, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    tasks = [task for task in answering if task is not None]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks)


MAKERS: dict[str, Callable[[str], Provider]] = {
    "openai": lambda url: OpenAIProvider(api_key=KEY, base_url=f"{url}/v1"),
    "anthropic": lambda url: AnthropicProvider(api_key=KEY, base_url=url),
}


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest) -> Callable[[str], Provider]:
    return MAKERS[request.param]


async def list_names(make: Callable[[str], Provider], url: str) -> list[str]:
    provider = make(url)
    try:
        async with asyncio.timeout(20):
            return list(await provider.list_models())
    finally:
        await provider.aclose()


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b"[]", []),
        (b'{"data": []}', []),
        (b"null", []),
        (b'"gpt-7"', []),
        (b'{"data": {"id": "a"}}', []),
        (b'{"models": [{"name": "a"}]}', []),
        (b'[{"id": "a"}, {"id": "a"}, {"id": 7}, [], {"id": "b"}]', ["a", "b"]),
        (b'\xef\xbb\xbf{"data": [{"id": "a"}]}', ["a"]),
        (json.dumps({"data": [{"id": f"m{number}", "about": "x" * 900} for number in range(5_000)]}).encode(), 1_000),
    ],
)
async def test_what_is_a_list_is_read(make: Callable[[str], Provider], body: bytes, names: list[str] | int) -> None:
    async with serve_list(body) as url:
        found = await list_names(make, url)
    assert (len(found) if isinstance(names, int) else found) == names


@pytest.mark.parametrize(
    ("body", "status", "kind", "code"),
    [
        (b"", 200, JSON, "upstream_error"),
        (b"Hello", 200, "text/plain", "upstream_error"),
        (b"<html></html>", 200, "text/html", "upstream_error"),
        (b"[" * 200_000, 200, JSON, "upstream_error"),
        (b'{"data": [', 200, JSON, "upstream_error"),
        (b'{"error": {"message": "Invalid key"}}', 401, JSON, "auth_failed"),
        (b'{"error": {"message": "Slow down"}}', 429, JSON, "rate_limited"),
        (b"", 500, JSON, "upstream_error"),
    ],
)
async def test_a_body_that_is_no_list_is_a_failure_with_a_code(
    make: Callable[[str], Provider], body: bytes, status: int, kind: str, code: str
) -> None:
    async with serve_list(body, status, kind) as url:
        with pytest.raises(ChatError) as failure:
            await list_names(make, url)
    assert failure.value.code == code


async def test_a_list_that_never_ends_is_given_up_by_its_length(make: Callable[[str], Provider]) -> None:
    async with serve_list(b'{"data": ["', for_ever=b"x" * 100_000) as url:
        with pytest.raises(ChatError, match="more than"):
            await list_names(make, url)


async def test_a_list_that_drips_is_given_up_by_its_time(
    make: Callable[[str], Provider], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each byte would begin a timeout between two reads anew, so the whole list has a time limit."""
    monkeypatch.setattr(http_adapter, "LIST_TIMEOUT", 0.3)
    async with serve_list(b'{"data": [', for_ever=b" ") as url:
        with pytest.raises(ChatError) as failure:
            await list_names(make, url)
    assert failure.value.code == "timeout"


async def test_a_redirect_is_not_followed(make: Callable[[str], Provider]) -> None:
    moved = "Location: http://127.0.0.1:9/v1/models\r\n"
    async with serve_list(b"", 302, then=moved) as url:
        with pytest.raises(ChatError) as failure:
            await list_names(make, url)
    assert failure.value.code == "upstream_error"
