"""SIGTERM while something hangs that nobody can end: the process is gone `CHAT_DRAIN` and 2 s later all the same."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests import faults
from tests.faults import Place, choose_length
from tests.faults.load import Asked, Load
from tests.faults.rows import read_ledger
from tests.provider_server import ProviderServer, Script
from tests.support.server import ROOT, Cluster
from tests.support.services import Postgres, list_children

DRAIN = 1.0
EXIT_WITHIN = DRAIN + 2.0
PACE: dict[str, Any] = {"chunk_size": 8, "delay_between": 0.05}
MUCH = 2000
NEVER: dict[str, Any] = {"delay_headers": 600}
HANGING = ("sleep_in_a_thread", "cling_to_life", "mcp__hang")


@pytest.fixture
def environment(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """A short drain, so that the test is short; the 2 s that the exit may take beyond it do not depend on it."""
    drain = {"CHAT_DRAIN": f"{DRAIN:g}", "CHAT_TITLE_MODEL": "openai:small", "CHAT_TOOL_TIMEOUT": "60"}
    if "tools" not in request.node.name:
        return drain
    server = {"command": sys.executable, "args": ["-m", "tests.support.mcp_server"], "env": {"PYTHONPATH": str(ROOT)}}
    tools = ",".join(f"tests.faults.hanging_tools.{name}" for name in HANGING if "__" not in name)
    return {**drain, "CHAT_TOOLS": tools, "CHAT_MCP": json.dumps({"mcp": server})}


def find_places(*names: str) -> list[Place]:
    return [faults.find_place(name) for name in names]


async def begin_title_that_never_comes(load: Load, provider: ProviderServer) -> None:
    victim, seen = load.cluster.servers[0], len(provider.requests)
    made = await load.call("POST", victim, "/api/conversations/")
    provider.enqueue(Script(text="Because air scatters it."), Script(**NEVER))
    await load.send(Asked(victim, made["id"], "Why is the sky blue?", ""))
    await provider.wait_until(
        lambda: any(request.body.get("model") == "small" for request in provider.requests[seen:]), 30
    )


@pytest.mark.parametrize(
    "place", find_places(*choose_length(["daphne-sqlite-1"], ["daphne-sqlite-1", "uvicorn-sqlite-1"])), ids=str
)
async def test_tools_and_titles_that_hang_do_not_delay_the_exit(
    place: Place, load: Load, cluster: Cluster, provider: ProviderServer
) -> None:
    victim = cluster.servers[0]
    await begin_title_that_never_comes(load, provider)
    asked = [await ask_for(load, name) for name in HANGING]
    readings = [load.follow_in_background(one.answer) for one in asked]
    started = list_children(victim.pid)
    assert started, "the MCP server is a process of the site's"
    took = await asyncio.to_thread(victim.terminate, EXIT_WITHIN)
    print(f"{place}: {took:.1f} s")
    assert [pid for pid in started if is_running(pid)] == []
    rows = (await read_ledger(victim))["rows"]
    assert {row["outcome"] for row in rows} <= {"complete", "interrupted"}
    # An answer that was asked for before the MCP server was known is complete, and has its title.
    [title] = [row for row in rows if row["purpose"] == "title" and row["outcome"] != "complete"]
    assert title["error_code"] == "server_restart"
    await asyncio.to_thread(victim.start)
    for one, following in zip(asked, readings, strict=True):
        kept, reading = await load.answer(one.answer), await following
        assert (kept["status"], kept["error"]["code"]) == ("interrupted", "server_restart")
        assert (reading.text, reading.status) == (kept["text"], "interrupted")


async def ask_for(load: Load, tool: str) -> Asked:
    """Ask until an answer calls a tool and hangs in it: the site knows an MCP server's tools after some seconds."""
    for _ in range(20):
        asked = await load.ask(5, load.cluster.servers[0], tool_calls=[{"name": tool}])
        await load.wait_for_characters(asked)
        await asyncio.sleep(1)
        if (await load.answer(asked.answer))["status"] == "streaming":
            return asked
    raise AssertionError(f"{tool} does not hang")


def is_running(pid: int) -> bool:
    """Return whether a process still runs. A zombie does not: its parent is gone, and the new one may reap it late."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@contextmanager
def lock_database(cluster: Cluster) -> Iterator[None]:
    """Hold the write lock of the SQLite file, as another program would, for longer than the site waits for it."""
    path = cluster.servers[0].environment["DATABASE_URL"].removeprefix("sqlite:///")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.close()


@contextmanager
def stop_postgres(postgres: Postgres) -> Iterator[None]:
    postgres.stop()
    try:
        yield
    finally:
        postgres.start()


@contextmanager
def silence_postgres(postgres: Postgres) -> Iterator[None]:
    """Pause PostgreSQL, so that it accepts connections and does not respond, as when its disk hangs."""
    assert postgres.process is not None
    pids = [postgres.process.pid, *list_children(postgres.process.pid)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


AWAY = [
    (faults.find_place(place), how)
    for place, how in choose_length(
        [("uvicorn-sqlite-1", "locked"), ("daphne-postgres-1", "silent"), ("uvicorn-postgres-1-redis", "stopped")],
        [
            *product(("daphne-sqlite-1", "uvicorn-sqlite-1"), ("locked",)),
            *product(("daphne-postgres-1", "uvicorn-postgres-1-redis"), ("stopped", "silent")),
        ],
    )
]


@pytest.mark.parametrize(("place", "how"), AWAY, ids=[f"{place}-{how}" for place, how in AWAY])
async def test_a_database_that_is_away_does_not_delay_the_exit(
    place: Place, how: str, load: Load, cluster: Cluster, provider: ProviderServer, request: pytest.FixtureRequest
) -> None:
    victim = cluster.servers[0]
    await begin_title_that_never_comes(load, provider)
    asked = [await load.ask(MUCH, victim, **PACE), await load.ask(200, victim, **PACE)]  # one ends in the drain
    for one in asked:
        await load.wait_for_characters(one, 80)
    await asyncio.sleep(0.6)
    with ExitStack() as away:
        if how == "locked":
            away.enter_context(lock_database(cluster))
        else:
            hold = stop_postgres if how == "stopped" else silence_postgres
            away.enter_context(hold(request.getfixturevalue("postgres")))
        took = await asyncio.to_thread(victim.terminate, EXIT_WITHIN)
        print(f"{place}, {how}: {took:.1f} s")
    await asyncio.to_thread(victim.start)
    for one in asked:
        kept = await load.wait_for_end(one.answer, 20)
        assert (kept["status"], kept["error"]["code"]) == ("interrupted", "server_lost")
        assert one.text.startswith(kept["text"])
        assert kept["text"]
    end = time.monotonic() + 30
    while running := [row for row in (await read_ledger(victim))["rows"] if row["outcome"] == "running"]:
        assert time.monotonic() < end, running
        await asyncio.sleep(0.5)
