"""A client of a real server."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any, Self

import httpx2

from tests.support.server import Server


class Client:
    """A program with a token."""

    def __init__(self, server: Server, token: str) -> None:
        self.http = httpx2.Client(
            base_url=server.url,
            headers={"authorization": f"Bearer {token}"},
            timeout=30,
            limits=httpx2.Limits(max_connections=100),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.http.close()

    def begin(self, content: str = "Hello") -> str:
        conversation = self.http.post("/api/conversations/").json()["id"]
        path = f"/api/conversations/{conversation}/messages/"
        response = self.http.post(path, json={"content": content}, headers={"prefer": "respond-async"})
        return str(response.json()["answer"])

    def answer(self, answer: str) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get(f"/api/answers/{answer}/").json()
        return found

    def wait_for_end(self, answer: str, within: float) -> dict[str, Any]:
        """Return the answer once it is terminal; fail the test when that takes longer than `within` seconds."""
        end = time.monotonic() + within
        while (found := self.answer(answer))["status"] in {"queued", "streaming"}:
            assert time.monotonic() < end, f"still {found['status']} after {within} s"
            time.sleep(0.1)
        return found

    def iterate_events(self, answer: str, after: int = 0) -> Iterator[tuple[int, dict[str, Any]]]:
        path = f"/api/answers/{answer}/events/?after={after}"
        with self.http.stream("GET", path, headers={"accept": "application/x-ndjson"}) as response:
            for line in response.iter_lines():
                if line:
                    event = json.loads(line)
                    yield event.pop("position"), event
