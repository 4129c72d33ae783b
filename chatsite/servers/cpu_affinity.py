"""One core for the threads of an interpreter, which runs one of them at a time.

Each database statement gives the interpreter up and takes it again, and between threads on two cores every such turn is
an interrupt for the other core: a third of a question's CPU time on a virtual machine, see docs/performance-log.md.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Set as AbstractSet
from contextlib import suppress
from functools import partial
from pathlib import Path

from chat.tasks import start_detached

# The kernel knows which core has room, also when other processes do the same as this one: once a second it may move the
# event loop, and where that is then, all threads stay for the next second.
HELD, FREE = 1.0, 0.02

# Threads that work without the interpreter: they may have the core that the others leave.
_left_free: set[int] = set()


def leave_free(thread: int) -> None:
    """Let a thread, by its native id, run on every core."""
    _left_free.add(thread)


def share_one_core() -> None:
    """Keep the threads of this process on one core from now on; do nothing elsewhere than on Linux.

    C code that runs in a thread without the interpreter then shares the core with the event loop, but for threads of
    `leave_free`.
    """
    if not hasattr(os, "sched_setaffinity") or len(everywhere := os.sched_getaffinity(0)) == 1:
        return
    os.register_at_fork(after_in_child=partial(_allow, 0, everywhere))  # a tool's process has an interpreter of its own
    start_detached(_keep_together(everywhere))


async def _keep_together(everywhere: AbstractSet[int]) -> None:
    while True:
        _allow_all(everywhere)
        await asyncio.sleep(FREE)
        _allow_all({_find_core()})
        for thread in _left_free:
            _allow(thread, everywhere)
        await asyncio.sleep(HELD)


def _allow_all(cores: AbstractSet[int]) -> None:
    for thread in os.listdir("/proc/self/task"):
        _allow(int(thread), cores)


def _allow(thread: int, cores: AbstractSet[int]) -> None:
    with suppress(OSError):  # a thread that has ended; cores that were taken from the container meanwhile
        os.sched_setaffinity(thread, cores)


def _find_core() -> int:
    """Return the core of this thread: field 39 of proc_pid_stat(5), counted behind the name, which may have blanks."""
    return int(Path("/proc/thread-self/stat").read_text().rpartition(")")[2].split()[36])
