"""Stop, pressed at a server that does not write the answer: the upstream call ends within 2 s, each time."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tests.faults import FILE, MANY, Place, choose_length, choose_places
from tests.faults.load import Load
from tests.support.server import Cluster

TIMES = choose_length(12, 100)
AT_ONCE = 10
CLOSED_WITHIN = 2.0
PACE: dict[str, Any] = {"chunk_size": 8, "delay_between": 0.05}

# What the provider is doing when Stop comes.
MOMENTS: dict[str, dict[str, Any]] = {
    "it speaks": PACE,
    "it has said nothing yet": {"delay_first": 60},
    "it has sent no header": {"delay_headers": 60},
    "it stalls": {**PACE, "stall_after": 40},
}


@pytest.mark.parametrize("place", choose_places(FILE, MANY, sizes=(3,)), ids=str)
async def test_the_upstream_call_is_closed_in_time(place: Place, load: Load, cluster: Cluster) -> None:
    moments = list(MOMENTS.values())
    for start in range(0, TIMES, AT_ONCE):
        numbers = range(start, min(start + AT_ONCE, TIMES))
        await asyncio.gather(*(stop_elsewhere(load, cluster, moments[number % len(moments)]) for number in numbers))
    assert load.failures == []


async def stop_elsewhere(load: Load, cluster: Cluster, moment: dict[str, Any]) -> None:
    here, elsewhere = load.chance.sample(cluster.servers, 2)
    asked = await load.ask(5000, here, **moment)
    following = load.follow_in_background(asked.answer)
    await load.provider.wait_until(lambda: bool(load.find_requests(asked)), 30)
    [recorded] = load.find_requests(asked)
    await asyncio.sleep(load.chance.uniform(0, 1))
    began = time.monotonic()
    stopped = await load.call("POST", elsewhere, f"/api/answers/{asked.answer}/stop/")
    assert await load.provider.wait_until_closed(recorded, 10) - began <= CLOSED_WITHIN
    assert stopped["status"] == "stopped"
    assert asked.text.startswith(stopped["text"])
    reading = await following
    assert (reading.text, reading.status, reading.torn) == (stopped["text"], "stopped", [])
    assert await load.answer(asked.answer) == stopped
