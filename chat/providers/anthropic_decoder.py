"""A decoder from the stream of the Messages API to events of the site's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from chat.core.events import (
    FinishReason,
    NativeForm,
    Reasoning,
    Remark,
    Signature,
    Token,
    ToolCall,
    ToolCallExtra,
    make_storable,
)
from chat.providers import decoder
from chat.providers.anthropic_content import Content
from chat.providers.anthropic_messages import REDACTED, list_interrupted, write_content_signature, write_native_form
from chat.providers.anthropic_request import ANSWER, has_answer_tool
from chat.providers.base import Prompt
from chat.providers.endings import read_ending
from chat.providers.loose_json import fit, read_delta_text, read_index, read_plain_text, read_string
from chat.providers.native_content import write_extra
from chat.providers.token_counts import TokenCounts
from chat.providers.tool_calls import CallIds, write_json

# Why a model declined, by `stop_details.category`; see the SDK's `RefusalStopDetails`.
_DECLINED: Mapping[str, str] = {
    "cyber": "The model declined: the answer could help with an attack on computers.",
    "bio": "The model declined: the answer could help to cause biological harm.",
    "frontier_llm": "The model declined: the answer could help to build a competing model, which its provider forbids.",
    "reasoning_extraction": "The model declined: it does not write down its own reasoning as an answer.",
    "general_harms": "The model declined: its provider sees a possible harm in the answer.",
}


class _Shape(msgspec.Struct, gc=False):
    """The members that are needed. What a server may send in the place of a text or a number is `Any`."""


class _Message(_Shape):
    usage: Any = None
    content: Any = None
    stop_reason: Any = None
    stop_details: Any = None


class _Delta(_Shape):
    text: Any = None
    thinking: Any = None
    signature: Any = None
    partial_json: Any = None
    citation: Any = None
    stop_reason: Any = None
    stop_details: Any = None


class _Event(_Shape):
    type: Any = None
    index: Any = None
    delta: _Delta | None = None
    content_block: Any = None
    message: _Message | None = None
    usage: Any = None
    error: Any = None


_EVENT = msgspec.json.Decoder(_Event)

_TYPES = frozenset(
    {
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "ping",
    }
)

_OUR_MEMBERS = frozenset({"type", "id", "name", "input", "text", "thinking", "data", "citations"})


class MessagesDecoder(decoder.Decoder):
    """The end marker is `message_stop`; what it means was said in a `message_delta` before it."""

    def __init__(self, max_line_bytes: int, prompt: Prompt) -> None:
        super().__init__(max_line_bytes, prompt, TokenCounts(prompt.size, is_cache_apart=True))
        self._model = prompt.model
        self._ids = CallIds(prompt)
        self._answer = ANSWER if has_answer_tool(prompt) else ""
        self._calls: dict[int | None, decoder.TextKind] = {}
        self._latest: decoder.TextKind | None = None  # the call whose block was begun last
        self._unsaid: dict[decoder.TextKind, str] = {}
        self._signature: list[str] = []
        self._content = Content(list_interrupted(prompt))
        self._is_paused = False
        self._declined = ""  # why, in a sentence for readers

    def _read_event(self, name: bytes, data: bytes) -> None:
        if name == b"error":
            raise self._read_failure(name, data)
        if data[:1] != b"{" and decoder.is_heartbeat(name, data):
            return
        event = self._decode(_EVENT, data)
        kind = event.type
        if kind == "content_block_delta" and event.delta is not None:
            self._read_delta(event.index, event.delta)
        else:
            self._read_rare_event(
                event, kind if isinstance(kind, str) and kind in _TYPES else name.decode("latin-1"), data
            )

    def _read_rare_event(self, event: _Event, kind: str, data: bytes) -> None:
        """Read an event that is no piece of text; where its type is missing, the server-sent event names it."""
        match kind:
            case "content_block_delta":
                self._read_delta(event.index, event.delta or _Delta())
            case "content_block_start":
                self._begin_block(event.index, event.content_block)
            case "content_block_stop":
                self._end_block()
            case "message_start":
                if event.message is not None:
                    # The output is a placeholder here; `message_delta` has it.
                    self._report(event.message.usage, has_output=False)
            case "message_delta":
                if event.delta is not None:
                    self._stop(event.delta)
                self._report(event.usage)
            case "message_stop":
                self._report(event.usage)
                self._conclude()
            case _:
                self._look_for_error(data)

    def _report_usage(self, body: dict[str, Any]) -> None:
        self._report(body.get("usage"))

    def _read_whole(self, body: dict[str, Any]) -> None:
        message = fit(body, _Message)
        blocks = message.content if isinstance(message.content, list) else [message.content]
        for place, block in enumerate(blocks):
            self._begin_block(place, {"type": "text", "text": block} if isinstance(block, str) else block)
        self._report(message.usage)
        self._stop(message)

    def _stop(self, message: _Delta | _Message) -> None:
        """Note why the answer ends."""
        if (ending := read_ending(message.stop_reason)) is None:
            return
        self._ending = ending
        self._is_paused = message.stop_reason == "pause_turn"
        if ending.reason == "content_filter" and isinstance(message.stop_details, dict):
            self._declined = _DECLINED.get(read_string(message.stop_details.get("category")), "")

    def _add_before_end(self) -> None:
        """Add the sources, and the blocks to be sent back, where the published events do not hold all of them."""
        self._end_block(is_last=True)
        if not self._calls and not self._is_paused:
            for text in self._content.texts:
                self._sources.note_links(text)
            self._add_sources()
        if self._declined:
            self._batch.put(Remark("refused", self._declined))
        if self._answer:
            return
        if self._is_paused or self._content.is_special:
            self._batch.put(Signature(write_content_signature(self._model, self._content.blocks)))
        if kept := write_native_form(self._model, self._content.blocks):
            self._batch.put(NativeForm(kept))

    def _choose_finish_reason(self, reason: FinishReason) -> FinishReason:
        if self._is_paused:
            return "pause"
        has_calls = any(kind is not Token for kind in self._calls.values())
        if reason in ("stop", "tool_calls"):
            return "tool_calls" if has_calls or (reason == "tool_calls" and not self._calls) else "stop"
        return reason

    def _read_delta(self, index: object, delta: _Delta) -> None:
        if type(delta.text) is str and delta.text:
            self._counts.is_running = True
            self._content.add("text", delta.text)
            self._add_model_text(delta.text)
        elif delta.partial_json:
            kind = self._calls.get(read_index(index), self._latest)
            if kind is not None and (piece := write_json(delta.partial_json)):
                self._counts.is_running = True
                self._unsaid.pop(kind, None)
                self._batch.add_text(kind, piece)
            self._content.add_arguments(write_json(delta.partial_json), read_index(index))
        elif isinstance(delta.signature, str) and delta.signature:
            self._signature.append(delta.signature)
            self._content.add("signature", delta.signature)
        elif delta.citation is not None:
            self._content.cite(delta.citation)
            self._cite(delta.citation)
        else:
            self._content.add("thinking", read_plain_text(delta.thinking))
            if delta.thinking == "":
                self._note_thinking()
            self._add(Reasoning, delta.thinking)
            self._add(Token, read_delta_text(delta.text))

    def _begin_block(self, index: object, block: object) -> None:
        """Begin a block.

        Only `tool_use` is a call for us to answer; a `server_tool_use` is the provider's own, which wants it back with
        its result.
        """
        self._end_block()
        if not isinstance(block, dict):
            return
        kind = _find_type(block)
        self._content.begin(kind, block, read_index(index))
        for citation in block["citations"] if isinstance(block.get("citations"), list) else []:
            self._cite(citation)
        if kind == "tool_use":
            self._end_text()
            call = self._calls[read_index(index)] = self._latest = self._find_kind(block)
            if block.get("input") is not None:
                self._unsaid[call] = write_json(block["input"])
        elif kind == "text":
            self._begins_paragraph = self._content.begins_paragraph
            self._add(Token, block.get("text"))
        elif kind == "thinking":
            self._add(Reasoning, block.get("thinking"))
            if signature := read_string(block.get("signature")):
                self._signature.append(signature)
        elif kind == "redacted_thinking" and (data := read_string(block.get("data"))):
            self._batch.put(Signature(REDACTED + make_storable(data)))
        if kind not in ("tool_use", "text"):
            self._note_thinking()

    def _cite(self, citation: object) -> None:
        """Note a page of the web that a text is based on. Places in the question's own documents have no address."""
        if isinstance(citation, dict):
            self._sources.add(citation.get("url") or citation.get("source"), citation.get("title"))

    def _add(self, kind: type[Token | Reasoning], sent: object) -> None:
        text = read_plain_text(sent)
        if text and kind is Token:
            self._counts.is_running = True
            self._add_model_text(text)
        elif text:
            self._counts.is_running = True
            self._batch.add_text(kind, text)

    def _find_kind(self, block: dict[str, Any]) -> decoder.TextKind:
        """Return what a call's arguments are: the answer's own text, or the arguments of a call that begins now."""
        name = read_string(block.get("name"))
        if self._answer and name == self._answer:
            return Token
        call_id = self._ids.take(read_string(block.get("id")))
        self._content.set_call_id(call_id)
        self._batch.put(ToolCall(call_id, make_storable(name)))
        extra = write_extra(self._model, {key: value for key, value in block.items() if key not in _OUR_MEMBERS})
        if extra:
            self._batch.put(ToolCallExtra(call_id, extra))
        return call_id

    def _end_block(self, *, is_last: bool = False) -> None:
        """Add the signature, which is whole now, and the arguments that a call had at its beginning and in no delta.

        Some servers never say that a block has ended: the next one's beginning does. `{}` holds the place of arguments
        that may come later: gateways before models of OpenAI's format begin all calls before their deltas.
        """
        if self._signature:
            self._batch.put(Signature("".join(self._signature)))
            self._signature.clear()
        for kind, arguments in list(self._unsaid.items()):
            if is_last or arguments != "{}":
                self._batch.add_text(kind, arguments)
                del self._unsaid[kind]

    def _report(self, usage: object, *, has_output: bool = True) -> None:
        """Take the figures of a report, which is cumulative, and leaves out what it does not know."""
        if not isinstance(usage, dict):
            return
        details = usage.get("output_tokens_details")
        self._counts.report(
            input=usage.get("input_tokens"),
            cached=usage.get("cache_read_input_tokens"),
            written=usage.get("cache_creation_input_tokens"),
            written_hour=_get_member(usage.get("cache_creation"), "ephemeral_1h_input_tokens"),
            searches=_get_member(usage.get("server_tool_use"), "web_search_requests"),
            output=usage.get("output_tokens") if has_output else None,
            reasoning=details.get("thinking_tokens") if isinstance(details, dict) else details,
        )


def _get_member(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, dict) else None


def _find_type(block: dict[str, Any]) -> str:
    """Return the kind of a block: what it says, or what follows from its members."""
    if isinstance(kind := block.get("type"), str):
        return kind
    if isinstance(block.get("name"), str) and "input" in block:
        return "tool_use"
    kinds = (("thinking", "thinking"), ("text", "text"), ("data", "redacted_thinking"))
    return next((kind for member, kind in kinds if isinstance(block.get(member), str)), "")
