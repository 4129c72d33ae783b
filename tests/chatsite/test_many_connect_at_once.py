"""All readers of a process that is restarted come to another one at once, and none of them is kept out."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import uvicorn
import uvloop

from chatsite.servers.uvicorn import LISTENERS, take_many_at_once
from tests.support import databases
from tests.support.server import FreshServer, Server
from tests.support.services import find_free_port
from tests.support.waiting import block_until

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


async def count_turns_until_all_are_taken(address: dict[str, Any], connect: Any, *, takes_many: bool) -> int:
    """Return the turns of uvicorn's event loop in which it takes `AT_ONCE` connections that wait."""
    config = uvicorn.Config(lambda scope, receive, send: None, lifespan="off", log_config=None, **address)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    if takes_many:
        await take_many_at_once(server.handle_exit)
    turns = 0
    with ExitStack() as stack:
        for _ in range(AT_ONCE):
            stack.enter_context(connect())
        while len(server.server_state.connections) < AT_ONCE:
            await asyncio.sleep(0)
            turns += 1
    server.force_exit = True
    await server.shutdown()
    return turns


AT_ONCE = 40


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_uvicorn_takes_many_in_one_turn_of_a_busy_event_loop(tmp_path: Path, family: str) -> None:
    """A connection that waits for its turn is a question that waits, or a click on Stop."""

    def connect() -> socket.socket:
        if family == "tcp":
            return socket.create_connection(("127.0.0.1", port), PATIENCE)
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(tmp_path / "site.sock"))
        return client

    port = find_free_port()
    address: dict[str, Any] = {"port": port} if family == "tcp" else {"uds": str(tmp_path / "site.sock")}
    one_by_one = uvloop.run(count_turns_until_all_are_taken(address, connect, takes_many=False))
    assert one_by_one >= AT_ONCE  # or there is nothing left to do for us
    many_at_once = uvloop.run(count_turns_until_all_are_taken(address, connect, takes_many=True))
    assert many_at_once <= 2 * AT_ONCE / LISTENERS + 5


def count_listeners(pid: int, port: int) -> int:
    """Return how many descriptors of a process listen on a port."""
    sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inodes = {fields[9] for fields in sockets if fields[1].endswith(f":{port:04X}") and fields[3] == "0A"}
    links = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            links.append(os.readlink(descriptor))
    return sum(link in {f"socket:[{inode}]" for inode in inodes} for link in links)


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="the system does not tell who listens")
def test_the_site_has_uvicorn_take_many(tmp_path: Path) -> None:
    database, _ = databases.prepare_database(tmp_path)
    with Server("uvicorn", database) as server:
        block_until(lambda: count_listeners(server.pid, server.port) == LISTENERS)


def test_a_process_that_cannot_listen_further_serves_nevertheless(tmp_path: Path) -> None:
    database, _ = databases.prepare_database(tmp_path)
    (tmp_path / "sitecustomize.py").write_text(NO_MORE_FILES)
    with FreshServer("uvicorn", database, PYTHONPATH=str(tmp_path)) as server:
        block_until(lambda: "listening on" in server.log.read_text())
        log = server.log.read_text()
        assert "connections are taken one at a time" in log
        assert "Too many open files" in log
        assert "Traceback" not in log
        server.terminate(10)
        assert "Traceback" not in server.log.read_text()


NO_MORE_FILES = """
import errno, os

def refuse(descriptor):
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

os.dup = refuse
"""


def is_listening(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("after", [0.0, 0.2])
def test_a_process_that_is_stopped_while_it_starts_ends_without_a_fault(tmp_path: Path, after: float) -> None:
    database, _ = databases.prepare_database(tmp_path)
    server = FreshServer("uvicorn", database)
    server.launch()
    block_until(lambda: is_listening(server.port))
    time.sleep(after)
    server.terminate(10)
    assert "Traceback" not in server.log.read_text()
