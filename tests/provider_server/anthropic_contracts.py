"""What today's Claude models refuse and how they count their cache, written down apart from the site's own table.

A model with a contract is strict: it refuses what the real one refuses, in its words, signs its thoughts, wants them
back unchanged, and counts what it reads from its cache and writes to it. Any other model takes everything.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from chat.core.events import Usage
from tests.provider_server.wire import Json, Refusal

FIVE = ("low", "medium", "high", "xhigh", "max")
FOUR = ("low", "medium", "high", "max")


@dataclass(frozen=True, kw_only=True)
class Contract:
    """`thinking` are the types that the model accepts, the first one what it does when none is sent."""

    thinking: tuple[Literal["adaptive", "disabled", "enabled", "between_tools"], ...]
    efforts: tuple[str, ...] = FIVE
    sampling: bool = False
    prefill: bool = False
    forced: bool = True
    longest: int = 128_000
    window: int = 1_000_000
    least_cached: int = 512
    """Tokens of the shortest prompt that the model keeps in its cache."""
    binds: bool = False
    """Its thoughts are bound to everything that stood before them: since Fable 5.1."""


_ALWAYS = Contract(thinking=("adaptive",), forced=False, binds=True)
_ON = Contract(thinking=("adaptive", "disabled"))
_OFF = Contract(thinking=("disabled", "adaptive"), least_cached=1_024)
_BUDGET = Contract(
    thinking=("disabled", "enabled"),
    efforts=(),
    sampling=True,
    prefill=True,
    longest=64_000,
    window=200_000,
    least_cached=1_024,
)

CONTRACTS = {
    "claude-fable-5-2": _ALWAYS,
    "claude-opus-5-5": _ALWAYS,
    "claude-sonnet-5-5": Contract(thinking=("adaptive", "between_tools"), forced=False, binds=True),
    "claude-haiku-5-5": replace(_ON, binds=True),
    "claude-opus-5": _ON,
    "claude-sonnet-5": _ON,
    "claude-opus-4-8": _OFF,
    "claude-opus-4-7": _OFF,
    "claude-opus-4-6": Contract(
        thinking=("disabled", "adaptive", "enabled"), efforts=FOUR, sampling=True, least_cached=4_096
    ),
    "claude-sonnet-4-6": Contract(
        thinking=("disabled", "adaptive", "enabled"), efforts=FOUR, sampling=True, least_cached=1_024
    ),
    "claude-opus-4-5": Contract(
        thinking=("disabled", "enabled"),
        efforts=("low", "medium", "high"),
        sampling=True,
        prefill=True,
        longest=64_000,
        window=200_000,
        least_cached=4_096,
    ),
    "claude-haiku-4-5": _BUDGET,
}

# Members of the SDK's `MessageCreateParams`, and what older models still take.
_MEMBERS = (
    *("model", "max_tokens", "messages", "cache_control", "container", "diagnostics", "inference_geo", "metadata"),
    *("output_config", "service_tier", "speed", "stop_sequences", "stream", "system", "thinking", "tool_choice"),
    *("tools", "temperature", "top_p", "top_k"),
)

# The real API counts otherwise; the site has to rely on the count that the server reports.
BYTES_A_TOKEN = 4


def sign_thought(model: str, thought: str) -> str:
    """Return what the model signs a thought with."""
    return b64encode(hashlib.sha256(f"{model}\n{thought}".encode()).digest()).decode()


@dataclass
class StrictModels:
    """What one server remembers: what its models have said, what their caches hold, and what it will bill."""

    said: dict[str, list[Json]] = field(default_factory=dict)  # the content of an answer, by each call in it
    cache: set[tuple[str, str]] = field(default_factory=set)
    bound: set[tuple[str, str]] = field(default_factory=set)  # signatures, each with the digest of what stood before
    invoice: dict[str, Usage] = field(default_factory=dict)

    def find_complaint(self, request: Json) -> Refusal | None:
        """Return what the model refuses in this request; None for a model without a contract."""
        contract = CONTRACTS.get(request["model"])
        if contract is None:
            return None
        words = next(self._list_complaints(request, contract), None)
        return None if words is None else Refusal(400, "invalid_request_error", words)

    def count(self, request: Json, output_tokens: int, reasoning_tokens: int) -> Usage:
        """Return what the call is billed, and keep what it writes to the cache."""
        model = request["model"]
        prefixes = list(_list_prefixes(request))
        tokens = [size // BYTES_A_TOKEN for size, _ in prefixes]
        total = tokens[-1]
        cached = written = 0
        if request.get("cache_control") and total >= CONTRACTS[model].least_cached:
            hits = [size for size, (_, digest) in zip(tokens, prefixes, strict=True) if (model, digest) in self.cache]
            cached = max(hits, default=0)
            written = total - cached
            self.cache.update((model, digest) for _, digest in prefixes)
        usage = Usage(total, output_tokens, cached, reasoning_tokens, written_tokens=written)
        self.invoice[model] = self.invoice.get(model, Usage(0, 0)) + usage
        return usage

    def remember(self, request: Json, content: list[Json]) -> None:
        """Keep an answer, so that its thoughts can be told from altered ones."""
        parts = [*_list_parts(request), *(("assistant", block) for block in content)]
        self.bound.update(_list_bindings(request, parts))
        self.said.update({block["id"]: content for block in content if block["type"] == "tool_use"})

    def _list_complaints(self, request: Json, contract: Contract) -> Iterator[str]:
        yield from (f"{name}: Extra inputs are not permitted" for name in request if name not in _MEMBERS)
        if request["max_tokens"] > contract.longest:
            yield (
                f"max_tokens: {request['max_tokens']} > {contract.longest}, which is the maximum allowed number of "
                f"output tokens for {request['model']}"
            )
        yield from _check_thinking(request, contract)
        yield from _check_output(request, contract)
        if request["messages"][-1]["role"] == "assistant" and not contract.prefill and not _is_paused(request):
            yield (
                "This model does not support assistant message prefill. The conversation must end with a user message."
            )
        yield from self._check_thoughts(request)

    def _check_thoughts(self, request: Json) -> Iterator[str]:
        """Yield complaints where thoughts are not the model's own, are changed, or are missing from the tool loop."""
        messages = request["messages"]
        for place, message in enumerate(messages):
            blocks = message["content"] if isinstance(message["content"], list) else []
            for number, block in enumerate(blocks):
                if block["type"] == "thinking" and block["signature"] != sign_thought(
                    request["model"], block["thinking"]
                ):
                    yield f"messages.{place}.content.{number}: Invalid `signature` in `thinking` block"
        if CONTRACTS[request["model"]].binds and not set(_list_bindings(request, _list_parts(request))) <= self.bound:
            yield (
                "messages.1.content.0: Invalid `signature` in `thinking` block. The block is bound to a different "
                "conversation. Remove the block, or set `thinking.block_binding.prefix_mismatch_behavior` to "
                '"drop_block".'
            )
        if not _has_results(messages[-1]):
            return
        content = messages[-2]["content"]
        for block in content:
            said = self.said.get(block.get("id", "")) if block["type"] == "tool_use" else None
            is_without = CONTRACTS[request["model"]].binds and not _find_thoughts(content)  # all of them left out
            if said is not None and _find_thoughts(said) != _find_thoughts(content) and not is_without:
                yield (
                    f"messages.{len(messages) - 2}.content: `thinking` or `redacted_thinking` blocks in the latest "
                    "assistant message cannot be modified. These blocks must remain as they were in the original "
                    "response."
                )


