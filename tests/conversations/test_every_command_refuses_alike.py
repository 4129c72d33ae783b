"""What stops the start stops every command alike, with one line; so does a place that the site may not write."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.server import BIN, ROOT
from tests.support.services import find_free_port

# A file that the site cannot use


def test_without_a_key_and_a_writable_checkout_the_start_names_secret_key(tmp_path: Path) -> None:
    """The checkout of a service belongs to somebody else. Root may write everywhere, so a file stands in its way."""
    copy = copy_checkout(tmp_path)
    (copy / ".secret_key").mkdir()
    ended = manage(copy, "check", DATABASE_URL=f"sqlite:///{tmp_path}/site.sqlite3")
    assert (ended.returncode, len(ended.stderr.splitlines())) == (78, 1)
    assert ended.stderr.startswith("Configuration error: SECRET_KEY is not set, and the site cannot keep one in ")


def test_an_empty_file_for_the_key_is_no_key(tmp_path: Path) -> None:
    copy = copy_checkout(tmp_path)
    (copy / ".secret_key").write_text("\n")
    ended = manage(copy, "check")
    assert (ended.returncode, len(ended.stderr.splitlines())) == (78, 1)
    assert "SECRET_KEY is not set" in ended.stderr
    assert "it holds no key" in ended.stderr


def test_without_a_database_url_and_a_writable_checkout_the_start_names_database_url(tmp_path: Path) -> None:
    copy = copy_checkout(tmp_path)
    (copy / "db.sqlite3").mkdir()
    ended = manage(copy, "check", SECRET_KEY="key")
    assert (ended.returncode, len(ended.stderr.splitlines())) == (78, 1)
    assert ended.stderr.startswith("Configuration error: DATABASE_URL is not set, and its default, ")


def test_a_key_is_made_once_and_kept_for_the_user_alone(tmp_path: Path) -> None:
    copy = copy_checkout(tmp_path)
    assert manage(copy, "check").returncode == 0
    key = (copy / ".secret_key").read_text()
    assert len(key) >= 50
    assert (copy / ".secret_key").stat().st_mode & 0o777 == 0o600
    assert manage(copy, "check").returncode == 0
    assert (copy / ".secret_key").read_text() == key
    assert [path.name for path in copy.glob(".secret_key*")] == [".secret_key"]


def copy_checkout(directory: Path) -> Path:
    """Copy what the site runs, so that a test may damage it; return the copy."""
    copy = directory / "checkout"
    copy.mkdir()
    for name in ("chat", "chatsite", "templates", "static", "manage.py"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name)
        else:
            shutil.copy(source, copy)
    return copy


def manage(directory: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=directory,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# Every command refuses alike

COMMANDS = {
    "check": (sys.executable, "manage.py", "check"),
    "daphne": (str(BIN / "daphne"), "--port", "{port}", "chatsite.asgi:application"),
    "uvicorn": (str(BIN / "uvicorn"), "--port", "{port}", "chatsite.asgi:application"),
}


@pytest.mark.parametrize("command", ["check", "daphne", "uvicorn"])
@pytest.mark.parametrize(
    ("name", "value"),
    [("CHAT_PRICES", "demo:tour=NaN/1"), ("CHAT_TOOLS", "no.such_tool"), ("CHAT_MCP", '{"files": {"args": []}}')],
)
def test_every_command_refuses_with_the_same_line(tmp_path: Path, command: str, name: str, value: str) -> None:
    ended = run(command, **{"DATABASE_URL": f"sqlite:///{tmp_path}/site.sqlite3", name: value})
    assert ended.returncode == 78
    [line] = ended.stderr.splitlines()
    assert line.startswith(f"Configuration error: {name} ")
    assert ended.stdout == ""


def run(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [part.format(port=find_free_port()) for part in COMMANDS[command]],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "SECRET_KEY": "key", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_every_command_warns_of_misspelt_settings(tmp_path: Path) -> None:
    ended = run("check", CHAT_MODLES="x", DATABASE_URL=f"sqlite:///{tmp_path}/site.sqlite3")
    assert ended.returncode == 0
    assert ended.stderr.splitlines()[0].endswith("did you mean CHAT_MODELS?")
