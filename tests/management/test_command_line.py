"""A command that its user or its surroundings end says so in one line, by its exit code too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.databases import prepare_database
from tests.support.server import OURS, ROOT
from tests.support.services import find_free_port


def start(database: Path | str, *arguments: str | bytes, out: int = subprocess.PIPE) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    url = f"sqlite:///{database}" if isinstance(database, Path) else database
    return subprocess.Popen(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env={**kept, "SECRET_KEY": "only for tests", "DATABASE_URL": url},
        stdout=out,
        stderr=subprocess.PIPE,
        text=True,
    )


def read_end(command: subprocess.Popen[str]) -> tuple[int, list[str]]:
    _, told = command.communicate(timeout=60)
    return command.returncode, told.splitlines()


def make_closed_pipe() -> int:
    reading, writing = os.pipe()
    os.close(reading)
    return writing


@pytest.fixture
def database(tmp_path: Path) -> Path:
    made = prepare_database(tmp_path).database
    assert isinstance(made, Path)
    return made


@pytest.mark.parametrize("arguments", [("usage_report",), ("apitoken", "demo"), ("help",)])
def test_a_reader_that_closes_the_pipe_ends_a_command(database: Path, arguments: tuple[str, ...]) -> None:
    writing = make_closed_pipe()
    code, lines = read_end(start(database, *arguments, out=writing))
    os.close(writing)
    assert (code, lines) == (1, ["Stopped, because nobody reads the output any more."])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a disk that is always full")
def test_a_full_disk_ends_a_command(database: Path) -> None:
    with Path("/dev/full").open("w") as full:
        code, lines = read_end(start(database, "usage_report", out=full.fileno()))
    assert (code, lines) == (1, ["[Errno 28] No space left on device"])


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_closed_output_is_one_that_nobody_reads(database: Path, closed: str) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    done = subprocess.run(
        ["/bin/sh", "-c", f'"$0" manage.py usage_report {closed}', sys.executable],
        cwd=ROOT,
        env={**kept, "SECRET_KEY": "only for tests", "DATABASE_URL": f"sqlite:///{database}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_an_argument_that_is_no_text_ends_a_command(database: Path) -> None:
    code, lines = read_end(start(database, "apitoken", b"a\xff"))
    assert (code, lines) == (1, ["This cannot be written as utf-8: 'a\\udcff'"])


def test_a_database_without_tables_ends_a_command(tmp_path: Path) -> None:
    code, lines = read_end(start(tmp_path / "empty.sqlite3", "apitoken", "demo"))
    assert (code, lines) == (1, ["The database says: no such table: chat_user; `manage.py migrate` makes its tables"])


def test_the_reason_why_there_is_no_connection_to_postgresql_is_logged_once() -> None:
    """The pool tries again all the time, and whoever waits for it hears of the time alone."""
    port = find_free_port()
    code, lines = read_end(start(f"postgres://chat:marmalade@127.0.0.1:{port}/chat", "apitoken", "demo"))
    assert (code, lines[1:]) == (1, ["The database says: couldn't get a connection after 5.00 sec"])
    assert f"port {port} failed: Connection refused" in lines[0]
    assert "marmalade" not in lines[0]


def test_a_traceback_is_there_for_those_who_ask_for_it(tmp_path: Path) -> None:
    _, lines = read_end(start(tmp_path / "empty.sqlite3", "apitoken", "demo", "--traceback"))
    assert lines[0].startswith("Traceback")


def test_ctrl_c_ends_a_command(database: Path) -> None:
    command = start(database, "reap", "--wait")
    assert command.stderr is not None
    assert "Waiting" in command.stderr.readline()
    time.sleep(1)  # until it waits: asyncio does not take a signal while it makes its loop
    command.send_signal(signal.SIGINT)
    assert read_end(command) == (130, ["Stopped."])
