"""A request for a host that is not the site's is refused everywhere in the same way, and is one line in the log."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import httpx2
import pytest
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect
from websockets.typing import Origin

from tests.support import databases
from tests.support.server import Server
from tests.support.waiting import PATIENCE

PAGES = ("/", "/nowhere", "/c", "/conversations/", "/accounts/login/", "/admin/", "/staff/", "/send/", "/ws/chat/")
PROGRAMS = ("/api/conversations/", "/api/nothing/", "/api/")
HOSTS = ("evil.example", "evil.example:8000", "127.0.0.1.evil.example", "two words", "ev\u00fcl.example", "")


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    directory = tmp_path_factory.mktemp("site")
    database, token = databases.prepare_database(directory)
    with Server(request.param, database, logs=directory) as server:
        yield server, token


@pytest.mark.parametrize("host", HOSTS)
def test_a_request_for_a_foreign_host_is_refused_with_one_log_line(server: tuple[Server, str], host: str) -> None:
    site, token = server
    with httpx2.Client(base_url=site.url, timeout=30) as client:
        for path in (*PAGES, *PROGRAMS):
            for method in ("GET", "POST"):
                before = len(site.log.read_text())
                headers = {b"host": host.encode(), b"authorization": f"Bearer {token}".encode()}
                response = client.request(method, path, headers=headers)
                assert response.status_code == 400, (method, path)
                if path in PROGRAMS:
                    assert response.json()["error"]["code"] == "bad_request"
                elif response.headers["content-type"].startswith("text/html"):
                    assert "could not understand this request" in response.text
                written = site.log.read_text()[before:]
                assert "Traceback" not in written
                lines = [line for line in written.splitlines() if "listening on" not in line]
                assert len(lines) == 1, written
                assert f"{method} {path} refused" in lines[0]


def test_a_socket_is_refused_without_a_traceback(server: tuple[Server, str]) -> None:
    site, _ = server
    before = len(site.log.read_text())
    address = f"ws://evil.example:{site.port}/ws/chat/"
    with (
        pytest.raises(WebSocketException),
        connect(address, sock=socket.create_connection(("127.0.0.1", site.port)), origin=Origin("http://evil.example")),
    ):
        pass
    assert "Traceback" not in site.log.read_text()[before:]


@pytest.mark.parametrize("host", HOSTS[:3])
def test_monitors_may_ask_by_any_name(server: tuple[Server, str], host: str) -> None:
    site, _ = server
    for path in ("/healthz", "/readyz"):
        assert httpx2.get(site.url + path, headers={"host": host}, timeout=30).status_code == 200


def send_raw(port: int, head: str) -> str:
    """Send a request as it stands, and return the response's head and body."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall(f"{head}\r\nConnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


def test_a_request_without_a_host_is_refused(server: tuple[Server, str]) -> None:
    """RFC 9112, section 3.2; HTTP/1.0 has no such header."""
    site, token = server
    login = f"Authorization: Bearer {token}"
    assert send_raw(site.port, f"GET /api/models/ HTTP/1.1\r\n{login}").startswith("HTTP/1.1 400 ")
    assert send_raw(site.port, f"GET /api/models/ HTTP/1.0\r\nHost: 127.0.0.1\r\n{login}").split(" ")[1] == "200"


@pytest.mark.parametrize(("address", "status"), [("127.0.0.1", "200"), ("evil.example", "400")])
def test_the_host_of_a_whole_address_counts(server: tuple[Server, str], address: str, status: str) -> None:
    """RFC 9112, section 3.2.2. With uvicorn the header's counts, as a proxy would have set it: the site's own name in
    the line is no way past it.
    """
    site, token = server
    status = "400" if site.kind == "uvicorn" else status
    line = f"GET http://{address}/api/conversations/?limit=1 HTTP/1.1\r\nHost: other.example"
    response = send_raw(site.port, f"{line}\r\nAuthorization: Bearer {token}")
    assert response.split(" ")[1] == status
    if status == "200":
        assert '"conversations"' in response
