"""Servers and management commands that are forked from a Python which has imported the site's libraries already.

A start costs 0.9 s of CPU time in place of 4.8 s (two busy cores; the SDKs' imports at a first question are a second
more), and a run of all tests starts some hundred servers. What reads the environment when it is imported (Django's
settings, the site's models and views, daphne with Twisted's reactor) is imported by each server on its own, so that it
is what its command would have started.
"""

from __future__ import annotations

import gc
import importlib.metadata
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext
from pathlib import Path
from tempfile import TemporaryDirectory

LIBRARIES = [
    *(
        "django.core.handlers.asgi",
        "django.core.management",
        "django.db.models",
        "django.forms",
        "django.views.generic",
    ),
    *("aiohttp", "anthropic", "httpx2", "openai"),
    *("autobahn.twisted.websocket", "twisted.internet.asyncioreactor", "twisted.web.http", "uvicorn"),
    *(
        "comrak",
        "jsonschema",
        "latex2mathml.converter",
        "msgspec",
        "nh3",
        "prometheus_client",
        "pygments.formatters.html",
    ),
    *("django.db.backends.sqlite3.base", "django.views.i18n", "psycopg", "psycopg_pool", "redis.asyncio", "uvloop"),
]

# What of the site can be imported without settings; half a second of a start. Where one comes to need them, its import
# fails, and so does every test with a server.
WITHOUT_SETTINGS = [
    "chat.accounts.model_registry",
    "chat.broker.redis",
    "chat.conversations.exchange.json_form",
    "chat.generation.resources",
    "chat.generation.title_text",
    "chat.observability.metrics",
    "chat.providers.anthropic",
    "chat.providers.demo",
    "chat.providers.openai_provider",
    "chat.rendering.document",
    "chat.rendering.whole_page",
    "chat.search.postgres",
    "chat.search.sqlite",
    "chat.streaming.page_parts",
    "chat.tools.mcp",
    "chat.tools.toolbox",
    "tests.support.prepared_lexers",
]


class ForkedProcess:
    """What `subprocess.Popen` is, for an installed Python program that `command` begins with.

    It runs in `directory` with `environment` alone. What it prints is appended to `log`, its errors to `errors`
    where that is given.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        directory: Path,
        log: Path,
        errors: Path | None = None,
    ) -> None:
        arguments = (list(command), dict(environment), str(directory), str(log), str(errors or log))
        self._process = _prepare_forkserver().Process(target=_run_command, args=arguments)
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """Return its exit code, negative for a signal; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float) -> int:
        """Return its exit code. Raise `subprocess.TimeoutExpired` if it still runs after `timeout` seconds."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(str(self._process.name), timeout)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)


def run_forked(command: Sequence[str], environment: Mapping[str, str], directory: Path, timeout: float) -> str:
    """Return what an installed Python program prints. Raise `subprocess.SubprocessError` if it fails, or takes longer.

    `manage.py shell` takes 0.5 s of CPU time so, in place of 1.7; tests that look into a database do it in a loop.
    """
    with TemporaryDirectory() as place:
        log, errors = Path(place, "log"), Path(place, "errors")
        process = ForkedProcess(command, environment, directory, log, errors)
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            raise
        if code:
            raise subprocess.CalledProcessError(code, list(command), log.read_text(), errors.read_text())
        return log.read_text()


@cache
def _prepare_forkserver() -> ForkServerContext:
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__, *LIBRARIES, *WITHOUT_SETTINGS])
    return context


def _run_command(command: list[str], environment: dict[str, str], directory: str, log: str, errors: str) -> None:
    """Become the program: environment, directory, output, arguments; then run its entry point."""
    # Or each collection of the start walks through all libraries, and copies their pages. Until `chatsite.asgi` sets
    # thresholds of its own, what is made is there to stay.
    gc.freeze()
    gc.set_threshold(100_000)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    for path, descriptor in ((log, 1), (errors, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644), descriptor)
    sys.argv = command
    sys.path[0] = directory
    [program] = importlib.metadata.entry_points(group="console_scripts", name=command[0])
    sys.exit(program.load()())
