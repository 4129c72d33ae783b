"""A file of prompts, worked through without a conversation: one JSON object a line goes in, one comes out for each, as
they are completed. What is written is never asked again, so an interrupted run goes on where it ended.

Nobody reads along, so the calls do not stream. Each try is on the ledger like any other call.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, BinaryIO, Literal, NamedTuple, Self

import msgspec
from django.conf import settings
from django.utils import timezone

from chat import quotas, structure
from chat.answers import Bill, Verdict, interrupted, settle_call
from chat.background import in_thread
from chat.calls import LONGEST_WAIT, Call
from chat.errors import ChatError
from chat.events import ProviderEvent, Token, Usage, storable
from chat.models import Outcome, ProviderCall, Status, User
from chat.providers import PROVIDERS, Pool, Prompt, Turn
from chat.providers.failures import unquoted
from chat.quotas import SETTLING, QuotaError
from chat.usage import estimate_tokens

log = logging.getLogger(__name__)

_json = msgspec.json.Encoder()


# What goes in


class _Said(msgspec.Struct, forbid_unknown_fields=True):
    role: Literal["system", "user", "assistant"]
    content: str


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    id: str | int | None = None
    prompt: str | None = None
    messages: list[_Said] | None = None
    model: str | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    response_schema: dict[str, Any] | None = None


_LINE = msgspec.json.Decoder(_Line)


class Defaults(NamedTuple):
    """What holds for a line that says nothing else; `system` for one whose messages have no system's."""

    model: str
    system: str = ""
    max_tokens: int | None = None


class Item(NamedTuple):
    """One prompt of the file."""

    id: str | int
    model: str
    prompt: Prompt


class BadLine(NamedTuple):
    """A line that is no prompt, and why not."""

    number: int
    sentence: str


def read(path: Path, defaults: Defaults) -> Iterator[Item | BadLine]:
    """The prompts of a file, line by line; blank lines are nothing. A line without an id has its number's: `line-3`."""
    seen: dict[str, int] = {}
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                item = _item(_LINE.decode(line), f"line-{number}", defaults)
                if (first := seen.setdefault(str(item.id), number)) != number:
                    raise ValueError(f"the id {item.id!r} is that of line {first}")
                yield item
            except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
                yield BadLine(number, str(error))


def size_of(path: Path) -> int:
    """How many lines of a file are not blank."""
    with path.open("rb") as lines:
        return sum(1 for line in lines if line.strip())


def check_model(model: str) -> str:
    """The `provider:model`; raises ValueError when there is no such provider."""
    provider, _, name = model.partition(":")
    if provider not in PROVIDERS or not name:
        raise ValueError(f"the model must be provider:model with a provider of {', '.join(PROVIDERS)}, not {model!r}")
    return model


def _item(line: _Line, name: str, defaults: Defaults) -> Item:
    if (line.prompt is None) == (line.messages is None):
        raise ValueError("give either `prompt` or `messages`")
    said = [_Said("user", line.prompt)] if line.prompt is not None else line.messages or []
    if not any(turn.role == "user" and turn.content.strip() for turn in said):
        raise ValueError("nothing is asked")
    if defaults.system and not any(turn.role == "system" for turn in said):
        said = [_Said("system", defaults.system), *said]
    model = check_model(line.model or defaults.model)
    prompt = Prompt(
        model.partition(":")[2],
        tuple(Turn(turn.role, storable(turn.content)) for turn in said),
        max_output_tokens=line.max_tokens or defaults.max_tokens or settings.CHAT_MAX_TOKENS.get(model),
        temperature=line.temperature,
        response_schema=None if line.response_schema is None else structure.usable(line.response_schema),
    )
    return Item(name if line.id is None else line.id, model, prompt)


# What comes out


@dataclass(slots=True)
class Result:
    """What became of one prompt."""

    item: Item
    verdict: Verdict
    text: str = ""
    usage: Usage = field(default_factory=lambda: Usage(0, 0))

    def line(self) -> bytes:
        error = asdict(self.verdict.terminal) if self.verdict.error_code else None
        fields = {
            "id": self.item.id,
            "text": self.text,
            "status": self.verdict.status.value,
            "finish_reason": self.verdict.finish_reason or None,
            "usage": asdict(self.usage),
            "error": error,
        }
        return _json.encode(fields) + b"\n"


