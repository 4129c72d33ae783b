"""What daphne is given: uvicorn's event loop, writes that do not wait for it, and an inbox that is no queue."""

from __future__ import annotations

import gc
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, cast
from weakref import ref

import pytest
from twisted.internet.protocol import Protocol
from twisted.internet.tcp import Connection

from chatsite.servers.daphne import write_at_once
from tests.support.server import ROOT


class Reactor:
    """Knows who waits for the event loop."""

    def __init__(self) -> None:
        self.waiting: list[Any] = []

    def addWriter(self, writer: Any) -> None:  # noqa: N802 - Twisted's name
        self.waiting.append(writer)

    def removeWriter(self, writer: Any) -> None:  # noqa: N802 - Twisted's name
        self.waiting.remove(writer)


@pytest.fixture
def reactor() -> Reactor:
    return Reactor()


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def transport(sockets: tuple[socket.socket, socket.socket], reactor: Reactor) -> Any:
    connection: Any = cast("Any", Connection)(sockets[0], Protocol(), reactor)
    connection.connected = True
    write_at_once(connection)
    return connection


def test_a_write_is_at_the_reader_before_the_event_loop_turns(
    transport: Any, reactor: Reactor, sockets: tuple[socket.socket, socket.socket]
) -> None:
    transport.writeSequence([b"data: ", b"one\n\n"])
    sockets[1].setblocking(False)
    assert sockets[1].recv(100) == b"data: one\n\n"
    assert reactor.waiting == []


def test_bytes_that_the_socket_does_not_take_follow_in_order(
    transport: Any, reactor: Reactor, sockets: tuple[socket.socket, socket.socket]
) -> None:
    much = b"".join(b"%07d\n" % number for number in range(200_000))
    transport.writeSequence([much])
    assert reactor.waiting == [transport]
    transport.writeSequence([b"the end"])
    received = b""
    while len(received) < len(much) + len(b"the end"):
        received += sockets[1].recv(1 << 20)
        if reactor.waiting:
            transport.doWrite()
    assert received == much + b"the end"
    assert reactor.waiting == []


def test_a_connection_that_is_over_does_not_wait_for_the_garbage_collector(
    sockets: tuple[socket.socket, socket.socket], reactor: Reactor
) -> None:
    connection: Any = cast("Any", Connection)(sockets[0], Protocol(), reactor)
    gc.disable()
    try:
        write_at_once(connection)
        known = ref(connection)
        del connection
        assert known() is None
    finally:
        gc.enable()


def test_nothing_is_written_to_a_connection_that_is_gone(
    transport: Any, reactor: Reactor, sockets: tuple[socket.socket, socket.socket]
) -> None:
    transport.connected = False
    transport.writeSequence([b"late"])
    sockets[1].setblocking(False)
    with pytest.raises(BlockingIOError):
        sockets[1].recv(100)
    assert reactor.waiting == []


def test_a_reader_that_hung_up_is_found_by_the_event_loop(
    transport: Any, reactor: Reactor, sockets: tuple[socket.socket, socket.socket]
) -> None:
    sockets[1].close()
    transport.writeSequence([b"late"])
    assert reactor.waiting == [transport]


def test_daphne_runs_on_uvloop() -> None:
    program = """
import daphne.cli, chatsite.asgi
from twisted.internet import reactor
print(type(reactor._asyncioEventloop).__module__)
"""
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "chatsite.settings", "SECRET_KEY": "no secret at all " * 4}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "uvloop"
