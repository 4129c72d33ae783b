"""Tools with an effect, for a server's `CHAT_TOOLS`: each run leaves a line in a file that outlives the process."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

# The variable that names the file. Beside it, one with the suffix `HOLD` holds the tools that are to be held.
VARIABLE = "COUNTED_IN"
HOLD = ".hold"

# Seconds that a tool is held for at most, so that a failing test leaves none that runs for ever.
AT_MOST = 60.0


def count_in_a_thread(mark: str, is_held: bool = False) -> str:
    """Count one, and then wait while it is held."""
    leave_line(mark)
    end = time.monotonic() + AT_MOST
    while is_held and is_holding() and time.monotonic() < end:
        time.sleep(0.01)
    return f"{mark} is counted."


async def count_on_the_loop(mark: str, is_held: bool = False) -> str:
    """Count one, and then wait while it is held."""
    leave_line(mark)
    for _ in range(round(AT_MOST / 0.01)):
        if not is_held or not is_holding():
            break
        await asyncio.sleep(0.01)
    return f"{mark} is counted."


def leave_line(mark: str) -> None:
    """Append a line in one write: several processes do so at once."""
    descriptor = os.open(os.environ[VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, f"{mark}\n".encode())
    finally:
        os.close(descriptor)


def is_holding() -> bool:
    return Path(os.environ[VARIABLE] + HOLD).exists()