class BusyFileError(Exception):
    """Another run writes to the same file."""


class Results:
    """The file that results are added to, and the ids that it has. One run at a time has it open.

    A line that a crash tore is dropped; with `again`, so are the lines of those that failed, all in one step.
    """

    def __init__(self, path: Path, *, again: bool = False) -> None:
        self._path = path
        self._again = again
        self._files: list[BinaryIO] = []
        self._ids: set[str] = set()

    def __enter__(self) -> Self:
        try:
            file = self._opened(self._path)
            kept, is_whole = self._kept(file)
            if not is_whole:
                file = self._rewritten(kept)
            file.seek(0, os.SEEK_END)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def __contains__(self, item: Item) -> bool:
        return str(item.id) in self._ids

    def add(self, result: Result) -> None:
        """Write a result; the operating system has it when this returns."""
        self._files[-1].write(result.line())
        self._files[-1].flush()
        self._ids.add(str(result.item.id))

    def _opened(self, path: Path) -> BinaryIO:
        file = path.open("a+b")
        self._files.append(file)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyFileError(path) from None
        return file

    def _kept(self, file: BinaryIO) -> tuple[list[tuple[int, int]], bool]:
        """Where the lines lie that stay, and whether those are all."""
        kept, start = [], 0
        file.seek(0)
        for line in file:
            if self._stays(line):
                kept.append((start, len(line)))
            start += len(line)
        return kept, sum(size for _, size in kept) == start

    def _stays(self, line: bytes) -> bool:
        try:
            known = msgspec.json.decode(line)
            key, status = str(known["id"]), known["status"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return False
        if not line.endswith(b"\n") or (self._again and status != Status.COMPLETE):
            return False
        self._ids.add(key)
        return True

    def _rewritten(self, kept: list[tuple[int, int]]) -> BinaryIO:
        """The file with the lines that stay alone. The old one stays open, and so locked, beside it."""
        old = self._files[-1]
        beside = self._path.with_name(f".{self._path.name}.new")
        beside.unlink(missing_ok=True)
        new = self._opened(beside)
        for start, size in kept:
            old.seek(start)
            new.write(old.read(size))
        new.flush()
        os.fsync(new.fileno())
        beside.replace(self._path)
        return new

    def _close(self) -> None:
        while self._files:
            self._files.pop().close()


# The work


@dataclass(slots=True)
class Tally:
    """How far a run is, in lines. The `known` ones had a result before it."""

    total: int = 0
    known: int = 0
    complete: int = 0
    failed: int = 0
    bad: int = 0

    @property
    def seen(self) -> int:
        return self.known + self.complete + self.failed + self.bad


class Work:
    """Completes prompts, `concurrency` of them at a time, for `user` and within their limits, or for the site.

    `told` hears of each line when it is done with.
    """

    def __init__(
        self, user: User | None, concurrency: int, told: Callable[[Item | BadLine, Result | None], None]
    ) -> None:
        self.tally = Tally()
        self._user = user
        self._concurrency = concurrency
        self._told = told
        self._pool = Pool(settings.CHAT_PROVIDERS)
        self._not_before: dict[str, float] = {}  # by model: when its provider may be asked again

    async def run(self, items: Iterator[Item | BadLine], results: Results) -> None:
        """Work through all items that have no result. Cancelling it ends the calls under way, and settles them."""
        await in_thread(settle_lost)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._concurrency):
                    group.create_task(self._work(items, results))
        except BaseExceptionGroup as failures:  # a full disk, a lost database: the first one says it
            raise failures.exceptions[0] from None
        finally:
            await self._pool.aclose()

    async def _work(self, items: Iterator[Item | BadLine], results: Results) -> None:
        for item in items:
            result = None
            if isinstance(item, BadLine):
                self.tally.bad += 1
            elif item in results:
                self.tally.known += 1
            else:
                result = await self._complete(item)
                results.add(result)
                if result.verdict.status == Status.COMPLETE:
                    self.tally.complete += 1
                else:
                    self.tally.failed += 1
            self._told(item, result)

    async def _complete(self, item: Item) -> Result:
        """Ask until there is an answer, or another try would be in vain."""
        used = Usage(0, 0)
        for tries in count():
            await self._patience(item.model)
            try:
                call = Call(await self._open(item, is_request=tries == 0), item.prompt)
            except QuotaError as error:
                log.warning("%s: %s", item.id, error.sentence)
                return Result(item, interrupted("quota_exceeded"), usage=used)
            text, verdict, wait = await self._try(item, call, tries)
            used += call.usage
            if wait is None:
                return Result(item, verdict, text, used)
            self._not_before[item.model] = max(time.monotonic() + wait, self._not_before.get(item.model, 0))
        raise AssertionError

    async def _patience(self, model: str) -> None:
        """A provider that has turned one prompt away is asked nothing until it wants to be."""
        while (wait := self._not_before.get(model, 0) - time.monotonic()) > 0:  # noqa: ASYNC110 - a time, not an event
            await asyncio.sleep(wait)

    async def _open(self, item: Item, *, is_request: bool) -> ProviderCall:
        """A row on the ledger. A limit of the user's that ends within a minute is waited for."""
        while True:
            opening = asyncio.ensure_future(in_thread(open_call, self._user, item, is_request=is_request))
            try:
                return await asyncio.shield(opening)
            except asyncio.CancelledError:
                with suppress(QuotaError):
                    unused = Bill(await opening, Usage(0, 0, estimated=True), None, 0)
                    await in_thread(settle_call, unused, interrupted("server_restart"))
                raise
            except QuotaError as error:
                if error.retry_after is None or error.retry_after > LONGEST_WAIT:
                    raise
                await asyncio.sleep(error.retry_after)

    async def _try(self, item: Item, call: Call, tries: int) -> tuple[str, Verdict, float | None]:
        """One upstream call, settled whatever happens: its text, its end, and how long to wait before the next."""
        verdict, wait, text = interrupted("server_restart"), None, ""  # unless this is told otherwise
        try:
            async with asyncio.timeout(settings.CHAT_TOTAL_TIMEOUT):
                events = await self._pool.get(item.model.partition(":")[0]).complete(item.prompt)
            call.take(events)
            text = _text_of(events)
            verdict = await _verdict(item, call, text)
        except TimeoutError:
            verdict = interrupted("timeout")
        except ChatError as error:
            call.fail(error)
            verdict = interrupted(error.code)
            wait = call.wait_after(error, tries) if tries < settings.CHAT_MAX_RETRIES else None
            log.warning("%s: %s", item.id, unquoted(str(error), item.prompt, text))
        except Exception:
            log.exception("%s: the provider adapter failed", item.id)
            verdict = interrupted("upstream_error")
        finally:
            await asyncio.shield(in_thread(settle_call, call.bill, verdict))
        return text, verdict, wait


