"""The interface of providers, and the prompt that each of them is given. `chat.providers.registry` has them by name."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from chat.core.errors import ChatError
from chat.core.events import Bookmark, Lasting, ProviderEvent, Reasoning, Usage
from chat.providers.capabilities import Capabilities
from chat.providers.native_content import is_read_by

THINKING = Reasoning("")
"""At the end of a batch: the model thinks now, and shows nothing of it."""


@dataclass(frozen=True, slots=True)
class ToolSchema:
    """A tool as it is described to the model; `parameters` is the JSON schema of its arguments, an object."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    size: int = field(init=False, compare=False, repr=False)
    """Characters of all that the model reads of it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", len(self.name) + len(self.description) + _measure_json(self.parameters))


@dataclass(frozen=True, slots=True)
class CalledTool:
    """A call that the model made.

    `arguments` is what it wrote, JSON or not. `extra` is the `chat.core.events.ToolCallExtra` that came with it; an
    adapter leaves out what another model sent.
    """

    id: str
    name: str
    arguments: str
    extra: str = ""


@dataclass(frozen=True, slots=True)
class Thinking:
    """A block of the model's reasoning and the `chat.core.events.Signature` that ended it.

    The text may be empty. An adapter leaves out what its own provider did not sign; where nobody did, the signature is
    empty.
    """

    text: str
    signature: str


UNSIGNED = "unsigned:"
"""The signature of thoughts that nobody signed, for a server that wants some in each of the model's turns."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One message as a provider reads it.

    An assistant's turn is `thinking`, then `content`, then `calls`; one that went in another order is several turns. A
    tool's turn is the result of the call `call_id`, an error when not `ok`. `native_form` is the
    `chat.core.events.NativeForm` of an earlier answer's turn; an adapter leaves out what another model sent.
    """

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    calls: tuple[CalledTool, ...] = ()
    thinking: tuple[Thinking, ...] = ()
    call_id: str = ""
    ok: bool = True
    native_form: str = ""

    def measure_for(self, model: str) -> int:
        """Return the characters that a model reads of it.

        What came in a native form is read by the model that sent it alone. An encrypted one is a little longer than
        the text in it, and a signature stands for the thoughts of which the text is a summary.
        """
        chars = len(self.content) + sum(len(call.arguments) for call in self.calls)
        thought = sum(max(len(part.text), len(part.signature)) for part in self.thinking if part.signature)
        kept = (self.native_form, *(call.extra for call in self.calls))
        return chars + thought + sum(len(extra) for extra in kept if extra and is_read_by(model, extra))


AdaptationKind = Literal[
    "no_tools",
    "no_tool",
    "tools_at_most",
    "no_tool_choice",
    "no_temperature",
    "temperature_at_most",
    "max_completion_tokens",
    "max_tokens",
    "tokens_at_most",
    "no_token_limit",
    "no_stream_options",
    "no_stream",
    "stream_only",
    "adaptive_thinking",
    "no_thinking",
    "effort_none",
    "system_in_question",
    "json_object",
    "schema_in_prompt",
    "loose_schema",
    "output_format",
    "no_reasoning_back",
    "reasoning_back",
    "short_call_ids",
    "no_prefill",
    "no_effort",
    "other_effort",
    "no_caching",
    "responses_api",
    "chat_completions",
    "no_reasoning_summary",
    "no_cache_key",
    "no_background",
    "model_retired",
]


@dataclass(frozen=True, slots=True)
class Adaptation:
    """A change of the request, because the provider refuses it in its usual form.

    See `chat.providers.adaptations`. `value` is the figure that the refusal named, `name` the word for it, where the
    kind has one; a prompt may have several of the kind `no_tool`, each with the name of the tool that is left out.
    """

    kind: AdaptationKind
    value: float | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class Prompt:
    """Everything a provider needs for one upstream call.

    `tool_choice` names the one tool that the model must call; empty, the model chooses. `response_schema` is the JSON
    schema that the answer's text must follow, an object's; give no tools with it. `answer_so_far` is the text that this
    call continues. `effort` is a word of the provider's for how hard the model tries; empty, its own choice.
    `cache_key` names the conversation, so that a provider can read its beginning from the same cache. `capabilities`
    are what is known of what the model takes. `has_own_system` says that the system turn is the user's own and not the
    site's. `is_followed` says that this asks for an answer that readers follow: its provider may keep it where the
    operator allows that, so that it can be taken up again. All other fields are wishes; `adaptations` say which of them
    are left out of the request, or expressed in another way.
    """

    model: str
    turns: tuple[Turn, ...]
    max_output_tokens: int | None = None
    temperature: float | None = None
    tools: tuple[ToolSchema, ...] = ()
    tool_choice: str = ""
    response_schema: Mapping[str, Any] | None = None
    answer_so_far: str = ""
    adaptations: tuple[Adaptation, ...] = ()
    effort: str = ""
    cache_key: str = ""
    has_own_system: bool = False
    is_followed: bool = False
    capabilities: Capabilities = field(default=Capabilities(), repr=False)

    def find_adaptation(self, kind: AdaptationKind) -> Adaptation | None:
        """Return the adaptation of this kind, or None."""
        return next((adaptation for adaptation in self.adaptations if adaptation.kind == kind), None)

    @property
    def size(self) -> int:
        """The characters of all that the model reads.

        That is what was said, what goes back to it in its own form, and the schemas of the tools that it may call and
        of the answer that it is to give.
        """
        chars = sum(turn.measure_for(self.model) for turn in self.turns)
        tools = sum(tool.size for tool in self.remaining_tools)
        return chars + tools + (0 if self.response_schema is None else _measure_json(self.response_schema))

    @property
    def remaining_tools(self) -> tuple[ToolSchema, ...]:
        """The tools without those that its provider refuses, and without those that are more than it takes.

        One that is to be used is among those that it takes.
        """
        if self.find_adaptation("no_tools"):
            return ()
        left_out = {adaptation.name for adaptation in self.adaptations if adaptation.kind == "no_tool"}
        most = self.find_adaptation("tools_at_most")
        tools = tuple(tool for tool in self.tools if tool.name not in left_out)
        if most is None or most.value is None:
            return tools
        return tuple(sorted(tools, key=lambda tool: tool.name != self.tool_choice))[: int(most.value)]


def _measure_json(value: Mapping[str, Any]) -> int:
    """Return the characters of a value as JSON."""
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str))


def is_sign_of_life(batch: Sequence[ProviderEvent]) -> bool:
    """Return whether a stream's batch says only that the connection lives, or that the model thinks."""
    return not batch or (len(batch) == 1 and batch[0] is THINKING)


