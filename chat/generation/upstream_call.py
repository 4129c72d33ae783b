"""One upstream call of an answer: what it has brought, what it costs, and whether it is worth another try."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

from django.conf import settings
from django.utils import timezone

from chat.accounting import rollups
from chat.conversations.context_window import halve_prompt
from chat.conversations.refusals import Lesson
from chat.core.errors import ChatError
from chat.core.events import (
    Bookmark,
    Finish,
    Notice,
    ProviderEvent,
    Reasoning,
    Remark,
    Signature,
    TextEvent,
    Thought,
    Token,
    ToolArguments,
    ToolCall,
    Usage,
    get_text,
)
from chat.core.failures import Failure
from chat.core.tokens import estimate_tokens
from chat.core.transcript import Transcript, join_text
from chat.generation.store import CallResult, StoredBookmark, count_milliseconds
from chat.generation.verdict import Verdict, make_interruption
from chat.models import ProviderCall, Status, is_plausible
from chat.providers.base import THINKING, CalledTool, Prompt, Resumption, Thinking, Turn
from chat.providers.errors import describe_failure, drop_quotations
from chat.providers.refused_parameters import find_adaptation, is_failed_tool_call, is_of_the_model
from chat.providers.registry import UnknownProviderError
from chat.tools.base import ToolOutcome

log = logging.getLogger(__name__)

# Exponential backoff where the provider sends no Retry-After: seconds before the first retry, doubled for each one
# after it. Up to a quarter is added at random, so that many calls that were refused together do not come back together.
BACKOFF = 1.0
JITTER = 0.25

# Seconds: a provider that asks for a longer pause is not asked again. The user is told, and may retry.
LONGEST_WAIT = 60.0

# How many times a running row's lease is renewed within its length: two renewals in a row may fail.
RENEWALS = 4

# How many times in a row a lost connection to a response that its provider keeps is opened again although nothing new
# came over it. The first time is at once; before the n-th further one the pause is `TAKE_UP_AFTER * 2**n` seconds: 1,
# 2, 4, 8 and 16, 31 s in all. A proxy may take 15 s to restart.
MAX_TAKE_UPS = 6
TAKE_UP_AFTER = 0.5

# Codes of failures that may be transient: a retry may help, as long as nothing of the answer has come.
_TRANSIENT_CODES = {"rate_limited", "upstream_error", "unreachable", "timeout"}

# How many times a model that failed to write a tool call is asked again at once, before the usual retries with their
# pauses: such a failure is a matter of luck (of the temperature), not of load.
TOOL_CALL_TRIES = 2


class SilenceError(ChatError):
    """A call was silent for too long: there is no time left for another try."""


class Remedy(NamedTuple):
    """Another prompt that a provider may take after it refused one.

    `omitted` is how many more messages it leaves out. `lesson` is what to leave out of the model's later prompts too,
    once this one has been answered.
    """

    prompt: Prompt
    omitted: int = 0
    lesson: Lesson | None = None


@dataclass(eq=False, slots=True)
class UpstreamCall:
    """One request to a provider.

    `row` is its row on the ledger. Its events are appended to `transcript`, which is the answer's own, so that the text
    is in memory only once.
    """

    row: ProviderCall
    prompt: Prompt
    transcript: Transcript = field(default_factory=Transcript)
    began: float = field(default_factory=time.monotonic)
    first_token_ms: int | None = None
    finish: Finish | None = None
    called_tools: dict[str, tuple[str, list[str]]] = field(default_factory=dict)  # name and arguments by id
    _thinking: list[Thinking] = field(default_factory=list)
    _start: int = field(init=False)  # where it begins in the transcript
    _signed: int = field(init=False)  # how far its reasoning has been signed
    _usage: Usage | None = None
    _output_chars: int = 0
    _reasoning_chars: int = 0
    failure: Failure | None = None  # how it failed
    _is_refused: bool = False
    _is_accepted: bool = False  # whether the provider had begun to answer when the call failed
    _is_asked: bool = True  # whether its provider has been asked; it is not while the answer waits for its slot
    bookmark: Bookmark | None = None  # where its response can be taken up, if its provider keeps it
    is_taken_up: bool = False  # it began in another process
    _bookmarked: int = 0  # the position up to which the bookmark goes
    _earlier_ms: int = 0  # milliseconds that it had taken when this process took it up
    _has_final_usage: bool = False  # its provider's figures are the last ones, though it did not end by itself
    _written_usage: Usage | None = None  # what the provider had reported when its row was last written
    _write_at: float = 0.0  # when its row is to be written again at the latest

    def __post_init__(self) -> None:
        self._start = self._signed = self.transcript.position
        self._write_at = self.began + settings.CHAT_LEASE / RENEWALS

    @classmethod
    def take_up(
        cls,
        row: ProviderCall,
        prompt: Prompt,
        transcript: Transcript,
        kept: StoredBookmark,
        first_token_at: datetime | None,
    ) -> UpstreamCall:
        """Return a call that another process began, as that process had it: its row and its response stay the same."""
        call = cls(row, prompt, transcript)
        call._start = call._signed = row.start or 0
        call.bookmark, call._bookmarked, call.is_taken_up = kept.bookmark, kept.position, True
        call._earlier_ms = count_milliseconds(row.started_at, timezone.now())
        call._write_at = call.began
        call.first_token_ms = row.first_token_ms
        for event in transcript.read_since(call._start):
            if isinstance(event, TextEvent):
                call._count_characters(event)
                if call.first_token_ms is None and first_token_at is not None:
                    call.first_token_ms = count_milliseconds(row.started_at, first_token_at)
            if isinstance(event, ToolCall | ToolArguments):
                call._remember(event)
        return call

    def apply(self, events: Iterable[ProviderEvent | Thought]) -> None:
        """Append events to the transcript, and note what they say of the call: usage, end, bookmark, first word."""
        for event in events:
            self.transcript.append([event])
            if isinstance(event, Usage):
                self._usage = event if is_plausible(event) else self._usage
            elif isinstance(event, Finish):
                self.finish = event
            elif isinstance(event, Bookmark):
                self.bookmark, self._bookmarked = event, self.transcript.position
            elif isinstance(event, TextEvent) and event is not THINKING:
                self._note_text(event)
            self._remember(event)

    def _remember(self, event: ProviderEvent | Thought) -> None:
        """Keep what the next call has to send back to the provider: signed reasoning and tool calls."""
        match event:
            case Signature(content):
                self._thinking.append(Thinking(self._read_text_since(self._signed, Reasoning), content))
                self._signed = self.transcript.position
            case ToolCall(id_, name):
                self.called_tools[id_] = (name, [])
            case ToolArguments(id_, delta) if id_ in self.called_tools:
                self.called_tools[id_][1].append(delta)

    def make_follow_up_prompt(self, outcomes: Mapping[str, ToolOutcome]) -> Prompt:
        """Return the next prompt of a tool loop: this one, the model's turn, and the `outcomes` of its calls by id."""
        extras = self.transcript.extras
        calls = tuple(
            CalledTool(id_, name, "".join(arguments), extras.get(id_, ""))
            for id_, (name, arguments) in self.called_tools.items()
        )
        unsigned = self._read_text_since(self._signed, Reasoning)
        thinking = [*self._thinking, *([Thinking(unsigned, "")] if unsigned else [])]
        turn = Turn("assistant", self.text, calls, tuple(thinking))
        results = (Turn("tool", outcome.content, call_id=id_, ok=outcome.ok) for id_, outcome in outcomes.items())
        return replace(self.prompt, turns=(*self.prompt.turns, turn, *results))

    def _note_text(self, event: TextEvent) -> None:
        if self.first_token_ms is None:
            self.first_token_ms = self._measure_elapsed()
        self._count_characters(event)

    def _count_characters(self, event: TextEvent) -> None:
        self._output_chars += len(get_text(event))
        self._reasoning_chars += len(get_text(event)) if isinstance(event, Reasoning) else 0

    def _measure_elapsed(self) -> int:
        return self._earlier_ms + round((time.monotonic() - self.began) * 1000)

    # Its response, where the provider keeps it

    @property
    def stored_bookmark(self) -> StoredBookmark | None:
        """The bookmark as a checkpoint keeps it, so that another process can take the call up."""
        return None if self.bookmark is None else StoredBookmark(self.bookmark, self._bookmarked, self.row.pk)

    def make_resumption(self, bookmark: Bookmark) -> Resumption:
        """Return the state from which the provider's response can be resumed."""
        received, received_since = self.transcript.read_since(self._start), self.transcript.read_since(self._bookmarked)
        return Resumption(bookmark, tuple(received), tuple(received_since))

    def compute_pause_before_resuming(self, error: ChatError, tries: int) -> float | None:
        """Return the seconds to wait before the response is followed again, after the connection to it failed.

        `tries` counts the connections in a row that brought nothing. None when they are enough, when the failure is not
        one of the connection, or when the provider keeps no response.
        """
        is_silence = isinstance(error, SilenceError)
        if self.bookmark is None or tries >= (1 if is_silence else MAX_TAKE_UPS):
            return None
        if self.finish is not None or error.is_reported or not error.may_pass or error.code not in _TRANSIENT_CODES:
            return None
        wait = error.retry_after or (TAKE_UP_AFTER * 2**tries if tries else 0.0)
        return wait if wait <= LONGEST_WAIT else None

    def forget_response(self) -> None:
        """Forget the response: it can neither be resumed nor cancelled any more."""
        self.bookmark = None

    def note_last_usage(self, usage: Usage | None) -> None:
        """Note that the response was cancelled, and the figures that its provider gave for it, if it gave any."""
        self.forget_response()
        if usage is not None and is_plausible(usage):
            self._usage, self._has_final_usage = usage, True

    def find_remedy(self, error: ChatError) -> Remedy | None:
        """Return another prompt that the provider may take after a refusal, or None when there is none.

        It leaves out what the refusal names, asks for it in another way, or, where the conversation is too long, has
        half of it.
        """
        if not self._is_refused:
            return None
        adaptation = find_adaptation(error.code, error.detail, self.prompt)
        if adaptation is not None:
            prompt = replace(self.prompt, adaptations=(*self.prompt.adaptations, adaptation))
            if not is_of_the_model(adaptation, error.code, error.detail):
                return Remedy(prompt)
            return Remedy(prompt, lesson=Lesson(adaptation, drop_quotations(error.detail, self.prompt)))
        if error.code == "context_length":
            shorter, omitted = halve_prompt(self.prompt)
            return Remedy(shorter, omitted) if omitted else None
        return None

    def is_failed_tool_call(self, error: ChatError) -> bool:
        """Return whether the call ended before a word because the model failed to write a tool call."""
        return self._is_refused and is_failed_tool_call(error.detail)

    def fail(self, error: ChatError) -> None:
        """Note that the call ended with an error.

        One that was turned away before a word costs nothing, unless the provider has reported what it read; one that
        was accepted and then cut costs its input, which the provider has read.
        """
        self.failure = describe_failure(error, self.prompt, self.transcript.text)
        if error.usage is not None and is_plausible(error.usage):
            self._usage = error.usage
        self._is_accepted = error.is_accepted
        self._is_refused = self.transcript.position == self._start and not isinstance(error, SilenceError)
        if _is_about_a_retired_model(error, self.prompt):
            sentence = f"{self.prompt.model} has been retired by its provider. Choose another model."
            self.transcript.append([Remark("refused", sentence)])

    def compute_pause_before_retry(self, error: ChatError, tries: int) -> float | None:
        """Return the seconds to wait before the next try, after `tries`; None when another would be in vain."""
        if not self._is_refused or not error.may_pass or error.code not in _TRANSIENT_CODES:
            return None
        seconds = BACKOFF * 2**tries if error.retry_after is None else error.retry_after
        return seconds + random.uniform(0, JITTER * min(1.0, seconds)) if seconds <= LONGEST_WAIT else None  # noqa: S311

    def postpone(self) -> None:
        """Note that the provider is not asked yet: the call costs nothing until `begin`.

        A call that was taken up has been asked.
        """
        self._is_asked = self.is_taken_up

    def begin(self) -> None:
        """Note that the provider is asked now: all times count from here."""
        self._is_asked, self._is_refused, self.failure = True, False, None
        if not self.is_taken_up:
            self.began = time.monotonic()

    def end_unasked(self) -> None:
        """Note that the call was never made: it costs nothing and took no time."""
        if not self.is_taken_up:
            self._is_asked, self.began = False, time.monotonic()

    def is_due(self) -> bool:
        """Return whether its row is to be written: the provider has reported something, or the lease wants renewing."""
        return self._usage is not self._written_usage or time.monotonic() >= self._write_at

    def take_progress(self) -> rollups.Progress:
        """Return what its row should say while the call goes on, and note it as written: it is not due for a while."""
        self._written_usage = self._usage
        self._write_at = time.monotonic() + settings.CHAT_LEASE / RENEWALS
        return rollups.Progress(self.row.pk, self.usage, self.first_token_ms)

    @property
    def text(self) -> str:
        return self._read_text_since(self._start, Token)

    def _read_text_since(self, position: int, kind: type[Token | Reasoning]) -> str:
        return join_text(self.transcript.read_since(position), kind)

    @property
    def is_whole(self) -> bool:
        """True when the end marker and the provider's figures have come, and no further call follows."""
        return self.finish is not None and self.finish.reason not in ("tool_calls", "pause") and self._usage is not None

    @property
    def usage(self) -> Usage:
        """The provider's figures; when it has not ended well, an estimate that is no less than what it has reported.

        It may have counted reasoning that it shows nobody.
        """
        if self._usage is not None and (self.finish is not None or self._has_final_usage):
            return self._usage
        if not self._is_asked or (self._is_refused and self._usage is None and not self._is_accepted):
            return Usage(0, 0, estimated=True)
        known = self._usage or Usage(estimate_tokens(self.prompt.size), 0)
        reasoning = estimate_tokens(self._reasoning_chars)
        output = estimate_tokens(self._output_chars - self._reasoning_chars) + reasoning
        return known.raise_output(output, reasoning)

    @property
    def result(self) -> CallResult:
        return CallResult(self.row, self.usage, self.first_token_ms, self._measure_elapsed(), self.failure)


