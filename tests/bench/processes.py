"""What is measured from outside: processes, their CPU time, memory and threads, and the machine under them."""

from __future__ import annotations

import os
import platform
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.server import ROOT

_TICK = os.sysconf("SC_CLK_TCK")
_START = 60.0


@dataclass(slots=True)
class Gauge:
    """What a process took during `watch_process`. Seconds of CPU time, user and system; KiB of resident memory."""

    cpu: float = 0
    memory: int = 0
    """Growth from the beginning to the peak."""
    threads: int = 0
    """At the peak."""


@contextmanager
def watch_process(pid: int) -> Iterator[Gauge]:
    """Measure a process; the gauge is filled when the context ends. Its children are not counted."""
    gauge, is_over = Gauge(), threading.Event()
    before, memory = read_cpu_seconds(pid), _read_status(pid, "VmRSS")

    def look() -> None:
        while not is_over.wait(0.2):
            gauge.memory = max(gauge.memory, _read_status(pid, "VmRSS") - memory)
            gauge.threads = max(gauge.threads, _read_status(pid, "Threads"))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield gauge
        gauge.cpu = read_cpu_seconds(pid) - before
    finally:
        is_over.set()
        watcher.join()


def read_cpu_seconds(pid: int) -> float:
    """Return the CPU seconds that a process has taken since it began."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def _read_status(pid: int, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1])


@contextmanager
def run_listener(*arguments: str, port: int) -> Iterator[int]:
    """Run a Python process, wait until it listens on the port, and yield its pid."""
    with subprocess.Popen([sys.executable, *arguments], cwd=ROOT) as started:
        try:
            wait_for(port)
            yield started.pid
        finally:
            started.terminate()


def wait_for(port: int) -> None:
    """Wait until something listens on a port."""
    end = time.monotonic() + _START
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(f"nobody listens on {port}")


def load() -> str:
    """Return the machine's load average over the last minute, which shows what else it had to do."""
    return f"{os.getloadavg()[0]:.1f}"


def describe_machine() -> str:
    """Return the machine and the versions, in one line."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    total = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    assert total
    return (
        f"{os.cpu_count()} x {model[1] if model else platform.machine()}, {int(total[1]) / 2**20:.0f} GiB, "
        f"Linux {platform.release()}, Python {platform.python_version()}"
    )
