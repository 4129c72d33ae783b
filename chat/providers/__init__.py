"""Providers: who answers. A provider is a class and one dotted path in `PROVIDERS`, imported on first use.

Nothing here reads Django's settings; a provider is given its configuration when it is made.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, Protocol
from weakref import WeakKeyDictionary

from chat.events import ProviderEvent

PROVIDERS: dict[str, str] = {
    "openai": "chat.providers.openai.OpenAIProvider",
    "anthropic": "chat.providers.anthropic.AnthropicProvider",
    "demo": "chat.providers.demo.DemoProvider",
}


@dataclass(frozen=True, slots=True)
class ToolSchema:
    """A tool as the model is told of it; `parameters` is the JSON schema of its arguments, an object."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Called:
    """A call that the model made; `arguments` is what it wrote, JSON or not."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Thinking:
    """A block of the model's reasoning and the `chat.events.Signature` that ended it. The text may be empty. An adapter
    leaves out what its own provider did not sign."""

    text: str
    signature: str


@dataclass(frozen=True, slots=True)
class Turn:
    """One message as a provider reads it. An assistant's turn is `thinking`, then `content`, then `calls`; one that
    went in another order is several turns. A tool's turn is the result of the call `call_id`, an error when not `ok`.
    """

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    calls: tuple[Called, ...] = ()
    thinking: tuple[Thinking, ...] = ()
    call_id: str = ""
    ok: bool = True


@dataclass(frozen=True, slots=True)
class Prompt:
    """Everything a provider needs for one upstream call. `tool_choice` names the one tool that the model must call;
    empty, the model chooses. `response_schema` is the JSON schema that the answer's text must follow, an object's;
    give no tools with it."""

    model: str
    turns: tuple[Turn, ...]
    max_output_tokens: int | None = None
    temperature: float | None = None
    tools: tuple[ToolSchema, ...] = ()
    tool_choice: str = ""
    response_schema: Mapping[str, Any] | None = None

    @property
    def size(self) -> int:
        """Characters of all that is said in it."""
        return sum(len(turn.content) + sum(len(call.arguments) for call in turn.calls) for turn in self.turns)


class Provider(Protocol):
    """Brings one answer, as it is said or whole. Implementations keep one HTTP client each, to reuse connections."""

    def stream(self, prompt: Prompt) -> AsyncGenerator[Sequence[ProviderEvent], None]:
        """Make one upstream call and yield what each network read brought, never an empty batch.

        A well ended answer yields one `Finish`, and nothing is raised after it. `Usage` may come more than once, before
        `Finish` or after it: the last one counts.
        A stream that ends without the provider's end marker raises `ChatError("upstream_error")`; every other
        failure is a `ChatError` too. Closing the generator closes the upstream connection. No call is retried
        and no timeout but that of connecting is kept here: the runner does both, in sight of the user.
        """
        ...

    async def complete(self, prompt: Prompt) -> Sequence[ProviderEvent]:
        """Make one upstream call that does not stream, and return what the answer consists of: the events that a stream
        would have brought, each text in one piece, with a `Finish` and at most one `Usage`.

        Fails as a stream does, with nothing to keep. Cancelling it closes the upstream connection.
        """
        ...

    async def aclose(self) -> None:
        """Close the HTTP client."""
        ...


class UnknownProviderError(LookupError):
    """A model names a provider that is not in `PROVIDERS`."""


class Pool:
    """The providers of this process, each made once per event loop: an HTTP client cannot change its loop."""

    def __init__(self, configuration: Mapping[str, Mapping[str, Any]]) -> None:
        self._configuration = configuration
        self._made: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Provider]] = WeakKeyDictionary()

    def get(self, name: str) -> Provider:
        """The provider called `name`; raises `UnknownProviderError`. Call it with the loop running."""
        made = self._made.setdefault(asyncio.get_running_loop(), {})
        if name not in made:
            made[name] = _load(name)(**self._configuration.get(name, {}))
        return made[name]

    def warm(self, names: Iterable[str]) -> None:
        """Make these providers now: importing an SDK and building its client holds the event loop for a second."""
        for name in names:
            self.get(name)

    async def aclose(self) -> None:
        """Close the clients that the running loop made."""
        for provider in self._made.pop(asyncio.get_running_loop(), {}).values():
            await provider.aclose()


def _load(name: str) -> type[Any]:
    try:
        module, _, attribute = PROVIDERS[name].rpartition(".")
    except KeyError:
        raise UnknownProviderError(name) from None
    provider: type[Any] = getattr(import_module(module), attribute)
    return provider
