"""The runner: one detached task for each live answer. Nothing but these tasks, and the keeper, writes to one."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import replace
from itertools import count
from uuid import UUID
from weakref import WeakKeyDictionary

from django.conf import settings
from django.db import DatabaseError
from django.utils import timezone

from chat import answers, metrics, notices, structure, titles, tracing
from chat.answers import BY_ITS_USER, Bill, Verdict, interrupted
from chat.background import detached, in_thread
from chat.broker import Broker
from chat.broker.memory import MemoryBroker
from chat.calls import Call, SilenceError, retrying
from chat.context import window_of
from chat.errors import ChatError
from chat.events import Finish, Notice, ProviderEvent, ToolResult
from chat.keeper import Keeper
from chat.live import Live
from chat.models import Message, Status, ToolCall, User
from chat.pace import Pace
from chat.places import ITS_TURN, Place, Places
from chat.providers import Pool, Prompt, ToolSchema, UnknownProviderError
from chat.quotas import QuotaError
from chat.tools import Context, Toolbox, ToolOutcome
from chat.turns import Begun, DrainingError
from chat.visitors import Visitor

log = logging.getLogger(__name__)

# A terminal write that meets a database fault is tried again this long, then left to the reaper of any process.
SETTLE_FOR = 30.0

# A drain waits so long for MCP servers to take their leave; what hangs is ended with the process.
LAST_WORDS = 0.5

# How an upstream call ends that the answer goes on after.
STEP = Verdict(Status.COMPLETE, "tool_calls")


class Runner:
    """The answers of this process. Use `runner()`: there is one for each event loop, and a server has one loop."""

    def __init__(self) -> None:
        self.broker = _broker()
        self.notices = notices.Notices(self._heard)
        self.draining = False
        self.places = Places(settings.CHAT_LIVE_ANSWERS, settings.CHAT_WAITING_ANSWERS)
        self.pace = Pace(settings.CHAT_FLUSH_MS / 1000, lambda: self.places.given)
        self._pool = Pool(settings.CHAT_PROVIDERS)
        self._tools = Toolbox(settings.CHAT_TOOLS, settings.CHAT_MCP)
        self._without_tools: set[str] = set()
        self._live: dict[UUID, Live] = {}
        self._watchers: Counter[UUID] = Counter()
        self.keeper = Keeper(self._live, self._watchers, self.broker, self.notices, self.places)
        self._listener: asyncio.Task[None] | None = None

    async def begin(self, user: User, turn: Callable[[], Begun], by: Visitor | None = None) -> Begun:
        """Keep a user's turn, in a thread, and begin its answer: `turn` is one of `chat.turns` with its arguments. `by`
        is who asks for it on a page, and will follow it there.

        Raises `RefusedError` when that may not be now, and whatever else `turn` raises. Who is refused because the
        process drains or is full is refused before `turn`.
        """
        if self.draining:
            raise DrainingError
        place, begun = self.places.enter(user.pk), None
        try:
            begun = await in_thread(turn)
        finally:
            if begun is None or not begun.is_new:
                self.places.leave(place)
        await self._start(begun, place, by)
        return begun

    async def _start(self, begun: Begun, place: Place, by: Visitor | None) -> None:
        """Begin the upstream call of a new answer, or its waiting for one; nothing is awaited that touches the
        database."""
        if begun.prompt is None or begun.call is None:
            return
        answer = begun.answer
        tools = () if begun.prompt.response_schema else self._tools_for(answer.model)
        transcript = answer.transcript()
        call = Call(begun.call, replace(begun.prompt, tools=tools), transcript)
        context = Context(answer.conversation.user_id, str(answer.conversation_id))
        live = Live(
            answer.pk, answer.fence, answer.model, context, transcript, call.prompt, call, place, answer.created_at, by
        )
        self._live[answer.pk] = live
        await self.broker.open(live.key, live.transcript)
        live.task = detached(self._run(live), tracing.context_of(live.key))
        self.wake()
        notice = {
            "type": "turn",
            "conversation": str(answer.conversation_id),
            "question": str(answer.parent_id),
            "answer": live.key,
            "title": answer.conversation.title,
            # Not so for a retry of the staff's where the conversation had gone on: the page stays as it is.
            "shown": answer.conversation.leaf_id == answer.pk,
            "continues": answer.position > 0,
        }
        self.notices.tell_user(answer.conversation.user_id, notice)

    @property
    def live_answers(self) -> int:
        """How many answers this process writes now; those that wait for a place are not among them."""
        return self.places.given

    def writes_for(self, user: User, answer_id: UUID) -> bool:
        """Whether this process writes the answer now, and for this user."""
        live = self._live.get(answer_id)
        return live is not None and live.context.user_id == user.pk

    def asker(self, answer_id: UUID, session: str | None) -> Visitor | None:
        """Who asked for the answer that this process writes now, if this session did, and a moment ago. Told once: who
        comes back may have been logged out meanwhile."""
        live = self._live.get(answer_id)
        if live is None or live.asked_by is None or not live.asked_by.is_known(session):
            return None
        visitor, live.asked_by = live.asked_by, None
        return visitor

    def wake(self) -> None:
        """Run the keeper and the listener, if they do not run. Both go on for ever, with live answers or without; a
        process that is alone has nobody to listen to."""
        self.keeper.wake()
        if not self.notices.is_alone and (self._listener is None or self._listener.done()):
            self._listener = detached(self.notices.listen())

    def prepare(self) -> None:
        """What a server does before its first request: sweep, and have the providers ready."""
        metrics.begin_at_zero()
        self._pool.warm({model.partition(":")[0] for model in settings.CHAT_MODELS})
        detached(self._tools.prepare(settings.CHAT_TOOL_TIMEOUT))
        for model in settings.CHAT_MODELS:
            window_of(model, settings.CHAT_CONTEXT_WINDOWS)
        self.wake()

    @property
    def pool(self) -> Pool:
        """The providers, for the one caller who asks a model and keeps no answer: `chat.health`."""
        return self._pool

    async def stop(self, answer_id: UUID) -> None:
        """Ask for the end of an answer and wait for it: at once when it lives here, up to 3 s when elsewhere."""
        await in_thread(answers.request_stop, answer_id)
        live = self._live.get(answer_id)
        if live is not None:
            live.cut_off(BY_ITS_USER)
            await asyncio.wait([live.ended])
            return
        await self.notices.tell_runners({"type": "stop", "answer": str(answer_id)})
        for _ in range(30):
            if not await in_thread(Message.objects.live().filter(pk=answer_id).exists):
                return
            await asyncio.sleep(0.1)

    async def _heard(self, notice: notices.Notice) -> None:
        """What another process told: an answer that may live here is to be stopped, or one that readers here follow has
        been ended by a reaper."""
        answer_id = UUID(notice["answer"])
        if notice["type"] == "stop" and answer_id in self._live:
            self._live[answer_id].cut_off(BY_ITS_USER)
        elif notice["type"] == "ended":
            await self.broker.forget(str(answer_id))

    @contextmanager
    def watching(self, answer_id: UUID) -> Iterator[None]:
        """Someone follows the answer through this process, wherever it is written."""
        self._watchers[answer_id] += 1
        try:
            yield
        finally:
            self._watchers[answer_id] -= 1
            if not self._watchers[answer_id]:
                del self._watchers[answer_id]

    async def drain(self, seconds: float) -> None:
        """Let live answers finish for so long, interrupt the rest, and return when all of them are written."""
        self.draining = True
        if self._live:
            await asyncio.wait([live.ended for live in self._live.values()], timeout=seconds)
        await self.interrupt_all("server_restart")
        await self.keeper.aclose()
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)
        await self.broker.aclose()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._tools.aclose(), LAST_WORDS)
        await self._pool.aclose()

    async def interrupt_all(self, code: str) -> None:
        """Cut off every live answer and wait until each of them is written."""
        cut = list(self._live.values())
        for live in cut:
            live.cut_off(interrupted(code))
        if cut:
            await asyncio.wait([live.ended for live in cut])

    # One answer

    async def _run(self, live: Live) -> None:
        live.started = True
        verdict = live.cut or await self._verdict(live)
        live.streaming = False
        bill = live.end_call()
        is_written = False
        try:
            is_written = not live.lost and await self._settle(live, verdict, bill)
        finally:
            del self._live[live.id]
            self.places.leave(live.place)
            # Published after the database knows it, so that a reader who then asks the database is not told "live"; and
            # not at all when the database knows another end.
            if is_written:
                await self.broker.close(live.key, live.usage, verdict.terminal)
                self._write_title(live, verdict)
            else:
                await self.broker.give_up(live.key)
            live.ended.set_result(None)

    def _write_title(self, live: Live, verdict: Verdict) -> None:
        if settings.CHAT_TITLE_MODEL and verdict.status == Status.COMPLETE and not self.draining:
            detached(titles.write_title(live.key, self._pool, self.notices))

    async def _verdict(self, live: Live) -> Verdict:
        """Stream the answer to its end, whatever that is. Nothing escapes but the end of the process."""
        try:
            await self._have_place(live)
            finish = await self._stream(live)
        except asyncio.CancelledError:
            return live.cut or interrupted("server_restart")
        except ChatError as error:
            log.warning("answer %s: %s", live.id, live.told(error))
            return interrupted(error.code)
        except Exception:
            log.exception("answer %s: the provider adapter failed", live.id)
            return interrupted("upstream_error")
        if finish.reason == "content_filter":
            return interrupted("content_filter")
        return Verdict(Status.COMPLETE, finish.reason)

    async def _have_place(self, live: Live) -> None:
        """Return when the answer has its place, and its readers know."""
        if not live.place.is_given:
            live.noticed = True  # it is not the model that is silent
            await self.keeper.tell_place(live, self.places.queue().index(live.place))
            try:
                async with asyncio.timeout(settings.CHAT_TOTAL_TIMEOUT):
                    await live.place.wait()
            except TimeoutError as error:
                raise ChatError("overloaded", "no place came free") from error
            await self.broker.notify(live.key, ITS_TURN)
        live.begin()
        metrics.answer_started(live.model, live.asked_at)

    async def _stream(self, live: Live) -> Finish:
        """Everything that the provider is asked for one answer; how it says that it has finished."""
        try:
            async with asyncio.timeout(settings.CHAT_TOTAL_TIMEOUT):
                finish = await self._answer(live)
                schema = live.asked.response_schema
                if schema is not None and finish.reason != "content_filter":
                    await structure.check(live.transcript.text, schema)
                return finish
        except UnknownProviderError as error:
            raise ChatError("bad_request", f"no provider for {live.model}") from error
        except TimeoutError as error:
            raise ChatError("timeout", f"{len(live.transcript.text)} characters had come") from error

    async def _answer(self, live: Live) -> Finish:
        """Call after call, until the model calls no more tools."""
        for _ in range(settings.CHAT_TOOL_STEPS):
            finish = await self._ask_provider(live)
            call = live.call
            if call is None or not call.called or finish.reason != "tool_calls":
                return finish
            outcomes = await self._run_tools(live, call)
            live.call = await self._next_call(live, call.followed_by(outcomes))
        raise ChatError("tool_limit", f"after {settings.CHAT_TOOL_STEPS} steps")

    async def _run_tools(self, live: Live, call: Call) -> dict[str, ToolOutcome]:
        """Run all tools of a step at once. Each result is shown when it comes; Stop works meanwhile."""
        live.noticed = True  # it is not the model that is silent
        await in_thread(answers.settle_call, call.bill, STEP)
        live.end_call()
        ran = await asyncio.gather(
            *(self._run_tool(live, id_, name, "".join(delta)) for id_, (name, delta) in call.called.items())
        )
        await in_thread(ToolCall.objects.bulk_create, ran)
        live.heard_at, live.noticed = time.monotonic(), False
        return {row.call_id: ToolOutcome(row.ok, row.result, row.summary) for row in ran}

    async def _run_tool(self, live: Live, call_id: str, name: str, arguments: str) -> ToolCall:
        began = time.monotonic()
        outcome = await self._tools.run(name, arguments, live.context, settings.CHAT_TOOL_TIMEOUT)
        took = round((time.monotonic() - began) * 1000)
        live.transcript.append([ToolResult(call_id, outcome.summary, outcome.ok, took)])
        if live.is_leased:
            await self.broker.publish(live.key)
        return ToolCall(
            answer_id=live.id,
            call_id=call_id[:200],
            name=name[:64],
            arguments=arguments,
            result=outcome.content,
            summary=outcome.summary,
            ok=outcome.ok,
            milliseconds=took,
        )

    def _tools_for(self, model: str) -> tuple[ToolSchema, ...]:
        """What the model may call: nothing, once its provider has said that it wants no tools."""
        return () if model in self._without_tools else self._tools.schemas()

    async def _ask_provider(self, live: Live) -> Finish:
        """One upstream call, tried again as long as its provider turns it away before the first word."""
        call = live.call
        for tries in count():
            assert call is not None  # noqa: S101 - an answer is begun with one, and each try makes one
            try:
                return await self._listen_to(live, call)
            except ChatError as error:
                call.fail(error)
                if (remedy := call.remedy(error)) is not None:
                    call = live.call = await self._remedied(live, remedy, error)
                    continue
                wait = call.wait_after(error, tries)
                if wait is None or tries >= settings.CHAT_MAX_RETRIES:
                    raise
                log.warning("answer %s: trying again in %.1f s: %s", live.id, wait, live.told(error))
                metrics.retried(live.model, error.code)
                await self._wait(live, call, retrying(error, wait), interrupted(error.code))
            call = live.call = await self._next_call(live, call.prompt)
        raise AssertionError

    async def _listen_to(self, live: Live, call: Call) -> Finish:
        """One upstream call, in a span of its own."""
        error = ""
        with tracing.upstream_call(live.model) as span:
            try:
                return await self._read(live, call)
            except ChatError as failure:
                error = failure.code
                raise
            except asyncio.CancelledError:
                error = live.cut.error_code if live.cut else "server_restart"
                raise
            finally:
                reason = call.finish.reason if call.finish else ""
                span.ended(call.usage, finish_reason=reason, error=error, first_token_ms=call.first_token_ms)

    async def _read(self, live: Live, call: Call) -> Finish:
        """Read one call to its end, at the pace of the process; the first word has no pause before it. Only content
        moves the deadline: a ping says that the connection lives, not the answer."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(settings.CHAT_FIRST_TOKEN_TIMEOUT) as deadline:
                provider = self._pool.get(live.model.partition(":")[0])
                async with aclosing(provider.stream(call.prompt)) as batches:
                    async for batch in batches:
                        if await self._take(live, call, batch):
                            _move(deadline, loop.time(), settings.CHAT_IDLE_TIMEOUT)
                            if call.finish is None:
                                await self.pace.rest()
        except TimeoutError as error:
            if call.finish is None:
                raise SilenceError("timeout", f"{len(live.transcript.text)} characters had come") from error
        if call.finish is None:
            raise ChatError("upstream_error", "the stream ended without its end marker")
        return call.finish

    async def _take(self, live: Live, call: Call, batch: Sequence[ProviderEvent]) -> bool:
        """Text and its position change together, with no `await` between them; whether there was any."""
        before = live.transcript.position
        call.take(live.with_thoughts(batch))
        if live.transcript.position == before:
            return False
        live.heard_at = time.monotonic()
        live.noticed = False
        live.first_token = live.first_token or live.heard_at
        live.first_token_at = live.first_token_at or timezone.now()
        # What is whole at once is shown in one piece, with its end: that is milliseconds away, or `_settle` shows it.
        if live.is_leased and not (before == 0 and call.is_whole):
            await self.broker.publish(live.key)
        if live.transcript.position > settings.CHAT_MAX_ANSWER_CHARS:
            raise ChatError("too_long", f"more than {settings.CHAT_MAX_ANSWER_CHARS} characters")
        return True

    async def _wait(self, live: Live, call: Call, notice: Notice, verdict: Verdict) -> None:
        """Between two tries: the first one is on the ledger, readers know why nothing comes, Stop works."""
        until = time.monotonic() + (notice.retry_after or 0)
        bill = live.end_call()
        live.noticed = True
        await self.broker.notify(live.key, notice)
        if bill is not None:
            await in_thread(answers.settle_call, bill, verdict)
        await asyncio.sleep(until - time.monotonic())
        live.heard_at, live.noticed = time.monotonic(), False

    async def _remedied(self, live: Live, remedy: tuple[Prompt, int], error: ChatError) -> Call:
        """Ask in another way that the provider may take."""
        prompt, omitted = remedy
        log.warning("answer %s: asking in another way: %s", live.id, live.told(error))
        if live.asked.tools and not prompt.tools:
            self._without_tools.add(live.model)
        if (bill := live.end_call()) is not None:
            await in_thread(answers.settle_call, bill, interrupted(error.code))
        return await self._next_call(live, prompt, omitted)

    async def _next_call(self, live: Live, prompt: Prompt, omitted: int = 0) -> Call:
        try:
            row = await in_thread(answers.open_call, live.id, prompt.size, omitted)
        except QuotaError as error:
            raise ChatError("quota_exceeded", error.sentence) from error
        live.asked = prompt
        return Call(row, prompt, live.transcript)

    async def _settle(self, live: Live, verdict: Verdict, bill: Bill | None) -> bool:
        """Write the end, once; whether it is written. A database fault is waited out; a lost fence is final."""
        deadline = time.monotonic() + SETTLE_FOR
        while True:
            try:
                is_written = await in_thread(answers.settle, live.row(), verdict, [bill] if bill else [])
                if is_written:
                    metrics.answer_ended(live.model, verdict.status, verdict.error_code, **live.times())
                else:
                    log.warning("answer %s: reaped before its end was written", live.id)
                return is_written
            except DatabaseError:
                if time.monotonic() > deadline:
                    log.exception("answer %s: its end could not be written; the reaper has it now", live.id)
                    return False
                log.warning("answer %s: the database is not there, trying again", live.id)
                if live.is_leased:
                    await self.broker.publish(live.key)
                await asyncio.sleep(0.5)


def _move(deadline: asyncio.Timeout, now: float, seconds: float) -> None:
    """Let it pass so many seconds from now, or up to a twentieth later: most reads need no new timer then."""
    due = deadline.when()
    if due is None or not now + seconds <= due <= now + seconds * 1.05:
        deadline.reschedule(now + seconds * 1.05)


def _broker() -> Broker:
    if not settings.REDIS_URL:
        return MemoryBroker()
    from chat.broker.redis import RedisBroker  # noqa: PLC0415 - only where there is a Redis

    return RedisBroker(settings.REDIS_URL)


_runners: WeakKeyDictionary[asyncio.AbstractEventLoop, Runner] = WeakKeyDictionary()


def runner() -> Runner:
    """The runner of the running event loop."""
    loop = asyncio.get_running_loop()
    if loop not in _runners:
        _runners[loop] = Runner()
    return _runners[loop]
