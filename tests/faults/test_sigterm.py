"""SIGTERM, as every deployment sends it: all text is saved, whoever follows hears of the end, the exit is soon."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import pytest

from tests.faults import ALONE, FILE, MANY, Place, choose_length, choose_places
from tests.faults.load import Asked, Load
from tests.support.server import Cluster, Server

ANSWERS = choose_length(15, 50)
PACE: dict[str, Any] = {"chunk_size": 8, "delay_between": 0.05}
SHORT = 200  # characters: 1.2 s, which a drain waits for
MUCH = 4000  # 25 s, which no drain waits for

EXIT_WITHIN = 10.0
ON_ITS_WAY = 0.5


@pytest.fixture
def environment(request: pytest.FixtureRequest) -> dict[str, str]:
    """The default drain of 8 s, in the short form too, for the test that measures how long the exit takes."""
    return {"CHAT_DRAIN": "8", "CHAT_MAX_PROMPT_CHARS": "2000000"} if "neither_read" in request.node.name else {}


@asynccontextmanager
async def send_half_a_request(server: Server, token: str) -> AsyncIterator[None]:
    """Send the head of a request and the beginning of its body, and keep the connection open without the rest."""
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = f"POST /api/conversations/ HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {token}\r\n"
    writer.write(f'{head}content-type: application/json\r\ncontent-length: 1000\r\n\r\n{{"half": "'.encode())
    await writer.drain()
    try:
        yield
    finally:
        writer.close()


@pytest.mark.parametrize("place", choose_places(ALONE, FILE, MANY), ids=str)
async def test_nothing_is_lost_and_the_exit_is_in_time(place: Place, load: Load, cluster: Cluster) -> None:
    victim = load.choose_server()
    asked = [await load.ask(SHORT if number % 3 == 0 else MUCH, victim, **PACE) for number in range(ANSWERS)]
    readings = [load.follow_in_background(one.answer) for one in asked]
    refused = [await load.begin_question(SHORT, victim) for _ in range(5)]
    async with send_half_a_request(victim, cluster.token):
        await asyncio.sleep(0.5)
        leaving = asyncio.ensure_future(asyncio.to_thread(victim.terminate, EXIT_WITHIN))
        await asyncio.sleep(0.5)
        await asyncio.gather(*(is_refused(load, question) for question in refused))
        await leaving
    await asyncio.to_thread(victim.start)
    for one, following in zip(asked, readings, strict=True):
        reading = await following
        kept = await load.answer(one.answer)
        assert (kept["text"], kept["status"], reading.torn) == (reading.text, reading.status, [])
        [recorded] = load.find_requests(one)
        if len(one.text) == SHORT:
            assert (kept["text"], kept["status"]) == (one.text, "complete")
        else:
            assert (kept["status"], kept["error"]["code"]) == ("interrupted", "server_restart")
            assert one.text.startswith(kept["text"])
            assert recorded.closed_at is not None
            assert len(kept["text"]) >= recorded.count_sent_before(recorded.closed_at - ON_ITS_WAY)
    assert "Traceback" not in cluster.log()


async def is_refused(load: Load, question: Asked) -> None:
    """Assert that a draining server refuses a turn with 503, or takes no connection, and makes no upstream call."""
    path = f"{question.server.url}/api/conversations/{question.conversation}/messages/"
    body = json.dumps({"content": question.content})
    with suppress(aiohttp.ClientConnectionError):
        async with load.http.post(path, data=body, headers={"content-type": "application/json"}) as response:
            assert (response.status, (await response.json())["error"]["code"]) == (503, "draining")
    assert load.find_requests(question) == []


@pytest.mark.parametrize("place", choose_places(FILE, sizes=(1,)), ids=str)
async def test_an_idle_server_leaves_in_spite_of_a_half_sent_request(place: Place, cluster: Cluster) -> None:
    async with send_half_a_request(cluster.servers[0], cluster.token):
        await asyncio.to_thread(cluster.servers[0].terminate, EXIT_WITHIN)


class Unread:
    """A client that asks for something long and reads none of it, through buffers that hold little."""

    def __init__(self, server: Server, request: str) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.connect(("127.0.0.1", server.port))
        self._socket.sendall(request.encode())

    def close(self) -> None:
        self._socket.close()


@pytest.mark.parametrize("place", choose_places(ALONE, "uvicorn-sqlite-1", sizes=(1,), redis=(False,)), ids=str)
async def test_clients_that_neither_read_nor_send_do_not_delay_the_exit(
    place: Place, load: Load, cluster: Cluster
) -> None:
    """The clients: readers that do not read, a program that waits for a whole answer, one that sends half of a request,
    and a connection that is kept for the next request. One answer takes longer than the default drain.
    """
    victim = cluster.servers[0]
    bearer = f"Authorization: Bearer {cluster.token}\r\n"
    asked = await load.ask(300_000, victim, chunk_size=10_000, delay_between=0.02)
    slow = await load.ask(MUCH, victim, **PACE)
    paths = [f"/api/answers/{asked.answer}/events/", f"/api/answers/{slow.answer}/events/"]
    clients = [Unread(victim, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{bearer}\r\n") for path in paths * 3]
    clients.append(Unread(victim, "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"))
    waits = await load.begin_question(MUCH, victim, **PACE)
    body = json.dumps({"content": waits.content})
    head = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n{bearer}"
    path = f"/api/conversations/{waits.conversation}/messages/"
    clients.append(Unread(victim, f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{head}\r\n{body}"))
    await load.wait_for_characters(waits)
    async with send_half_a_request(victim, cluster.token):
        took = await asyncio.to_thread(victim.terminate, EXIT_WITHIN)
    print(f"{place}: {took:.1f} s")
    for client in clients:
        client.close()
    await asyncio.to_thread(victim.start)
    kept = await load.answer(slow.answer)
    assert (kept["status"], kept["error"]["code"]) == ("interrupted", "server_restart")
