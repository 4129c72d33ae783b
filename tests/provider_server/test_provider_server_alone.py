"""The provider server in a thread, and in a process of its own."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import threading
from http.client import HTTPConnection
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from tests.provider_server import ProviderServer, Script
from tests.support.raw import PATIENCE, STREAMED, Raw

TEXT = "Blue light is scattered."


def run_blocking(url: str, path: str, body: object = None) -> Any:
    """Send one request without an event loop; return the JSON of the response, or the bytes of a stream."""
    client = HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE)
    headers = {"authorization": "Bearer sk", "anthropic-version": "2023-06-01"}
    try:
        client.request("GET" if body is None else "POST", path, None if body is None else json.dumps(body), headers)
        data = client.getresponse().read()
    finally:
        client.close()
    return data if data.startswith(b"data:") else json.loads(data)


def test_in_a_thread_it_answers_and_is_steered_from_outside() -> None:
    before = list_server_threads()
    with ProviderServer.run_in_thread() as server:
        server.script = Script(text=TEXT, gate_after=4)
        answers: list[bytes] = []
        client = threading.Thread(
            target=lambda: answers.append(run_blocking(server.url, "/v1/chat/completions", STREAMED))
        )
        client.start()
        server.block_until(lambda: bool(server.requests) and server.requests[0].is_paused)
        assert server.requests[0].sent_characters == 4
        server.release()
        client.join(PATIENCE)
        assert b"[DONE]" in answers[0]
    assert list_server_threads() == before


def list_server_threads() -> set[threading.Thread]:
    """Return the threads in which servers run. Servers of other tests may be among them."""
    return {thread for thread in threading.enumerate() if thread.name == "provider-server"}


async def test_waiting_works_from_an_event_loop_other_than_the_servers() -> None:
    with ProviderServer.run_in_thread(Script(stall_after=3)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        await Raw(reader, writer).ask(STREAMED)
        request = await server.wait_for_requests(1)
        await server.wait_for_characters(request, 3)
        writer.transport.abort()
        assert await server.wait_until_closed(request) <= monotonic()


def test_a_port_that_is_taken_is_told_to_the_thread_that_asked() -> None:
    with ProviderServer.run_in_thread() as server, pytest.raises(OSError, match="in use"):  # noqa: SIM117
        with ProviderServer.run_in_thread(port=server.port):
            pass


async def test_as_a_process_it_is_steered_over_http_and_ends_when_told() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.provider_server", "--script", '{"text": "first"}'),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    line = (await asyncio.wait_for(process.stdout.readline(), PATIENCE)).decode()
    url = line.split()[-1]
    answers = await asyncio.to_thread(_steer, url)
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), PATIENCE) == 0
    assert answers == ["first", "second", "third", "second"]


def _steer(url: str) -> list[str]:
    answers = [_read_text(url)]
    run_blocking(url, "/_/script", {"text": "second"})
    answers.append(_read_text(url))
    run_blocking(url, "/_/enqueue", {"text": "third"})
    answers += [_read_text(url), _read_text(url)]
    assert [request["body"]["model"] for request in run_blocking(url, "/_/requests")] == ["m"] * 4
    assert "error" in run_blocking(url, "/_/script", {"text": 5})
    return answers


def _read_text(url: str) -> str:
    answer = run_blocking(url, "/v1/messages", {**STREAMED, "stream": False})
    return str(answer["content"][0]["text"])
