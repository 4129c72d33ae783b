"""A real nginx with the site's own configuration, `deploy/nginx.conf`, in front of processes on this machine."""

from __future__ import annotations

import getpass
import os
import re
import socket
import ssl
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.needs import find_program
from tests.support.server import ROOT
from tests.support.services import find_free_port
from tests.support.waiting import block_until

CONFIGURATION = ROOT / "deploy" / "nginx.conf"
HOST = "127.0.0.1"
START = 20.0
# A response's header with the address of the process that it came from: the log has it only when a stream has ended.
SERVED_BY = "X-Served-By"

# What a distribution's /etc/nginx/nginx.conf has around the file, with every path inside a directory of the test's own.
MAIN = """\
{user}
daemon off;
worker_processes 2;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ worker_connections 1024; }}
http {{
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    add_header {served_by} $upstream_addr;
    include {directory}/chatsite.conf;
}}
"""


class Nginx:
    """`with Nginx(directory, [port, port]) as nginx:` serves `nginx.url` over TLS, with a certificate of its own.

    `upstreams` are the ports of the site's processes; they need not listen yet. `staticfiles` stands for the output of
    collectstatic; without it the site serves its files. `read_timeout` are seconds in the place of the real ones.
    `proxies` is the network of another proxy in front of this one, named as the file says.
    """

    def __init__(
        self,
        directory: Path,
        upstreams: Sequence[int],
        *,
        staticfiles: Path | None = None,
        read_timeout: int | None = None,
        proxies: str = "",
    ) -> None:
        self.directory = directory
        self._proxies = proxies
        self._read_timeout = read_timeout
        self.port, self.plain_port = find_free_port(), find_free_port()
        self.url = f"https://{HOST}:{self.port}"
        self.plain_url = f"http://{HOST}:{self.plain_port}"
        self.certificate, self.key = directory / "fullchain.pem", directory / "privkey.pem"
        self.access_log = directory / "chatsite.access.log"
        self._process: subprocess.Popen[bytes] | None = None
        _make_certificate(self.certificate, self.key)
        (directory / "chatsite.conf").write_text(
            self._adapt_configuration(upstreams, staticfiles or directory / "staticfiles")
        )
        # Workers of an nginx that root starts run as nobody, who may not enter a test's directory.
        user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""
        (directory / "nginx.conf").write_text(MAIN.format(user=user, directory=directory, served_by=SERVED_BY))

    def _adapt_configuration(self, upstreams: Sequence[int], staticfiles: Path) -> str:
        """Return the real file with what an operator changes, and with the test's own ports and paths."""
        text = CONFIGURATION.read_text()
        processes = re.compile(r"(?:^ +server 127\.0\.0\.1:\d+(.*;)\n)+", re.MULTILINE)
        text = processes.sub(
            lambda found: "".join(f"    server {HOST}:{port}{found[1]}\n" for port in upstreams), text, count=1
        )
        if self._read_timeout is not None:
            text = re.sub(r"proxy_read_timeout \d+s;", f"proxy_read_timeout {self._read_timeout}s;", text)
        if self._proxies:
            text = re.sub(r"# (set_real_ip_from) .*;", rf"\1 {self._proxies};", text)
            text = re.sub(r"# (real_ip_\w+ .*;)", r"\1", text)
        changes = {
            "listen 80;": f"listen {HOST}:{self.plain_port};",
            "listen 443 ssl": f"listen {HOST}:{self.port} ssl",
            "chat.example.org": HOST,
            "/etc/ssl/chatsite": str(self.directory),
            "/var/log/nginx": str(self.directory),
            "/var/www/acme": str(self.directory / "acme"),
            "/srv/chatsite/staticfiles": str(staticfiles),
        }
        for old, new in changes.items():
            assert old in text, f"deploy/nginx.conf has no {old!r} any more"
            text = text.replace(old, new)
        return text

    @property
    def tls(self) -> ssl.SSLContext:
        """A context that trusts this server's certificate and no other."""
        return ssl.create_default_context(cafile=str(self.certificate))

    def check(self) -> str:
        """Return what `nginx -t` says of the file; fail the test when nginx does not accept it."""
        ended = subprocess.run(
            [*self._make_command(), "-t"], capture_output=True, text=True, timeout=START, check=False
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stderr

    def _make_command(self) -> list[str]:
        directory = str(self.directory)
        return [find_program("nginx"), "-e", f"{directory}/error.log", "-p", directory, "-c", f"{directory}/nginx.conf"]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._make_command())
        end = time.monotonic() + START
        while not self._is_listening():
            assert self._process.poll() is None, self.errors
            assert time.monotonic() < end, self.errors
            time.sleep(0.02)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(START)

    def _is_listening(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((HOST, self.port)) == 0

    @property
    def errors(self) -> str:
        log = self.directory / "error.log"
        return log.read_text() if log.exists() else ""

    def wait_for_log(self, text: str) -> None:
        """Wait until the access log has a text: nginx writes a request's line after the response has gone."""
        block_until(lambda: text in self.access_log.read_text(), START, lambda: f"{text} is not in the access log")

    def find_serving_ports(self, request: str) -> list[int]:
        """Return the ports of the processes that answered the requests whose line in the log matches a pattern.

        A request's line is `GET /path HTTP/2.0`. The ports are in the order in which the requests ended: nginx writes
        a line when a request has ended.
        """
        served = re.compile(r'"([^"]*)" \d+ \d+ \S+ \S+ "(?:[^"]*, )?[\d.]+:(\d+)"')
        return [int(port) for line, port in served.findall(self.access_log.read_text()) if re.search(request, line)]


def _make_certificate(certificate: Path, key: Path) -> None:
    kind = "-x509 -nodes -days 2 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -subj /CN=test"
    command = [find_program("openssl"), "req", *kind.split(), "-addext", f"subjectAltName=IP:{HOST}"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True, timeout=START)
