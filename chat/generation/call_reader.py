"""Reading an upstream call to its end, at the pace of the process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress

from django.conf import settings

from chat.core.errors import ChatError
from chat.core.events import Finish, ProviderEvent
from chat.generation import store
from chat.generation.kept_response import cancel_response
from chat.generation.live_answer import LiveAnswer
from chat.generation.resources import Resources
from chat.generation.silence_clock import SilenceClock
from chat.generation.upstream_call import (
    SilenceError,
    UpstreamCall,
    make_taking_up_notice,
)
from chat.observability import tracing
from chat.observability.outages import FAULTS
from chat.providers.base import Provider, ResponseGoneError, ResumableProvider, is_sign_of_life
from chat.providers.registry import UnknownProviderError
from chat.tasks import run_in_thread, start_detached

log = logging.getLogger(__name__)


class CallReader:
    """Reads the upstream calls of one live answer into its transcript, and wakes its readers."""

    def __init__(self, live: LiveAnswer, resources: Resources, when_answering: Callable[[], None]) -> None:
        """`when_answering` is called whenever the provider has brought something of the answer."""
        self._live = live
        self._resources = resources
        self._broker = resources.broker
        self._when_answering = when_answering

    async def read(self, call: UpstreamCall) -> Finish:
        """Read one upstream call, in a span of its own."""
        live, error = self._live, ""
        with tracing.trace_upstream_call(live.model) as span:
            try:
                return await self._read_connections(call)
            except ChatError as failure:
                error = failure.code
                raise
            except asyncio.CancelledError:
                error = live.cut.error_code if live.cut else "server_restart"
                raise
            finally:
                reason = call.finish.reason if call.finish else ""
                span.record_end(call.usage, finish_reason=reason, error=error, first_token_ms=call.first_token_ms)

    async def _read_connections(self, call: UpstreamCall) -> Finish:
        """Read one call to its end, over as many connections as it takes where its provider keeps the response."""
        live, tries = self._live, 0
        while True:
            position = live.transcript.position
            try:
                return await self._read_connection(call)
            except ChatError as error:
                tries = tries if live.transcript.position == position else 0
                if (wait := call.compute_pause_before_resuming(error, tries)) is None:
                    _forget_response_that_failed(call, error)
                    raise
                log.warning("answer %s: taking its response up in %.1f s: %s", live.id, wait, live.redact(error))
            if wait:
                await self._broker.notify(live.key, live.fence, make_taking_up_notice(wait))
            await asyncio.sleep(wait)
            tries += 1
            live.silence = SilenceClock(call.prompt)

    async def _read_connection(self, call: UpstreamCall) -> Finish:
        """Read one connection to its end, at the pace of the process; the first word has no pause before it.

        The call's `SilenceClock` says how long nothing may come.
        """
        live = self._live
        try:
            async with asyncio.timeout(live.silence.seconds_left) as deadline:
                await self._read_batches(call, deadline)
        except TimeoutError as error:
            if call.finish is None:
                detail = f"{live.silence.cause}; {len(live.transcript.text)} characters had come"
                raise SilenceError("timeout", detail) from error
        if call.finish is None:
            raise ChatError("upstream_error", "the stream ended without its end marker")
        return call.finish

    async def _read_batches(self, call: UpstreamCall, deadline: asyncio.Timeout) -> None:
        """Apply what comes over one connection, and postpone the deadline with each sign of the answer."""
        async with aclosing(self._open_stream(call)) as batches:
            async for batch in batches:
                has_content = await self._apply_batch(call, batch)
                _postpone(deadline, self._live.silence.seconds_left)
                if has_content and call.finish is None:
                    await self._resources.pace.wait()

    def _open_stream(self, call: UpstreamCall) -> AsyncGenerator[Sequence[ProviderEvent], None]:
        """Return the stream of a new request to the provider, or of the response that it keeps for this call."""
        provider = self._get_provider(self._live.model)
        if call.bookmark is not None and isinstance(provider, ResumableProvider):
            return provider.resume(call.prompt, call.make_resumption(call.bookmark))
        return provider.stream(call.prompt)

    async def cancel_response(self) -> None:
        """Have the provider end the response that it keeps for the call under way, and take over its figures.

        Nobody follows the response any more. A failure here costs only the price of the rest of the response.
        """
        live, call = self._live, self._live.call
        if call is None or call.bookmark is None or call.finish is not None:
            return
        call.note_last_usage(await cancel_response(self._resources.pool, live.model, call.prompt, call.bookmark))

    def _keep_bookmark(self) -> None:
        """Have a checkpoint written with the bookmark, so that after a crash the model need not be asked again.

        The first word does not wait for that. If the database fails, the supervisor's next checkpoint has the bookmark.
        """
        start_detached(self._write_checkpoint())

    async def _write_checkpoint(self) -> None:
        with suppress(*FAULTS):
            await run_in_thread(store.write_checkpoint, [self._live.make_snapshot()], ())

    def _get_provider(self, model: str) -> Provider:
        """Return the provider of a `provider:model`. Raises `ChatError` before anything is asked."""
        try:
            return self._resources.pool.get(model.partition(":")[0])
        except UnknownProviderError as error:
            raise ChatError("bad_request", f"no provider for {model}") from error

    async def _apply_batch(self, call: UpstreamCall, batch: Sequence[ProviderEvent]) -> bool:
        """Add a batch to the transcript and publish it; return whether it brought anything of the answer.

        Text and its position change together, with no `await` between them.
        """
        live = self._live
        before, was_kept = live.transcript.position, call.bookmark is not None
        if not is_sign_of_life(batch):
            call.apply(live.add_thoughts(batch))
        if call.bookmark is not None and not was_kept:
            self._keep_bookmark()
        if live.transcript.position == before:
            live.silence.note_sign(batch)
            return False
        live.note_content(batch)
        self._resources.circuits.note_answer(live.model)
        self._when_answering()
        # A call that came whole in its first batch is shown in one piece, with the answer's end: that follows within
        # milliseconds, and while it cannot be written, `AnswerRun.settle` publishes the text.
        if not (before == 0 and call.is_whole):
            await self.publish()
        if live.transcript.position > settings.CHAT_MAX_ANSWER_CHARS:
            raise ChatError("too_long", f"more than {settings.CHAT_MAX_ANSWER_CHARS} characters")
        return True

    async def publish(self) -> None:
        """Wake the readers, unless another process may have taken the answer over."""
        if self._live.is_leased:
            await self._broker.publish(self._live.key, self._live.fence)


def _postpone(deadline: asyncio.Timeout, seconds: float) -> None:
    """Move the deadline to `seconds` from now, or up to 5 % later, so that most reads need no new timer."""
    now, due = asyncio.get_running_loop().time(), deadline.when()
    if due is None or not now + seconds <= due <= now + seconds * 1.05:
        deadline.reschedule(now + seconds * 1.05)


def _forget_response_that_failed(call: UpstreamCall, error: ChatError) -> None:
    """Forget the bookmark of a response that has reported its own failure, or that the provider no longer has."""
    if error.is_reported or isinstance(error, ResponseGoneError):
        call.forget_response()
