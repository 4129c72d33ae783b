"""How a test of the providers hears an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

import pytest

from chat.core.errors import ChatError
from chat.core.events import (
    Finish,
    FinishReason,
    NativeForm,
    ProviderEvent,
    Reasoning,
    Signature,
    Token,
    ToolArguments,
    ToolCall,
    ToolCallExtra,
    Usage,
)
from chat.providers.base import THINKING, CalledTool, Prompt, Provider, Thinking, Turn, is_sign_of_life
from tests.provider_server import Script

OPENAI = pytest.mark.parametrize("name", ["openai"], indirect=True)
ANTHROPIC = pytest.mark.parametrize("name", ["anthropic"], indirect=True)

KEY = "sk-test-51f0c2a7e9b84d36"
PROMPT = Prompt("test-model", (Turn("system", "Be brief."), Turn("user", "Why is the sky blue?")))
TOUR = replace(PROMPT, model="tour")
TEXT = "Scattering: blue light, more than red, is scattered by air."

# Long enough for any machine; a test that waits this long has failed.
PATIENCE = 20.0
# How soon after its reader has gone an upstream connection must be closed.
CLOSES_WITHIN = 0.5

AFTER = 21

REFUSALS = [
    pytest.param(Script(status=401), "auth_failed", id="401"),
    pytest.param(Script(status=403), "auth_failed", id="403"),
    pytest.param(Script(status=400), "bad_request", id="400"),
    pytest.param(Script(status=404), "bad_request", id="404"),
    pytest.param(Script(status=422), "bad_request", id="422"),
    pytest.param(Script(context_length=True), "context_length", id="400 context length"),
    pytest.param(Script(status=413, context_length=True), "context_length", id="413 context length"),
    pytest.param(Script(content_filter=True), "content_filter", id="400 content filter"),
    pytest.param(Script(status=429), "rate_limited", id="429"),
    pytest.param(Script(status=500), "upstream_error", id="500"),
    pytest.param(Script(status=502, html_page=True), "upstream_error", id="502 web page"),
    pytest.param(Script(status=503), "upstream_error", id="503"),
    pytest.param(Script(status=529), "upstream_error", id="529"),
    pytest.param(Script(status=408), "timeout", id="408"),
    pytest.param(Script(status=504), "timeout", id="504"),
    pytest.param(Script(html_page=True), "upstream_error", id="200 web page"),
    pytest.param(Script(raw='{"greeting": "hello"}', raw_type="application/json"), "upstream_error", id="200 JSON"),
]

FAULTS = [
    pytest.param(Script(error_event_after=AFTER, error_type="overloaded_error"), "upstream_error", id="overloaded"),
    pytest.param(Script(error_event_after=AFTER, error_type="api_error"), "upstream_error", id="api error"),
    pytest.param(Script(error_event_after=AFTER, error_type="server_error"), "upstream_error", id="server error"),
    pytest.param(Script(error_event_after=AFTER, error_type="rate_limit_error"), "rate_limited", id="rate limit"),
    pytest.param(Script(malformed_json_after=AFTER), "upstream_error", id="malformed JSON"),
    pytest.param(Script(eof_after=AFTER), "upstream_error", id="clean EOF"),
    pytest.param(Script(long_line_after=AFTER, long_line=9_000_000), "upstream_error", id="long line"),
]

DROPS = [
    pytest.param(Script(drop_after=AFTER, drop_by="reset"), id="reset"),
    pytest.param(Script(drop_after=AFTER, drop_by="close"), id="close"),
]

Make = Callable[..., Provider]


@dataclass(frozen=True)
class Heard:
    """What one answer brought, and how it failed if it did."""

    events: Sequence[ProviderEvent]
    error: ChatError | None = None

    @property
    def text(self) -> str:
        return "".join(event.content for event in self.events if isinstance(event, Token))

    @property
    def reasoning(self) -> str:
        return "".join(event.content for event in self.events if isinstance(event, Reasoning))

    @property
    def finishes(self) -> list[FinishReason]:
        return [event.reason for event in self.events if isinstance(event, Finish)]

    @property
    def usage(self) -> Usage | None:
        """The last one wins."""
        return next((event for event in reversed(self.events) if isinstance(event, Usage)), None)

    @property
    def calls(self) -> list[CalledTool]:
        """The tool calls in the order in which they began, with what came of their arguments."""
        arguments: dict[str, str] = {}
        for event in self.events:
            if isinstance(event, ToolArguments):
                arguments[event.id] = arguments.get(event.id, "") + event.delta
        begun = [event for event in self.events if isinstance(event, ToolCall)]
        extras = {event.id: event.content for event in self.events if isinstance(event, ToolCallExtra)}
        return [CalledTool(call.id, call.name, arguments.get(call.id, ""), extras.get(call.id, "")) for call in begun]

    @property
    def thinking(self) -> tuple[Thinking, ...]:
        """The reasoning as the next call of the same turn takes it back."""
        blocks, text = [], ""
        for event in self.events:
            if isinstance(event, Reasoning):
                text += event.content
            elif isinstance(event, Signature):
                blocks.append(Thinking(text, event.content))
                text = ""
        return tuple(blocks)

    @property
    def native_form(self) -> str:
        """What later turns send back in the place of the text."""
        return next((event.content for event in self.events if isinstance(event, NativeForm)), "")

    @property
    def kinds(self) -> list[str]:
        """The kinds of events in their order, neighbours of one kind taken together, usage left out."""
        names = [type(event).__name__ for event in self.events if not isinstance(event, Usage)]
        return [name for place, name in enumerate(names) if place == 0 or names[place - 1] != name]


async def do_nothing(text: str) -> None:
    pass


async def hear(
    provider: Provider, prompt: Prompt = PROMPT, each: Callable[[str], Awaitable[None]] = do_nothing
) -> Heard:
    """Read one answer to its end; `each` is told the text so far after every batch."""
    events: list[ProviderEvent] = []
    try:
        async with asyncio.timeout(PATIENCE), aclosing(provider.stream(prompt)) as batches:
            async for batch in batches:
                if not is_sign_of_life(batch):
                    events += [event for event in batch if event is not THINKING]
                    await each(Heard(events).text)
    except ChatError as error:
        return Heard(events, error)
    return Heard(events)


async def complete(provider: Provider, prompt: Prompt = PROMPT) -> Heard:
    """Have one answer whole."""
    try:
        async with asyncio.timeout(PATIENCE):
            return Heard(await provider.complete(prompt))
    except ChatError as error:
        return Heard([], error)


def get_failure(heard: Heard) -> ChatError:
    assert heard.error is not None, f"no failure: {heard.events}"
    assert not heard.finishes
    return heard.error
