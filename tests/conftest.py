"""What tests share: a database, a site in this event loop, and a provider that speaks every wire format."""

from __future__ import annotations

import asyncio
import functools
import gc
import shutil
import sys
import warnings
from collections.abc import AsyncIterator, Generator
from typing import Any

import httpcore2
import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from pytest_django import Settings

from chat import tasks
from chat.generation.process import get_runner
from chat.models import User
from tests.provider_server import ProviderServer
from tests.support.databases import share_templates
from tests.support.distribution import BySharedServers
from tests.support.raw import Raw
from tests.support.site import Site

# Models that the tests' provider server answers for: the first is asked over Chat Completions, the other over Messages.
OPENAI = "openai:gpt-test"
ANTHROPIC = "anthropic:messages-test"

# Their tests run again on PostgreSQL. What is rendered, parsed and sent is the same on every database.
ROOMS_OF_STATEMENTS = {
    *("accounting", "accounts", "admin", "batch", "conversations", "generation", "management", "models", "search"),
    "staff",
}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "database: runs on the database that DATABASE_URL names; see make test-postgres")
    config.addinivalue_line("markers", "sqlite: of the test database, and not run again on PostgreSQL")
    config.addinivalue_line("markers", "postgresql: of what PostgreSQL alone has; left out on SQLite")
    if not hasattr(config, "workerinput"):  # in xdist's words: this is the only process, or the one that starts others
        directory = share_templates()
        config.add_cleanup(lambda: shutil.rmtree(directory, ignore_errors=True))


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark a test of a room whose statements may differ between databases; others of the database mark themselves."""
    uses_database = not {"db", "transactional_db"}.isdisjoint(getattr(item, "fixturenames", ()))
    if uses_database and item.path.parent.name in ROOMS_OF_STATEMENTS and item.get_closest_marker("sqlite") is None:
        item.add_marker("database")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what the database does not have, and put browser tests last.

    Playwright's loop runs in the main thread from its first test to the end of the session, and no test can have an
    event loop of its own beside it.
    """
    if connections["default"].vendor != "postgresql":
        left_out = [item for item in items if item.get_closest_marker("postgresql") is not None]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    items.sort(key=lambda item: "browser" in item.path.parts)


@pytest.hookimpl(optionalhook=True)  # `-p no:xdist` is a way to run them too
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> BySharedServers:
    return BySharedServers(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape half characters in what a test has logged: xdist sends it to another process, and execnet refuses them."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Throw away what a failed try of this test has left open: its warnings would fail the next try too."""
    if getattr(item, "execution_count", 1) > 1:  # the count of pytest-rerunfailures
        for name in ("last_type", "last_value", "last_traceback", "last_exc"):  # pytest keeps the failure there
            vars(sys).pop(name, None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            gc.collect()


# Reading all of the machine's certificates takes 20 ms, and each test has clients of its own.
httpcore2.default_ssl_context = functools.cache(httpcore2.default_ssl_context)


def close_old_connections(**signal: Any) -> None:
    """Close old connections as Django does, but not that of a test that is one transaction.

    Django's own test client does not close it either.
    """
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()


tasks.close_old_connections = close_old_connections  # type: ignore[attr-defined]  # it imports it


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
    """Chat Completions and Messages in turn."""
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
    get_runner().prepare()
    yield site
    await asyncio.wait_for(get_runner().drain(0), 10)
    await sync_to_async(connections.close_all)()
