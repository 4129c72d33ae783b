"""The site as a program meets it: logged in, over the public contract."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any, NamedTuple, cast

from django.http import HttpResponse, StreamingHttpResponse
from django.test import AsyncClient

from chat.models import User
from tests.support.declared import check_declared

Json = dict[str, Any]

SSE = "text/event-stream"
NDJSON = "application/x-ndjson"


class Positioned(NamedTuple):
    """An event and the position that a reader has after it."""

    position: int
    event: Json


class Site:
    """One user's programs. Every method fails the test when the site refuses; `post` and `get` do not."""

    def __init__(self, user: User) -> None:
        self.user = user
        self.client = AsyncClient()
        self.client.force_login(user)

    async def post(self, path: str, body: Json | None = None, **headers: str) -> HttpResponse:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        response: Any = await self.client.post(path, body or {}, content_type="application/json", headers=names)
        check_declared("POST", path, response)
        return cast("HttpResponse", response)

    async def get(self, path: str, **headers: str) -> HttpResponse:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        response: Any = await self.client.get(path, headers=names)
        check_declared("GET", path, response)
        return cast("HttpResponse", response)

    async def stream(self, path: str, **headers: str) -> StreamingHttpResponse:
        response: object = await self.get(path, **headers)
        assert isinstance(response, StreamingHttpResponse)
        return response

    async def begin_conversation(self) -> str:
        response = await self.post("/api/conversations/")
        assert response.status_code == 201
        return str(json.loads(response.content)["id"])

    async def ask(self, content: str = "Hello", conversation: str = "", **fields: str) -> Json:
        """Ask and wait for the whole answer."""
        conversation = conversation or await self.begin_conversation()
        response = await self.post(f"/api/conversations/{conversation}/messages/", {"content": content, **fields})
        assert response.status_code == 200, response.content
        return cast("Json", json.loads(response.content))

    async def begin(self, content: str = "Hello", conversation: str = "", **fields: str) -> str:
        """Ask and return at once, with the answer's id."""
        conversation = conversation or await self.begin_conversation()
        path = f"/api/conversations/{conversation}/messages/"
        response = await self.post(path, {"content": content, **fields}, prefer="respond-async")
        assert response.status_code == 202, response.content
        return str(json.loads(response.content)["answer"])

    async def answer(self, answer: str) -> Json:
        return await self._load_json(await self.get(f"/api/answers/{answer}/"), 200)

    async def stop(self, answer: str) -> Json:
        return await self._load_json(await self.post(f"/api/answers/{answer}/stop/"), 200)

    async def retry(self, answer: str) -> str:
        return str((await self._load_json(await self.post(f"/api/answers/{answer}/retry/"), 202))["answer"])

    async def _load_json(self, response: HttpResponse, status: int) -> Json:
        assert response.status_code == status, response.content
        return cast("Json", json.loads(response.content))

    async def read_events(self, answer: str, after: int | None = None, media_type: str = SSE) -> list[Positioned]:
        """Return the events that a reader at `after` gets, to the end."""
        return [positioned async for positioned in self.follow(answer, after, media_type)]

    async def follow(
        self, answer: str, after: int | None = None, media_type: str = SSE
    ) -> AsyncGenerator[Positioned, None]:
        """Yield the events one by one, as they come."""
        query = "" if after is None else f"?after={after}"
        response = await self.stream(f"/api/answers/{answer}/events/{query}", accept=media_type)
        parse = from_sse if media_type == SSE else from_ndjson
        buffer = b""
        async for chunk in response:
            buffer += chunk
            events, buffer = parse(buffer)
            for event in events:
                yield event


def from_sse(buffer: bytes) -> tuple[list[Positioned], bytes]:
    """Parse the whole messages in the buffer; return their events, and what is left of the buffer."""
    *messages, rest = buffer.split(b"\n\n")
    return [_parse_message(message.decode()) for message in messages if not message.startswith(b":")], rest


def _parse_message(message: str) -> Positioned:
    fields = [line.partition(": ") for line in message.split("\n")]
    data = "\n".join(value for name, _, value in fields if name == "data")
    position = next(int(value) for name, _, value in fields if name == "id")
    return Positioned(position, json.loads(data))


def from_ndjson(buffer: bytes) -> tuple[list[Positioned], bytes]:
    *lines, rest = buffer.split(b"\n")
    events = [json.loads(line) for line in lines if line]
    return [Positioned(event.pop("position"), event) for event in events], rest


def join_text(events: list[Positioned]) -> str:
    return "".join(event["content"] for _, event in events if event["type"] == "token")
