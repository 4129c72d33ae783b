"""Redis and PostgreSQL of a test's own: on free ports, in temporary directories, gone afterwards.

with Postgres() as postgres, Redis() as redis:
    Server("daphne", postgres.create_database(), REDIS_URL=redis.url)

python -m tests.support.services postgres redis -- make test  # the same for a command, by DATABASE_URL and REDIS_URL
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
import pytest
from psycopg import sql

from tests.support.needs import find_program

# A new PostgreSQL cluster takes 2 s here, a start a tenth of one; a loaded machine may need many times that.
START = 60.0
STOP = 30.0


class Service(ABC):
    """A process that listens on one port. It keeps port and data over `stop`, `kill` and `start`, as a machine does."""

    stop_signal = signal.SIGTERM
    account: str | None = None
    """The user that runs it; None: whoever runs the tests."""

    def __init__(self) -> None:
        self.port = find_free_port()
        self.directory = Path(tempfile.mkdtemp(prefix=f"{type(self).__name__.lower()}-"))
        self.process: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def url(self) -> str: ...

    @abstractmethod
    def _make_command(self) -> list[str]: ...

    @abstractmethod
    def is_answering(self) -> bool:
        """Return whether a client is served."""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    @property
    def log(self) -> Path:
        return self.directory / "log"

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start, and return when clients are served."""
        with self.log.open("ab") as log:
            # A session of its own: a Ctrl+C for the tests is not one for their services.
            self.process = subprocess.Popen(
                self._make_command(),
                cwd=self.directory,
                stdout=log,
                stderr=log,
                user=self.account,
                group=self.account,
                start_new_session=True,
            )
        end = time.monotonic() + START
        while not self.is_answering():
            assert self.running, self.log.read_text()
            assert time.monotonic() < end, f"{type(self).__name__} did not start:\n{self.log.read_text()}"
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop the service as an operator does: every connection ends, nothing is lost."""
        if self.process is not None and self.running:
            self.process.send_signal(self.stop_signal)
            self.process.wait(STOP)

    def kill(self) -> None:
        """Kill every process of the service, as a power cut would."""
        if self.process is not None and self.running:
            self.pause()  # or it would start killed processes again
            self._send_signal(signal.SIGKILL)
            self.process.wait(STOP)

    def pause(self) -> None:
        """Answer nothing, and keep every connection: what a machine that hangs looks like."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)  # first, so that it starts no child that the next line misses
        self._send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._send_signal(signal.SIGCONT)

    def restart(self) -> None:
        self.stop()
        self.start()

    def _send_signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        for pid in [*list_children(self.process.pid), self.process.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _remove(self) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


class Redis(Service):
    """A Redis that keeps nothing on disk: after `stop` and `start` it is empty."""

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def _make_command(self) -> list[str]:
        options = {"port": str(self.port), "bind": "127.0.0.1", "save": "", "appendonly": "no"}
        return [
            find_program("redis-server"),
            *(word for name, value in options.items() for word in (f"--{name}", value)),
        ]

    def is_answering(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


class Postgres(Service):
    """A cluster of its own. It refuses to run as root, so root's tests run it as Debian's user `postgres`."""

    # "Fast": every session is rolled back and disconnected. SIGTERM would wait until the last client leaves.
    stop_signal = signal.SIGINT
    superuser = "chat"

    def __init__(self) -> None:
        super().__init__()
        self.account = "postgres" if os.geteuid() == 0 else None
        self._databases = 0
        if self.account:
            shutil.chown(self.directory, self.account, self.account)
        try:
            self._make_cluster()
        except BaseException:
            self._remove()
            raise

    @property
    def url(self) -> str:
        return self._make_url("postgres")

    def create_database(self) -> str:
        """Make a new, empty database and return its URL."""
        self._databases += 1
        return create_database(self.url, f"site{self._databases}")

    def _make_url(self, database: str) -> str:
        return f"postgres://{self.superuser}@127.0.0.1:{self.port}/{database}"

    def _make_cluster(self) -> None:
        options = ["--encoding=UTF8", "--locale=C", "--auth=trust", "--no-sync", f"--username={self.superuser}"]
        subprocess.run(
            [find_program("initdb"), *options, f"--pgdata={self._data}"],
            cwd=self.directory,
            check=True,
            capture_output=True,
            user=self.account,
            group=self.account,
            timeout=START,
        )

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def _make_command(self) -> list[str]:
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.directory),
            # Tests do not cut the power of the machine, so nothing has to be on the disk.
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
        }
        settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        return [find_program("postgres"), "-D", str(self._data), *settings]

    def is_answering(self) -> bool:
        try:
            with psycopg.connect(self.url, connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False


def create_database(url: str, name: str, template: str = "template1") -> str:
    """Make a database on the PostgreSQL that `url` names, as a copy of its `template`; return its URL."""
    with psycopg.connect(url, autocommit=True) as connection:
        names = sql.Identifier(name), sql.Identifier(template)
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*names))
    return f"{url.rpartition('/')[0]}/{name}"


def list_children(pid: int) -> list[int]:
    """Return the processes that a process has started.

    PostgreSQL's children leave its process group: a signal for that misses them.
    """
    with suppress(FileNotFoundError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


SERVICES: dict[str, tuple[str, type[Service]]] = {
    "postgres": ("DATABASE_URL", Postgres),
    "redis": ("REDIS_URL", Redis),
}


def main() -> int:
    """Run a command with the services named; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.services", description=__doc__)
    parser.add_argument("services", nargs="+", choices=SERVICES, metavar="postgres|redis")
    if "--" not in sys.argv[:-1]:
        parser.error("what to run comes after --")
    end = sys.argv.index("--")
    arguments = parser.parse_args(sys.argv[1:end])
    with ExitStack() as stack:
        environment = dict(os.environ)
        for name in arguments.services:
            variable, service = SERVICES[name]
            try:
                environment[variable] = stack.enter_context(service()).url
            except (pytest.skip.Exception, pytest.fail.Exception) as missing:
                parser.exit(1, f"{missing}\n")
        return subprocess.run(sys.argv[end + 1 :], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