def _check_thinking(request: Json, contract: Contract) -> Iterator[str]:
    sent = request.get("thinking") or {"type": contract.thinking[0]}
    kind, effort = sent["type"], (request.get("output_config") or {}).get("effort")
    if kind not in contract.thinking:
        yield (
            f'"thinking.type.{kind}" is not supported for this model. Use "thinking.type.adaptive" and '
            '"output_config.effort" to control thinking behavior.'
        )
    if kind == "enabled" and not 1_024 <= sent["budget_tokens"] < request["max_tokens"]:
        yield "`max_tokens` must be greater than `thinking.budget_tokens`"
    if "thinking" in request and kind in ("disabled", "between_tools") and effort in ("xhigh", "max"):
        yield f'"thinking.type.{kind}" is not supported with effort {effort!r}'
    if effort is not None and effort not in contract.efforts:
        yield f"output_config.effort: This model does not support effort level {effort!r}."
    thinks = kind in ("adaptive", "enabled")
    for name in ("temperature", "top_p", "top_k"):
        if request.get(name) not in (None, 1) and not contract.sampling:
            yield f"`{name}` is deprecated for this model."
        elif request.get(name) not in (None, 1) and thinks:
            yield f"`{name}` may only be set to 1 when thinking is enabled or in adaptive mode."
    if (request.get("tool_choice") or {}).get("type") in ("tool", "any"):
        if not contract.forced:
            yield 'tool_choice: type "tool" and "any" are not supported for this model.'
        elif thinks:
            yield "Thinking may not be enabled when tool_choice forces tool use."


def _check_output(request: Json, contract: Contract) -> Iterator[str]:
    output_format = (request.get("output_config") or {}).get("format")
    for schema in _find_objects(output_format["schema"]) if output_format else ():
        if schema.get("additionalProperties") is not False:
            yield (
                "output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set to false"
            )


Part = tuple[str, Json]
"""A block of a conversation, and whose it is."""


def _list_parts(request: Json) -> list[Part]:
    parts: list[Part] = []
    for message in request["messages"]:
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        parts += [(message["role"], block) for block in blocks]
    return parts


def _list_bindings(request: Json, parts: list[Part]) -> Iterator[tuple[str, str]]:
    """Yield the signature of each thought, and the digest of the tools, the instructions and the parts before it."""
    digest = hashlib.sha256(json.dumps([request.get("tools"), request.get("system")], sort_keys=True).encode())
    for part in parts:
        if part[1]["type"] == "thinking":
            yield part[1]["signature"], digest.hexdigest()
        digest.update(json.dumps(part, sort_keys=True).encode())


def _find_objects(schema: object) -> Iterator[Json]:
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield schema
        for value in schema.values():
            yield from _find_objects(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _find_objects(value)


def _find_thoughts(content: object) -> list[Json]:
    blocks = content if isinstance(content, list) else []
    return [block for block in blocks if block["type"] in ("thinking", "redacted_thinking")]


def _has_results(message: Json) -> bool:
    return isinstance(message["content"], list) and message["content"][0]["type"] == "tool_result"


def _is_paused(request: Json) -> bool:
    last = request["messages"][-1]["content"]
    return isinstance(last, list) and last[-1]["type"] not in ("text", "tool_use")


def _list_prefixes(request: Json) -> Iterator[tuple[int, str]]:
    """Yield each beginning of the prompt that ends with a whole part, as its bytes and their digest."""
    digest, size = hashlib.sha256(), 0
    # Tools come first, then the instructions; what is set for the messages concerns these alone ("Prompt caching").
    settings = {name: request.get(name) for name in ("tool_choice", "thinking", "output_config")}
    parts: list[object] = [request.get("tools"), request.get("system"), settings, *_list_parts(request)]
    for part in parts:
        data = json.dumps(part, ensure_ascii=False, sort_keys=True).encode()
        digest.update(data)
        size += len(data)
        yield size, digest.copy().hexdigest()
