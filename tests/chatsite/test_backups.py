"""What docs/deploy.md says about backups, another database and another key is what works."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx2
import pytest
from websockets.sync.client import connect
from websockets.typing import Origin

from tests.support import databases
from tests.support.needs import find_program
from tests.support.server import ROOT, Server, log_in_demo
from tests.support.services import Postgres

COUNT = "from chat.models import Conversation as C, User as U; print(C.objects.count(), U.objects.count())"


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres() as postgres:
        yield postgres


def make_site(directory: Path, postgres: str = "") -> tuple[Server, str]:
    """Make a database with a user and a conversation, here or on this PostgreSQL; return its server and the token."""
    database, token = databases.prepare_database(directory, postgres)
    server = Server("uvicorn", database, logs=directory)
    code = "from chat.models import *; C = Conversation; C.objects.create(user=User.objects.get(), title='Kept')"
    server.manage("shell", "--verbosity", "0", "--command", code)
    return server, token


def count_rows(server: Server) -> str:
    return server.manage("shell", "--verbosity", "0", "--command", COUNT)


def find_documented_options(command: str) -> list[str]:
    """Return the options of a command as the page has it, without files and databases."""
    text = re.sub(r"\\\n\s*", "", (ROOT / "docs" / "deploy.md").read_text())
    [found] = re.findall(rf"^    {command} (.*?)(?:  +#.*)?$", text, re.MULTILINE)
    return [
        word for word in found.split() if (word.startswith("--") and "=" not in word) or word.startswith("--format")
    ]


@pytest.mark.parametrize("into", ["an empty database", "the database itself"])
def test_a_dump_of_postgresql_is_restored_without_an_error(postgres: Postgres, tmp_path: Path, into: str) -> None:
    source, token = make_site(tmp_path, postgres.url)
    url = source.environment["DATABASE_URL"]
    dump = tmp_path / "chat.dump"
    run([find_program("pg_dump"), *find_documented_options("pg_dump"), f"--file={dump}", url])
    target = url if into == "the database itself" else postgres.create_database()
    source.manage("shell", "--verbosity", "0", "--command", "from chat.models import User; User.objects.all().delete()")
    run([find_program("pg_restore"), *find_documented_options("pg_restore"), f"--dbname={target}", str(dump)])
    with Server("uvicorn", target, logs=tmp_path) as restored:
        restored.manage("migrate", "--check")
        assert count_rows(restored) == "1 1"
        use_token(restored, token)


def test_a_backup_of_sqlite_is_restored(tmp_path: Path) -> None:
    """While a process writes: its newest pages are in the journal."""
    database, backup = tmp_path / "site.sqlite3", tmp_path / "chat.sqlite3"
    server, token = make_site(tmp_path)
    with server:
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(backup)) as target:
            source.backup(target)  # what the shell's .backup does
        use_token(server, token)
        server.kill()  # with pages in its journal
    for name in ("site.sqlite3-wal", "site.sqlite3-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    shutil.copy(backup, database)
    assert count_rows(server) == "1 1"
    with server:
        use_token(server, token)


def test_a_site_moves_from_sqlite_to_postgresql(postgres: Postgres, tmp_path: Path) -> None:
    source, token = make_site(tmp_path)
    [dump] = re.findall(
        r"manage\.py dumpdata (.*?)\\\n\s*(--output) site\.json", (ROOT / "docs" / "deploy.md").read_text()
    )
    file = tmp_path / "site.json"
    source.manage("dumpdata", *dump[0].split(), "--output", str(file))
    target = Server("uvicorn", postgres.create_database(), logs=tmp_path)
    target.manage("migrate", "--verbosity", "0")
    assert re.match(r"Installed \d+ object", target.manage("loaddata", str(file)))
    assert count_rows(target) == "1 1"
    with target:
        use_token(target, token)
        # The sequences go on after what was loaded.
        use_token(target, token)
        log_in_demo(target).close()


@pytest.mark.parametrize("path", ["/", "/ws/chat/"])
def test_logins_and_tokens_survive_a_new_key(tmp_path: Path, path: str) -> None:
    database, token = databases.prepare_database(tmp_path)
    server = Server("uvicorn", database, logs=tmp_path)
    with server:
        browser = log_in_demo(server)
        server.terminate(20)
        server.environment |= {"SECRET_KEY": "the new key", "SECRET_KEY_FALLBACKS": "only for tests"}
        server.start()
        if path == "/ws/chat/":  # the socket of a page that was open all the time
            cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
            address = f"{server.url.replace('http', 'ws')}{path}"
            with connect(address, additional_headers={"cookie": cookies}, origin=Origin(server.url)):
                pass
        assert browser.get("/").status_code == 200
        use_token(server, token)
        # The session was renewed, so it does not need the old key any more.
        server.terminate(20)
        server.environment["SECRET_KEY_FALLBACKS"] = ""
        server.start()
        assert browser.get("/").status_code == 200
        use_token(server, token)
        browser.close()


def test_processes_of_both_keys_serve_the_same_logins(tmp_path: Path) -> None:
    """In the second round of a restart. Whatever one of them signs, the other one takes."""
    database, _ = databases.prepare_database(tmp_path)
    both = {"SECRET_KEY": "only for tests", "SECRET_KEY_FALLBACKS": "the new key"}
    old = Server("uvicorn", database, logs=tmp_path, **both)
    new = Server("daphne", database, logs=tmp_path, **dict(zip(both, reversed(both.values()), strict=True)))
    with old, new, closing(log_in_demo(old)) as browser:
        for server in (old, new, new, old, new, old, old):
            assert browser.get(f"{server.url}/").status_code == 200


def test_without_the_old_key_everybody_has_to_log_in_again(tmp_path: Path) -> None:
    database, token = databases.prepare_database(tmp_path)
    server = Server("uvicorn", database, logs=tmp_path)
    with server:
        with closing(log_in_demo(server)) as browser:
            server.terminate(20)
            server.environment["SECRET_KEY"] = "the new key"
            server.start()
            assert browser.get("/").status_code == 302
        use_token(server, token)


def use_token(server: Server, token: str) -> None:
    """Check that the token opens the API, and that what it makes is kept."""
    headers = {"authorization": f"Bearer {token}"}
    assert httpx2.post(f"{server.url}/api/conversations/", headers=headers, timeout=30).status_code == 201


def run(command: list[str]) -> None:
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
