"""The site's settings under many environments: one process imports what they import, and forks for each environment.

A start of Python for each of some hundred values would take minutes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import NamedTuple, Self

from tests.support.server import ROOT

# What the settings import takes most of a start, and is the same for all. Nothing here reads the environment.
_FORKS = """
import gc, json, os, sys
import django.core.management.utils, django_stubs_ext, psycopg.conninfo, redis.asyncio
import chat.core.prices, chatsite.addresses, chatsite.logs

def read(environment):
    os.environb.clear()
    os.environb.update({k.encode(): v.encode("latin-1") for k, v in environment.items()})
    try:
        import chatsite.settings as settings
    except SystemExit as refusal:
        return refusal.code
    from chatsite.env import list_names_read
    found = {name: repr(getattr(settings, name)) for name in dir(settings) if name.startswith(("CHAT_", "CHANNEL_"))}
    print(json.dumps({"settings": found, "names": sorted(list_names_read())}), file=sys.stderr)
    return 0

gc.freeze()
for line in sys.stdin.buffer:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(writing, 2)
        code = 70
        try:
            code = read(json.loads(line))
        finally:
            os._exit(code)
    os.close(writing)
    with open(reading, "rb") as pipe:
        told = pipe.read().decode(errors="replace")
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(json.dumps({"code": code, "told": told}), flush=True)
"""


class Start(NamedTuple):
    """How the settings were read: the exit code, the lines on standard error, and by name what was read as `repr`."""

    code: int
    lines: list[str]
    settings: dict[str, str]
    names: list[str]


class SettingsReader:
    """`with SettingsReader() as read_settings: read_settings({"CHAT_DRAIN": "x"})` reads them in that environment."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _FORKS],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"]},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=60)

    def __call__(self, environment: Mapping[str, str | bytes]) -> Start:
        """Read the settings in an environment, which has a SECRET_KEY unless it says otherwise."""
        given = {name: _as_text(value) for name, value in {"SECRET_KEY": "key", **environment}.items()}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(given).encode() + b"\n")
        self._process.stdin.flush()
        return _parse(json.loads(self._process.stdout.readline()))


def _as_text(value: str | bytes) -> str:
    return (value if isinstance(value, bytes) else value.encode()).decode("latin-1")


def _parse(result: dict[str, object]) -> Start:
    told = str(result["told"]).splitlines()
    code = int(str(result["code"]))
    if code:
        return Start(code, told, {}, [])
    read = json.loads(told[-1])
    return Start(code, told[:-1], read["settings"], read["names"])
