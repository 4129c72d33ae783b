"""The WebSocket: asking, following and stopping over one connection, and news of a user's conversations.

docs/events.md describes all frames. Clients send four kinds, `send`, `follow`, `stop` and `watch`, whose shapes are in
`chat.api.shapes`. The site sends an answer's events, each with its `answer` and `position`; an `error` without an
`answer` for a refusal; an `ack` for a frame with an `id` that nothing else answers; and after `watch` whatever
`chat.generation.notifications` tells the user's open pages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from contextlib import aclosing, suppress
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.http import Http404
from django.http.request import validate_host
from django.utils.http import is_same_domain

from chat.accounts.visitors import CHECK_EVERY, Visitor, find_user_by_token, read_bearer_token
from chat.api import questions, shapes
from chat.api.operations import ABOUT_THE_BODY
from chat.broker.base import Batch
from chat.conversations import actions
from chat.conversations.actions import get_owned_answer, get_owned_conversation
from chat.conversations.changes import make_turn_notice
from chat.conversations.listing import list_turns_since
from chat.core.errors import RefusedError
from chat.core.events import write_payload
from chat.generation.process import get_process, get_runner
from chat.http.bodies import parse_object, read_fields
from chat.http.errors import BAD_TOKEN, NOT_FOUND, ApiError, render_json_refusal
from chat.http.errors import UNAUTHORIZED as UNAUTHORIZED_HANDSHAKE
from chat.models import Message, User
from chat.observability import metrics
from chat.observability.circuit import get_circuit
from chat.observability.outages import FAULTS, OutageError, UnreachableError, classify_outage, log_outage
from chat.streaming import encoders, responses
from chat.streaming.json_lines import encode_line
from chat.streaming.responses import FollowedAnswer
from chat.tasks import run_in_thread
from chat.units_of_work import keep_whole

# One socket follows at most this many answers at a time.
MAX_FOLLOWED = 50

# The names of a socket's tasks that follow no answer; the others are named by the ids of theirs.
_LOGIN, _WATCH = "login", "watch"

# A close code for private use (RFC 6455): the login has ended.
UNAUTHORIZED = 4401

# "Try again later" (IANA's registry of close codes): who opens the socket cannot be looked up.
TRY_AGAIN_LATER = 1013

# "Message too big" (RFC 6455), and how many bytes a frame may have: as many as daphne takes by itself.
TOO_BIG = 1009
LARGEST_FRAME = 1024 * 1024

# Characters of an `id` that comes back.
MAX_ECHOED = 200

# What answers a handshake without a login, where the server can say more than that there is no socket.
_DENIAL = "websocket.http.response"

_TOO_MANY = ApiError(429, "too_many", f"A socket follows at most {MAX_FOLLOWED} answers.")


async def serve_socket(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Serve the one address that has sockets; refuse any other as one that does not exist."""
    if scope["path"] == "/ws/chat/":
        await ChatConsumer.as_asgi()(scope, receive, send)
    else:
        await receive()
        await send({"type": "websocket.close"})


class ChatConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # channels has no types
    """One socket of one user. Its frames are handled one after the other; the answers that it follows come at once."""

    # No channel for each socket: `chat.generation.notifications` has one for the process, and a lost Redis must not
    # refuse sockets.
    channel_layer_alias = "none"

    visitor: Visitor

    _serving: asyncio.Task[Any] | None = None
    _failure: BaseException | None = None

    async def connect(self) -> None:
        try:
            user = await self._find_user()
        except (UnreachableError, *FAULTS) as error:
            # A handshake has no words for it: a program would take its refusal for one of its login.
            await self.accept()
            await self._refuse(_read_outage(error))
            await self.close(TRY_AGAIN_LATER)
            return
        if not is_same_site(self.scope):
            await self.close()
            return
        if user is None:
            await self._deny(BAD_TOKEN if self.visitor.token else UNAUTHORIZED_HANDSHAKE)
            return
        self.user = user
        await self.accept()
        self._start_task(_LOGIN, self._check_login())

    async def _deny(self, refusal: RefusedError) -> None:
        """Answer the handshake with a refusal of HTTP's, or with a bare one where the server has no other."""
        if _DENIAL not in self.scope.get("extensions", {}):
            await self.close()
            return
        response = render_json_refusal(refusal)
        headers = [(name.lower().encode(), value.encode()) for name, value in response.items()]
        headers += [(b"content-length", str(len(response.content)).encode()), (b"connection", b"close")]
        await self.base_send({"type": f"{_DENIAL}.start", "status": response.status_code, "headers": headers})
        await self.base_send({"type": f"{_DENIAL}.body", "body": response.content})
        raise StopConsumer

    async def _find_user(self) -> User | None:
        """Return the user of the bearer token if there is one, otherwise of the session; None for neither.

        Raises an outage that kept the session's user from being looked up.
        """
        if token := read_bearer_token(_read_header(self.scope, b"authorization")):
            async with get_circuit().guard():
                user = await run_in_thread(find_user_by_token, token)
            self.visitor = Visitor(user.pk if user else 0, token=token)
            return user
        if (outage := self.scope.get("outage")) is not None:
            raise outage
        user = self.scope["user"]
        self.visitor = Visitor(user.pk or 0, session=self.scope["session"].session_key or "")
        return user if isinstance(user, User) and user.is_active else None

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Serve the socket, and cancel all that it follows when it ends.

        It may end by cancellation: daphne cancels what still runs 10 s after its socket was closed. Raises what one of
        its tasks has failed with, such as a client that left or does not read: nobody waits for an answer that no
        task sends any more.
        """
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._serving = asyncio.current_task()
        try:
            await super().__call__(scope, receive, send)
        except asyncio.CancelledError:
            if (failure := self._failure) is None or self._serving is None:
                raise
            self._serving.uncancel()
            raise failure from None
        finally:
            following = [*self._tasks.values()]
            for task in following:
                task.cancel()
            await asyncio.gather(*following, return_exceptions=True)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if len(bytes_data or b"") > LARGEST_FRAME or len((text_data or "").encode(errors="replace")) > LARGEST_FRAME:
            await self.close(TOO_BIG)
            return
        echo: dict[str, Any] = {}
        try:
            frame = parse_object(text_data or "", "A frame")
            echo = _read_echo(frame)
            await self._handle(frame, echo)
        except RefusedError as error:
            await self._refuse(error, echo)
        except Http404:
            await self._refuse(NOT_FOUND, echo)
        except FAULTS as error:
            await self._refuse(_read_outage(error), echo)

    async def _handle(self, frame: Mapping[str, Any], echo: Mapping[str, Any]) -> None:
        """Do what a frame says. Raises `RefusedError`, or Http404 for what is not there, whatever else is wrong."""
        shape = _read_shape(frame)
        try:
            await self._obey(read_fields(frame, shape), echo)
        except RefusedError as error:
            if error.status in ABOUT_THE_BODY:
                async with get_circuit().guard():
                    await run_in_thread(_find_named, self.user, frame, shape)
            raise

    async def _obey(self, frame: shapes.Frame, echo: Mapping[str, Any]) -> None:
        match frame:
            case shapes.Send() as question:
                self._check_room()  # before anything is asked that nobody would read
                async with get_circuit().guard():
                    answer = await keep_whole(self._ask(question))
                followed = FollowedAnswer.from_message(answer)
                await self._send_frame({**write_payload(followed.start), "position": 0, **echo})
                self._follow(followed, 0)
            case shapes.Follow(answer=key, after=after):
                async with get_circuit().guard():
                    found = await run_in_thread(get_owned_answer, self.user, key)
                position = _read_position(found, shapes.get_given(after))
                self._check_room(str(found.pk))
                self._follow(FollowedAnswer.from_message(found), position, echo)
            case shapes.Stop(answer=key):
                async with get_circuit().guard():
                    stopped = await keep_whole(actions.stop_answer(get_runner(), self.user, key))
                await self._acknowledge("stop", echo, answer=str(stopped.pk), status=stopped.status)
            case shapes.Watch(since=since):
                self._start_task(_WATCH, self._watch(shapes.get_given(since)))
                await self._acknowledge("watch", echo)

    async def _ask(self, question: shapes.Send) -> Message:
        fields, schema = questions.read_fields(question), await questions.read_schema(question)
        conversation = shapes.get_given(question.conversation)
        answer = await actions.ask(get_runner(), self.user, self.visitor, fields, conversation, schema)
        await questions.check_turn(question, answer, schema)
        return answer

    async def _acknowledge(self, of: str, echo: Mapping[str, Any], **fields: str) -> None:
        """Acknowledge a frame that had an `id`; a client that gives none gets no acknowledgements."""
        if "id" in echo:
            await self._send_frame({"type": "ack", "of": of, **fields, **echo})

    def _check_room(self, answer: str = "") -> None:
        """Raise `ApiError` where the socket follows as many answers as it may, not counting `answer` itself."""
        if len(self._tasks.keys() - {_LOGIN, _WATCH, answer}) >= MAX_FOLLOWED:
            raise _TOO_MANY

    def _follow(self, answer: FollowedAnswer, after: int | None, echo: Mapping[str, Any] | None = None) -> None:
        self._start_task(str(answer.id), self._send_events(answer, after, echo or {}))

    async def _send_events(self, answer: FollowedAnswer, after: int | None, echo: Mapping[str, Any]) -> None:
        if after is None:
            await self._send_frame({**write_payload(answer.start), "position": 0, **echo})
        elif echo:
            await self._acknowledge("follow", echo, answer=str(answer.id))
        with metrics.count_follower("ws"):
            async with aclosing(responses.read_events(get_process(), answer, after or 0)) as batches:
                async for batch in batches:
                    await self._send_batch(str(answer.id), batch)

    async def _send_batch(self, answer: str, batch: Batch) -> None:
        for position, event in encoders.select_public_events(batch):
            await self._send_frame({**write_payload(event), "answer": answer, "position": position})

    async def _watch(self, since: datetime | None) -> None:
        """Send the user's notices as they come; first those of the turns since a moment, if one is given."""
        with get_runner().notices.subscribe(self.user.pk) as unread:
            for answer in await self._list_turns_since(since) if since else ():
                await self._send_frame(make_turn_notice(answer))
            while True:
                await self._send_frame(await unread.get())

    async def _list_turns_since(self, since: datetime) -> list[Message]:
        """Return the last turns of the user's conversations since a moment; none while the database does not serve."""
        try:
            async with get_circuit().guard():
                return await run_in_thread(list_turns_since, self.user, since)
        except (OutageError, *FAULTS) as error:
            _read_outage(error)
            return []

    async def _check_login(self) -> None:
        is_logged_in = True
        while is_logged_in:
            await asyncio.sleep(CHECK_EVERY)
            is_logged_in = await self.visitor.may_go_on()
        await self.close(UNAUTHORIZED)

    def _start_task(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Start this as a task, so that further frames are read meanwhile; it replaces the task of the same name."""
        if name in self._tasks:
            self._tasks[name].cancel()
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[name] = task
        task.add_done_callback(partial(self._forget_task, name))

    def _forget_task(self, name: str, done: asyncio.Task[None]) -> None:
        """Drop a task that has ended; end the socket where it failed."""
        if self._tasks.get(name) is done:
            del self._tasks[name]
        failure = None if done.cancelled() else done.exception()
        if failure is not None and self._failure is None and self._serving is not None:
            self._failure = failure
            self._serving.cancel()

    async def _refuse(self, error: RefusedError, echo: Mapping[str, Any] | None = None) -> None:
        frame: dict[str, Any] = {"type": "error", "code": error.code, "message": error.sentence}
        frame["retryable"] = error.is_retryable
        if error.retry_after is not None:
            frame["retry_after"] = error.retry_after
        if error.field:
            frame["field"] = error.field
        await self._send_frame({**frame, **(echo or {})})

    async def _send_frame(self, frame: Mapping[str, Any]) -> None:
        await self.send(text_data=encode_line(frame).decode())


def _read_outage(error: Exception) -> OutageError:
    """Return the outage that an error tells of, and log it; raise the error itself where it is another one."""
    if isinstance(error, OutageError):
        return error  # its cause has its line in the log
    if (outage := classify_outage(error)) is None:
        raise error
    log_outage("websocket", error)
    return outage


def is_same_site(scope: Mapping[str, Any]) -> bool:
    """Return whether the socket was opened for this site's host, and not by a page of another site.

    A browser sends the page's origin, and the cookies of this site for a page of any other. A program sends no origin.
    What is no address, such as `http://[`, is no page of this site either.
    """
    origin, host = _read_header(scope, b"origin"), _read_header(scope, b"host")
    with suppress(ValueError):
        return _is_our_host(host) and (not origin or _is_of_our_page(origin, host))
    return False


def _is_our_host(host: str) -> bool:
    return validate_host(urlsplit(f"//{host}").hostname or "", settings.ALLOWED_HOSTS)


def _is_of_our_page(origin: str, host: str) -> bool:
    return urlsplit(origin).netloc == host or any(
        _is_trusted(origin, trusted) for trusted in settings.CSRF_TRUSTED_ORIGINS
    )


def _is_trusted(origin: str, trusted: str) -> bool:
    given, known = urlsplit(origin), urlsplit(trusted)
    return given.scheme == known.scheme and is_same_domain(given.netloc, known.netloc.lstrip("*"))


def _read_header(scope: Mapping[str, Any], name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


_SHAPES: dict[object, type[shapes.Frame]] = {
    "send": shapes.Send,
    "follow": shapes.Follow,
    "stop": shapes.Stop,
    "watch": shapes.Watch,
}


def _read_echo(frame: Mapping[str, Any]) -> dict[str, Any]:
    """Return what comes back of a frame in whatever is said to it: its `id` and its `turn`."""
    return {
        name: frame[name]
        for name in ("id", "turn")
        if isinstance(frame.get(name), str | int) and len(str(frame[name])) <= MAX_ECHOED
    }


def _read_shape(frame: Mapping[str, Any]) -> type[shapes.Frame]:
    """Return the shape that a frame has to keep to. Raises `ApiError`."""
    kind = frame.get("type")
    shape = _SHAPES.get(kind) if isinstance(kind, str) else None
    if shape is None:
        raise ApiError(400, "bad_request", "`type` must be send, follow, stop or watch.", field="type")
    return shape


def _find_named(user: User, frame: Mapping[str, Any], shape: type[shapes.Frame]) -> None:
    """Raise Http404 where a frame is about an answer or a conversation that is not there for the user.

    A malformed id is one that does not exist.
    """
    for name, find in (("answer", get_owned_answer), ("conversation", get_owned_conversation)):
        if name in frame and name in shape.__struct_fields__:
            try:
                key = UUID(frame.get(name))
            except (TypeError, ValueError, AttributeError):
                raise Http404 from None
            find(user, key)


def _read_position(answer: Message, value: object) -> int | None:
    """Return the position to follow an answer from. Raises `ApiError` for an invalid one, or one past its end."""
    try:
        after = responses.read_after(value)
    except ValueError:
        raise ApiError(400, "bad_request", "A position must be a whole number.", field="after") from None
    if after is not None and not answer.is_live and after > answer.end:
        raise ApiError(400, "bad_request", f"This answer ends at position {answer.end}.", field="after")
    return after
