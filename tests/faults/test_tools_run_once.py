"""kill -9 in the middle of tools that have an effect: the answer is finished, and each effect is there once.

A process dies before a tool was called, while it runs and its effect is there, and when its result is kept and the
model goes on. Of a tool that was running nobody knows the result: the model is told so, and it is not run again.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from chat.generation.recovery import NO_RESULT, NOT_RUN
from tests.faults import LONG, choose_length, find_place
from tests.faults.counting_tools import HOLD, VARIABLE
from tests.faults.load import Asked, Load
from tests.faults.rows import run_in_shell
from tests.provider_server import ProviderServer, Script
from tests.support.server import Cluster, Server

ROUNDS = choose_length(1, 25)
OF_EACH_KIND = choose_length(2, 6)
TOOLS = ("count_in_a_thread", "count_on_the_loop")
COMPLETE_WITHIN = 30.0
BEGUN_WITHIN = 60.0

# Seconds until the first word, at most, of an answer whose process may be killed at any moment.
LATEST = 4.0

# What the model says when it has the results: slowly, so that a process dies in the middle of it.
AFTERWARDS = Script(text="All is counted, and this is said of it. " * 6, chunk_size=8, delay_between=0.1)

IN_THE_TOOL, AFTER_THE_TOOL, ANYWHERE = KINDS = ("in the tool", "after the tool", "anywhere")
"""Where an answer stands when its process dies."""

READ = """
import json
from chat.models import ToolCall
print(json.dumps([[str(row.answer_id), row.arguments, row.result] for row in ToolCall.objects.all()]))
"""

PLACES = [
    find_place(name)
    for name in (
        "uvicorn-postgres-2-redis",
        *(("daphne-sqlite-1", "uvicorn-sqlite-2", "daphne-postgres-1") if LONG else ()),
    )
]


@pytest.fixture
def counts(tmp_path: Path) -> Path:
    return tmp_path / "counts"


@pytest.fixture
def environment(counts: Path) -> dict[str, str]:
    tools = ",".join(f"tests.faults.counting_tools.{name}" for name in TOOLS)
    return {"CHAT_FINISH_LOST": "1", "CHAT_TOOLS": tools, "CHAT_TOOL_TIMEOUT": "60", VARIABLE: str(counts)}


@pytest.fixture
def says_afterwards(provider: ProviderServer) -> Iterator[None]:
    before, provider.script = provider.script, replace(AFTERWARDS)
    yield
    provider.script = before


@pytest.mark.usefixtures("says_afterwards")
@pytest.mark.parametrize("place", PLACES, ids=str)
async def test_tools_of_a_killed_server_have_their_effect_once(load: Load, cluster: Cluster, counts: Path) -> None:
    for _ in range(ROUNDS):
        await kill_one(load, cluster, counts)
    assert not load.failures


async def kill_one(load: Load, cluster: Cluster, counts: Path) -> None:
    hold, victim = counts.with_name(counts.name + HOLD), load.choose_server()
    hold.touch()
    kinds = {uuid4().hex: kind for kind in KINDS for _ in range(OF_EACH_KIND)}
    asked = {mark: await ask(load, victim, kind, mark) for mark, kind in kinds.items()}
    await wait_for_tools(load, counts, asked, kinds)
    victim.kill()
    hold.unlink()
    if len(cluster.servers) == 1:
        await asyncio.to_thread(victim.start)
    survivor = next(server for server in cluster.servers if server.running)
    end = time.monotonic() + COMPLETE_WITHIN
    for mark, one in asked.items():
        kept = await load.wait_for_end(one.answer, end - time.monotonic(), survivor)
        assert kept["status"] == "complete", (kinds[mark], kept["error"])
    runs, results = read_runs(counts), await read_results(survivor)
    for mark, one in asked.items():
        check_one(kinds[mark], runs[mark], results.get(one.answer, []))
    if not victim.running:
        await asyncio.to_thread(victim.start)


async def ask(load: Load, server: Server, kind: str, mark: str) -> Asked:
    """Ask for an answer that calls both tools."""
    arguments = json.dumps({"mark": mark, "is_held": kind == IN_THE_TOOL})
    calls = [{"name": name, "arguments": arguments, "id": f"call_{name}"} for name in TOOLS]
    begins_after = load.chance.uniform(0, LATEST) if kind == ANYWHERE else 0
    return await load.ask(40, server, chunk_size=2, delay_first=begins_after, delay_between=0.02, tool_calls=calls)


async def wait_for_tools(load: Load, counts: Path, asked: dict[str, Asked], kinds: dict[str, str]) -> None:
    """Wait until each answer is where its process is to be killed: in its tools, or in the text after them."""
    end = time.monotonic() + BEGUN_WITHIN
    begun = [mark for mark, kind in kinds.items() if kind != ANYWHERE]
    after = [mark for mark, kind in kinds.items() if kind == AFTER_THE_TOOL]
    while True:
        runs = read_runs(counts)
        if all(runs[mark] == len(TOOLS) for mark in begun) and all(is_going_on(load, asked[mark]) for mark in after):
            return
        assert time.monotonic() < end, runs
        await asyncio.sleep(0.05)


def is_going_on(load: Load, one: Asked) -> bool:
    """Return whether the model has begun to send text after its tools."""
    return any(call.brings_results and call.sent_characters > 0 for call in load.find_requests(one))


def read_runs(counts: Path) -> Counter[str]:
    return Counter(counts.read_text().split() if counts.exists() else [])


async def read_results(server: Server) -> dict[str, list[str]]:
    """Return the results of all tools, by their answer."""
    results: dict[str, list[str]] = {}
    for answer, _, result in json.loads(await asyncio.to_thread(run_in_shell, server, READ)):
        results.setdefault(answer, []).append(result)
    return results


def check_one(kind: str, runs: int, results: list[str]) -> None:
    unknown, not_run = results.count(NO_RESULT), results.count(NOT_RUN)
    known = len(results) - unknown - not_run
    assert known <= runs <= known + unknown <= len(TOOLS), (kind, runs, results)
    if kind != ANYWHERE:
        wanted = (0, len(TOOLS)) if kind == IN_THE_TOOL else (len(TOOLS), 0)
        assert (known, unknown, runs) == (*wanted, len(TOOLS)), (kind, runs, results)
