"""The providers under test, against a server of our own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from chat.providers.base import Provider
from chat.providers.registry import Pool
from tests.contracts.hearing import KEY, TEXT, Make
from tests.provider_server import ProviderServer, Script


@pytest.fixture
async def server() -> AsyncIterator[ProviderServer]:
    async with ProviderServer(Script(text=TEXT), api_key=KEY) as server:
        yield server


@pytest.fixture(params=["openai", "responses", "anthropic"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def make(name: str, server: ProviderServer) -> AsyncIterator[Make]:
    """Makes providers of the kind under test, and closes them."""
    configuration: dict[str, dict[str, Any]] = {
        "openai": {"api_key": KEY, "base_url": server.openai_url, "api": "chat"},
        "responses": {"api_key": KEY, "base_url": server.openai_url, "api": "responses"},
        "anthropic": {"api_key": KEY, "base_url": server.anthropic_url},
        "demo": {"pace": 0},
    }
    pools: list[Pool] = []

    def make(**options: Any) -> Provider:
        provider = "openai" if name == "responses" else name
        pools.append(Pool({provider: {**configuration[name], **options}}))
        return pools[-1].get(provider)

    yield make
    for pool in pools:
        await pool.aclose()


@pytest.fixture
async def provider(make: Make) -> Provider:
    return make()
