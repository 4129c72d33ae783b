"""Tools of operators that never answer, for a server's `CHAT_TOOLS`."""

from __future__ import annotations

import asyncio
import time


def sleep_in_a_thread() -> str:
    """Sleep for an hour, in a thread that nothing can end."""
    time.sleep(3600)
    return "slept"


async def cling_to_life() -> str:
    """Go on when cancelled."""
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            continue
