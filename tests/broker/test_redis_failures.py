"""A Redis that cannot be used is a line in the log that names what to change; see `chat.broker.failures`."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
from pytest_django import Settings

from chat.broker.failures import describe_failure
from chat.broker.redis import RedisBroker
from chat.core.events import Token
from chat.core.transcript import Transcript
from chat.generation import notifications
from chat.generation.notifications import Notices
from tests.support.needs import find_program
from tests.support.services import Redis, find_free_port

PASSWORD = "right-password"
ANSWER = "answer-1"

# Who may do what. `reader` may look whether Redis is there, and write nothing.
USERS = f"""\
user default on >{PASSWORD} ~* &* +@all
user reader on >{PASSWORD} ~* &* +ping +select
user stranger on >{PASSWORD} ~* &* -@all
"""


class SecuredRedis(Redis):
    """With passwords, an ACL, and a second port for TLS, whose self-signed certificate nobody knows."""

    def __init__(self) -> None:
        super().__init__()
        self.tls_port = find_free_port()

    def _make_command(self) -> list[str]:
        key, certificate = self.directory / "key.pem", self.directory / "certificate.pem"
        make = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=redis.test"
        if not key.exists():
            names = ["-keyout", str(key), "-out", str(certificate)]
            subprocess.run(
                [find_program("openssl"), *make.split(), *names], check=True, capture_output=True, timeout=60
            )
        (self.directory / "redis.conf").write_text(
            f'{USERS}save ""\nport {self.port}\nbind 127.0.0.1\ntls-port {self.tls_port}\ntls-auth-clients no\n'
            f"tls-cert-file {certificate}\ntls-key-file {key}\ntls-ca-cert-file {certificate}\n"
        )
        return [find_program("redis-server"), str(self.directory / "redis.conf")]

    def is_answering(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    @property
    def certificate(self) -> Path:
        return self.directory / "certificate.pem"


class Impostor:
    """Something that listens, and is no Redis. `says` is sent to whoever connects; without it, nothing is."""

    def __init__(self, says: bytes = b"") -> None:
        self._says = says

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        self._clients: list[asyncio.StreamWriter] = []
        return self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.append(writer)
        await reader.read(100)
        writer.write(self._says)

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        for client in self._clients:
            client.transport.abort()


@pytest.fixture(scope="module")
def redis() -> Iterator[SecuredRedis]:
    with SecuredRedis() as redis:
        yield redis


CAUSES = {
    "a certificate that nobody signed": (
        "rediss://:{password}@127.0.0.1:{tls}/0",
        "its certificate is refused: self-signed certificate",
    ),
    "a certificate for another name": (
        "rediss://:{password}@127.0.0.1:{tls}/0?ssl_ca_certs={certificate}",
        "its certificate is refused: IP address mismatch, certificate is not valid for '127.0.0.1'",
    ),
    "certificates that are not there": (
        "rediss://:{password}@127.0.0.1:{tls}/0?ssl_ca_certs={certificate}.none",
        "a file is not there: its socket, or the certificates that REDIS_URL names",
    ),
    "TLS, asked without": (
        "redis://:{password}@127.0.0.1:{tls}/0",
        "it closed the connection; where it wants TLS, REDIS_URL begins with rediss://",
    ),
    "a wrong password": (
        "redis://:wrong-password@127.0.0.1:{port}/0",
        "it refuses the user or the password of REDIS_URL",
    ),
    "an unknown user": (
        "redis://nobody:{password}@127.0.0.1:{port}/0",
        "it refuses the user or the password of REDIS_URL",
    ),
    "no password": ("redis://127.0.0.1:{port}/0", "it wants a password, and REDIS_URL has none"),
    "a database that is not there": (
        "redis://:{password}@127.0.0.1:{port}/99",
        "it has no database of the number in REDIS_URL",
    ),
    "a user who may do nothing": (
        "redis://stranger:{password}@127.0.0.1:{port}/0",
        "its ACL does not let the site's user do this: ",
    ),
    "a name that the DNS does not have": (
        "redis://:{password}@redis.invalid:6379/0",
        "its name is not found in the DNS: ",
    ),
    "nothing that listens": (
        "redis://:{password}@127.0.0.1:{free}/0",
        "the connection is refused: nothing listens there",
    ),
    "a socket that is not there": (
        "unix:///nowhere/redis.sock?db=0",
        "a file is not there: its socket, or the certificates that REDIS_URL names",
    ),
    "something else": ("redis://127.0.0.1:{http}/0", "what answers there is no Redis"),
    "silence": ("redis://127.0.0.1:{silent}/0", "it does not answer in time"),
}


@pytest.mark.parametrize("cause", CAUSES)
async def test_the_log_names_the_cause_of_a_failure_once(
    redis: SecuredRedis, cause: str, caplog: pytest.LogCaptureFixture
) -> None:
    form, reason = CAUSES[cause]
    async with Impostor(b"HTTP/1.1 400 Bad Request\r\n\r\n") as http, Impostor() as silent:
        url = form.format(
            password=PASSWORD,
            port=redis.port,
            tls=redis.tls_port,
            certificate=redis.certificate,
            free=find_free_port(),
            http=http.port,
            silent=silent.port,
        )
        broker = RedisBroker(url, "test:")
        try:
            assert not await broker.is_up()
            assert not await broker.is_up()
        finally:
            await broker.aclose()
    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"Redis is away ({reason}")
    assert line.endswith("): readers elsewhere follow the checkpoints")
    assert PASSWORD not in line


async def test_a_redis_that_lets_nobody_write_says_so_once(
    redis: SecuredRedis, caplog: pytest.LogCaptureFixture
) -> None:
    """It is there: only what is written is refused, for each answer and each few milliseconds."""
    broker = RedisBroker(f"redis://reader:{PASSWORD}@127.0.0.1:{redis.port}/0", "test:")
    transcript = Transcript()
    try:
        assert await broker.is_up()
        await broker.open(ANSWER, 1, transcript)
        async with broker.follow(ANSWER, 0) as following:
            for number in range(5):
                transcript.append([Token(f"{number} ")])
                await broker.publish(ANSWER, 1)
                batch = await following.read_next(10)
                assert batch is not None
                assert batch.events == [Token(f"{number} ")]
    finally:
        await broker.aclose()
    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith("Redis refuses to write (its ACL does not let the site's user do this: ")


@pytest.fixture
def layer(settings: Settings, redis: SecuredRedis) -> None:
    url = f"redis://:wrong-password@127.0.0.1:{redis.port}/0"
    settings.CHANNEL_LAYERS = {
        "default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": [{"address": url}]}}
    }


async def test_notices_that_nobody_hears_say_why_once(
    layer: None, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifications, "PATIENCE", 0.3)

    async def obey(notice: object) -> None: ...

    caplog.set_level(logging.WARNING, "chat")
    notices = Notices()
    listening = asyncio.ensure_future(notices.listen(obey))
    for _ in range(2):  # and once more after longer than it waits before it listens, or sends, again
        await asyncio.gather(*(notices.tell_runners({"stop": "answer"}) for _ in range(10)))
        await asyncio.sleep(1)
    listening.cancel()
    lines = [record.getMessage() for record in caplog.records if record.name == "chat.generation.notifications"]
    reason = "it refuses the user or the password of REDIS_URL"
    assert sorted(lines) == [
        f"notices of other processes are not heard: {reason}",
        f"notices to other processes are lost: {reason}",
    ]


async def test_notices_wait_for_a_silent_redis_once_and_not_each(
    settings: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifications, "PATIENCE", 0.3)
    caplog.set_level(logging.WARNING, "chat")
    notices = Notices()
    async with Impostor() as silent:
        hosts = [{"address": f"redis://127.0.0.1:{silent.port}/0"}]
        backend = "channels_redis.pubsub.RedisPubSubChannelLayer"
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": {"hosts": hosts}}}
        began = time.monotonic()
        await asyncio.gather(*(notices.tell_runners({"stop": "answer"}) for _ in range(50)))
        assert time.monotonic() - began < 10 * 0.3
    [line] = [record.getMessage() for record in caplog.records if record.name == "chat.generation.notifications"]
    assert line.startswith("notices to other processes are lost: ")


def test_an_unknown_failure_is_quoted_in_one_line() -> None:
    assert describe_failure(RuntimeError("one\ntwo")) == "RuntimeError: one two"
    assert describe_failure(RuntimeError()) == "RuntimeError"
    assert describe_failure(OSError(113, os.strerror(113))) == os.strerror(113)
