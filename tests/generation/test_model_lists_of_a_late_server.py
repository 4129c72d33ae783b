"""A model server that is started after the site is asked again until it says what the site can offer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from pytest_django import Settings

from chat.accounts.model_registry import forget_lists
from chat.core.errors import ChatError
from chat.generation import model_lists

DEFAULT = "openai:gpt-6.1-terra"


class LateServer:
    """A provider that cannot be reached the first two times, and the pool that has it."""

    def __init__(self) -> None:
        self.times = 0
        self.asked: asyncio.Queue[int] = asyncio.Queue()

    def get(self, name: str) -> LateServer:
        return self

    async def list_models(self) -> dict[str, Mapping[str, Any]]:
        self.times += 1
        self.asked.put_nowait(self.times)
        if self.times < 3:
            raise ChatError("unreachable", "connection refused")
        return {"llama3.2:3b": {}}


@pytest.fixture
def server(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> LateServer:
    settings.CHAT_MODELS, settings.CHAT_TITLE_MODEL = [DEFAULT], ""
    settings.CHAT_PROVIDERS = {"openai": {"base_url": "http://127.0.0.1:11434/v1"}}
    monkeypatch.setattr(model_lists, "RETRY", 0.0)
    return LateServer()


@pytest.fixture(autouse=True)
def forgotten() -> Any:
    yield
    forget_lists()


async def keep_lists_until(server: LateServer, times: int) -> None:
    """Keep the lists until the server was asked so many times, and what it said is known."""
    keeping = asyncio.create_task(model_lists.keep_lists(server))  # type: ignore[arg-type]  # a pool of one
    async with asyncio.timeout(10):
        while await server.asked.get() < times:
            pass
    keeping.cancel()


async def test_the_site_offers_what_it_lists_once_it_is_there(settings: Settings, server: LateServer) -> None:
    settings.CHAT_LISTED_MODELS = {"openai": DEFAULT}
    await keep_lists_until(server, 3)
    assert settings.CHAT_MODELS == ["openai:llama3.2:3b"]


async def test_where_the_models_are_named_it_is_asked_once_a_day(settings: Settings, server: LateServer) -> None:
    settings.CHAT_LISTED_MODELS = {}
    await keep_lists_until(server, 1)
    assert (server.times, settings.CHAT_MODELS) == (1, [DEFAULT])
