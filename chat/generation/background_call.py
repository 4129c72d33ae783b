"""Calls without an answer: titles, the admin's model test, and lines of a batch.

Each is made like an answer's call: its row is opened before the provider is asked, it has a time limit and a verdict,
and its row is settled whatever happens. Where a model is not available the next of a chain is asked, as for an answer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from contextvars import copy_context
from dataclasses import replace
from typing import NamedTuple

from django.db import DatabaseError

from chat.accounting import rollups
from chat.accounting.quotas import QuotaError
from chat.conversations import refusals
from chat.conversations.turn_refusals import DrainingError
from chat.core.errors import ChatError
from chat.core.events import Finish, Usage
from chat.generation import fallbacks
from chat.generation.call_rows import open_row, settle_row
from chat.generation.lost_calls import settle_lost_calls
from chat.generation.upstream_call import UpstreamCall, reach_verdict
from chat.generation.verdict import Verdict, make_interruption
from chat.models import ProviderCall, Status
from chat.observability import metrics
from chat.providers.base import Prompt, Provider, is_sign_of_life
from chat.providers.errors import drop_quotations
from chat.providers.registry import Pool
from chat.tasks import run_in_thread, start_detached

log = logging.getLogger(__name__)


class EndedCall(NamedTuple):
    """The end of a call; `error` is why it failed, where that is known.

    `used` is the usage of this call and of the failed ones that it replaced.
    """

    call: UpstreamCall
    verdict: Verdict
    error: ChatError | None
    total_ms: int
    used: Usage

    @property
    def model(self) -> str:
        """The `provider:model` that was asked last."""
        return self.call.row.model


class Request(NamedTuple):
    """One call to be made.

    `model` is `provider:model`, `name` is what the log calls it, `seconds` is how long it may take. `is_streamed` asks
    for a stream, as an answer does. `check` raises `ChatError` for an unusable answer. `code_if_cut` is the
    error code of a call that is cut off before its end. `chain` are the models that are asked one after the other where
    `model` is not available.
    """

    model: str
    prompt: Prompt
    name: str
    seconds: float
    is_streamed: bool = False
    check: Callable[[UpstreamCall], Awaitable[None]] | None = None
    code_if_cut: str = "server_restart"
    chain: Sequence[str] = ()


OpenCall = Callable[[str], ProviderCall]
"""Writes the row of a call to a `provider:model` on the ledger; it may raise `QuotaError`."""


class BackgroundCalls:
    """The calls without an answer that one process has under way."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._under_way: dict[asyncio.Task[EndedCall], UpstreamCall | None] = {}
        self._is_draining = False

    @property
    def calls(self) -> list[UpstreamCall]:
        """The calls that have a row on the ledger."""
        return [call for call in self._under_way.values() if call is not None]

    async def make(self, request: Request, open_call: OpenCall) -> EndedCall:
        """Make a call whose row `open_call` writes, in a thread; return the last one when its row is settled.

        Raises what `open_call` raises, and `DrainingError` when the process is about to end. Cancelling this ends the
        call and waits until it is settled.
        """
        if self._is_draining:
            raise DrainingError
        # In the caller's context: a view of the admin waits for this, and its database work may use only that view's
        # thread.
        task = start_detached(self._make(request, open_call), copy_context())
        self._under_way[task] = None
        task.add_done_callback(lambda ended: self._under_way.pop(ended, None))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.exception()  # retrieved, or asyncio logs it
            raise

    async def drain(self, seconds: float, settle_for: float | None = None) -> None:
        """Let the calls finish for `seconds`, end the rest, and return when all of them are settled.

        It returns `settle_for` seconds later at the latest. The lease of a row that is not settled by then runs out,
        and a sweep settles it.
        """
        self._is_draining = True
        if self._under_way:
            await asyncio.wait([*self._under_way], timeout=seconds)
        for task in self._under_way:
            task.cancel()
        if self._under_way:
            await asyncio.wait([*self._under_way], timeout=settle_for)
        if self._under_way:
            log.warning("%d calls could not be settled before the exit; a sweep does it", len(self._under_way))

    async def keep_rows(self) -> None:
        """Write the figures of the calls, renew the leases of their rows, and settle what lost processes left.

        This is for a process without a supervisor; calls that are not due are not written.
        """
        if running := [call.take_progress() for call in self.calls if call.is_due()]:
            await run_in_thread(rollups.write_progress, running)
        await run_in_thread(settle_lost_calls)

    async def _make(self, request: Request, open_call: OpenCall) -> EndedCall:
        """Make the call, with the next model of the chain as long as one is not available, all within the time limit.

        A model of the chain for which the limits have no room is skipped.
        """
        deadline = time.monotonic() + request.seconds
        ended = await self._make_by_one_model(request, open_call, deadline)
        for model in request.chain:
            error = ended.error
            if error is None or ended.call.text or not fallbacks.is_unavailable(error) or self._is_draining:
                break
            log.warning("%s: asking %s instead: %s", request.name, model, error.code)
            asked = ended.model
            instead = request._replace(
                model=model, prompt=replace(request.prompt, model=model.partition(":")[2]), chain=()
            )
            with suppress(QuotaError):
                used = ended.used
                ended = await self._make_by_one_model(instead, open_call, deadline)
                ended = ended._replace(used=used + ended.used)
                metrics.count_fallback(asked, model, error.code)
        return ended

    async def _make_by_one_model(self, request: Request, open_call: OpenCall, deadline: float) -> EndedCall:
        """Make the call, and repeat it with an adapted prompt as long as the provider refuses something dispensable.

        Each try has a row of its own, see `_make_one_try`.
        """
        prompt = request.prompt
        lessons: list[refusals.Lesson] = []
        used = Usage(0, 0)

        def open_with_lessons() -> ProviderCall:
            nonlocal prompt
            if prompt is request.prompt:
                prompt = refusals.apply_lessons(prompt, request.model)
            return open_call(request.model)

        while True:
            row = await open_row(open_with_lessons)
            ended = await self._make_one_try(
                request._replace(seconds=deadline - time.monotonic()), UpstreamCall(row, prompt)
            )
            used += ended.used
            remedy = ended.call.find_remedy(ended.error) if ended.error is not None else None
            # A shortened conversation would need a remark, and there is no reader to see one.
            if remedy is None or remedy.omitted or self._is_draining:
                break
            prompt = remedy.prompt
            lessons += [remedy.lesson] if remedy.lesson else []
        if lessons and ended.verdict.status == Status.COMPLETE:
            with suppress(DatabaseError):  # the lesson is learnt again at the next refusal
                await run_in_thread(refusals.remember, request.model, lessons)
        return ended._replace(used=used)

    async def _make_one_try(self, request: Request, call: UpstreamCall) -> EndedCall:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - it is the one that `make` made
        self._under_way[task] = call
        errors: list[ChatError] = []

        def report(error: ChatError) -> None:
            call.fail(error)
            errors.append(error)
            log.warning("%s: %s", request.name, drop_quotations(str(error), request.prompt, call.text))

        verdict = make_interruption(request.code_if_cut)  # unless the call reaches its end
        try:
            verdict = await reach_verdict(self._read(request, call), report)
        except asyncio.CancelledError:
            log.warning("%s: cut off", request.name)
        finally:
            result = call.result
            await settle_row(result, verdict)
        return EndedCall(call, verdict, errors[0] if errors else None, result.total_ms, call.usage)

    async def _read(self, request: Request, call: UpstreamCall) -> Finish:
        async with asyncio.timeout(request.seconds):
            provider = self._pool.get(request.model.partition(":")[0])
            if request.is_streamed:
                await _apply_stream(call, provider)
            else:
                call.apply(await provider.complete(call.prompt))
            if call.finish is None:
                raise ChatError("upstream_error", "answered without its end marker")
            if request.check is not None and call.finish.reason != "content_filter":
                await request.check(call)
            return call.finish


async def _apply_stream(call: UpstreamCall, provider: Provider) -> None:
    """Apply what a provider streams to the call, up to the end of the stream."""
    async with aclosing(provider.stream(call.prompt)) as batches:
        async for batch in batches:
            if not is_sign_of_life(batch):
                call.apply(batch)
