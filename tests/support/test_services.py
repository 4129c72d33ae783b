"""The services that tests start do what tests believe of them."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.support.services import Postgres, Redis, Service, list_children
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres() as service:
        yield service


@pytest.fixture(scope="module", params=[Redis, Postgres])
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    with request.param() as service:
        yield service


def test_a_service_is_gone_while_it_is_stopped_and_back_at_the_same_address(service: Service) -> None:
    for end in (service.stop, service.kill):
        url = service.url
        end()
        assert not service.is_answering()
        service.start()
        assert service.is_answering()
        assert service.url == url


def test_a_paused_service_says_nothing_and_keeps_its_connections(service: Service) -> None:
    service.pause()
    with socket.create_connection(("127.0.0.1", service.port), timeout=1):
        assert not service.is_answering()
    service.resume()
    assert service.is_answering()


def test_a_fast_restart_cuts_sessions_and_keeps_what_was_committed(postgres: Postgres) -> None:
    url = postgres.create_database()
    with psycopg.connect(url, autocommit=True) as session:
        session.execute("CREATE TABLE kept AS SELECT 1 AS number")
        postgres.restart()
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT number FROM kept")
    with psycopg.connect(url) as session:
        assert session.execute("SELECT number FROM kept").fetchall() == [(1,)]


def test_each_database_is_empty(postgres: Postgres) -> None:
    urls = {postgres.create_database() for _ in range(2)}
    assert len(urls) == 2
    for url in urls:
        with psycopg.connect(url) as session:
            assert session.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)


async def test_nothing_is_left_behind() -> None:
    with Postgres() as service:
        assert service.process is not None
        processes = [service.process.pid, *list_children(service.process.pid)]
    assert not service.directory.exists()
    assert len(processes) > 1
    await wait_until(lambda: not any(is_alive(pid) for pid in processes))


def is_alive(pid: int) -> bool:
    """Return whether a process lives. A dead one that nobody has waited for yet has no command line any more."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except FileNotFoundError:
        return False


def test_a_command_runs_with_the_services_it_names() -> None:
    check = (
        "import os, psycopg, redis;"
        "psycopg.connect(os.environ['DATABASE_URL']).close();"
        "client = redis.Redis.from_url(os.environ['REDIS_URL']); assert client.ping(); client.close();"
        "raise SystemExit(7)"
    )
    command = [sys.executable, "-m", "tests.support.services", "postgres", "redis", "--", sys.executable, "-c", check]
    assert subprocess.run(command, check=False).returncode == 7
