"""A full disk loses no answer and takes no question: pages say what is not saved, and take it back when it is."""

from __future__ import annotations

import errno
import json
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from chatsite.servers.request_guard import Guard
from tests.provider_server import ProviderServer, Script
from tests.support import databases
from tests.support.server import Server, log_in_demo

TEXT = "".join(f"word{number} " for number in range(700))
PATIENCE = 30.0


@contextmanager
def fill_disk(server: Server) -> Iterator[None]:
    """Let no file of the server grow: the kernel refuses each write behind its first page, as a full disk does."""
    _, most = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (4096, most))
    yield
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (most, most))


@pytest.fixture(params=["daphne", "uvicorn"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_what_is_not_saved_is_told_and_taken_back(kind: str, tmp_path: Path) -> None:
    with ProviderServer.run_in_thread() as provider:
        provider.script = Script(text=TEXT, chunk_size=6, delay_between=0.01, gate_after=60)
        database, token = databases.prepare_database(tmp_path)
        environment = {
            "OPENAI_BASE_URL": provider.openai_url,
            "CHAT_MODELS": "openai:gpt-test",
            "CHAT_CHECKPOINT": "0.2",
        }
        with (
            Server(kind, database, logs=tmp_path, **environment) as server,
            closing(log_in_demo(server)) as browser,
            httpx2.Client(base_url=server.url, headers={"authorization": f"Bearer {token}"}, timeout=30) as program,
        ):
            conversation = program.post("/api/conversations/").json()["id"]
            path = f"/api/conversations/{conversation}/messages/"
            answer = program.post(path, json={"content": "Hello"}, headers={"prefer": "respond-async"}).json()["answer"]
            with (
                browser.stream("GET", f"/answers/{answer}/stream/") as page,
                program.stream("GET", f"/api/answers/{answer}/events/?after=0") as events,
            ):
                shown, told = page.iter_lines(), events.iter_lines()
                with fill_disk(server):
                    read_until(shown, lambda line: "not saved yet" in line)
                    read_until(told, lambda line: '"unsaved"' in line)
                    # What is written meanwhile is shown, and the notice stays over it.
                    provider.release()
                    check_that_a_question_is_refused(browser, program, conversation)
                    assert browser.get(f"/c/{conversation}/").status_code == 200
                    time.sleep(1)
                read_until(told, lambda line: '"saved"' in line)
                read_until(shown, lambda line: f"#notice-{answer}" in line and "not saved yet" not in line)
            found = wait_for_end(program, answer)
            assert (found["status"], found["text"]) == ("complete", TEXT)
            asked = program.post("/api/conversations/", json={})
            assert asked.status_code == 201
            assert "Traceback" not in server.log.read_text()


def check_that_a_question_is_refused(browser: httpx2.Client, program: httpx2.Client, conversation: str) -> None:
    """Check that the page and the API refuse a question with a sentence."""
    form = {"content": "One more", "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
    sent = browser.post("/send/", data=form, headers={"HX-Request": "true"})
    assert sent.status_code == 503
    assert "cannot save anything" in sent.text
    assert sent.headers["HX-Retarget"] == "#composer-error"
    response = program.post("/api/conversations/")
    assert (response.status_code, response.json()["error"]["code"]) == (503, "not_saved")
    assert int(response.headers["Retry-After"]) >= 1


def read_until(lines: Iterator[str], is_it: Callable[[str], bool]) -> list[str]:
    """Return the lines up to the first for which `is_it` is true, that line included."""
    read = []
    end = time.monotonic() + PATIENCE
    for line in lines:
        read.append(line)
        if is_it(line):
            return read
        assert time.monotonic() < end, read[-5:]
    raise AssertionError(f"the stream ended: {read[-5:]}")


def wait_for_end(program: httpx2.Client, answer: str) -> dict[str, str]:
    end = time.monotonic() + PATIENCE
    while (found := json.loads(program.get(f"/api/answers/{answer}/").content))["status"] in {"queued", "streaming"}:
        assert time.monotonic() < end, found
        time.sleep(0.1)
    return dict(found)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT])
async def test_a_body_that_the_disk_has_no_room_for_is_refused_with_a_sentence(error: int) -> None:
    """Django keeps a large body in a file, before any view."""

    async def read_body(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        raise OSError(error, "No space left on device")

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"text", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    sent: list[dict[str, Any]] = []
    scope = {"type": "http", "method": "POST", "path": "/send/", "headers": []}
    await Guard(read_body)(scope, receive, send)
    assert sent[0]["status"] == 503
    assert dict(sent[0]["headers"])[b"retry-after"] == b"60"
    assert b"cannot save anything right now" in sent[1]["body"]


def test_daphne_refuses_a_body_that_the_disk_has_no_room_for(tmp_path: Path) -> None:
    """Twisted keeps a large body in a file, before the application is called."""
    database, _ = databases.prepare_database(tmp_path)
    with Server("daphne", database, logs=tmp_path) as server, fill_disk(server):
        response = httpx2.post(f"{server.url}/send/", content=b"x" * 1_000_000)
        assert (response.status_code, response.headers["retry-after"]) == (503, "60")
        assert "cannot save anything right now" in response.text
