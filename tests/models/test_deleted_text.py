"""What a user deletes is gone from SQLite's file, not only from its tables."""

from __future__ import annotations

import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.support import databases
from tests.support.server import Server, log_in_demo

# Seconds: a deletion can be taken back for ten, and a sweep comes every two.
TAKEN_BACK_FOR = 40

MARMALADE = "marmalade-in-the-piano-" * 400  # longer than a page of the file


@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
def test_a_deleted_conversation_leaves_no_text_in_the_file(kind: str, tmp_path: Path) -> None:
    database, _ = databases.prepare_database(tmp_path)
    assert isinstance(database, Path)
    with Server(kind, database, logs=tmp_path) as server, closing(log_in_demo(server)) as browser:
        token = browser.cookies["csrftoken"]
        asked = browser.post("/send/", data={"content": MARMALADE, "csrfmiddlewaretoken": token})
        path = asked.headers["Location"]
        browser.post("/stop/", data={"conversation": path.split("/")[2], "csrfmiddlewaretoken": token})
        assert count_occurrences(database, tmp_path) > 0
        assert browser.post(f"{path}delete/", data={"csrfmiddlewaretoken": token}).status_code == 302
        deadline = time.monotonic() + TAKEN_BACK_FOR
        while count_occurrences(database, tmp_path) and time.monotonic() < deadline:
            time.sleep(0.5)
    assert count_occurrences(database, tmp_path) == 0


def count_occurrences(database: Path, directory: Path) -> int:
    """Count the text in a copy of the file, once all that was written is in the file itself."""
    copy = directory / "copy.sqlite3"
    for ending in ("", "-wal"):
        source = Path(f"{database}{ending}")
        if source.exists():
            shutil.copy(source, f"{copy}{ending}")
    connection = sqlite3.connect(copy)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    found = copy.read_bytes().count(b"marmalade-in-the-piano")
    copy.unlink()
    return found