@dataclass(frozen=True, slots=True)
class Resumption:
    """Everything that is needed to continue a response that the provider keeps.

    `received` is all that came of it, `received_since` what came after the bookmark was made: neither comes again.
    """

    bookmark: Bookmark
    received: tuple[Lasting, ...] = ()
    received_since: tuple[Lasting, ...] = ()


class ResponseGoneError(ChatError):
    """The provider does not have the response any more, or never had it in a form that can be continued."""

    def __init__(self, detail: str) -> None:
        super().__init__("upstream_error", detail, may_pass=False, is_accepted=True)


@runtime_checkable
class ResumableProvider(Protocol):
    """A provider that may keep a response, and then gives `Bookmark`s with its events."""

    def resume(self, prompt: Prompt, resumption: Resumption) -> AsyncGenerator[Sequence[ProviderEvent], None]:
        """Follow a response that an earlier `stream` of this prompt began, from where its reader got to.

        Yields and raises as `stream` does, and `ResponseGoneError` when there is nothing to follow. The model is not
        asked again. The response has to begin with what was received: otherwise this raises
        `ChatError("upstream_error")`.
        """
        ...

    async def cancel(self, prompt: Prompt, bookmark: Bookmark) -> Usage | None:
        """End a response that nobody follows any more; return its figures, where the provider tells them.

        A response that has ended already stays as it is. Raises `ChatError`.
        """
        ...


class Provider(Protocol):
    """Fetches answers, streamed or whole. Each implementation keeps one HTTP client, to reuse its connections."""

    def stream(self, prompt: Prompt) -> AsyncGenerator[Sequence[ProviderEvent], None]:
        """Make one upstream call and yield a batch for each network read: the events that it brought.

        A read that brought none, a ping, a comment or a part of an event, is an empty batch: a sign of life. `THINKING`
        is the last event of a batch after which the model thinks, or a tool of the provider's own runs, and nothing
        shows it (an empty piece of reasoning, the beginning of a block of it). The runner's clocks for a silent
        connection, a thinking model and a text that does not go on depend on these.

        A well ended answer yields one `Finish`, and nothing is raised after it. `Usage` may come more than once, before
        `Finish` or after it: the last one counts.
        A stream that ends without the provider's end marker raises `ChatError("upstream_error")`; every other
        failure is a `ChatError` too. Closing the generator closes the upstream connection. No call is retried
        and no timeout but that of connecting is kept here: the runner does both, in sight of the user.
        """
        ...

    async def complete(self, prompt: Prompt) -> Sequence[ProviderEvent]:
        """Make one upstream call that does not stream, and return what the answer consists of.

        It is the events that a stream would have brought, each text in one piece, with a `Finish` and at most one
        `Usage`.

        Fails as a stream does, with nothing to keep. Cancelling it closes the upstream connection.
        """
        ...

    async def list_models(self) -> dict[str, Mapping[str, Any]]:
        """Return what the provider's own list says of each of its models, by name. Raises `ChatError`."""
        ...

    async def aclose(self) -> None:
        """Close the HTTP client."""
        ...
