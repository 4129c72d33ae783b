"""A WebSocket is closed with the code that the site chose, on each server, and none of them takes that for a fault."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.support.server import ROOT
from tests.support.services import find_free_port
from tests.support.waiting import block_until

APPLICATION = "tests.support.closing_application:application"


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a server, and what it prints."""
    port = find_free_port()
    options = ["-p", str(port)] if request.param == "daphne" else ["--port", str(port), "--lifespan", "off"]
    printed = tmp_path_factory.mktemp("server") / "printed"
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"}
    with printed.open("wb") as output:
        command = [sys.executable, "-m", request.param, *options, APPLICATION]
        server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
    address = f"ws://127.0.0.1:{port}/"
    try:
        block_until(lambda: find_close_code(address) == 1000, 30)
        yield address, printed
    finally:
        server.terminate()
        server.wait(10)


def find_close_code(address: str) -> int | None:
    """Return the code that the server closes the socket with, None where there is no server yet."""
    try:
        with connect(address) as socket:
            socket.recv(10)
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd is not None else None
    except OSError:
        return None
    return None


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1009, 1011, 1012, 1013, 3000, 4401, 4999])
def test_a_client_reads_the_code(served: tuple[str, Path], code: int) -> None:
    address, printed = served
    assert find_close_code(f"{address}?{code}") == code
    assert "Traceback" not in printed.read_text()
