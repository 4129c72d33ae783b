"""What a server's process uses, read from /proc."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self


class Use(NamedTuple):
    """What one process uses at one moment."""

    threads: int
    files: int
    """Open files, sockets among them."""
    bytes: int


def use(pid: int) -> Use:
    return Use(_read_figure(pid, "Threads"), len([*Path(f"/proc/{pid}/fd").iterdir()]), read_memory(pid))


def read_memory(pid: int) -> int:
    """Return the resident memory of a process, in bytes."""
    return _read_figure(pid, "VmRSS") * 1024


def _read_figure(pid: int, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


class Peak:
    """The most memory that a process has while the block runs."""

    def __init__(self, pid: int) -> None:
        self.bytes = 0
        self._pid = pid

    async def __aenter__(self) -> Self:
        self._task = asyncio.ensure_future(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            self.bytes = max(self.bytes, read_memory(self._pid))
            await asyncio.sleep(0.02)
