"""What tests share: a database, a site in this event loop, and a provider that speaks both wire formats."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from pytest_django import Settings

from chat import background, known
from chat.generation import runner
from chat.models import User
from tests.distribution import BySharedServers
from tests.provider_server import ProviderServer
from tests.raw import Raw
from tests.site import Site

# The models that the tests' provider server answers for, one for each wire format.
OPENAI = "openai:gpt-test"
ANTHROPIC = "anthropic:claude-test"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "database: runs on the database that DATABASE_URL names; see make test-postgres")


def pytest_itemcollected(item: pytest.Item) -> None:
    """A test of the test database is marked as one; a test with a database of its own marks itself."""
    if not {"db", "transactional_db"}.isdisjoint(getattr(item, "fixturenames", ())):
        item.add_marker("database")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Browser tests last: Playwright's loop runs in the main thread from its first test to the end of the session, and
    no test can have an event loop of its own beside it."""
    items.sort(key=lambda item: "browser" in item.path.parts)


@pytest.hookimpl(optionalhook=True)  # `-p no:xdist` is a way to run them too
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> BySharedServers:
    return BySharedServers(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What tests of half characters log is told to another process, and execnet takes no half characters."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report


known.KNOWN_FOR = 0  # what a test changes counts at once


def close_old_connections(**signal: Any) -> None:
    """Django's, but for the connection of a test that is one transaction; its own client does without too."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()


background.close_old_connections = close_old_connections  # type: ignore[attr-defined]  # it imports it


@pytest.fixture
async def provider() -> AsyncIterator[ProviderServer]:
    async with ProviderServer() as server:
        yield server


@pytest.fixture
async def raw(provider: ProviderServer) -> AsyncIterator[Raw]:
    reader, writer = await asyncio.open_connection("127.0.0.1", provider.port)
    yield Raw(reader, writer)
    writer.transport.abort()


@pytest.fixture(params=[OPENAI, ANTHROPIC])
def model(request: pytest.FixtureRequest) -> str:
    """Each wire format in turn."""
    return str(request.param)


@pytest.fixture
def user(transactional_db: None) -> User:
    return User.objects.create_user("ada", password="lovelace")


@pytest.fixture
async def site(user: User, settings: Settings, provider: ProviderServer) -> AsyncIterator[Site]:
    settings.CHAT_PROVIDERS = {
        "openai": {"api_key": "sk-test", "base_url": provider.openai_url},
        "anthropic": {"api_key": "sk-ant-test", "base_url": provider.anthropic_url},
        "demo": {"pace": 0},
    }
    settings.CHAT_MODELS = [OPENAI, ANTHROPIC, "demo:tour"]
    settings.CHAT_CHECKPOINT = 0.05
    settings.CHAT_FLUSH_MS = 0
    settings.CHAT_MAX_RETRIES = 0
    settings.CHAT_TOOLS = []
    site = await sync_to_async(Site)(user)
    runner().prepare()
    yield site
    await asyncio.wait_for(runner().drain(0), 10)
    await sync_to_async(connections.close_all)()