async def _verdict(item: Item, call: Call, text: str) -> Verdict:
    if call.finish is None:
        raise ChatError("upstream_error", "answered without its end marker")
    if call.finish.reason == "content_filter":
        return interrupted("content_filter")
    if item.prompt.response_schema is not None:
        await structure.check(text, item.prompt.response_schema)
    return Verdict(Status.COMPLETE, call.finish.reason)


def _text_of(events: Sequence[ProviderEvent]) -> str:
    return "".join(event.content for event in events if isinstance(event, Token))


def open_call(user: User | None, item: Item, *, is_request: bool) -> ProviderCall:
    """A row on the ledger for one try, which is a request of the user's when it is the first. Raises
    `quotas.QuotaError`."""
    call = ProviderCall(
        user=user,
        purpose=ProviderCall.Purpose.BATCH,
        billed_to=ProviderCall.BilledTo.USER if user else ProviderCall.BilledTo.SITE,
        model=item.model,
        input_tokens=estimate_tokens(item.prompt.size),
    )
    return quotas.admit(call, is_request=is_request)


def settle_lost() -> None:
    """Settle what a run that was killed left open, with estimates: rows that are older than any call may be."""
    oldest = timezone.now() - timedelta(seconds=settings.CHAT_TOTAL_TIMEOUT) - SETTLING
    lost = ProviderCall.objects.filter(purpose=ProviderCall.Purpose.BATCH, outcome=Outcome.RUNNING)
    for call in lost.filter(started_at__lt=oldest):
        took = round((timezone.now() - call.started_at).total_seconds() * 1000)
        settle_call(Bill(call, Usage(call.input_tokens, 0, estimated=True), None, took), interrupted("server_lost"))
