"""One upstream call of an answer: what it has brought, what it costs, and whether it is worth another try."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from chat.answers import Bill
from chat.context import halved
from chat.errors import ChatError
from chat.events import (
    Finish,
    Notice,
    ProviderEvent,
    Reasoning,
    Signature,
    TextEvent,
    Thought,
    Token,
    ToolArguments,
    ToolCall,
    Usage,
    text_of,
)
from chat.models import ProviderCall
from chat.providers import Called, Prompt, Thinking, Turn
from chat.tools import ToolOutcome
from chat.transcript import Transcript, text_in
from chat.turns import GO_ON
from chat.usage import estimate_tokens

# Seconds before the first, second, third … further try, when the provider names none; a quarter more at random, so that
# a crowd that was turned away at once does not come back at once.
BACKOFF = 1.0
JITTER = 0.25

# A provider that wants more patience than this gets none: the user is told, and may retry.
LONGEST_WAIT = 60.0

# What another try may cure, as long as the provider has not said a word.
_PASSING = {"rate_limited", "upstream_error", "timeout"}


# How a provider says that it wants no tools.
_TOOLS = re.compile("tool|function", re.IGNORECASE)

# How Anthropic's newer models say that the last turn may not be theirs.
_OWN_WORDS = re.compile("prefill|must end with a user message", re.IGNORECASE)


class SilenceError(ChatError):
    """Our own patience with a silent provider has ended: there is none left for another try."""


@dataclass(eq=False, slots=True)
class Call:
    """`row` is its row on the ledger. What it says goes to the end of `transcript`, which is its answer's, so that the
    text is there once."""

    row: ProviderCall
    prompt: Prompt
    transcript: Transcript = field(default_factory=Transcript)
    began: float = field(default_factory=time.monotonic)
    first_token_ms: int | None = None
    finish: Finish | None = None
    called: dict[str, tuple[str, list[str]]] = field(default_factory=dict)  # name and arguments by id
    _thinking: list[Thinking] = field(default_factory=list)
    _start: int = field(init=False)  # where it begins in the transcript
    _signed: int = field(init=False)  # how far its reasoning has been signed
    _usage: Usage | None = None
    _said: int = 0
    _thought: int = 0
    _is_refused: bool = False

    def __post_init__(self) -> None:
        self._start = self._signed = self.transcript.position

    def take(self, events: Iterable[ProviderEvent | Thought]) -> None:
        for event in events:
            self.transcript.append([event])
            if isinstance(event, Usage):
                self._usage = event
            elif isinstance(event, Finish):
                self.finish = event
            elif isinstance(event, TextEvent):
                self._count(event)
            self._remember(event)

    def _remember(self, event: ProviderEvent | Thought) -> None:
        """What the next call has to be told of this one."""
        match event:
            case Signature(content):
                self._thinking.append(Thinking(self._since(self._signed, Reasoning), content))
                self._signed = self.transcript.position
            case ToolCall(id_, name):
                self.called[id_] = (name, [])
            case ToolArguments(id_, delta) if id_ in self.called:
                self.called[id_][1].append(delta)

    def followed_by(self, outcomes: Mapping[str, ToolOutcome]) -> Prompt:
        """What to ask after the tools that were called have been run."""
        calls = tuple(Called(id_, name, "".join(arguments)) for id_, (name, arguments) in self.called.items())
        said = Turn("assistant", self.text, calls, tuple(self._thinking))
        results = (Turn("tool", outcome.content, call_id=id_, ok=outcome.ok) for id_, outcome in outcomes.items())
        return replace(self.prompt, turns=(*self.prompt.turns, said, *results))

    def _count(self, event: TextEvent) -> None:
        if self.first_token_ms is None:
            self.first_token_ms = self._elapsed()
        self._said += len(text_of(event))
        self._thought += len(text_of(event)) if isinstance(event, Reasoning) else 0

    def _elapsed(self) -> int:
        return round((time.monotonic() - self.began) * 1000)

    def remedy(self, error: ChatError) -> tuple[Prompt, int] | None:
        """Another prompt that the provider may take, and how many more messages it leaves out; None when there is none.
        A model that knows no tools is asked without, one that does not go on with its own words is told to, and one
        that reads less than was thought is told half."""
        if not self._is_refused:
            return None
        if error.code == "bad_request" and self.prompt.tools and _TOOLS.search(error.detail):
            return replace(self.prompt, tools=()), 0
        if (
            error.code == "bad_request"
            and self.prompt.turns[-1].role == "assistant"
            and _OWN_WORDS.search(error.detail)
        ):
            return replace(self.prompt, turns=(*self.prompt.turns, Turn("user", GO_ON))), 0
        if error.code == "context_length":
            shorter, omitted = halved(self.prompt)
            return (shorter, omitted) if omitted else None
        return None

    def fail(self, error: ChatError) -> None:
        """The call ended with an error. One that was turned away before a word costs nothing."""
        self._is_refused = self._said == 0 and self._usage is None and not isinstance(error, SilenceError)

    def wait_after(self, error: ChatError, tries: int) -> float | None:
        """Seconds to wait before the next try, `tries` having been made before; None when another would be in vain."""
        if not self._is_refused or error.code not in _PASSING:
            return None
        asked = BACKOFF * 2**tries if error.retry_after is None else error.retry_after
        return asked + random.uniform(0, JITTER * min(1.0, asked)) if asked <= LONGEST_WAIT else None  # noqa: S311

    def never_began(self) -> None:
        """Its answer ended before the provider was asked: it costs nothing and took no time."""
        self._is_refused, self.began = True, time.monotonic()

    @property
    def text(self) -> str:
        return self._since(self._start, Token)

    def _since(self, position: int, kind: type[Token | Reasoning]) -> str:
        return text_in(self.transcript.since(position), kind)

    @property
    def is_whole(self) -> bool:
        """Whether it has brought all that it can, and nothing follows it."""
        return self.finish is not None and self.finish.reason != "tool_calls" and self._usage is not None

    @property
    def usage(self) -> Usage:
        """What the provider said, or an estimate when its figures had not come before the end."""
        if self._usage is not None and self.finish is not None:
            return self._usage
        if self._is_refused:
            return Usage(0, 0, estimated=True)
        said = self._usage.input_tokens if self._usage else estimate_tokens(self.prompt.size)
        cached = self._usage.cached_tokens if self._usage else 0
        reasoning = estimate_tokens(self._thought)
        output = estimate_tokens(self._said - self._thought) + reasoning
        return Usage(said, output, cached_tokens=cached, reasoning_tokens=reasoning, estimated=True)

    @property
    def bill(self) -> Bill:
        return Bill(self.row, self.usage, self.first_token_ms, self._elapsed())


def retrying(error: ChatError, seconds: float) -> Notice:
    """What readers are told while a call waits for its next try."""
    cause = "High demand" if error.code == "rate_limited" else "The provider did not answer"
    return Notice("retrying", f"{cause}, trying again in {max(1, round(seconds))} s.", round(seconds, 1))
