"""kill -9 while titles, answers and a batch run: no row of the ledger is "running" a minute later, each is charged for
its own text, and no reservation is left.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.faults import ALONE, Place, choose_length, choose_places
from tests.faults.load import Asked, Load
from tests.faults.rows import read_ledger, run_in_shell
from tests.provider_server import ProviderServer, Script
from tests.support.server import ROOT, Cluster, Server

ROUNDS = choose_length(1, 10)
ANSWERS = choose_length(4, 20)
LINES = choose_length(3, 12)
SETTLED_WITHIN = 60.0

# The provider sends 400 characters before the kill; the rest never comes.
PACE: dict[str, Any] = {"chunk_size": 10, "delay_between": 0.02, "gate_after": 400}
NEVER: dict[str, Any] = {"delay_headers": 600}
DELETE = "from chat.models import Conversation; print(Conversation.objects.filter(pk={!r}).delete()[0])"


@pytest.fixture
def environment() -> dict[str, str]:
    return {
        "CHAT_TITLE_MODEL": "openai:small",
        "CHAT_USER_TOKENS_PER_DAY": "100000000",
        "CHAT_USER_STREAMS": "1000",
        "CHAT_IDLE_TIMEOUT": "600",
    }


@pytest.mark.parametrize("place", choose_places(ALONE), ids=str)
async def test_no_row_is_running_a_minute_later(
    place: Place, load: Load, cluster: Cluster, provider: ProviderServer, tmp_path: Path
) -> None:
    for _ in range(ROUNDS):
        await kill_everything_once(load, cluster, provider, tmp_path)


async def kill_everything_once(load: Load, cluster: Cluster, provider: ProviderServer, tmp_path: Path) -> None:
    victim = load.choose_server()
    seen = len(provider.requests)
    before = {row["id"] for row in (await read_ledger(victim))["rows"]}
    # This answer is whole at once, so the site asks for a title, which never comes.
    made = await load.call("POST", victim, "/api/conversations/")
    provider.enqueue(Script(text="Because air scatters it."), Script(**NEVER))
    await load.send(Asked(victim, made["id"], "Why is the sky blue?", ""))
    await provider.wait_until(
        lambda: any(request.body.get("model") == "small" for request in provider.requests[seen:]), 30
    )
    asked = [await load.ask(800, victim, **PACE) for _ in range(ANSWERS)]
    deleted = await load.ask(800, victim, **PACE)
    batch = begin_batch(victim, tmp_path)
    await wait_for_running_calls(victim, before, 2 + ANSWERS + min(LINES, 4))
    await asyncio.sleep(choose_length(2, 4))  # time for checkpoints, and for a renewal of each lease
    victim.kill()
    batch.send_signal(signal.SIGKILL)
    batch.wait(10)
    killed = time.monotonic()
    await asyncio.to_thread(run_in_shell, victim, DELETE.format(deleted.conversation))
    if len(cluster.servers) == 1:
        await asyncio.to_thread(victim.start)
    while True:
        found = await read_ledger(victim)
        rows = [row for row in found["rows"] if row["id"] not in before]
        if found["held"] == 0 and not any(row["outcome"] == "running" for row in rows):
            break
        assert time.monotonic() - killed < SETTLED_WITHIN, rows
        await asyncio.sleep(0.5)
    lost = [row for row in rows if row["error_code"] == "server_lost"]
    assert {row["purpose"] for row in lost} == {"answer", "title", "batch"}
    assert all(row["estimated"] and row["input_tokens"] > 0 for row in lost)
    assert len([row for row in lost if row["purpose"] == "answer"]) == ANSWERS + 1
    assert len([row for row in lost if row["purpose"] == "title"]) == 1
    # Each answer is charged for the text that was kept.
    for one in asked:
        kept = await load.wait_for_end(one.answer, 15, next(server for server in cluster.servers if server.running))
        assert kept["usage"]["output_tokens"] == -(-len(kept["text"]) // 4)
    assert all(row["output_tokens"] > 0 for row in lost if row["purpose"] == "answer")
    if not victim.running:
        await asyncio.to_thread(victim.start)


async def wait_for_running_calls(server: Server, before: set[int], count: int) -> None:
    end = time.monotonic() + 50  # less than the minute after which a title is given up
    while True:
        rows = [row for row in (await read_ledger(server))["rows"] if row["id"] not in before]
        if len([row for row in rows if row["outcome"] == "running"]) >= count:
            return
        told = [(row["purpose"], row["outcome"], row["error_code"]) for row in rows]
        assert time.monotonic() < end, f"{told}\n{(server.log.parent / 'batch.log').read_text()[-2000:]}"
        await asyncio.sleep(0.2)


def begin_batch(server: Server, directory: Path) -> subprocess.Popen[bytes]:
    prompts, out = directory / "in.jsonl", directory / f"out-{time.monotonic_ns()}.jsonl"
    lines = [{"id": number, "prompt": json.dumps({"text": "Late.", **NEVER})} for number in range(LINES)]
    prompts.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    command = [sys.executable, "manage.py", "complete_batch", str(prompts), str(out), "--concurrency", "4"]
    with (server.log.parent / "batch.log").open("wb") as log:
        return subprocess.Popen(command, cwd=ROOT, env=server.environment, stderr=log)
