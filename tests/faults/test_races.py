"""Two of the same at once: one upstream call, one terminal state, at whichever servers they arrive."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.faults import ALONE, FILE, MANY, Place, choose_length, choose_places
from tests.faults.load import Load
from tests.support.server import Cluster

SENDS = choose_length(10, 50)
RETRIES = choose_length(10, 50)
STOPS = choose_length(40, 200)
AT_ONCE = 10

QUICK: dict[str, Any] = {"chunk_size": 20, "delay_between": 0.01}
SLOW: dict[str, Any] = {"chunk_size": 20, "delay_between": 0.05}


@pytest.mark.parametrize("place", choose_places(FILE, MANY), ids=str)
async def test_a_question_that_is_sent_twice_at_once_is_asked_once(place: Place, load: Load) -> None:
    for _ in range(SENDS):
        question = await load.begin_question(100, **QUICK)
        path = f"/api/conversations/{question.conversation}/messages/"
        body = {"content": question.content, "turn": str(uuid4())}
        accepted = await asyncio.gather(
            *(load.call("POST", load.choose_server(), path, body, prefer="respond-async") for _ in range(2))
        )
        assert accepted[0] == accepted[1]
        assert (await load.follow(accepted[0]["answer"])).text == question.text
        assert len(load.find_requests(question)) == 1
        kept = await load.call("GET", load.choose_server(), f"/api/conversations/{question.conversation}/")
        assert [message["role"] for message in kept["messages"]] == ["user", "assistant"]
    assert load.failures == []


@pytest.mark.parametrize("place", choose_places(FILE, MANY), ids=str)
async def test_a_retry_during_the_run_is_refused_and_names_the_run(place: Place, load: Load) -> None:
    async def race() -> None:
        asked = await load.ask(400, **SLOW)
        await asyncio.sleep(load.chance.uniform(0, 0.5))
        retried = await asyncio.gather(
            *(load.send_request("POST", load.choose_server(), f"/api/answers/{asked.answer}/retry/") for _ in range(2))
        )
        assert [(status, said["error"]["answer"]) for status, said in retried] == [(409, asked.answer)] * 2
        assert (await load.follow(asked.answer)).text == asked.text
        assert len(load.find_requests(asked)) == 1

    for _ in range(0, RETRIES, AT_ONCE):
        await asyncio.gather(*(race() for _ in range(AT_ONCE)))
    assert load.failures == []


@pytest.mark.parametrize("place", choose_places(FILE, MANY), ids=str)
async def test_two_retries_at_once_make_one_more_attempt(place: Place, load: Load) -> None:
    async def race() -> None:
        asked = await load.ask(400, **SLOW)
        await load.wait_for_characters(asked)  # before that, Stop may keep the call from being made
        await load.call("POST", load.choose_server(), f"/api/answers/{asked.answer}/stop/")
        calls = len(load.find_requests(asked))
        retried = await asyncio.gather(
            *(load.call("POST", load.choose_server(), f"/api/answers/{asked.answer}/retry/") for _ in range(2))
        )
        [again] = {each["answer"] for each in retried}
        assert again != asked.answer
        assert (await load.follow(again)).text == asked.text
        assert len(load.find_requests(asked)) == calls + 1

    for _ in range(0, RETRIES, AT_ONCE):
        await asyncio.gather(*(race() for _ in range(AT_ONCE)))
    assert load.failures == []


@pytest.mark.parametrize("place", choose_places(ALONE, MANY), ids=str)
async def test_a_stop_at_the_finish_makes_one_end(place: Place, load: Load, cluster: Cluster) -> None:
    ends: list[str] = []

    async def race() -> None:
        asked = await load.ask(200, chunk_size=10, delay_between=0.02)  # 0.4 s
        followings = [load.follow_in_background(asked.answer) for _ in range(2)]
        await asyncio.sleep(0.4 + load.chance.uniform(-0.1, 0.4))  # on a busy machine it takes longer
        said = await load.call("POST", load.choose_server(), f"/api/answers/{asked.answer}/stop/")
        assert said["status"] in {"complete", "stopped"}
        for following in followings:
            reading = await following
            assert (reading.text, reading.status, reading.torn) == (said["text"], said["status"], [])
        assert await load.answer(asked.answer) == said
        assert asked.text.startswith(said["text"])
        assert said["status"] == "stopped" or said["text"] == asked.text
        assert list_outcomes(cluster, asked.answer) == [said["status"]]
        ends.append(said["status"])

    for _ in range(0, STOPS, AT_ONCE):
        await asyncio.gather(*(race() for _ in range(AT_ONCE)))
    assert load.failures == []
    assert set(ends) == {"complete", "stopped"}, "no race: one of the two always came first"


def list_outcomes(cluster: Cluster, answer: str) -> list[str]:
    """Return the outcomes of an answer's upstream calls, as the ledger has them."""
    url = cluster.servers[0].environment["DATABASE_URL"]
    query = "SELECT outcome FROM chat_providercall WHERE answer_id = "
    if url.startswith("sqlite"):
        session = sqlite3.connect(url.removeprefix("sqlite:///"))
        try:
            return [row[0] for row in session.execute(query + "?", (UUID(answer).hex,))]
        finally:
            session.close()
    with psycopg.connect(url) as connection:
        return [row[0] for row in connection.execute(query + "%s", (answer,))]
