"""Readers that never read cost the site next to nothing, and the answer and its other readers notice nothing."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.faults import Place, choose_length, choose_places
from tests.faults.load import Load
from tests.faults.processes import Peak
from tests.provider_server import Script
from tests.support.server import Cluster, Server

READERS = 20
MILLION = 1_000_000
CHARACTERS = choose_length(3 * MILLION, 20 * MILLION)
SECONDS = choose_length(1.0, 10.0)
MORE_AT_MOST = 20 * MILLION


@pytest.fixture
def environment() -> dict[str, str]:
    return {"CHAT_MAX_ANSWER_CHARS": str(CHARACTERS + 1), "CHAT_CHECKPOINT": "1"}


@contextmanager
def open_unread_stream(server: Server, token: str, answer: str) -> Iterator[None]:
    """Request an answer's events and read none of them, so that the TCP window fills up."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", server.port))
        head = f"GET /api/answers/{answer}/events/ HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: text/event-stream\r\n"
        connection.sendall(f"{head}authorization: Bearer {token}\r\n\r\n".encode())
        yield


@pytest.mark.parametrize("place", choose_places("daphne-sqlite-1", "uvicorn-sqlite-1", sizes=(1,)), ids=str)
async def test_twenty_readers_that_do_not_read_take_no_more_than_20_megabytes(
    place: Place, load: Load, cluster: Cluster
) -> None:
    """The same answer is written four times, the last two times with twenty readers who do not read. The larger peak of
    the first two is compared with the smaller one of the last two: a sweep may index an earlier answer during any.
    """
    [server] = cluster.servers
    text = ("x" * 99 + "\n") * (CHARACTERS // 100)
    load.provider.script = Script(text=text, chunk_size=4000, delay_between=SECONDS / (CHARACTERS / 4000))
    try:
        alone = max([await measure_peak_of_an_answer(load, server, 0) for _ in range(2)])
        beset = min([await measure_peak_of_an_answer(load, server, READERS) for _ in range(2)])
    finally:
        load.provider.script = Script()
    print(f"{alone / MILLION:.0f} MB became {beset / MILLION:.0f} MB")
    assert beset - alone <= MORE_AT_MOST


async def measure_peak_of_an_answer(load: Load, server: Server, readers: int) -> int:
    """Return the most memory that the server had while it wrote an answer, in bytes."""
    made = await load.call("POST", server, "/api/conversations/")
    path = f"/api/conversations/{made['id']}/messages/"
    begun = await load.call("POST", server, path, {"content": f"{readers} of them"}, prefer="respond-async")
    with contextlib.ExitStack() as stack:
        for _ in range(readers):
            stack.enter_context(open_unread_stream(server, load.cluster.token, begun["answer"]))
        async with Peak(server.pid) as peak:
            reading = await load.follow(begun["answer"])
    assert (reading.text, reading.status, reading.torn) == (load.provider.script.text, "complete", [])
    kept = await load.answer(begun["answer"], server)
    assert (kept["status"], kept["text"]) == ("complete", reading.text)
    return peak.bytes
