"""The site as processes of its own, on a database of its own, as an operator runs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx2

from tests.support.forked_servers import ForkedProcess, run_forked
from tests.support.services import find_free_port

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent

# Starting Python, Django and an SDK takes 2 s here; a loaded machine may need many times that.
START = 60.0

COMMANDS = {
    "daphne": ("daphne", "--bind", "127.0.0.1", "--port", "{port}", "--verbosity", "0"),
    "uvicorn": (
        *("uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--log-level", "warning"),
        *("--no-access-log", "--no-proxy-headers"),
    ),
}

# What a developer's shell may have and a test must not see.
OURS = ("CHAT_", "OPENAI_", "ANTHROPIC_", "REDIS_URL")


class Server:
    """`with Server("daphne", database, OPENAI_BASE_URL=…) as server:`; the database outlives it.

    `database` is the path of an SQLite file or any database's URL; with a URL, `logs` says where the log goes.
    """

    is_preloaded = True

    def __init__(self, kind: str, database: Path | str, *, logs: Path | None = None, **environment: str) -> None:
        self.kind = kind
        self.port = find_free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(OURS)},
            "SECRET_KEY": "only for tests",
            "DATABASE_URL": f"sqlite:///{database}" if isinstance(database, Path) else database,
            "DJANGO_SETTINGS_MODULE": "chatsite.settings",
            # Tests that are about limits set their own.
            "CHAT_USER_REQUESTS_PER_MINUTE": "0",
            "CHAT_USER_STREAMS": "0",
            **environment,
        }
        directory = logs or (database.parent if isinstance(database, Path) else Path.cwd())
        self.log = directory / f"{kind}.{self.port}.log"
        self.process: subprocess.Popen[bytes] | ForkedProcess | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def manage(self, *arguments: str) -> str:
        """Run a management command on the server's database; return what it prints."""
        return run_forked(["django-admin", *arguments], self.environment, ROOT, START).strip()

    def start(self) -> None:
        self.launch()
        self.wait()

    def launch(self) -> None:
        """Start, without waiting until it serves."""
        command = [part.format(port=self.port) for part in COMMANDS[self.kind]]
        command.append("chatsite.asgi:application")
        if self.is_preloaded:
            self.process = ForkedProcess(command, self.environment, ROOT, self.log)
            return
        command[0] = str(BIN / command[0])
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=log, stderr=log)

    def wait(self) -> None:
        """Wait until it serves."""
        end = time.monotonic() + START
        while time.monotonic() < end:
            assert self.running, self.log.read_text()
            try:
                if httpx2.get(f"{self.url}/readyz", timeout=5).status_code == 200:
                    return
            except httpx2.TransportError:
                time.sleep(0.05)
        raise AssertionError(f"{self.kind} did not start:\n{self.log.read_text()}")

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def kill(self) -> None:
        """Kill the process, as a power cut would."""
        self._end(signal.SIGKILL, 10)

    def terminate(self, timeout: float) -> float:
        """Terminate the process, as a deployment does; return the seconds it took."""
        began = time.monotonic()
        self._end(signal.SIGTERM, timeout)
        return time.monotonic() - began

    def pause(self) -> None:
        """Pause every thread, as on a machine whose virtual disk hangs, or that is being moved."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def _end(self, number: int, timeout: float) -> None:
        if self.process is not None and self.running:
            self.process.send_signal(number)
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                raise AssertionError(f"{self.kind} still runs {timeout:g} s after signal {number}") from None


class FreshServer(Server):
    """A server that starts as an operator's does, in a Python that has imported nothing: for what is measured."""

    is_preloaded = False


def log_in_demo(server: Server) -> httpx2.Client:
    """Return a browser that is logged in as the user `demo`; its cookies are the session's."""
    client = httpx2.Client(base_url=server.url, timeout=30)
    client.get("/accounts/login/")
    form = {"username": "demo", "password": "demo-password", "csrfmiddlewaretoken": client.cookies["csrftoken"]}
    assert client.post("/accounts/login/", data=form).status_code == 302
    return client


class Cluster:
    """Several servers on one database, as an operator runs them behind a proxy; there is no proxy here.

    `token` is a bearer token of the database's user; see `tests.support.databases`.
    """

    def __init__(
        self, kind: str, database: Path | str, token: str, *, size: int, logs: Path, **environment: str
    ) -> None:
        self.token = token
        self.servers = [Server(kind, database, logs=logs, **environment) for _ in range(size)]

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start those that do not run, all at once."""
        starting = [server for server in self.servers if not server.running]
        for server in starting:
            server.launch()
        for server in starting:
            server.wait()

    def kill(self) -> None:
        for server in self.servers:
            server.kill()

    def log(self) -> str:
        """Return what all of them logged."""
        return "".join(server.log.read_text() for server in self.servers if server.log.exists())
