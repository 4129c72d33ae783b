"""A server may open as many files as the system lets it, whatever a shell's default is."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from chatsite.servers.open_files import WANTED
from tests.support import databases
from tests.support.server import FreshServer


def read_limit(pid: int) -> int:
    """Return how many files a process may have open."""
    return resource.prlimit(pid, resource.RLIMIT_NOFILE)[0]


@pytest.mark.parametrize("kind", ["uvicorn", "daphne"])
def test_a_server_raises_the_limit_of_the_shell_that_started_it(kind: str, tmp_path: Path) -> None:
    server = FreshServer(kind, databases.prepare_database(tmp_path, "").database)
    limit, highest = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, highest))
    try:
        server.launch()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, highest))
    try:
        server.wait()
        assert read_limit(server.pid) == (WANTED if highest == resource.RLIM_INFINITY else min(WANTED, highest))
        assert read_limit(os.getpid()) == limit
    finally:
        server.kill()
