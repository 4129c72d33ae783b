"""Requests that never become whole are closed, by the site's own guard, on both servers; slow ones are served."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest

from tests.support.databases import serve_new_site
from tests.support.server import Server

HEAD = b"POST /api/conversations/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"

# What is sent at once, and what is then sent each second, for ever.
HALVES = {
    "nothing": (b"", b""),
    "part of a line": (b"GET /", b""),
    "part of a line, byte by byte": (b"GET /", b"a"),
    "head without its end": (HEAD, b""),
    "header after header": (HEAD, b"X-A: b\r\n"),
    "no body": (HEAD + b"Content-Length: 1000\r\n\r\n", b""),
    "body byte by byte": (HEAD + b"Content-Length: 1000\r\n\r\n", b" "),
    "chunks without an end": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
    "second request": (b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /", b"a"),
}


@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
def test_a_request_that_never_becomes_whole_is_closed(kind: str, tmp_path: Path) -> None:
    """3 s for a head, 6 s for a body; all at once, because a test that waits may wait for many."""
    with serve_new_site(kind, tmp_path, CHAT_HEAD_TIMEOUT="3", CHAT_BODY_TIMEOUT="6") as (server, token):
        lasted: dict[str, float] = {}
        threads = [threading.Thread(target=drip, args=(server, name, *what, lasted)) for name, what in HALVES.items()]
        slow: list[bytes] = []
        threads.append(threading.Thread(target=send_slowly, args=(server, token, slow)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert lasted.keys() == HALVES.keys()
        assert max(lasted.values()) < 30, lasted
        assert slow[0].startswith(b"HTTP/1.1 201"), slow
        assert "Traceback" not in server.log.read_text()


def drip(server: Server, name: str, first: bytes, each: bytes, lasted: dict[str, float]) -> None:
    """Send half a request, then a little each second; note how long the connection has lasted."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.settimeout(0.5)
        try:
            connection.sendall(first)
            while time.monotonic() - began < 45:
                try:
                    if not connection.recv(1000):
                        break
                except TimeoutError:
                    connection.sendall(each)
        except OSError:
            pass
    lasted[name] = time.monotonic() - began


def send_slowly(server: Server, token: str, got: list[bytes]) -> None:
    """Send a whole request in 4 s, as over a bad line, and append the response to `got`."""
    pieces = [HEAD, f"Authorization: Bearer {token}\r\n".encode(), b"Content-Length: 4\r\n\r\n", b" ", b"{", b"}", b" "]
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.settimeout(60)
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(0.5)
        got.append(connection.recv(1000))
