"""The row of a call on the ledger, from its opening to its settlement, whatever happens to the caller meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import ParamSpec, TypeVar

from chat.core.events import Usage
from chat.generation.store import CallResult, settle_call
from chat.generation.verdict import Verdict, make_interruption
from chat.models import ProviderCall
from chat.tasks import run_in_thread, start_detached

P = ParamSpec("P")
T = TypeVar("T")


async def open_row(
    open_call: Callable[[], ProviderCall],
    verdict_if_cut: Callable[[], Verdict] = lambda: make_interruption("server_restart"),
) -> ProviderCall:
    """Write a call's row, in a thread, and return it; raises what `open_call` raises.

    A caller that is cancelled meanwhile still waits for the row, and settles it with `verdict_if_cut` as a call that
    was never made: no row is left open without an owner.
    """
    opening = start_detached(run_in_thread(open_call), copy_context())
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        with suppress(Exception):  # if the opening has failed there is no row
            await settle_row(CallResult(await opening, Usage(0, 0, estimated=True), None, 0), verdict_if_cut())
        raise


async def settle_row(result: CallResult, verdict: Verdict) -> None:
    """Settle a call's row, in a thread, also when the caller is cancelled meanwhile."""
    await run_whole(settle_call, result, verdict)


async def run_whole(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run database work in a thread and return its result; a caller that is cancelled meanwhile waits for its end."""
    working = start_detached(run_in_thread(work, *args, **kwargs), copy_context())
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait([working])
        raise
