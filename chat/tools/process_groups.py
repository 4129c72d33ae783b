"""The process groups that MCP servers run in: the SDK starts each server as one, and names none of them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def list_process_groups() -> list[int]:
    """Return the process groups that children of this process lead.

    Empty where the kernel does not say, which is anywhere but on Linux.
    """
    children = [
        int(child)
        for thread in Path("/proc/self/task").glob("*/children")
        for child in thread.read_text(encoding="ascii").split()
    ]
    return [child for child in children if _is_group_leader(child)]


def _is_group_leader(process: int) -> bool:
    with suppress(ProcessLookupError, PermissionError):
        return os.getpgid(process) == process
    return False
