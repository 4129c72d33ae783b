"""A decoder from the stream of Chat Completions to events of the site's."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from chat.core.events import FinishReason, NativeForm, Reasoning, Signature
from chat.providers import decoder
from chat.providers.base import Prompt
from chat.providers.endings import read_ending
from chat.providers.errors import describe_stream_failure, has_content
from chat.providers.growing_text import GrowingText
from chat.providers.loose_json import fit, list_texts, read_index, read_plain_text
from chat.providers.native_content import write_extra
from chat.providers.reasoning_details import ReasoningDetails, get_details_text
from chat.providers.token_counts import TokenCounts, report_openai_usage
from chat.providers.tool_calls import CallGatherer, read_pieces

# DeepSeek and Kimi refuse a tool's result unless the reasoning before the call comes with it, Groq and Mistral refuse
# fields that they do not send themselves. So reasoning goes back under the name it came by, which is its signature.
REASONING_FIELDS = ("reasoning_content", "reasoning", "reasoning_text", "thinking")
FIELD = "field:"


class _Shape(msgspec.Struct, gc=False):
    """The members that are needed. What a server may send in the place of a text or a number is `Any`."""


class _Delta(_Shape):
    content: Any = None
    refusal: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    reasoning_text: Any = None
    thinking: Any = None
    reasoning_details: Any = None  # OpenRouter, MiniMax
    annotations: Any = None
    tool_calls: Any = None
    function_call: Any = None  # what `tool_calls` was called first


class _Choice(_Shape):
    index: Any = None
    delta: _Delta | None = None
    message: _Delta | None = None
    text: Any = None  # the format that was there before messages
    finish_reason: Any = None
    usage: Any = None  # where Moonshot has it
    error: Any = None  # OpenRouter, of the provider behind it


class _Groq(_Shape):
    usage: Any = None
    error: Any = None  # why the answer was cut off


class _Chunk(_Shape):
    choices: list[_Choice] | None = None
    usage: Any = None
    error: Any = None
    x_groq: _Groq | None = None
    search_results: Any = None  # Perplexity
    citations: Any = None  # Perplexity, xAI
    web_search: Any = None  # Zhipu


_CHUNK = msgspec.json.Decoder(_Chunk)

_DONE = re.compile(rb"""\s*["']?\s*\[?\s*DONE\s*\]?\s*["']?\s*""", re.IGNORECASE)


class ChatCompletionsDecoder(decoder.Decoder):
    """Reads chunks. The end marker is `[DONE]`.

    The end of the body is one too where a finish reason came before it, in a chunk of its own after the text: servers
    that say "stop" with each piece of text say nothing by it.
    """

    keeps_text = True

    def __init__(self, max_line_bytes: int, prompt: Prompt) -> None:
        super().__init__(max_line_bytes, prompt, TokenCounts(prompt.size))
        self._calls = CallGatherer(self._batch, prompt)
        self._thinking = ""
        self._text, self._thought = GrowingText(), GrowingText()
        self._details = ReasoningDetails(prompt.model)
        self._model = prompt.model
        self._cited: Any = None  # the pages that came beside the text
        self._has_spoken = False
        self._is_premature = False  # text came with a finish reason, or after one
        self._is_overtaken = False  # text came after the last one

    @property
    def may_end(self) -> bool:
        return self._ending is not None and self._has_spoken and not self._is_premature

    def _read_event(self, name: bytes, data: bytes) -> None:
        if name == b"error":
            raise self._read_failure(name, data)
        if data[:1] != b"{" and self._is_no_chunk(name, data):
            return
        chunk = self._decode(_CHUNK, data)
        choices = chunk.choices
        reported: list[Any] = []
        if choices:
            choice = choices[0] if len(choices) == 1 else _pick_choice(choices)
            if (chunk.error or choice.error or chunk.x_groq is not None) and (reported := _list_errors(chunk, choice)):
                choice.finish_reason = None  # beside an error the word means nothing
            self._read_choice(choice)
            self._add_annotations(choice)
        if chunk.usage:
            report_openai_usage(self._counts, chunk.usage)
        elif chunk.x_groq is not None:
            report_openai_usage(self._counts, chunk.x_groq.usage)
        if chunk.error or not choices:
            self._look_for_error(data)
        if reported:
            raise describe_stream_failure({"errors": reported})
        if chunk.search_results or chunk.citations or chunk.web_search:
            self._cited = chunk.search_results or chunk.citations or chunk.web_search

    def _is_no_chunk(self, name: bytes, data: bytes) -> bool:
        """Return whether this is the end marker, or a sign of life."""
        if _DONE.fullmatch(data):
            self._conclude()
            return True
        return decoder.is_heartbeat(name, data)

    def _report_usage(self, body: dict[str, Any]) -> None:
        report_openai_usage(self._counts, body.get("usage"))

    def _read_whole(self, body: dict[str, Any]) -> None:
        self._report_usage(body)
        completion = fit(body, _Chunk)
        if completion.choices:
            choice = _pick_choice(completion.choices)
            choice.delta = choice.message or choice.delta or _Delta(content=choice.text)
            if choice.delta is not None:
                self._read_delta(choice.delta, is_whole=True)
            self._add_annotations(choice)
            self._ending = read_ending(choice.finish_reason)
            if reported := _list_errors(completion, choice):
                raise describe_stream_failure({"errors": reported})
        self._cited = completion.search_results or completion.citations or completion.web_search

    def _read_choice(self, choice: _Choice) -> None:
        delta, is_whole = choice.delta, False
        if delta is None and not self._has_spoken and choice.message is not None:
            delta, is_whole = choice.message, True  # a whole answer as the only event of a stream
        if delta is None and choice.text:
            delta = _Delta(content=choice.text)
        has_text = delta is not None and self._read_delta(delta, is_whole=is_whole)
        if has_text:
            self._has_spoken = self._counts.is_running = True
            if self._ending is not None:
                self._is_premature, self._is_overtaken = True, True
        if choice.finish_reason and (ending := read_ending(choice.finish_reason)) is not None:
            # What was said of the end of the same text may get worse, not better.
            if self._ending is None or self._is_overtaken or not self._ending.is_worse_than(ending):
                self._ending, self._is_overtaken = ending, False
            if has_text and not is_whole:
                self._is_premature = True
        if choice.usage:
            report_openai_usage(self._counts, choice.usage)

    def _read_delta(self, delta: _Delta, *, is_whole: bool = False) -> bool:
        """Add what one delta brings, and return whether it brings anything of the answer."""
        content = delta.content
        if (
            type(content) is str
            and delta.tool_calls is None
            and not (delta.reasoning_content or delta.reasoning or delta.reasoning_details)
            and not (delta.reasoning_text or delta.thinking or delta.function_call)
        ):
            if content:  # nearly always
                if self._thinking:
                    self._seal()
                self._add_model_text(content if self._text.is_plain else self._text.take(content))
                return True
            if not delta.refusal:
                return False
        return self._read_rare_delta(delta, is_whole=is_whole)

    def _read_rare_delta(self, delta: _Delta, *, is_whole: bool) -> bool:
        has_text = self._add_reasoning(delta)
        content = delta.content
        if type(content) in (int, float):
            content = str(content)  # some gateways write a token of digits as a number
        for text, is_reasoning in list_texts(content or delta.refusal):
            has_text = True
            if is_reasoning:
                self._think("content", text)
            else:
                self._seal()
                self._add_model_text(self._text.take(text))
        if pieces := read_pieces(delta.tool_calls or delta.function_call):
            self._seal()
            self._end_text()
            if is_whole:
                # Here a place is enough to tell calls apart, whatever their ids are.
                for place, piece in enumerate(pieces):
                    piece.index = place
            self._calls.add(pieces)
            has_text = True
        return has_text

    def _add_reasoning(self, delta: _Delta) -> bool:
        """Add the reasoning of a delta, by the first of its names, and return whether it has any."""
        has_text = False
        for name in REASONING_FIELDS:
            reasoning = getattr(delta, name)
            if reasoning == "":
                self._note_thinking()
            elif thought := read_plain_text(reasoning):
                self._think(name, thought)
                has_text = True
                break
        if isinstance(delta.reasoning_details, list):
            has_text = self._add_details(delta.reasoning_details, has_text=has_text) or has_text
        return has_text

    def _add_details(self, sent: list[Any], *, has_text: bool) -> bool:
        """Keep reasoning with what belongs to it, and tell its text where no other field has. Return whether it has."""
        self._details.add(sent)
        text = "" if has_text else get_details_text(sent)
        if text:
            self._calls.release()
            self._batch.add_text(Reasoning, text)
        return bool(text)

    def _think(self, name: str, text: str) -> None:
        self._thinking = name
        self._calls.release()
        self._batch.add_text(Reasoning, self._thought.take(text))

    def _end_text(self) -> None:
        """See `Decoder`. What was held back because it seemed to be a repetition is added first."""
        self._release_thought()
        if text := self._text.release():
            self._add_model_text(text)
        super()._end_text()

    def _release_thought(self) -> None:
        if thought := self._thought.release():
            self._batch.add_text(Reasoning, thought)

    def _seal(self) -> None:
        self._release_thought()
        if self._thinking:
            self._batch.put(Signature(FIELD + self._thinking))
            self._thinking = ""
        if signature := self._details.take_signature():
            self._batch.put(Signature(signature))

    def _add_annotations(self, choice: _Choice) -> None:
        """Note the pages that a delta cites, or the whole message that some servers end a stream with."""
        for part in (choice.delta, choice.message):
            if part is not None and isinstance(part.annotations, list):
                for annotation in part.annotations:
                    self._sources.add_annotation(annotation)

    def _add_before_end(self) -> None:
        self._seal()
        self._calls.end()
        if self._calls.has_any:
            return
        self._sources.add_list(self._cited)
        self._batch.flush()
        text = "".join(self._batch.texts)
        self._sources.note_links(text)
        if self._add_sources() and (content := write_extra(self._model, {"length": len(text)})):
            self._batch.put(NativeForm(content))

    def _choose_finish_reason(self, reason: FinishReason) -> FinishReason:
        # Many servers say "stop" where the model waits for its tools.
        return "tool_calls" if reason == "stop" and self._calls.has_any else reason


def _list_errors(chunk: _Chunk, choice: _Choice) -> list[Any]:
    """Return what a chunk says of a failure: by itself, in its answer, and in the part that Groq adds."""
    of_groq = None if chunk.x_groq is None else chunk.x_groq.error
    return [error for error in (chunk.error, choice.error, of_groq) if has_content(error)]


def _pick_choice(choices: list[_Choice]) -> _Choice:
    """Return the one answer that was asked for."""
    return next((choice for choice in choices if read_index(choice.index) == 0), choices[0])
