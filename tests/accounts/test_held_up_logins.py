"""Logins that the brake holds up wait in a number that has an end: more of them are told to come back."""

from __future__ import annotations

import asyncio

import pytest
from django.test import AsyncClient

from chat.accounts import logins
from chat.accounts.logins import Attempt
from chatsite import passwords

FORM = {"username": "ada", "password": "byron"}


async def test_logins_beyond_the_most_that_may_wait_are_refused_at_once(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, over = asyncio.Event(), asyncio.Event()
    cancelled: list[Attempt] = []

    async def hold(seconds: float) -> None:
        assert seconds == 8
        begun.set()
        await over.wait()

    monkeypatch.setattr(passwords, "MAX_HELD_UP", 1)
    monkeypatch.setattr(passwords, "hold", hold)
    monkeypatch.setattr(logins, "admit", lambda name, address: Attempt(name, address, delay=8.0))
    monkeypatch.setattr(logins, "cancel_attempt", cancelled.append)
    monkeypatch.setattr(logins, "record_wrong_password", lambda attempt: None)
    client = AsyncClient()
    held_up = asyncio.create_task(client.post("/accounts/login/", FORM))
    await asyncio.wait_for(begun.wait(), 30)
    refused = await client.post("/accounts/login/", FORM)
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, str(passwords.COME_BACK_AFTER))
    assert len(cancelled) == 1
    over.set()
    assert (await held_up).status_code == 200
