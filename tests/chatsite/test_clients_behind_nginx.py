"""What deploy/nginx.conf takes for one client, also behind another proxy, and how much one client may bring at once."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import pytest

from tests.support.nginx import CONFIGURATION, HOST, Nginx

PATIENCE = 20.0
ARCHIVES = "/account/data/import/token/"


class Process(BaseHTTPRequestHandler):
    """A process of the site, which says whom it takes for its client."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.headers["x-forwarded-for"].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - http.server's name

    def log_message(self, *arguments: object) -> None:
        """Log nothing."""


@contextmanager
def run_nginx(directory: Path, proxies: str = "") -> Iterator[tuple[Nginx, httpx2.Client]]:
    """Run nginx before one process; yield it and a client that trusts it."""
    with ThreadingHTTPServer((HOST, 0), Process) as process:
        threading.Thread(target=process.serve_forever, args=(0.02,), daemon=True).start()
        with (
            Nginx(directory, [int(process.server_address[1])], proxies=proxies) as nginx,
            httpx2.Client(base_url=nginx.url, verify=nginx.tls, timeout=PATIENCE, trust_env=False) as client,
        ):
            yield nginx, client
        process.shutdown()


def begin_upload(nginx: Nginx, path: str, forwarded: str = "") -> tuple[socket.socket, bytes]:
    """Ask whether to send a body; return the connection and what nginx says."""
    connection = nginx.tls.wrap_socket(socket.create_connection((HOST, nginx.port), PATIENCE), server_hostname=HOST)
    lines = [f"POST {path} HTTP/1.1", f"Host: {HOST}", "Content-Length: 100000", "Expect: 100-continue"]
    connection.sendall("\r\n".join([*lines, f"X-Forwarded-For: {forwarded}", "", ""]).encode())
    return connection, connection.recv(100).splitlines()[0]


def find_limit(zone: str) -> int:
    """Return how many requests a client may have open by the file."""
    return int(re.findall(rf"limit_conn {zone} (\d+);", CONFIGURATION.read_text())[0])


def fill(nginx: Nginx, stack: ExitStack, addresses: Iterator[str]) -> None:
    """Open as many uploads of archives as one client may have, each from the next address."""
    for _ in range(find_limit("chatsite_archives")):
        connection, said = begin_upload(nginx, ARCHIVES, next(addresses))
        stack.enter_context(connection)
        assert said == b"HTTP/1.1 100 Continue"


@pytest.mark.parametrize(("proxies", "heard"), [("127.0.0.0/8", "198.51.100.7"), ("192.0.2.0/24", HOST), ("", HOST)])
def test_another_proxy_is_believed_who_the_client_is_where_its_network_is_named(
    tmp_path: Path, proxies: str, heard: str
) -> None:
    with run_nginx(tmp_path, proxies) as (_, client):
        said = client.get("/", headers={"x-forwarded-for": "203.0.113.1, 198.51.100.7"}).text
    assert said == heard


def test_a_client_brings_ten_archives_at_once_and_is_refused_the_next_before_its_body_is_read(tmp_path: Path) -> None:
    with run_nginx(tmp_path) as (nginx, client), ExitStack() as stack:
        fill(nginx, stack, iter([""] * 100))
        connection, said = begin_upload(nginx, ARCHIVES)
        stack.enter_context(connection)
        assert said == b"HTTP/1.1 429 Too Many Requests"
        assert client.get("/").status_code == 200


@pytest.mark.parametrize(
    ("first", "other", "status"),
    [
        ("2001:db8:1:2::{:x}", "2001:db8:1:2:3:4:5:6", 429),
        ("2001:db8::{:x}", "2001:db8::5:6:7", 429),
        ("2001:db8:1:2::{:x}", "2001:db8:1:3::1", 200),
        ("198.51.100.{}", "198.51.100.200", 200),
        ("64:ff9b::c633:64{:02x}", "64:ff9b::c633:64ff", 200),  # the same, as a gateway to IPv4 writes them
    ],
)
def test_all_addresses_of_an_ipv6_subscriber_are_one_client(
    tmp_path: Path, first: str, other: str, status: int
) -> None:
    with run_nginx(tmp_path, "127.0.0.0/8") as (nginx, client), ExitStack() as stack:
        fill(nginx, stack, (first.format(number) for number in range(1, 100)))
        answer = client.post(ARCHIVES.replace("token", "other"), headers={"x-forwarded-for": other})
    assert answer.status_code == status
