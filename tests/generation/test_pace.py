"""The pause between two reads of an answer: short for few, longer for many, longer when the event loop is late."""

from __future__ import annotations

import asyncio
import time

import pytest

from chat.generation.pacing import LONGEST, MAX_STRETCH, Pace


@pytest.mark.parametrize(("live", "pause"), [(1, 0.05), (40, 0.05), (100, 0.125), (180, 0.225), (500, LONGEST)])
def test_the_pause_grows_with_the_number_of_live_answers(live: int, pause: float) -> None:
    assert Pace(0.05, lambda: live).pause == pytest.approx(pause)


def test_an_operator_may_set_a_longer_pause() -> None:
    assert Pace(0.1, lambda: 1).pause == pytest.approx(0.1)


async def wait_too_long(pace: Pace, lateness: float) -> None:
    """Wait for a pause while something else keeps the event loop so much longer."""
    asyncio.get_running_loop().call_later(pace.pause / 2, time.sleep, lateness + pace.pause / 2)
    await pace.wait()


async def make_late(pace: Pace, rounds: int) -> None:
    for _ in range(rounds):
        await wait_too_long(pace, 0.03)


async def test_the_pause_of_many_grows_while_the_event_loop_is_late_and_shrinks_again() -> None:
    pace = Pace(0.001, lambda: 20)
    rested = pace.pause
    await make_late(pace, 20)
    assert 2 * rested < pace.pause <= MAX_STRETCH * rested
    for _ in range(1000):  # more of them where other processes keep the machine busy
        await pace.wait()
        if pace.pause < 1.5 * rested:
            return
    raise AssertionError(f"still {pace.pause:.3f} s")


async def test_the_pause_is_never_longer_than_a_second() -> None:
    pace = Pace(0.05, lambda: 500)
    await make_late(pace, 8)
    assert LONGEST < pace.pause <= 1


async def test_few_keep_their_pace_whatever_makes_the_event_loop_late() -> None:
    pace = Pace(0.05, lambda: 10)
    await make_late(pace, 10)
    assert pace.pause == pytest.approx(0.05)


async def test_waiting_lasts_as_long_as_the_pause() -> None:
    pace = Pace(0.04, lambda: 1)
    began = time.monotonic()
    await pace.wait()
    assert time.monotonic() - began >= 0.039
