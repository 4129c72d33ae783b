"""All readers of a process that is restarted come to another one at once, and none of them is kept out."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import databases
from tests.support.server import Server

READERS = 300

# Seconds for which nginx waits for a connection, see deploy/nginx.conf.
PATIENCE = 1.0


@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
def test_those_that_a_busy_process_has_not_taken_yet_are_connected(tmp_path: Path, kind: str) -> None:
    database, _ = databases.prepare_database(tmp_path)
    with Server(kind, database) as server, ExitStack() as stack:
        server.pause()
        for _ in range(READERS):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), PATIENCE))
        server.resume()
