"""One answer's run: its upstream calls, its tools, its retries, and its end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import ParamSpec

from django.conf import settings
from django.db import DatabaseError, IntegrityError

from chat.accounting import rollups
from chat.accounting.quotas import QuotaError
from chat.accounts.model_fallbacks import find_fallbacks
from chat.conversations import refusals
from chat.conversations.offered_tools import store_with_tools
from chat.core import json_schema
from chat.core.errors import ChatError
from chat.core.events import Finish, Notice, Remark, ToolResult
from chat.core.failures import Cause
from chat.core.transcript import Transcript
from chat.generation import fallbacks, recovery, store
from chat.generation.admission import SLOT_GIVEN
from chat.generation.answer_state import AnswerState
from chat.generation.call_reader import CallReader
from chat.generation.call_rows import open_row, run_whole, settle_row
from chat.generation.live_answer import LiveAnswer
from chat.generation.pacing import Opening
from chat.generation.recovery import TakenUp
from chat.generation.resources import Resources
from chat.generation.upstream_call import (
    TOOL_CALL_TRIES,
    Remedy,
    UpstreamCall,
    make_retry_notice,
    reach_verdict,
)
from chat.generation.verdict import STEP, Verdict, make_interruption
from chat.models import Message, ProviderCall, Status, ToolCall
from chat.observability import metrics
from chat.providers.adaptation_remarks import list_remarks
from chat.providers.base import Prompt
from chat.tasks import run_in_thread
from chat.tools.base import ToolOutcome

P = ParamSpec("P")

log = logging.getLogger(__name__)

GOING_ON = Notice("retrying", "The model's provider broke off. It is asked to continue.")

# Seconds for which writing an answer's end is retried after a database fault. After that a sweep, in whichever process,
# ends the answer.
SETTLE_FOR = 30.0

# How often a provider may interrupt one answer, with `pause_turn`: it does so after ten searches or so.
MAX_PAUSES = 5


class AnswerRun:
    """Produces one live answer, in a task of its own."""

    def __init__(self, live: LiveAnswer, resources: Resources) -> None:
        self._live = live
        self._resources = resources
        self._broker = resources.broker
        self._opening = Opening()
        self._reader = CallReader(live, resources, when_answering=self._opening.end)
        self._chain: list[str] | None = None  # fallback models not tried yet; None until they are looked up

    async def produce(self) -> Verdict:
        """Produce the answer and return how it ended. Failures and cancellations are verdicts too and never raised."""
        self._live.enter(AnswerState.WAITING)
        return self._live.cut or await self._reach_verdict()

    async def settle(self, verdict: Verdict) -> bool:
        """Write the answer's end, once; return whether it was written.

        A database fault is retried for `SETTLE_FOR` seconds. A fence that another process has raised is final.
        """
        live = self._live
        live.enter(AnswerState.ENDING)
        if verdict != make_interruption("server_lost"):  # after that one the new owner follows the response
            await self._reader.cancel_response()
        result = live.take_result()
        results = [result] if result else []
        is_written = await self._write_with_retries(
            store.settle, live.make_snapshot(), verdict, results, live.counted_user_id
        )
        if is_written:
            metrics.count_end(live.model, verdict.status, verdict.error_code, **live.measure_times())
            if live.interrupted_by and verdict.status == Status.COMPLETE:
                metrics.count_recovery(live.model, live.interrupted_by, "finished")
        return is_written

    async def release(self) -> None:
        """Release the answer, with its whole text, to the process that sweeps next.

        A response that its provider keeps is not cancelled and its ledger row stays running: that process follows it.
        """
        live = self._live
        live.enter(AnswerState.ENDING)
        snapshot = live.make_snapshot()
        result = live.take_result() if snapshot.bookmark is None else None
        if await self._write_with_retries(store.release, snapshot, [result] if result else []):
            log.info("answer %s: left to the next process, %d characters", live.id, len(live.transcript.text))

    async def _write_with_retries(self, write: Callable[P, bool], *args: P.args, **kwargs: P.kwargs) -> bool:
        """Write the last state that this process has of the answer, and retry while the database is faulty.

        Return what `write` returns, whether the answer was still ours; False also when the time for retries is over.
        """
        live, deadline = self._live, time.monotonic() + SETTLE_FOR
        while True:
            try:
                async with self._resources.settling:
                    is_written = await run_in_thread(write, *args, **kwargs)
                if not is_written:
                    log.warning("answer %s: ended elsewhere or deleted before its end was written", live.id)
                return is_written
            except DatabaseError:
                if time.monotonic() > min(deadline, self._resources.settle_by):
                    log.exception("answer %s: its end could not be written; the sweep has it now", live.id)
                    return False
                log.warning("answer %s: the database is not there, trying again", live.id)
                await self._reader.publish()
                await asyncio.sleep(0.5)

    async def publish_end(self, verdict: Verdict | None) -> None:
        """Publish an end that was written; with None, send the readers to the database, which has another end."""
        live = self._live
        if verdict is None:
            await self._broker.give_up(live.key, live.fence)
        else:
            await self._broker.close(live.key, live.fence, live.usage, verdict.terminal)

    async def _reach_verdict(self) -> Verdict:
        live = self._live
        try:
            return await reach_verdict(
                self._stream(), lambda error: log.warning("answer %s: %s", live.id, live.redact(error))
            )
        except asyncio.CancelledError:
            return live.cut or make_interruption("server_restart")

    async def _stream(self) -> Finish:
        """Wait for the answer's slot, make all of its upstream calls, and return how the last one finished."""
        live = self._live
        await self._wait_for_slot()
        async with asyncio.timeout(settings.CHAT_TOTAL_TIMEOUT):
            try:
                finish = await self._make_calls()
            except (Message.DoesNotExist, IntegrityError) as error:
                raise ChatError("server_lost", f"deleted while it was written: {type(error).__name__}") from error
            finally:
                self._opening.end()
            schema = live.prompt.response_schema
            if schema is not None and finish.reason != "content_filter":
                await json_schema.check_text(live.transcript.text, schema)
            _add_remark_if_empty(live, finish)
            return finish

    # The slot

    async def _wait_for_slot(self) -> None:
        """Wait until the answer has its slot and, if it was taken up, its turn to call its provider."""
        live, call = self._live, self._live.call
        semaphore = self._resources.openings.get_semaphore(live.model) if live.is_taken_up else None
        if call is not None and (not live.slot.is_given or (semaphore is not None and semaphore.locked())):
            await self._wait_in_queue(call, semaphore)
        else:
            await self._opening.begin(semaphore)
        live.use_slot()
        metrics.count_start(live.model, live.asked_at)

    async def _wait_in_queue(self, call: UpstreamCall, semaphore: asyncio.Semaphore | None) -> None:
        """Wait for the slot and the semaphore, and tell the readers their place in the queue meanwhile.

        Until then the call's row on the ledger costs nothing: if the process dies, no call was made. Raises `ChatError`
        ("overloaded") after `CHAT_TOTAL_TIMEOUT` seconds.
        """
        live = self._live
        call.postpone()
        await self._keep_row(call)
        waits_for_slot = not live.slot.is_given
        if waits_for_slot:
            await live.tell_queue_place(self._broker, self._resources.slots.list_waiting().index(live.slot))
        try:
            async with asyncio.timeout(settings.CHAT_TOTAL_TIMEOUT):
                await live.slot.wait()
                await self._opening.begin(semaphore)
        except TimeoutError as error:
            raise ChatError("overloaded", "no slot came free") from error
        if waits_for_slot:
            await self._broker.notify(live.key, live.fence, SLOT_GIVEN)
        call.begin()
        await self._keep_row(call)

    async def _keep_row(self, call: UpstreamCall) -> None:
        """Write the call's cost so far to its ledger row. If the database fails, the supervisor writes it later."""
        try:
            await run_in_thread(rollups.write_progress, [call.take_progress()])
        except DatabaseError as error:
            log.warning("call %s: its row was not written, trying again: %s", call.row.pk, error)

    # Calls and tools

    async def _make_calls(self) -> Finish:
        """Make call after call, until the model calls no more tools and its provider does not interrupt it any more."""
        step = pauses = 0
        while step < settings.CHAT_TOOL_STEPS:
            try:
                finish = await self._make_call()
            except ChatError as error:
                if not await self._continue_after_break(error):
                    raise
                continue
            call = self._live.call
            if call is not None and finish.reason == "pause" and pauses < MAX_PAUSES:
                pauses += 1
                await self._end_call(STEP)
                await self._open_call(call.make_follow_up_prompt({}))
                continue
            if call is None or not call.called_tools or finish.reason != "tool_calls":
                return finish
            outcomes = await self._run_tools(call)
            step += 1
            if step < settings.CHAT_TOOL_STEPS:
                await self._open_call(call.make_follow_up_prompt(outcomes))
        raise ChatError("tool_limit", f"after {settings.CHAT_TOOL_STEPS} steps")

    async def _run_tools(self, call: UpstreamCall) -> dict[str, ToolOutcome]:
        """Run all tools that a call called, concurrently, and return their outcomes by the ids of the tool calls.

        Each tool has its row before it runs, and its result is stored before it is published. Readers are shown each
        result as soon as it comes, and Stop works meanwhile. Raises `ChatError` ("server_lost") when another process
        has taken the answer over.
        """
        live = self._live
        rows = {
            id_: ToolCall(answer_id=live.id, call_id=id_[:200], name=name[:64], arguments="".join(arguments))
            for id_, (name, arguments) in call.called_tools.items()
        }
        result = live.end_call(AnswerState.RUNNING_TOOLS)
        is_ours = await run_whole(store.settle_step, live.make_snapshot(), result, [*rows.values()])
        names = {id_: name for id_, (name, _) in call.called_tools.items()}
        if not is_ours or not all(await asyncio.gather(*(self._run_tool(id_, names[id_], rows[id_]) for id_ in rows))):
            raise ChatError("server_lost", "another process has taken the answer over")
        return {id_: ToolOutcome(row.ok, row.result, row.summary) for id_, row in rows.items()}

    async def _run_tool(self, call_id: str, name: str, row: ToolCall) -> bool:
        """Run one tool and keep its result; return whether the answer was still ours."""
        live, began = self._live, time.monotonic()
        outcome = await self._resources.toolbox.run(name, row.arguments, live.context, settings.CHAT_TOOL_TIMEOUT)
        row.result, row.summary, row.ok = outcome.content, outcome.summary, outcome.ok
        row.milliseconds = round((time.monotonic() - began) * 1000)
        # Written even if the answer is cut off now: what the tool has done cannot be undone.
        if not await run_whole(store.keep_tool_result, row, live.fence):
            return False
        live.transcript.append([ToolResult(call_id, row.summary, row.ok, row.milliseconds)])
        await self._reader.publish()
        return True

    async def _continue_after_break(self, error: ChatError) -> bool:
        """Open a further call that continues an answer whose provider broke off; return whether one was opened."""
        live, call = self._live, self._live.call
        if call is None or not recovery.is_worth_another_call(error, call, live.breaks):
            return False
        log.warning("answer %s: its provider broke off, and is asked to go on: %s", live.id, live.redact(error))
        await self._reader.cancel_response()
        result = live.end_call(AnswerState.BETWEEN_CALLS)
        assert result is not None  # noqa: S101 - the call was under way
        live.breaks, live.interrupted_by = live.breaks + 1, error.code
        taken: list[TakenUp] = []
        resume = partial(recovery.continue_after_break, live.make_snapshot(), result, error.code)

        def open_next() -> ProviderCall:
            found = store_with_tools(self._resources.offer_tools, resume)
            if found is None:
                raise ChatError("server_lost", "another process has taken the answer over")
            taken.append(found)
            return found.call

        try:
            row = await open_row(open_next, lambda: live.cut or make_interruption("server_restart"))
        except QuotaError as refusal:
            log.warning("answer %s: its user's limits have no room for another call: %s", live.id, refusal)
            await settle_row(result, make_interruption(error.code))
            return False
        metrics.count_recovery(live.model, error.code, "gone_on")
        live.transcript.append(taken[0].transcript.read_since(taken[0].joint))
        live.begin_call(
            UpstreamCall(row, replace(taken[0].prompt, adaptations=call.prompt.adaptations), live.transcript)
        )
        await self._broker.notify(live.key, live.fence, GOING_ON)
        await self._reader.publish()
        return True

    async def _open_call(self, prompt: Prompt, omitted: int = 0) -> UpstreamCall:
        """Open a further upstream call of the answer, and return it.

        A cancellation while its row is being written leaves no open row, see `open_row`. Raises `ChatError`
        ("quota_exceeded") when the user's limits have no room.
        """
        live = self._live
        try:
            row = await open_row(
                partial(store.open_call, live.id, prompt.size, live.transcript.position, omitted),
                lambda: live.cut or make_interruption("server_restart"),
            )
        except QuotaError as error:
            raise ChatError("quota_exceeded", error.sentence) from error
        call = UpstreamCall(row, prompt, live.transcript)
        live.begin_call(call)
        return call

    async def _end_call(self, verdict: Verdict) -> None:
        """Settle the call under way with this verdict. The answer itself goes on with another call."""
        await self._reader.cancel_response()
        if (result := self._live.end_call(AnswerState.BETWEEN_CALLS)) is not None:
            await settle_row(result, verdict)

    # One call and its retries

    async def _make_call(self) -> Finish:
        """Make one upstream call and return its finish; retry it while its provider refuses it before the first word.

        A retry changes the prompt where the refusal says how, asks a fallback model at once where there is one, and
        otherwise pauses and asks the same model again. Raises the last `ChatError` when nothing is left to try.
        """
        live, call = self._live, await self._leave_out_failing_model()
        lessons: list[refusals.Lesson] = []
        failed_tool_calls = tries = 0
        while True:
            assert call is not None  # noqa: S101 - an answer is begun with one, and each try makes one
            try:
                finish = await self._reader.read(call)
                await self._remember(lessons)
                return finish
            except ChatError as error:
                call.fail(error)
                if fallbacks.is_unavailable(error):
                    self._resources.circuits.note_failure(live.model, error.code)
                if (remedy := call.find_remedy(error)) is not None:
                    lessons += [remedy.lesson] if remedy.lesson else []
                    call = await self._ask_otherwise(remedy, error)
                    continue
                if call.is_failed_tool_call(error) and failed_tool_calls < TOOL_CALL_TRIES:
                    failed_tool_calls += 1
                    call = await self._ask_otherwise(Remedy(call.prompt), error)
                    continue
                if (instead := await self._ask_another_model(call, error)) is not None:
                    call, lessons, failed_tool_calls, tries = instead, [], 0, 0
                    continue
                wait = call.compute_pause_before_retry(error, tries)
                if wait is None or tries >= settings.CHAT_MAX_RETRIES:
                    raise
                log.warning("answer %s: trying again in %.1f s: %s", live.id, wait, live.redact(error))
                metrics.count_retry(live.model, error.code)
                has_to_wait = error.code == "rate_limited"
                await self._pause_before_retry(make_retry_notice(error, wait), make_interruption(error.code))
            call = await self._open_call(call.prompt)
            # After a crash many answers are taken up together and meet the provider's rate limit. Such a wait
            # does not count as one of their tries: they wait as often as the provider tells them to.
            tries += not (live.is_taken_up and has_to_wait)

    async def _leave_out_failing_model(self) -> UpstreamCall | None:
        """Return the call to make: that of another model while this model's circuit is open, if one can be asked."""
        live, call = self._live, self._live.call
        code = self._resources.circuits.find_open(live.model)
        if call is None or call.is_taken_up or not code:
            return call
        call.postpone()
        error = ChatError(code, "it was not asked: it had failed again and again", cause=Cause.SKIPPED)
        call.fail(error)
        if (instead := await self._ask_another_model(call, error)) is not None:
            return instead
        call.begin()
        return call

    async def _ask_another_model(self, call: UpstreamCall, error: ChatError) -> UpstreamCall | None:
        """Open a call of the next model of the chain, if the failure allows another model; None when there is none."""
        live = self._live
        if not fallbacks.may_ask_another(error, live.transcript):
            return None
        try:
            if self._chain is None:
                self._chain = await run_in_thread(find_fallbacks, live.context.user_id, live.model)
            while self._chain:
                model = self._chain.pop(0)
                if self._chain and self._resources.circuits.find_open(model):
                    continue
                if not await run_in_thread(fallbacks.is_fit, model, live.model, error):
                    continue
                log.warning("answer %s: asking %s instead: %s", live.id, model, live.redact(error))
                with suppress(QuotaError):
                    return await self._open_fallback(call, error, model)
                log.warning("answer %s: its user's limits have no room for %s", live.id, model)
        except DatabaseError as failure:
            log.warning("answer %s: no other model could be asked: %s", live.id, failure)
        return None

    async def _open_fallback(self, call: UpstreamCall, error: ChatError, model: str) -> UpstreamCall:
        """Settle the call of a model that is not available, and continue with one of another. Raises `QuotaError`."""
        live, asked = self._live, self._live.model
        await self._reader.cancel_response()
        taken: list[fallbacks.Fallback] = []
        snapshot, result = live.make_snapshot(), call.result

        def open_next() -> ProviderCall:
            taken.append(
                store_with_tools(
                    self._resources.offer_tools, partial(fallbacks.ask_instead, snapshot, result, error, model)
                )
            )
            return taken[0].call

        row = await open_row(open_next, lambda: live.cut or make_interruption("server_restart"))
        live.end_call(AnswerState.BETWEEN_CALLS)
        live.model = model
        live.transcript.append(taken[0].transcript.read_since(snapshot.position))
        add_remarks(live.transcript, taken[0].prompt)
        instead = UpstreamCall(row, taken[0].prompt, live.transcript)
        live.begin_call(instead)
        metrics.count_fallback(asked, model, error.code)
        await self._reader.publish()
        return instead

    async def _remember(self, lessons: Sequence[refusals.Lesson]) -> None:
        """Store what the refusals before an answered call taught. A failure to do so costs the answer nothing."""
        if not lessons:
            return
        try:
            await run_in_thread(refusals.remember, self._live.model, lessons)
        except DatabaseError as error:
            log.warning("what %s refused could not be kept: %s", self._live.model, error)

    async def _pause_before_retry(self, notice: Notice, verdict: Verdict) -> None:
        """Settle the call that failed, tell readers why nothing comes, and wait for the next try. Stop works."""
        until = time.monotonic() + (notice.retry_after or 0)
        await self._end_call(verdict)
        await self._broker.notify(self._live.key, self._live.fence, notice)
        await asyncio.sleep(until - time.monotonic())

    async def _ask_otherwise(self, remedy: Remedy, error: ChatError) -> UpstreamCall:
        """Open a call with the remedy's prompt, and add remarks on the user's wishes that it leaves out."""
        live = self._live
        log.warning("answer %s: asking in another way: %s", live.id, live.redact(error))
        if add_remarks(live.transcript, remedy.prompt):
            await self._reader.publish()
        await self._end_call(make_interruption(error.code))
        return await self._open_call(remedy.prompt, remedy.omitted)


def add_remarks(transcript: Transcript, prompt: Prompt) -> bool:
    """Add a remark for each wish of the prompt's that was left out, unless the answer has it already.

    Return whether there was any to add. Most prompts have none, and cost nothing here.
    """
    if not prompt.adaptations:
        return False
    sentences = [
        sentence for sentence in list_remarks(prompt) if Remark("adapted", sentence) not in transcript.read_since(0)
    ]
    transcript.append(Remark("adapted", sentence) for sentence in sentences)
    return bool(sentences)


def _add_remark_if_empty(live: LiveAnswer, finish: Finish) -> None:
    """Add a remark when the last call ended well without any text: an empty answer would look like a fault."""
    call = live.call
    if call is None or call.text.strip() or finish.reason == "content_filter":
        return
    if live.transcript.text.strip():
        sentence = "The model ended its answer here without writing any more."
    elif finish.reason == "length":
        sentence = "The model reached its length limit before it wrote a word."
    elif live.transcript.reasoning.strip():
        sentence = "The model thought about it, but ended its answer without writing a word."
    else:
        sentence = "The model ended its answer without writing a word."
    live.transcript.append([Remark("empty", sentence)])
