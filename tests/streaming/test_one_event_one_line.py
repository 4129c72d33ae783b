"""One log event is one line, whatever it quotes: nobody forges a second one, or steers the terminal that shows it."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatsite.logs import JsonFormatter, LineFormatter, escape_controls
from tests.support import databases
from tests.support.server import BIN, ROOT, Server
from tests.support.services import find_free_port

FORGED = "2026-01-01 00:00:00,000 ERROR chat.generation.supervisor [-] forged"

# Every character at which something that reads a log may begin a new line, or that a terminal obeys.
BREAKS = "\n\r\t\v\f\x1c\x1d\x1e\x00\x07\x08\x1b\x7f\x85\x9b\u2028\u2029\u202e\u2066\ufeff\ud800"

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ ")

# What uvicorn and Django write around their own words.
COLOURS = re.compile("\x1b\\[[0-9;]*m")

FORMATTERS = [LineFormatter, JsonFormatter]


def format_record(formatter: logging.Formatter, message: str, quoted: str = "", error: str | None = None) -> str:
    trace = None
    if error is not None:
        try:
            raise ValueError(error)
        except ValueError as caught:
            trace = (ValueError, caught, caught.__traceback__)
    record = logging.LogRecord("chat.some", logging.WARNING, "file.py", 1, message, (quoted,) if quoted else (), trace)
    record.request_id = "-"
    record.fields = {"path": quoted}
    record.stack_info = quoted or None
    return formatter.format(record)


@pytest.mark.parametrize("formatter", FORMATTERS)
@pytest.mark.parametrize("character", BREAKS, ids=lambda character: f"U+{ord(character):04X}")
def test_no_character_ends_the_line(formatter: type[LineFormatter], character: str) -> None:
    text = format_record(formatter(), "asked for %s", f"/c/{character}{FORGED}/", error=f"bad{character}{FORGED}")
    assert character not in text
    assert len(text.splitlines()) == 1
    assert "forged" in text
    text.encode()


@pytest.mark.parametrize("formatter", FORMATTERS)
@given(quoted=st.text(alphabet=st.characters(), min_size=1))
def test_whatever_is_quoted_is_printable(formatter: type[LineFormatter], quoted: str) -> None:
    text = format_record(formatter(), "asked for %s", quoted, error=quoted)
    assert len(text.splitlines()) == 1
    assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029]", text)
    text.encode()


@given(quoted=st.text(min_size=1))
def test_json_says_exactly_what_was_quoted(quoted: str) -> None:
    assert json.loads(format_record(JsonFormatter(), "asked for %s", quoted))["message"] == f"asked for {quoted}"


def test_readable_characters_stay_as_they_are() -> None:
    text = "Größe: «日本語», 🙂 100 % \\ ok"
    assert escape_controls(text) == text


def test_a_traceback_can_be_unfolded() -> None:
    text = format_record(LineFormatter(), "it failed", error="no marmalade")
    lines = text.replace("\\n", "\n").splitlines()
    assert lines[1] == "Traceback (most recent call last):"
    assert lines[-1] == "ValueError: no marmalade"


ADDRESSES = [
    "/c/%0a2026-01-01%20ERROR%20forged/",
    "/c/%0d%0a2026-01-01%20ERROR%20forged/",
    "/c/%e2%80%a82026-01-01%20ERROR%20forged/",
    "/c/%c2%852026-01-01%20ERROR%20forged/",
    "/c/%1b%5b2J2026-01-01%20ERROR%20forged/",
    "/nowhere/?q=%0a2026-01-01%20ERROR%20forged",
]


@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
@pytest.mark.parametrize("format_", ["line", "json"])
def test_no_address_forges_a_line_of_a_server(kind: str, format_: str, tmp_path: Path) -> None:
    database, token = databases.prepare_database(tmp_path)
    with Server(kind, database, logs=tmp_path, CHAT_LOG_FORMAT=format_, CHAT_ACCESS_LOG="1") as server:
        before = len(server.log.read_text().splitlines())
        ask_for_all(server.port, token)
        server.terminate(20)
        lines = server.log.read_bytes().decode().splitlines()[before:]
    # For each address one line of the access log, and one of Django's that there is no such page.
    assert len([line for line in lines if "forged" in line]) >= len(ADDRESSES) - 1
    for line in lines:
        assert not line.startswith("2026-01-01"), line
        assert "\x1b" not in line
        assert (
            json.loads(line) if format_ == "json" else re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ ", line)
        )


@pytest.mark.parametrize("server", ["daphne", "uvicorn"])
def test_a_line_of_a_servers_own_access_log_stays_one_line(server: str, tmp_path: Path) -> None:
    """As an operator runs it who has not switched it off: both servers write addresses as they came, encoded."""
    database, token = databases.prepare_database(tmp_path)
    environment = Server("daphne", database, logs=tmp_path).environment | {"PYTHONUNBUFFERED": "1"}
    port = find_free_port()
    host = "--bind" if server == "daphne" else "--host"
    command = [str(BIN / server), host, "127.0.0.1", "--port", str(port), "chatsite.asgi:application"]
    log = tmp_path / "own.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output) as process,
    ):
        try:
            wait_for(port)
            raw = b"GET /c/\x1b[2J2026-forged HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
            ask_for_all(port, token, raw=raw)
        finally:
            process.terminate()
            process.wait(20)
    text = log.read_bytes().decode()
    assert "\x1b" not in text.replace("\x1b[32m", "").replace("\x1b[0m", "").replace("\x1b[36m", "").replace(
        "\x1b[1m", ""
    )
    assert not [line for line in text.splitlines() if line.startswith("2026-01-01")]


def ask_for_all(port: int, token: str, *, raw: bytes = b"") -> None:
    for address in ADDRESSES:
        connection = HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("GET", address, headers={"Authorization": f"Bearer {token}"})
        connection.getresponse().read()
        connection.close()
    if raw:
        connection = HTTPConnection("127.0.0.1", port, timeout=20)
        connection.connect()
        connection.sock.sendall(raw)
        connection.sock.recv(100_000)
        connection.close()


def wait_for(port: int) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            connection = HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.1)
        finally:
            connection.close()
    raise AssertionError(f"{sys.executable} does not serve on {port}")
