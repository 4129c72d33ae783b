"""Requests that hash a password: a thread of their own, a short queue before it, and before that the brake.

A password takes half a second of a core to hash. In the threads that all requests share, thirty wrong logins at once
stalled every page for 11 to 15 s. OpenSSL hashes without the interpreter's lock, so their thread may run on
another core (see `chatsite.servers.cpu_affinity`), and where there is none, the kernel prefers the event loop.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

from asgiref.sync import markcoroutinefunction, sync_to_async
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import render

from chat.accounts import logins
from chat.accounts.addresses import find_client_address
from chat.accounts.logins import Attempt
from chat.http.errors import keep_out_of_error_log
from chat.observability import metrics
from chat.observability.outages import FAULTS
from chat.tasks import run_and_close, run_in_thread
from chatsite import outages
from chatsite.servers.cpu_affinity import leave_free

# Requests that hash, or wait for the thread: about 8 s for the last one. More are told to come back.
MAX_QUEUED = 16
COME_BACK_AFTER = 10

# Tries that the brake holds up for some seconds before they may queue for the thread. Each is a request with its
# connection, and whoever guesses decides how many there are.
MAX_HELD_UP = 100

# The kernel gives the event loop ten times as much of a core that both want.
NICENESS = 10

LOGINS = {"login", "admin:login"}
PASSWORD_CHANGE = "admin:password_change"  # noqa: S105 - an address
ADMIN_FORMS = {"admin:auth_user_password_change", "admin:chat_user_add"}

BUSY = "Many people are logging in right now. Try again in a moment."


hold = asyncio.sleep  # a test waits for something else


def write_sentence(attempt: Attempt) -> str:
    """Return what somebody is told whose try is refused: the same whether the account exists or not."""
    return f"Too many wrong passwords. Try again in {attempt.retry_after} s."


def _enter_thread() -> None:
    leave_free(threading.get_native_id())
    if hasattr(os, "PRIO_PROCESS"):
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


_thread = ThreadPoolExecutor(1, "passwords", initializer=_enter_thread)


class PasswordMiddleware:
    """Runs the views that check a password or set one. It is the innermost middleware."""

    sync_capable = False
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Awaitable[HttpResponseBase]]) -> None:
        self._get_response = get_response
        self._queued = self._held_up = 0
        markcoroutinefunction(self)

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return await self._get_response(request)

    async def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any
    ) -> HttpResponseBase | None:
        """Return the view's response, or nothing for a view that has nothing to do with passwords."""
        try:
            return await self._process(request, view, args, kwargs)
        except FAULTS as error:
            if (response := outages.respond_to_outage(request, error)) is None:
                raise
            return response

    async def _process(
        self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any
    ) -> HttpResponseBase | None:
        name = request.resolver_match.view_name if request.resolver_match else ""
        if request.method != "POST" or name not in LOGINS | ADMIN_FORMS | {PASSWORD_CHANGE}:
            return None
        call = partial(view, request, *args, **kwargs)
        if name in ADMIN_FORMS:
            return await self._hash(request, call)
        user = (await request.auser()).get_username() if name == PASSWORD_CHANGE else request.POST.get("username", "")
        attempt = await run_in_thread(logins.admit, user, find_client_address(request.META))
        if attempt.refused_for:
            return await _refuse(request, 429, write_sentence(attempt), attempt.retry_after)
        request.login_attempt = attempt  # type: ignore[attr-defined]  # for `chat.sessions.Backend`
        if attempt.delay and not await self._hold_up(attempt.delay):
            await run_in_thread(logins.cancel_attempt, attempt)
            return await _refuse_busy(request)
        response = await self._hash(request, call)
        await run_in_thread(_end(name, request, response), attempt)
        return response

    async def _hold_up(self, seconds: float) -> bool:
        """Wait for `seconds`; return whether there was room for one more who waits."""
        if self._held_up >= MAX_HELD_UP:
            return False
        self._held_up += 1
        try:
            await hold(seconds)
        finally:
            self._held_up -= 1
        return True

    async def _hash(self, request: HttpRequest, call: Callable[[], HttpResponseBase]) -> HttpResponseBase:
        """Run a view in the passwords' thread, when the queue before it is short enough."""
        if self._queued >= MAX_QUEUED:
            return await _refuse_busy(request)
        self._queued += 1
        try:
            return await sync_to_async(run_and_close, thread_sensitive=False, executor=_thread)(call)
        finally:
            self._queued -= 1


def _end(name: str, request: HttpRequest, response: HttpResponseBase) -> Callable[[Attempt], None]:
    """Return how the try has ended."""
    is_right = getattr(request, "password_was_right", None)
    if name == PASSWORD_CHANGE:
        is_right = _check_old_password(response)
    if is_right is None:
        return logins.cancel_attempt
    return logins.record_right_password if is_right else logins.record_wrong_password


def _check_old_password(response: HttpResponseBase) -> bool | None:
    """Return what the form of a password change says of the old password; nothing if it did not look at it."""
    if response.status_code == 302:
        return True
    form = (getattr(response, "context_data", None) or {}).get("form")
    if form is None or not form.data.get("old_password"):
        return None
    return "old_password" not in form.errors


async def _refuse_busy(request: HttpRequest) -> HttpResponseBase:
    metrics.count_login("busy")
    return await _refuse(request, 503, BUSY, COME_BACK_AFTER)


async def _refuse(request: HttpRequest, status: int, sentence: str, seconds: int) -> HttpResponseBase:
    response = await sync_to_async(render)(request, "refused.html", {"sentence": sentence}, status=status)
    response.headers["Retry-After"] = str(seconds)
    return keep_out_of_error_log(response)  # the brake and the metrics have said it
