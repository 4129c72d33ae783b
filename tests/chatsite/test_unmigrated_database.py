"""A process on a database without tables says so, in one sentence, to monitors, pages, programs and the log; and serves
as soon as the tables are there, without a restart.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

from tests.support.databases import prepare_database
from tests.support.server import START, Server, log_in_demo

SENTENCE = "manage.py migrate"


@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
def test_a_process_on_an_empty_database_is_not_ready_and_says_why(tmp_path: Path, kind: str) -> None:
    (tmp_path / "other").mkdir()
    server = Server(kind, tmp_path / "site.sqlite3")
    server.launch()
    try:
        with httpx2.Client(base_url=server.url, timeout=30) as client:
            wait_until_it_listens(server)
            ready = client.get("/readyz")
            assert (ready.status_code, ready.json()["status"]) == (503, "not ready")
            assert ready.json()["checks"]["database"] == "not migrated"
            assert SENTENCE in ready.json()["message"]
            assert client.get("/healthz").status_code == 200
            for path in ("/", "/accounts/login/", "/admin/", "/c/nothing/"):
                page = client.get(path)
                assert (page.status_code, page.headers["retry-after"]) == (503, "5")
                assert SENTENCE in page.text
            told = client.get("/api/conversations/")
            assert (told.status_code, told.json()["error"]["code"]) == (503, "not_ready")
            assert server.log.read_text().count(SENTENCE) == 1
            assert "Internal Server Error" not in server.log.read_text()
            fill(tmp_path / "site.sqlite3", prepare_database(tmp_path / "other").database)
            ready = client.get("/readyz")
            assert (ready.status_code, ready.json()["checks"]["database"]) == (200, "ok")
            assert "message" not in ready.json()
        with closing(log_in_demo(server)) as browser:
            assert browser.get("/").status_code == 200
    finally:
        server.kill()


def test_a_database_of_an_older_version_is_not_ready_either(tmp_path: Path) -> None:
    server = Server("uvicorn", tmp_path / "site.sqlite3")
    server.manage("migrate", "chat", "0005", "--verbosity", "0")
    server.launch()
    try:
        wait_until_it_listens(server)
        ready = httpx2.get(f"{server.url}/readyz", timeout=30)
        assert (ready.status_code, ready.json()["checks"]["database"]) == (503, "not migrated")
    finally:
        server.kill()


def test_a_database_of_a_newer_version_is_ready(tmp_path: Path) -> None:
    """Migrate first, while the old processes run."""
    database = prepare_database(tmp_path).database
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            "INSERT INTO django_migrations (app, name, applied) VALUES ('chat', '9999_newer', '2030-01-01')"
        )
    with Server("uvicorn", database) as server:
        assert httpx2.get(f"{server.url}/readyz", timeout=30).status_code == 200


def fill(database: Path, migrated: Path | str) -> None:
    """Make all tables of a migrated database, with their rows, in one that has none."""
    with closing(sqlite3.connect(migrated)) as source, closing(sqlite3.connect(database)) as target:
        source.backup(target)


def wait_until_it_listens(server: Server) -> None:
    end = time.monotonic() + START
    while time.monotonic() < end:
        try:
            httpx2.get(f"{server.url}/healthz", timeout=5)
            return
        except httpx2.TransportError:
            assert server.running, server.log.read_text()
            time.sleep(0.1)
    raise AssertionError(server.log.read_text())
