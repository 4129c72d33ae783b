"""The checks of deploy/ ask the process that they are about, also where the environment names a proxy for providers."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from tests.support.needs import find_program
from tests.support.nginx import Nginx
from tests.support.server import ROOT
from tests.support.services import find_free_port

PATIENCE = 30.0


class Process(BaseHTTPRequestHandler):
    """A process of the site that is well, or not."""

    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Log nothing."""


class DrainingProcess(Process):
    status = 503


@contextmanager
def serve(handler: type[Process]) -> Iterator[int]:
    """Serve on a free port, and yield it."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield int(server.server_address[1])
        server.shutdown()


def run(command: list[str]) -> int:
    """Run a check where each proxy of the environment is one that nobody can reach; return its exit code."""
    proxy = f"http://127.0.0.1:{find_free_port()}"
    proxies = dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"), proxy)
    kept = {name: value for name, value in os.environ.items() if name.lower() != "no_proxy"}
    done = subprocess.run(command, env={**kept, **proxies}, capture_output=True, timeout=PATIENCE, check=False)
    return done.returncode


@pytest.mark.parametrize(("handler", "is_well"), [(Process, True), (DrainingProcess, False)])
def test_the_check_of_the_image_asks_the_process_itself(handler: type[Process], is_well: bool) -> None:
    [check] = re.findall(r"^HEALTHCHECK .*\\\n +CMD (.*)$", (ROOT / "deploy" / "Dockerfile").read_text(), re.MULTILINE)
    with serve(handler) as port:
        [_, *arguments] = [word.replace("8000", str(port)) for word in json.loads(check)]
        assert (run([sys.executable, *arguments]) == 0) == is_well


def test_the_check_of_nginx_asks_nginx_itself(tmp_path: Path) -> None:
    services = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]
    [_, program, *arguments] = services["nginx"]["healthcheck"]["test"]
    with serve(Process) as port, Nginx(tmp_path, [port]) as nginx:
        arguments[-1] = arguments[-1].replace("https://127.0.0.1", nginx.url)
        assert run([find_program(program), *arguments]) == 0


def test_the_restart_that_the_page_shows_asks_each_process_itself() -> None:
    [line] = re.findall(r"^ +until (curl .*); do sleep", (ROOT / "docs" / "deploy.md").read_text(), re.MULTILINE)
    with serve(Process) as port:
        [program, *arguments] = shlex.split(line.replace("$port", str(port)))
        assert run([find_program(program), *arguments]) == 0
