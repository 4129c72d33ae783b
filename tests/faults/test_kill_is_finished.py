"""kill -9 in the middle of answers: another process, or the same one when it is back, finishes each by itself.

Its readers, of all four kinds, have one text: what they had seen, then the rest, no position twice and none left out.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, NamedTuple

import pytest

from tests.faults import choose_length, find_place
from tests.faults.load import Asked, Load, Reading
from tests.faults.pages import PageReading, follow_by_page, follow_by_socket, load_page, log_in
from tests.faults.rows import read_ledger
from tests.support.server import Cluster
from tests.support.site import NDJSON, SSE

ROUNDS = choose_length(2, 25)
ANSWERS = choose_length(6, 20)
CHARACTERS = 1200
PACE: dict[str, Any] = {"chunk_size": 10, "delay_between": 0.03}

# When its process is killed, an answer may be complete although so many characters of it were still on their way.
ALL_BUT = 100

COMPLETE_WITHIN = 30.0

EVERY = (
    "uvicorn-postgres-2-redis",
    "daphne-sqlite-1",
    "daphne-postgres-2-redis",
    "uvicorn-sqlite-1",
    "uvicorn-sqlite-2",
)
CASES = choose_length(
    [("uvicorn-postgres-2-redis", False), ("daphne-sqlite-1", True)],
    [(name, is_kept) for name in EVERY for is_kept in (False, True)],
)


@pytest.fixture
def environment(request: pytest.FixtureRequest) -> dict[str, str]:
    kept = {"OPENAI_API": "responses", "OPENAI_BACKGROUND": "1"}
    return {"CHAT_FINISH_LOST": "1", **(kept if request.param else {})}


class Readers(NamedTuple):
    """The followers of one answer: three programs and a page."""

    asked: Asked
    programs: list[asyncio.Task[Reading]]
    page: asyncio.Task[PageReading]


@pytest.mark.parametrize(
    ("place", "environment"),
    [(find_place(name), is_kept) for name, is_kept in CASES],
    ids=[f"{name}-{'kept by the provider' if is_kept else 'asked to go on'}" for name, is_kept in CASES],
    indirect=["environment"],
)
async def test_every_answer_is_finished_with_what_was_seen(
    load: Load, cluster: Cluster, request: pytest.FixtureRequest
) -> None:
    is_kept = "OPENAI_BACKGROUND" in request.getfixturevalue("environment")
    login = await log_in(cluster.servers[0])
    for number in range(1, ROUNDS + 1):
        lost, seconds = await kill_one(load, cluster, login, is_kept=is_kept)
        print(f"kill {number} of {ROUNDS}: {lost} of {ANSWERS} answers lost, all complete {seconds:.1f} s later")
    assert not load.failures


async def kill_one(load: Load, cluster: Cluster, login: dict[str, str], *, is_kept: bool) -> tuple[int, float]:
    """Kill a server; return how many answers were lost, and after how many seconds all were complete."""
    asked_before = count_asked(load)
    all_asked = [await load.ask(CHARACTERS, **PACE) for _ in range(ANSWERS)]
    readers = [follow_in_every_way(load, one, login) for one in all_asked]
    await asyncio.sleep(load.chance.uniform(1, 2))
    victim = load.choose_server()
    owned = [one for one in all_asked if one.server is victim]
    killed = time.monotonic()
    victim.kill()
    seen = {one.answer: [reading.text for reading in load.list_readings(one.answer)] for one in all_asked}
    if len(cluster.servers) == 1:
        await asyncio.to_thread(victim.start)
    end = time.monotonic() + COMPLETE_WITHIN
    survivor = next(server for server in cluster.servers if server.running)
    lost = []
    for one in all_asked:
        kept = await load.wait_for_end(one.answer, end - time.monotonic(), survivor)
        assert kept["status"] == "complete", kept["error"]
        assert kept["interruptions"] <= (1 if one in owned else 0)
        # Asking all questions may take seconds; then the first answers are whole before the kill.
        is_whole = load.find_requests(one)[0].count_sent_before(killed) >= CHARACTERS - ALL_BUT
        assert kept["interruptions"] or one not in owned or is_whole
        lost += [one] if kept["interruptions"] else []
        assert all(kept["text"].startswith(text) for text in seen[one.answer])
        assert not is_kept or kept["text"] == one.text
    seconds = time.monotonic() - killed
    for each in readers:
        await is_one_text(load, each, login)
    await is_accounted_for(load, lost, all_asked, count_asked(load) - asked_before, is_kept=is_kept)
    if not victim.running:
        await asyncio.to_thread(victim.start)
    return len(lost), seconds


def follow_in_every_way(load: Load, one: Asked, login: dict[str, str]) -> Readers:
    programs = [
        load.follow_in_background(one.answer, media_type=SSE),
        load.follow_in_background(one.answer, media_type=NDJSON),
        load.start_in_background(follow_by_socket(load, one.answer)),
    ]
    return Readers(one, programs, load.start_in_background(follow_by_page(load, one.answer, login)))


async def is_one_text(load: Load, readers: Readers, login: dict[str, str]) -> None:
    one = readers.asked
    server = next(server for server in load.cluster.servers if server.running)
    kept = await load.answer(one.answer, server)
    for following in readers.programs:
        reading = await asyncio.wait_for(following, COMPLETE_WITHIN)
        assert (reading.torn, reading.status) == ([], "complete")
        assert reading.text == kept["text"]
        assert not reading.has_skipped_joint or kept["interruptions"]
    page = await asyncio.wait_for(readers.page, COMPLETE_WITHIN)
    assert page.torn == []
    assert page.html == await load_page(load, server, one.conversation, one.answer, login)


async def is_accounted_for(
    load: Load, lost: list[Asked], all_asked: list[Asked], requests: int, *, is_kept: bool
) -> None:
    """Assert that a lost answer has two calls, the lost one and one that went on, that each other answer has one, that
    the provider got no more requests, and that nothing is held.

    Where the provider keeps the response, each answer has one call.
    """
    found = await read_ledger(next(server for server in load.cluster.servers if server.running))
    outcomes = {
        one.answer: [row["outcome"] for row in found["rows"] if row["answer_id"] == one.answer] for one in all_asked
    }
    for one in all_asked:
        is_asked_again = one in lost and not is_kept
        assert outcomes[one.answer] == (["interrupted", "complete"] if is_asked_again else ["complete"])
    assert requests == sum(map(len, outcomes.values()))
    assert found["held"] == 0


def count_asked(load: Load) -> int:
    """Return how often the provider was asked for an answer; requests that follow a response it keeps do not count."""
    paths = ("/chat/completions", "/responses")
    return sum(made.method == "POST" and made.path.endswith(paths) for made in load.provider.requests)
