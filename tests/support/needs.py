"""Programs that the tests need beside Python's packages. `.ci/needs` brings them; where it could not, tests that need
one are skipped, and the summary lists them. With CI set they fail.

python -m tests.support.needs      # the Chromium that Playwright has brought, if it runs
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

# The shell has no window, no toolbar and no profile: browser tests take two thirds of the time, and half of the CPU.
CHROMIUMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")

# The package of each program, by its name in Debian and Ubuntu.
PACKAGES = {
    "chromium": "chromium",
    "nginx": "nginx",
    "openssl": "openssl",
    "promtool": "prometheus",
    "redis-server": "redis",
    **dict.fromkeys(("initdb", "postgres", "pg_dump", "pg_restore"), "postgresql"),
}

# Debian keeps PostgreSQL's programs off the PATH, one directory for each version, and nginx where only root looks.
POSTGRES_PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
ROOTS = ("/usr/sbin", "/usr/local/sbin")


def find_program(name: str) -> str:
    """Return the path of a program, of the newest version that Debian has. Skip the test that asks where there is
    none, and fail it in CI.
    """
    for directory in reversed(POSTGRES_PROGRAMS):
        if (directory / name).exists():
            return str(directory / name)
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), *ROOTS))
    return shutil.which(name, path=path) or leave_out(name)


def find_chromium() -> str:
    """Return the path of the browser: the environment's CHROMIUM, the machine's, or Playwright's own. Skip the test
    that asks where there is none, and fail it in CI.
    """
    given = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUMS)), None)
    return given or find_playwrights_chromium() or leave_out("chromium")


def find_playwrights_chromium() -> str | None:
    """Return the browser that Playwright has brought; nothing where it lacks a library of the system's."""
    ask = "from playwright.sync_api import sync_playwright as s\nwith s() as p: print(p.chromium.executable_path)"
    # In a process of its own: Playwright's loop stays in the thread that it was started in.
    found = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, timeout=60, check=False)
    path = found.stdout.strip()
    if not path or not Path(path).exists():
        return None
    runs = subprocess.run([path, "--version"], capture_output=True, timeout=60, check=False).returncode == 0
    return path if runs else None


def leave_out(name: str) -> NoReturn:
    package = PACKAGES.get(name, name)
    sentence = f"{name} is not installed: .ci/needs installs it where it may, otherwise: apt-get install {package}"
    if os.environ.get("CI"):
        pytest.fail(sentence, pytrace=False)
    pytest.skip(sentence)


if __name__ == "__main__":
    print(find_playwrights_chromium() or "")
