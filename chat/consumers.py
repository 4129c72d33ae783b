"""The WebSocket: what the API does, in band, and a user's new turns and titles for the pages that are open.

Up:    {"type":"send","content","conversation"?,"model"?,"turn"?}   {"type":"follow","answer","after"?}
       {"type":"stop","answer"}   {"type":"watch"}
Down:  the events of docs/events.md, each with its `answer` and `position`;
       for a refusal {"type":"error","code","message","retry_after"?}, without an `answer`;
       to those who watch {"type":"turn",…} and {"type":"title",…}, see chat.notices.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Mapping
from contextlib import aclosing
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.http import Http404
from django.http.request import validate_host
from django.utils.http import is_same_domain

from chat import api, metrics, streams, turns
from chat.access import models_for
from chat.api import ApiError
from chat.background import in_thread
from chat.broker import Batch
from chat.errors import RefusedError
from chat.events import payload
from chat.generation import runner
from chat.models import User
from chat.streams import Followed
from chat.views import owned_answer
from chat.visitors import CHECK_EVERY, Visitor, bearer_token, user_of_token

# Answers that one socket follows at a time; a user has fewer live ones.
MOST_FOLLOWED = 50

# For private use by RFC 6455: the login has ended.
UNAUTHORIZED = 4401

_TOO_MANY = ApiError(429, "too_many", f"A socket follows at most {MOST_FOLLOWED} answers.")


async def sockets(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The one address that has sockets; any other is refused as one that does not exist."""
    if scope["path"] == "/ws/chat/":
        await ChatConsumer.as_asgi()(scope, receive, send)
    else:
        await receive()
        await send({"type": "websocket.close"})


class ChatConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # channels has no types
    """One socket of one user. What it is asked is done one after the other; what it follows comes side by side."""

    # No channel for each socket: `chat.notices` has one for the process, and a lost Redis must not refuse sockets.
    channel_layer_alias = "none"

    visitor: Visitor

    async def connect(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}
        user = await self._user()
        if user is None or not is_same_site(self.scope):
            await self.close()
            return
        self.user = user
        await self.accept()
        self._begin("visitor", self._stay_welcome())

    async def _user(self) -> User | None:
        """The user of the bearer token if there is one, otherwise of the session."""
        if token := bearer_token(_header(self.scope, b"authorization")):
            user = await in_thread(user_of_token, token)
            self.visitor = Visitor(user.pk if user else 0, token=token)
            return user
        user = self.scope["user"]
        self.visitor = Visitor(user.pk or 0, session=self.scope["session"].session_key or "")
        return user if isinstance(user, User) and user.is_active else None

    async def disconnect(self, code: int) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        try:
            await self._obey(_frame(text_data))
        except ApiError as error:
            await self._refuse(error.code, error.message)
        except RefusedError as error:
            await self._refuse(error.code, error.sentence, error.retry_after)
        except Http404:
            await self._refuse(api.NOT_FOUND.code, api.NOT_FOUND.message)

    async def _obey(self, frame: Mapping[str, Any]) -> None:
        match frame.get("type"):
            case "send":
                await self._ask(frame)
            case "follow":
                answer = await in_thread(owned_answer, self.user, _id(frame, "answer"))
                self._follow(Followed.of(answer), _after(frame))
            case "stop":
                answer = await in_thread(owned_answer, self.user, _id(frame, "answer"))
                await runner().stop(answer.pk)
            case "watch":
                self._begin("watch", self._watch())
            case _:
                raise ApiError(400, "bad_request", "`type` must be send, follow, stop or watch.")

    async def _ask(self, frame: Mapping[str, Any]) -> None:
        conversation_id = None if frame.get("conversation") is None else _id(frame, "conversation")

        def asked() -> turns.Begun:
            return turns.ask(self.user, conversation_id, api.question(frame, models_for(self.user)))

        begun = (await runner().begin(self.user, asked)).answer
        answer = Followed.of(begun)
        await self._tell({**payload(answer.start), "conversation": str(begun.conversation_id), "position": 0})
        self._follow(answer, 0)

    def _follow(self, answer: Followed, after: int | None) -> None:
        if len(self._tasks) > MOST_FOLLOWED:
            raise _TOO_MANY
        self._begin(str(answer.id), self._tell_events(answer, after))

    async def _tell_events(self, answer: Followed, after: int | None) -> None:
        if after is None:
            await self._tell({**payload(answer.start), "position": 0})
        with metrics.following("ws"):
            async with aclosing(streams.events_of(answer, after or 0)) as batches:
                async for batch in batches:
                    await self._tell_batch(str(answer.id), batch)

    async def _tell_batch(self, answer: str, batch: Batch) -> None:
        for position, event in streams.said(batch):
            await self._tell({**payload(event), "answer": answer, "position": position})

    async def _watch(self) -> None:
        with runner().notices.read(self.user.pk) as unread:
            while True:
                await self._tell(await unread.get())

    async def _stay_welcome(self) -> None:
        is_welcome = True
        while is_welcome:
            await asyncio.sleep(CHECK_EVERY)
            is_welcome = await in_thread(self.visitor.is_let_in)
        await self.close(UNAUTHORIZED)

    def _begin(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Do this beside what the socket is asked next, in place of what had the same name."""
        if name in self._tasks:
            self._tasks[name].cancel()
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[name] = task
        task.add_done_callback(lambda done: self._tasks.pop(name) if self._tasks.get(name) is done else None)

    async def _refuse(self, code: str, message: str, retry_after: int | None = None) -> None:
        frame = {"type": "error", "code": code, "message": message, "retryable": False}
        await self._tell(frame if retry_after is None else {**frame, "retry_after": retry_after})

    async def _tell(self, frame: Mapping[str, Any]) -> None:
        await self.send(text_data=json.dumps(frame, ensure_ascii=False))


def is_same_site(scope: Mapping[str, Any]) -> bool:
    """Whether no page of another site opened the socket: browsers name the page's origin, and send its cookies to any.
    A program names none."""
    origin, host = _header(scope, b"origin"), _header(scope, b"host")
    if not origin:
        return True
    if not validate_host(urlsplit(f"//{host}").hostname or "", settings.ALLOWED_HOSTS):
        return False
    return urlsplit(origin).netloc == host or any(
        _is_trusted(origin, trusted) for trusted in settings.CSRF_TRUSTED_ORIGINS
    )


def _is_trusted(origin: str, trusted: str) -> bool:
    given, known = urlsplit(origin), urlsplit(trusted)
    return given.scheme == known.scheme and is_same_domain(given.netloc, known.netloc.lstrip("*"))


def _header(scope: Mapping[str, Any], name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


def _frame(text: str | None) -> Mapping[str, Any]:
    try:
        frame = json.loads(text or "")
    except (ValueError, RecursionError):
        frame = None
    if not isinstance(frame, dict):
        raise ApiError(400, "bad_request", "A frame must be a JSON object.")
    return frame


def _id(frame: Mapping[str, Any], name: str) -> UUID:
    """An id that cannot be one is like one that does not exist."""
    try:
        return UUID(frame.get(name))
    except (TypeError, ValueError, AttributeError):
        raise api.NOT_FOUND from None


def _after(frame: Mapping[str, Any]) -> int | None:
    try:
        return streams.after_of(frame.get("after"))
    except ValueError:
        raise ApiError(400, "bad_request", "A position is a whole number.") from None
