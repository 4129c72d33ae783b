"""A process that is told to end answers whoever has a connection to it: a proxy sends a POST once and to nobody else,
so one that is cut is lost.
"""

from __future__ import annotations

import json
import re
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest

from tests.support import databases
from tests.support.nginx import CONFIGURATION
from tests.support.server import Server

PROXY = {"x-forwarded-for": "192.0.2.1", "connection": ""}
LATE = 0.4  # a proxy that is busy closes a connection so much later, in seconds


@pytest.fixture(params=["daphne", "uvicorn"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Server, str]]:
    database, token = databases.prepare_database(tmp_path)
    with Server(request.param, database, logs=tmp_path, CHAT_DRAIN="0") as server:
        yield server, token


def read_proxys_patience() -> float:
    """Return the seconds for which the shipped nginx.conf keeps an idle connection to a process."""
    [(number, unit)] = re.findall(
        r"^ +keepalive \d+;\n +keepalive_timeout (\d+)(m?s);", CONFIGURATION.read_text(), re.MULTILINE
    )
    return int(number) / {"s": 1, "ms": 1000}[unit]


def connect(server: Server) -> closing[HTTPConnection]:
    return closing(HTTPConnection("127.0.0.1", server.port, timeout=20))


def create(connection: HTTPConnection, token: str) -> tuple[HTTPResponse, str]:
    """Have the site begin a conversation, which is no request to send twice; return its response and its id."""
    connection.request("POST", "/api/conversations/", headers={**PROXY, "authorization": f"Bearer {token}"})
    response = connection.getresponse()
    assert response.status == 201
    return response, json.load(response)["id"]


def stop(server: Server) -> None:
    assert server.process is not None
    server.process.send_signal(signal.SIGTERM)


def test_a_connection_that_the_proxy_keeps_idle_is_good_for_as_long_as_it_is_kept(site: tuple[Server, str]) -> None:
    server, token = site
    with connect(server) as connection:
        create(connection, token)
        stop(server)
        time.sleep(read_proxys_patience() + LATE)
        last, _ = create(connection, token)
        assert last.headers["connection"] == "close"


def test_a_client_that_connected_before_the_end_is_answered(site: tuple[Server, str]) -> None:
    """The process stands still while they connect, so the system has their connections and the process does not."""
    server, token = site
    with connect(server) as connection:
        create(connection, token)
    server.pause()
    with ExitStack() as stack:
        waiting = [stack.enter_context(connect(server)) for _ in range(45)]
        for connection in waiting:
            connection.request("POST", "/api/conversations/", headers={**PROXY, "authorization": f"Bearer {token}"})
        stop(server)
        server.resume()
        assert [connection.getresponse().status for connection in waiting] == [201] * len(waiting)


def test_nobody_connects_any_more_while_the_process_ends(site: tuple[Server, str]) -> None:
    server, token = site
    with connect(server) as connection:
        create(connection, token)
    stop(server)
    time.sleep(read_proxys_patience())
    assert server.running
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", server.port)) != 0


def test_a_connection_that_streamed_is_not_used_again(site: tuple[Server, str]) -> None:
    """A stream that begins before the end and ends just with the process says so when it begins; nothing else does."""
    server, token = site
    with connect(server) as connection:
        created, conversation = create(connection, token)
        assert "close" not in created.headers.get("connection", "")
        path = f"/api/conversations/{conversation}/messages/"
        headers = {**PROXY, "authorization": f"Bearer {token}", "content-type": "application/json"}
        connection.request("POST", path, '{"content": "Hello"}', {**headers, "accept": "text/event-stream"})
        streamed = connection.getresponse()
        assert (streamed.headers["content-type"], streamed.headers["connection"]) == ("text/event-stream", "close")
        assert b'"type":"done"' in streamed.read()
