"""Services for the whole session, a database and a cluster for each test."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.faults import LONG, SEED, Place
from tests.faults.load import Load
from tests.provider_server import ProviderServer
from tests.support import databases
from tests.support.server import Cluster
from tests.support.services import Postgres, Redis

# These tests try neither the limits on one user nor answers that nobody follows, so both limits are out of the way.
ENVIRONMENT = {
    "CHAT_MODELS": "openai:gpt-test",
    "CHAT_ABANDON_AFTER": "0",
    # Most of these tests look at how a lost answer ends. test_kill_is_finished.py has other processes finish it.
    "CHAT_FINISH_LOST": "0",
    # The short form has shorter times, so that it is quick; the long one has the defaults.
    **({} if LONG else {"CHAT_LEASE": "3", "CHAT_DRAIN": "3"}),
    "CHAT_USER_STREAMS": "100000",
    "CHAT_USER_REQUESTS_PER_MINUTE": "1000000",
}


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with Postgres() as service:
        yield service


@pytest.fixture(scope="session")
def redis() -> Iterator[Redis]:
    with Redis() as service:
        yield service


@pytest.fixture(scope="session")
def provider() -> Iterator[ProviderServer]:
    """One provider for the session, in a thread of its own; a test finds its own upstream calls by their questions."""
    with ProviderServer.run_in_thread() as server:
        yield server


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    print(f"FAULTS_SEED={SEED}")
    return random.Random(f"{SEED} {request.node.nodeid}")


@pytest.fixture
def environment() -> dict[str, str]:
    """Variables that a module sets for its servers, over those of `ENVIRONMENT`."""
    return {}


@pytest.fixture(scope="package")
def clusters() -> Iterator[dict[str, Cluster]]:
    """The running clusters, by place and environment. Tests share them: three servers take some seconds to start.

    They are killed when the tests of this package are over: twenty idle servers took a third of a core from the
    browser tests.
    """
    clusters: dict[str, Cluster] = {}
    yield clusters
    for cluster in clusters.values():
        cluster.kill()


@pytest.fixture
async def cluster(
    place: Place,
    provider: ProviderServer,
    environment: dict[str, str],
    clusters: dict[str, Cluster],
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Cluster]:
    """Running servers, as many as the place has, new or those of an earlier test. When a test fails, they are killed.
    What they logged during the test is printed.
    """
    service: Redis | None = request.getfixturevalue("redis") if place.redis else None
    redis = {"REDIS_URL": service.url} if service else {}
    every = {**ENVIRONMENT, "OPENAI_BASE_URL": provider.openai_url, **redis, **environment}
    key = f"{place} {every}"
    if key not in clusters:
        directory = tmp_path_factory.mktemp(str(place))
        postgres: Postgres | None = request.getfixturevalue("postgres") if place.database == "postgres" else None
        database, token = databases.prepare_database(directory, postgres.url if postgres else "")
        clusters[key] = Cluster(place.kind, database, token, size=place.size, logs=directory, **every)
    cluster = clusters[key]
    await asyncio.to_thread(cluster.start)
    logged = len(cluster.log())
    failed = request.session.testsfailed
    yield cluster
    print(cluster.log()[logged:][-5000:])
    if LONG or request.session.testsfailed > failed:
        # In the long form no test meets what another one left behind, and few clusters are in memory at a time.
        await asyncio.to_thread(clusters.pop(key).kill)


@pytest.fixture
async def load(cluster: Cluster, provider: ProviderServer, chance: random.Random) -> AsyncIterator[Load]:
    async with Load(cluster, provider, chance) as load:
        yield load
