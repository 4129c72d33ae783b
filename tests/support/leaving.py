"""A client that leaves in the middle: at a chosen `await` of everything that runs for its request."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from types import TracebackType
from typing import Any

Message = dict[str, Any]

# Seconds until everybody has heard that a client has left: some turns of the event loop.
HEARD_WITHIN = 0.005
LONGEST = 5.0


class Suspensions:
    """Counts the moments at which a task that began inside `count` waits for something, and calls `leave` at the
    `at`-th. `at` is None for a client that stays.
    """

    def __init__(self, at: int | None, leave: Callable[[], None]) -> None:
        self._seen = 0
        self._at, self._leave = at, leave
        self._tasks: list[asyncio.Task[Any]] = []
        self._threads: list[Future[Any]] = []
        self._heard = threading.Event()
        self._heard.set()

    @contextmanager
    def count(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        before, submit = loop.get_task_factory(), ThreadPoolExecutor.submit
        loop.set_task_factory(self._make_task)

        def submit_slowly(executor: ThreadPoolExecutor, work: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
            begun = submit(executor, self._work_slowly, work, *arguments)
            self._threads.append(begun)
            return begun

        ThreadPoolExecutor.submit = submit_slowly  # type: ignore[assignment]
        try:
            yield
        finally:
            ThreadPoolExecutor.submit = submit  # type: ignore[method-assign]
            loop.set_task_factory(before)

    def _work_slowly(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Do a thread's work once everything has heard that the client has left: a query takes less time than that,
        and would be over before anything can be cut.
        """
        self._heard.wait(LONGEST)
        return work(*arguments)

    def _make_task(self, loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
        if not asyncio.iscoroutine(work) or is_providers(work):
            return asyncio.Task(work, loop=loop, **options)
        task = asyncio.Task(_Counted(work, self), loop=loop, **options)
        self._tasks.append(task)
        return task

    @contextmanager
    def pass_step(self) -> Iterator[None]:
        """Let a task take one step, up to where it waits for something; at the chosen step the client leaves.

        Raise what ends the task.
        """
        is_last = self._seen == self._at
        if is_last:
            self._heard.clear()
        try:
            yield
        except BaseException:
            self._heard.set()
            raise
        self._seen += 1
        if is_last:
            self._leave()
            asyncio.get_running_loop().call_later(HEARD_WITHIN, self._heard.set)

    async def wait_for_all(self) -> None:
        """Return when every task and all work of threads that began inside `count` has ended, also what nobody waits
        for.
        """
        await asyncio.to_thread(wait, self._threads, 30)
        _, left = await asyncio.wait(self._tasks, timeout=30)
        assert not left, [task.get_coro() for task in left]


def is_providers(work: Any) -> bool:
    """Return whether a coroutine is one of the tests' provider server, which runs beside the site."""
    return "provider_server" in getattr(getattr(work, "cr_code", None), "co_filename", "")


class _Counted(Coroutine[Any, Any, Any]):
    """A coroutine whose suspensions are counted."""

    def __init__(self, work: Coroutine[Any, Any, Any], suspensions: Suspensions) -> None:
        self._work, self._suspensions = work, suspensions

    def send(self, value: Any) -> Any:
        with self._suspensions.pass_step():
            return self._work.send(value)

    def throw(self, kind: Any, value: Any = None, trace: TracebackType | None = None) -> Any:
        with self._suspensions.pass_step():
            return self._work.throw(kind if value is None else value)

    def close(self) -> None:
        self._work.close()

    def __repr__(self) -> str:
        return repr(self._work)

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._work.__await__()


class Exchange:
    """One request to an ASGI application, of a client that leaves at one of the suspensions."""

    def __init__(self, scope: Message, body: bytes, leave_at: int | None) -> None:
        self.sent: list[Message] = []
        self._scope, self._body = scope, [body]
        self._left = asyncio.Event()
        self._suspensions = Suspensions(leave_at, self._left.set)

    @property
    def has_left(self) -> bool:
        return self._left.is_set()

    @property
    def status(self) -> int | None:
        """The status of the response, if it began."""
        return next((message["status"] for message in self.sent if message["type"] == "http.response.start"), None)

    async def run(self, application: Callable[..., Coroutine[Any, Any, None]]) -> None:
        """Run the application for the request, and wait until everything that it has begun is over."""
        with self._suspensions.count():
            work = application(self._scope, self._receive, self._send)
            await asyncio.wait_for(asyncio.get_running_loop().create_task(work), 30)
        await self._suspensions.wait_for_all()

    async def _receive(self) -> Message:
        if self._body:
            return {"type": "http.request", "body": self._body.pop(), "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        await asyncio.sleep(0)
        self.sent.append(message)