_CAUSES = {"rate_limited": "High demand", "unreachable": "The provider could not be reached"}


def make_retry_notice(error: ChatError, seconds: float) -> Notice:
    """Return the notice to readers while a call waits for its next try."""
    cause = _CAUSES.get(error.code, "The provider did not answer")
    return Notice("retrying", f"{cause}, trying again in {max(1, round(seconds))} s.", round(seconds, 1))


def make_taking_up_notice(seconds: float) -> Notice:
    """Return the notice to readers for the time until a response whose connection broke is followed again."""
    sentence = f"The connection to the provider broke, following the answer again in {max(1, round(seconds))} s."
    return Notice("retrying", sentence, round(seconds, 1))


def _is_about_a_retired_model(error: ChatError, prompt: Prompt) -> bool:
    """Return whether the provider does not know the model, and the model is known to have been switched off."""
    is_unknown = error.code == "bad_request" and error.detail.startswith(("404", "410"))
    return is_unknown and prompt.capabilities.is_retired(timezone.now().date())


async def reach_verdict(reading: Awaitable[Finish], report: Callable[[ChatError], None]) -> Verdict:
    """Await `reading`, and return the verdict on its finish or its failure; only a cancellation is raised.

    `report` is called once with a failure that has a code.
    """
    try:
        finish = await reading
    except UnknownProviderError as error:
        report(ChatError("bad_request", f"no provider is called {error}"))
        return make_interruption("bad_request")
    except TimeoutError:
        report(SilenceError("timeout", "it took too long in all"))
        return make_interruption("timeout")
    except ChatError as error:
        report(error)
        return make_interruption(error.code)
    except Exception:
        log.exception("the provider adapter failed")
        return make_interruption("upstream_error")
    if finish.reason == "content_filter":
        return make_interruption("content_filter")
    # An answer that its provider keeps pausing ends as one at its length limit does: its reader can continue it.
    return Verdict(Status.COMPLETE, "length" if finish.reason == "pause" else finish.reason)
