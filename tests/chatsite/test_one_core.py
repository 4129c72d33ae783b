"""The threads of a process share one core, which the kernel may change; its tools have every core."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chatsite.servers.cpu_affinity import share_one_core
from tests.support.databases import serve_new_site
from tests.support.waiting import wait_until

CORES = os.sched_getaffinity(0)

# Threads are free for 20 ms in a second; a loaded machine may look at other times.
LONG = 60.0


@pytest.fixture(params=["daphne", "uvicorn"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def read_allowed_cores(pid: int) -> list[set[int]]:
    """Return the cores that each thread of a process may run on."""
    found = []
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            found.append(os.sched_getaffinity(int(thread)))
        except ProcessLookupError:  # it has ended
            continue
    return found


def is_together(pid: int) -> bool:
    threads = read_allowed_cores(pid)
    return len(threads) > 2 and len(set(map(frozenset, threads))) == len(threads[0]) == 1


def is_free(pid: int) -> bool:
    return all(cores == CORES for cores in read_allowed_cores(pid))


async def test_all_threads_are_on_one_core_and_free_for_a_moment_each_second(kind: str, tmp_path: Path) -> None:
    with serve_new_site(kind, tmp_path) as (server, _):
        await wait_until(lambda: is_together(server.pid), LONG)
        await wait_until(lambda: is_free(server.pid), LONG)
        await wait_until(lambda: is_together(server.pid), LONG)


def test_an_operator_may_have_every_core_used(kind: str, tmp_path: Path) -> None:
    with serve_new_site(kind, tmp_path, CHAT_ONE_CORE="0") as (server, _):
        for _ in range(30):
            assert is_free(server.pid)
            time.sleep(0.05)


# Waits until it is held, and starts a process as a tool's is started.
STARTS_A_TOOL = """
import asyncio, os, sys, uvloop
from chatsite.servers.cpu_affinity import share_one_core

async def start():
    share_one_core()
    await asyncio.sleep(0.5)
    print(len(os.sched_getaffinity(0)))
    sys.stdout.flush()
    tool = await asyncio.create_subprocess_exec(sys.executable, "-c", "import os; print(len(os.sched_getaffinity(0)))")
    await tool.wait()

uvloop.run(start())
"""


def test_the_process_of_a_tool_has_every_core() -> None:
    told = subprocess.run([sys.executable, "-c", STARTS_A_TOOL], check=True, capture_output=True, text=True)
    assert told.stdout.split() == ["1", str(len(CORES))]


async def test_a_machine_without_the_means_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_setaffinity")
    before = asyncio.all_tasks()
    share_one_core()
    assert asyncio.all_tasks() == before
