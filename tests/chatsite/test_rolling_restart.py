"""A rolling restart by the letter of docs/deploy.md, behind the shipped nginx.conf: no plain request fails, and nothing
that was sent is done twice.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from pathlib import Path
from typing import Self

import httpx2
import pytest

from tests.faults import choose_length
from tests.support import databases
from tests.support.nginx import Nginx
from tests.support.server import ROOT, Server
from tests.support.waiting import block_until

LOAD_WITHIN = 120.0
REQUESTS = choose_length(400, 1000)
THREADS = 4


class Load:
    """Threads that ask for pages and create conversations, by turns, until they are told to stop."""

    def __init__(self, nginx: Nginx, token: str) -> None:
        self._nginx, self._token = nginx, token
        self._stop = threading.Event()
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.created: list[str] = []
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run) for _ in range(THREADS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    @property
    def total(self) -> int:
        return sum(self.statuses.values())

    def wait_for(self, requests: int) -> None:
        block_until(lambda: self.total >= requests, LOAD_WITHIN)

    def _run(self) -> None:
        with httpx2.Client(base_url=self._nginx.url, verify=self._nginx.tls, timeout=60) as client:
            while not self._stop.is_set():
                page = client.get("/accounts/login/")
                created = client.post("/api/conversations/", headers={"authorization": f"Bearer {self._token}"})
                with self._lock:
                    self.statuses[("GET", page.status_code)] += 1
                    self.statuses[("POST", created.status_code)] += 1
                    if created.status_code == 201:
                        self.created.append(created.json()["id"])


@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
def test_no_request_fails_while_one_process_after_the_other_is_restarted(tmp_path: Path, kind: str) -> None:
    database, token = databases.prepare_database(tmp_path)
    servers = [Server(kind, database, logs=tmp_path) for _ in range(2)]
    try:
        for server in servers:
            server.start()
        with Nginx(tmp_path, [server.port for server in servers]) as nginx, Load(nginx, token) as load:
            for server in servers:
                load.wait_for(load.total + 100)
                server.terminate(20)
                server.start()  # returns when /readyz says so
            load.wait_for(REQUESTS)
        assert set(load.statuses) == {("GET", 200), ("POST", 201)}, load.statuses
        code = "from chat.models import Conversation as C; print(C.objects.count())"
        assert int(servers[0].manage("shell", "--verbosity", "0", "--command", code)) == len(load.created)
        for server in servers:
            assert re.search(r"drained: 0 finished, 0 interrupted", server.log.read_text())
            assert server.log.read_text().count(f"listening on 127.0.0.1:{server.port}") == 2
    finally:
        for server in servers:
            server.kill()


def test_the_loop_of_the_documentation_waits_until_the_process_is_ready() -> None:
    text = (ROOT / "docs" / "deploy.md").read_text()
    [loop] = re.findall(r"    for port in 8000 8001; do\n(.*?)    done\n", text, re.DOTALL)
    assert "systemctl restart chatsite@$port" in loop
    assert "http://127.0.0.1:$port/readyz" in loop
