"""A body may be as long as an archive only at an address that the site has signed for a user; it holds nobody up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pytest_django import Settings

from chat.conversations.exchange import files
from chatsite.servers.request_guard import IMPORT_PATH, Guard, find_longest_body


def test_only_a_signed_address_takes_an_archive(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.CHAT_IMPORT_MB = 50
    usual = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    signed = f"{IMPORT_PATH}{files.sign('import', '7')}/"
    assert find_longest_body(signed) == 50_000_000 + usual
    others = (
        "/send/",
        IMPORT_PATH,
        f"{IMPORT_PATH}7/",
        f"{IMPORT_PATH}7:x:y/",
        f"{IMPORT_PATH}{files.sign('file', '7')}/",
        f"/api{signed}",
        signed.replace("/data/", "/usage/"),
    )
    assert {find_longest_body(path) for path in others} == {usual}
    monkeypatch.setattr(files, "KEPT_FOR", -1)
    assert find_longest_body(signed) == usual


async def test_a_long_body_that_is_there_already_gives_the_others_their_turns(settings: Settings) -> None:
    """daphne has the whole body before it calls the site: without a turn in between every stream would wait for it."""
    pieces, turns = 1000, 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async def receive() -> dict[str, Any]:
        nonlocal pieces
        pieces -= 1
        return {"type": "http.request", "body": b"x" * 8192, "more_body": pieces > 0}

    async def read(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["more_body"]:
            pass

    async def send(message: dict[str, Any]) -> None:
        raise AssertionError(message)

    path = f"{IMPORT_PATH}{files.sign('import', '7')}/"
    other = asyncio.create_task(take_turns())
    await Guard(read)({"type": "http", "path": path, "headers": []}, receive, send)
    other.cancel()
    assert pieces == 0
    assert turns >= 20
