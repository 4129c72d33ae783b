"""Waiting for something to become true, instead of for some seconds to pass."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable

# A test that waits this long has failed on any machine.
PATIENCE = 15.0


async def wait_until(check: Callable[[], bool | Awaitable[bool]], timeout: float = PATIENCE) -> None:
    """Return as soon as `check` is true; fail the test when it is not within `timeout` seconds."""
    end = time.monotonic() + timeout
    while not await _await_result(check()):
        assert time.monotonic() < end, f"still not true after {timeout:g} s"
        await asyncio.sleep(0.01)


def block_until(
    check: Callable[[], object], timeout: float = PATIENCE, describe: Callable[[], object] = lambda: "still not true"
) -> None:
    """Return as soon as `check` is true, in a test without an event loop; `describe` says what is wrong otherwise."""
    end = time.monotonic() + timeout
    while not check():
        assert time.monotonic() < end, describe()
        time.sleep(0.02)


async def _await_result(value: bool | Awaitable[bool]) -> bool:
    return await value if inspect.isawaitable(value) else value
