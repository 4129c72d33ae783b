"""A server that listens has loaded what its first visitor needs, and the garbage collector leaves that alone."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.support.server import ROOT, Server

# Gets ready as a server does, and tells what is loaded and what the garbage collector looks at.
GETS_READY = """
import asyncio, gc, json, sys
from chatsite.asgi import prepare

async def start():
    prepare()
    print(json.dumps({"modules": [*sys.modules], "left_alone": gc.get_freeze_count(), "seen": len(gc.get_objects())}))

asyncio.run(start())
"""


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    database = tmp_path_factory.mktemp("ready") / "site.sqlite3"
    environment = Server("daphne", database, OPENAI_API_KEY="sk-test", CHAT_MODELS="openai:m").environment
    command = [sys.executable, "-c", GETS_READY]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    "needed", ["chat.urls", "chat.templatetags.chat", "chat.providers.openai_chat", "aiohttp", "pygments.lexers.python"]
)
def test_modules_that_the_first_question_needs_are_loaded(started: dict[str, Any], needed: str) -> None:
    assert needed in started["modules"]


def test_what_is_loaded_is_not_looked_through_again(started: dict[str, Any]) -> None:
    """Of some 200,000 objects; each look at them held the event loop for 0.15 s."""
    assert started["left_alone"] > 100_000
    assert started["seen"] < started["left_alone"] / 20
