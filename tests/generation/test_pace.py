"""The pause between two reads of an answer: short for few, longer for many, longer when the event loop is late."""

from __future__ import annotations

import asyncio
import time

import pytest

from chat.generation.pacing import LONGEST, LONGEST_WHEN_LATE, Pace


@pytest.mark.parametrize(("live", "pause"), [(1, 0.05), (40, 0.05), (100, 0.125), (180, 0.225), (500, LONGEST)])
def test_the_pause_grows_with_the_number_of_live_answers(live: int, pause: float) -> None:
    assert Pace(0.05, lambda: live).pause == pytest.approx(pause)


def test_an_operator_may_set_a_longer_pause() -> None:
    assert Pace(0.1, lambda: 1).pause == pytest.approx(0.1)


async def wait_too_long(pace: Pace, lateness: float) -> None:
    """Wait for a pause while something else keeps the event loop so much longer."""
    asyncio.get_running_loop().call_later(pace.pause / 2, time.sleep, lateness + pace.pause / 2)
    await pace.wait()


async def test_the_pause_grows_while_the_event_loop_is_late_and_shrinks_again() -> None:
    pace = Pace(0.02, lambda: 1)
    rested = pace.pause
    for _ in range(40):
        if pace.pause < 5 * rested:
            await wait_too_long(pace, 0.03)
    assert 5 * rested < pace.pause <= LONGEST_WHEN_LATE
    for _ in range(40):
        await pace.wait()
    assert pace.pause < 3 * rested


async def test_the_pause_is_never_longer_than_a_second() -> None:
    pace = Pace(0.05, lambda: 1)
    for _ in range(6):
        await wait_too_long(pace, 0.3)
    assert pace.pause <= LONGEST_WHEN_LATE


async def test_one_hiccup_is_not_taken_for_load() -> None:
    pace = Pace(0.05, lambda: 1)
    await wait_too_long(pace, 0.6)
    assert pace.pause == pytest.approx(0.05)


async def test_waiting_lasts_as_long_as_the_pause() -> None:
    pace = Pace(0.04, lambda: 1)
    began = time.monotonic()
    await pace.wait()
    assert time.monotonic() - began >= 0.039
