"""`make run` is one start of Python: it migrates, makes the demo login, says where the site is, and serves it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx2

from tests.support.databases import prepare_database
from tests.support.server import OURS, ROOT, START, Server, log_in_demo
from tests.support.services import find_free_port


@contextmanager
def run_command(database: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    """Run the command on a database; its log goes to standard error."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    process = subprocess.Popen(
        [sys.executable, "manage.py", "serve", "--port", str(port)],
        cwd=ROOT,
        env={**environment, "SECRET_KEY": "only for tests", "DATABASE_URL": f"sqlite:///{database}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_an_empty_database_is_served_and_the_end_is_a_drain(tmp_path: Path) -> None:
    server = Server("daphne", tmp_path / "site.sqlite3")
    for end in (signal.SIGTERM, signal.SIGINT):  # the second start finds everything there
        with run_command(tmp_path / "site.sqlite3", server.port) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            lines = [process.stdout.readline() for _ in range(4)]
            assert lines[1:] == [
                f"  Chatsite   {server.url}/\n",
                "  Log in as  demo  with the password  demo-password\n",
                "  Answers    demo:tour   (Ctrl+C ends the site)\n",
            ]
            assert "listening on" in process.stderr.readline()
            with closing(log_in_demo(server)) as browser:
                assert "composer" in browser.get("/").text
                assert httpx2.get(f"{server.url}/readyz", timeout=START).status_code == 200
            process.send_signal(end)
            _, log = process.communicate(timeout=START)
            assert process.returncode == 0
            assert "Traceback" not in log
            assert "drained: 0 finished, 0 interrupted" in log


def test_a_port_that_is_taken_is_an_error(tmp_path: Path) -> None:
    port = find_free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        database = prepare_database(tmp_path).database
        assert isinstance(database, Path)
        with run_command(database, port) as process:
            _, log = process.communicate(timeout=START)
            assert process.returncode == 1
            assert str(port) in log


def test_the_setup_may_be_repeated(tmp_path: Path) -> None:
    server = Server("daphne", tmp_path / "site.sqlite3")
    assert [server.manage("demologin", "--migrate") for _ in range(2)] == ["", ""]
    count = "from chat.models import User; print(User.objects.count())"
    assert server.manage("shell", "--verbosity", "0", "--command", count) == "1"
