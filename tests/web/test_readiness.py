"""What a monitor is told: whether the process answers, and whether it should get requests."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
from django.db import OperationalError
from django.test import AsyncClient
from pytest_django import Settings

from chat.generation.process import get_runner
from chat.web import probes
from tests.support import databases
from tests.support.server import Server
from tests.support.services import Postgres, Redis
from tests.support.site import Json, Site
from tests.support.waiting import block_until


async def ask_probe(path: str, **headers: str) -> tuple[int, Json]:
    response: Any = await AsyncClient().get(path, headers=headers)
    return response.status_code, json.loads(response.content)


async def test_a_process_that_has_all_it_needs_is_ready(site: Site) -> None:
    checks = {"database": "ok", "broker": "ok", "event_loop": "ok", "draining": False}
    assert await ask_probe("/readyz") == (200, {"status": "ready", "checks": checks})
    assert await ask_probe("/healthz") == (200, {"status": "ok"})


async def test_without_a_database_it_lives_and_is_not_ready(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        def cursor(self) -> None:
            raise OperationalError("connection refused")

    monkeypatch.setattr(probes, "connection", Gone())
    status, told = await ask_probe("/readyz")
    assert (status, told["status"], told["checks"]["database"]) == (503, "not ready", "unreachable")
    assert (await ask_probe("/healthz"))[0] == 200


async def test_a_database_that_hangs_is_waited_for_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = []
    is_back = threading.Event()

    def hang() -> bool:
        moments.append(time.monotonic())
        return is_back.wait(60)

    monkeypatch.setattr(probes, "is_reachable", hang)
    try:
        answers = await asyncio.gather(*(ask_probe("/readyz") for _ in range(20)))
        assert {status for status, _ in answers} == {503}
        assert (await ask_probe("/readyz"))[0] == 503
    finally:
        is_back.set()
    assert (await ask_probe("/readyz"))[0] == 200
    assert len(moments) <= 2  # the one that hung, and perhaps one since


async def test_a_late_event_loop_is_not_ready(site: Site, settings: Settings) -> None:
    settings.CHAT_READY_LAG = 0.05
    await asyncio.sleep(0.3)
    time.sleep(3)  # noqa: ASYNC251 - this is what is to be noticed
    status, told = await ask_probe("/readyz")
    assert (status, told["checks"]["event_loop"]) == (503, "late")
    assert (await ask_probe("/healthz"))[0] == 200


async def test_a_draining_process_is_neither_alive_nor_ready(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    get_runner().draining = True
    status, told = await ask_probe("/readyz")
    assert (status, told["checks"]["draining"]) == (503, True)
    assert await ask_probe("/healthz") == (503, {"status": "draining"})
    assert "Service Unavailable" not in caplog.text


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_a_monitor_needs_no_name_of_the_site_and_no_login(site: Site, path: str) -> None:
    response: Any = await AsyncClient().get(path, headers={"host": "10.20.30.40:8000"})
    assert response.status_code == 200
    assert not response.cookies


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_nothing_can_be_sent_to_it(site: Site, path: str) -> None:
    response: Any = await AsyncClient().post(path)
    assert response.status_code == 404


def test_services_that_go_away_and_come_back(tmp_path: Path) -> None:
    """A Redis that is away is told of; a database that hangs makes the process not ready, and no slower to say so."""
    with Postgres() as postgres, Redis() as redis:
        database, _ = databases.prepare_database(tmp_path, postgres.url)
        server = Server("uvicorn", database, logs=tmp_path, REDIS_URL=redis.url)
        with server:
            assert read_probe(server) == (200, "ok", "ok")
            redis.stop()
            wait_for_probe(server, (200, "ok", "away"))
            assert 'chat_broker_up{broker="redis"} 0.0' in httpx2.get(f"{server.url}/metrics").text
            redis.start()
            wait_for_probe(server, (200, "ok", "ok"))
            postgres.pause()
            try:
                began = time.monotonic()
                assert read_probe(server) == (503, "unreachable", "ok")
                assert time.monotonic() - began < 3
                assert httpx2.get(f"{server.url}/healthz").status_code == 200
            finally:
                postgres.resume()
            wait_for_probe(server, (200, "ok", "ok"))
            assert "chat_database_connections" in httpx2.get(f"{server.url}/metrics").text


def read_probe(server: Server) -> tuple[int, str, str]:
    response = httpx2.get(f"{server.url}/readyz", timeout=10)
    checks = response.json()["checks"]
    return response.status_code, checks["database"], checks["broker"]


def wait_for_probe(server: Server, expected: tuple[int, str, str]) -> None:
    block_until(lambda: read_probe(server) == expected, 20, lambda: read_probe(server))
