"""What the site promises its operator, on every server it runs on: streams, kill -9, SIGTERM, a broken response."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.provider_server import ProviderServer, Script
from tests.support.client import Client
from tests.support.databases import serve_new_site
from tests.support.waiting import block_until

TEXT = "".join(f"word{number} " for number in range(2000))


@pytest.fixture(params=[pytest.param("daphne", marks=pytest.mark.sqlite), "uvicorn"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def provider_thread() -> Iterator[ProviderServer]:
    with ProviderServer.run_in_thread() as server:
        yield server


@pytest.fixture
def environment(provider_thread: ProviderServer) -> dict[str, str]:
    return {"OPENAI_BASE_URL": provider_thread.openai_url, "CHAT_MODELS": "openai:gpt-test", "CHAT_LEASE": "3"}


@pytest.mark.database
def test_an_answer_streams_as_it_is_said(
    kind: str, tmp_path: Path, provider_thread: ProviderServer, environment: dict[str, str]
) -> None:
    """The first half arrives while the provider holds the second one back."""
    provider_thread.script = Script(text="One two three four", chunk_size=4, gate_after=8)
    with serve_new_site(kind, tmp_path, **environment) as (server, token), Client(server, token) as client:
        text = ""
        for _, event in client.iterate_events(client.begin()):
            text += event.get("content", "")
            if text == "One two ":
                provider_thread.release()
        assert text == "One two three four"


def test_a_connection_is_kept_between_two_requests(kind: str, tmp_path: Path) -> None:
    """Whoever reads an answer for a while asks the next question on the same connection."""
    with serve_new_site(kind, tmp_path) as (server, _):
        connection = HTTPConnection("127.0.0.1", server.port, timeout=10)
        connection.connect()
        mine = connection.sock
        for pause in (6, 0):
            connection.request("GET", "/healthz")
            assert b"ok" in connection.getresponse().read()
            time.sleep(pause)
        assert connection.sock is mine, "it was closed, and another one opened"
        connection.close()


@pytest.mark.database
def test_kill_9_keeps_an_exact_prefix_and_the_answer_ends_after_the_restart(
    kind: str, tmp_path: Path, provider_thread: ProviderServer, environment: dict[str, str]
) -> None:
    provider_thread.script = Script(text=TEXT, chunk_size=10, delay_between=0.01)
    environment["CHAT_FINISH_LOST"] = "0"
    with serve_new_site(kind, tmp_path, **environment) as (server, token), Client(server, token) as client:
        answers = [client.begin() for _ in range(5)]
        seen = ""
        for _, event in client.iterate_events(answers[0]):
            seen += event.get("content", "")
            if len(seen) > 2000:
                break
        server.kill()
        server.start()
        began = time.monotonic()
        for answer in answers:
            found = client.wait_for_end(answer, 15)
            assert (found["status"], found["error"]["code"]) == ("interrupted", "server_lost")
            assert TEXT.startswith(found["text"])
        # A second of this provider is about 1,000 characters.
        assert len(client.answer(answers[0])["text"]) >= len(seen) - 1000
        assert time.monotonic() - began < 15


@pytest.mark.database
def test_sigterm_loses_nothing_and_ends_in_time(
    kind: str, tmp_path: Path, provider_thread: ProviderServer, environment: dict[str, str]
) -> None:
    provider_thread.script = Script(text=TEXT, chunk_size=10, delay_between=0.01)
    environment |= {"CHAT_DRAIN": "1", "CHAT_FINISH_LOST": "0"}
    with serve_new_site(kind, tmp_path, **environment) as (server, token), Client(server, token) as client:
        answer = client.begin()
        seen: list[dict[str, Any]] = []
        reader = threading.Thread(target=lambda: seen.extend(event for _, event in client.iterate_events(answer)))
        reader.start()
        block_until(lambda: seen)
        assert server.terminate(10) < 10
        reader.join(10)
        text = "".join(event.get("content", "") for event in seen)
        assert seen[-1]["code"] == "server_restart"
        server.start()
        found = client.answer(answer)
        assert (found["status"], found["error"]["code"], found["text"]) == ("interrupted", "server_restart", text)
        assert "Traceback" not in server.log.read_text()


@pytest.mark.database
def test_sigterm_lets_a_short_answer_finish(
    kind: str, tmp_path: Path, provider_thread: ProviderServer, environment: dict[str, str]
) -> None:
    provider_thread.script = Script(text="word " * 100, chunk_size=5, delay_between=0.01)
    with serve_new_site(kind, tmp_path, **environment) as (server, token), Client(server, token) as client:
        answer = client.begin()
        server.terminate(10)
        server.start()
        assert client.answer(answer)["status"] == "complete"


@pytest.mark.database
def test_a_reader_that_leaves_does_not_end_the_answer(
    kind: str, tmp_path: Path, provider_thread: ProviderServer, environment: dict[str, str]
) -> None:
    provider_thread.script = Script(text="word " * 60, chunk_size=5, delay_between=0.01)
    with serve_new_site(kind, tmp_path, **environment) as (server, token), Client(server, token) as client:
        answer = client.begin()
        for _ in client.iterate_events(answer):
            break
        assert client.wait_for_end(answer, 20)["text"] == "word " * 60


def test_a_body_that_is_too_large_is_refused_before_it_is_kept(
    kind: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    """With a length that says so, and in chunks that do not. What the server keeps of it is less than the whole."""
    with serve_new_site(kind, tmp_path, **environment) as (server, token), Client(server, token) as client:
        conversation = client.http.post("/api/conversations/").json()["id"]
        path = f"/api/conversations/{conversation}/messages/"
        for body in (b"x" * 4_000_000, iter([b"x" * 1_000_000] * 4)):
            assert post_and_read_status(client, path, body) == 413
        assert client.http.get(f"/api/conversations/{conversation}/").json()["messages"] == []


def post_and_read_status(client: Client, path: str, body: bytes | Iterator[bytes]) -> int:
    """Return the status, or 413 for a connection that was cut while the rest of the body was still being sent."""
    try:
        return client.http.post(path, content=body, headers={"content-type": "application/json"}).status_code
    except (httpx2.WriteError, httpx2.ReadError, httpx2.RemoteProtocolError):
        return 413


def test_sigterm_ends_requests_whose_body_never_comes(kind: str, tmp_path: Path, environment: dict[str, str]) -> None:
    with serve_new_site(kind, tmp_path, **environment) as (server, token):
        half = socket.create_connection(("127.0.0.1", server.port))
        head = f"POST /api/conversations/ HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
        half.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{".encode())
        time.sleep(0.3)
        assert server.terminate(10) < 10
        half.close()


def test_a_socket_that_is_no_chat_is_refused(kind: str, tmp_path: Path, environment: dict[str, str]) -> None:
    with serve_new_site(kind, tmp_path, **environment) as (server, token):
        address = server.url.replace("http", "ws")
        headers = {"Authorization": f"Bearer {token}"}
        with connect(f"{address}/ws/chat/", additional_headers=headers) as socket_:
            socket_.send('{"type":"nonsense"}')
            assert json.loads(socket_.recv(10))["code"] == "bad_request"
        with pytest.raises(InvalidStatus):
            connect(f"{address}/ws/else/", additional_headers=headers)
        with pytest.raises(InvalidStatus):
            connect(f"{address}/ws/chat/", additional_headers=headers | {"Origin": "http://evil.example"})
