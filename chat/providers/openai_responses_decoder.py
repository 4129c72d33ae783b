"""A decoder from the stream of the Responses API to events of the site's."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from chat.core.errors import ChatError
from chat.core.events import (
    Bookmark,
    FinishReason,
    NativeForm,
    ProviderEvent,
    Reasoning,
    ToolCall,
    ToolCallExtra,
    make_storable,
)
from chat.providers import decoder
from chat.providers.base import THINKING, Prompt
from chat.providers.endings import Ending, read_ending
from chat.providers.errors import describe_stream_failure, has_content
from chat.providers.loose_json import list_texts, read_delta_text, read_index, read_plain_text, read_string
from chat.providers.native_content import write_extra
from chat.providers.paragraphs import PARAGRAPH
from chat.providers.token_counts import TokenCounts, report_openai_usage
from chat.providers.tool_calls import CallIds, write_json


class _Event(msgspec.Struct, gc=False):
    """The members that are needed. What a server may send in the place of a text or a number is `Any`."""

    type: Any = None
    sequence_number: Any = None
    delta: Any = None
    item: Any = None
    item_id: Any = None
    output_index: Any = None
    summary_index: Any = None
    text: Any = None
    refusal: Any = None
    part: Any = None
    arguments: Any = None
    response: Any = None
    error: Any = None
    annotation: Any = None


_EVENT = msgspec.json.Decoder(_Event)

# OpenRouter documents the last one.
_TEXT = frozenset({"response.output_text.delta", "response.refusal.delta", "response.content_part.delta"})
_WHOLE_TEXT = frozenset({"response.output_text.done", "response.refusal.done", "response.content_part.done"})
# vLLM and older versions of the API have the last two.
_REASONING = frozenset(
    {
        "response.reasoning_summary_text.delta",
        "response.reasoning_text.delta",
        "response.reasoning_summary.delta",
        "response.reasoning.delta",
    }
)
_BEGINNINGS = frozenset({"response.created", "response.queued", "response.in_progress"})
# OpenRouter documents the last one.
_ENDS = frozenset(
    {"response.completed", "response.incomplete", "response.failed", "response.cancelled", "response.done"}
)

# What is sent back of an item. The API refuses a member that is null.
_REASONING_MEMBERS = ("type", "id", "summary", "content", "encrypted_content")
_MESSAGE_MEMBERS = ("type", "id", "phase")


class ResponsesDecoder(decoder.Decoder):
    """The end marker is the event that has the whole response with its status. `[DONE]` means nothing here.

    The model may say something before its answer, in a message of its own: each is a paragraph.
    An item that came without deltas is read from the event that ends it, and a response that came without items from
    the event that ends the response. Most citations stand in the text too, as links. Events of other kinds hold nothing
    that is shown, and are passed over.
    """

    def __init__(self, max_line_bytes: int, prompt: Prompt, origin: str) -> None:
        super().__init__(max_line_bytes, prompt, TokenCounts(prompt.size))
        self.sequence_number: Any = None
        """Of the event that was read last: from where a response in background mode can be taken up again."""
        self._origin = origin
        self._ids = CallIds(prompt)
        self._calls: dict[object, str] = {}  # ids of the calls, by their item's id and by its place
        self._latest_call = ""
        self._has_arguments: set[str] = set()
        self._items_before: list[dict[str, Any]] = []  # what the next call, or the answer, has to be sent back with
        self._message_length = 0  # characters of the message under way
        self._open: tuple[object, object] = (None, None)  # the id and the place of the item that the last delta is of
        self._has_deltas: set[object] = set()  # ids and places of such items
        self._reasoning_kind = ""  # an item may have its reasoning and a summary of it: the one that comes first counts
        self._summary_index: int | None = None
        self._has_output = False
        self._kept_id = ""  # of the response, if the provider keeps it
        self._marked: int | None = None  # up to where the last bookmark goes
        self._ends_in_thought = False  # what came last of the answer is reasoning
        self._thought_place: int | None = None  # of the item that the last piece of reasoning was of
        self._is_begun = False  # text of the model's has come

    # Bookmarks

    def restore(self, bookmark: Bookmark) -> None:
        """Go on as the decoder that made a bookmark would."""
        state = json.loads(bookmark.state)
        self._kept_id, self.sequence_number, self._marked = bookmark.id, bookmark.number, bookmark.number
        for call_id in state["ids"]:
            self._ids.take(call_id)
        self._calls = dict(state["calls"])
        self._latest_call, self._has_arguments = state["latest_call"], set(state["has_arguments"])
        self._message_length, self._begins_paragraph = state.get("message_length", 0), state.get("is_parted", False)
        self._items_before, self._open = state["items_before"], (state["open"][0], state["open"][1])
        self._has_deltas, self._reasoning_kind = set(state["has_deltas"]), state["reasoning_kind"]
        self._summary_index, self._has_output = state["summary_index"], state["has_output"]
        self._ends_in_thought, self._thought_place = state.get("ends_in_thought", False), state.get("thought_place")
        if state["is_begun"]:
            self._is_begun = self._thoughts.is_over = self._echo.is_over = True
        self._batch.output_chars, self._batch.reasoning_chars = state["said"], state["thought"]

    def _get_state(self) -> str:
        state = {
            "ids": list(dict.fromkeys(self._calls.values())),
            "calls": list(self._calls.items()),
            "latest_call": self._latest_call,
            "has_arguments": list(self._has_arguments),
            "items_before": self._items_before,
            "message_length": self._message_length,
            "open": self._open,
            "has_deltas": list(self._has_deltas),
            "reasoning_kind": self._reasoning_kind,
            "summary_index": self._summary_index,
            "has_output": self._has_output,
            "ends_in_thought": self._ends_in_thought,
            "thought_place": self._thought_place,
            "is_begun": self._is_begun,
            "is_parted": self._begins_paragraph,
            "said": self._batch.output_chars,
            "thought": self._batch.reasoning_chars,
        }
        return json.dumps(state)  # ASCII, which every database takes

    def _take(self) -> list[ProviderEvent]:
        """See `Decoder`. A response that is kept has a bookmark with each read that got further.

        It has none while a part of what came is held back: a reader that begins there would miss that part.
        """
        events = super()._take()
        number = self.sequence_number
        if not self._kept_id or number == self._marked or type(number) is not int or self.finished or self.failure:
            return events
        holds_text = self._is_begun and not (self._thoughts.is_over and self._echo.is_over)
        if holds_text or self._batch.holds_half:
            return events
        self._marked = number
        bookmark = Bookmark(self._kept_id, number, self._get_state())
        # That the model thinks is the last word of its batch.
        return [*events[:-1], bookmark, THINKING] if events and events[-1] is THINKING else [*events, bookmark]

    def release_rest(self) -> list[ProviderEvent]:
        """See `Decoder`. What is held back of a response that is kept comes again, when it is taken up."""
        return [] if self._kept_id else super().release_rest()

    def _fail(self, error: ChatError) -> None:
        if self._kept_id and not error.is_reported:
            self.failure = error
        else:
            super()._fail(error)

    def _read_event(self, name: bytes, data: bytes) -> None:
        if name in (b"error", b"response.error"):
            raise self._read_failure(name, data)
        if data[:1] != b"{" and decoder.is_heartbeat(name, data):
            return
        event = self._decode(_EVENT, data)
        if event.sequence_number is not None:
            self.sequence_number = event.sequence_number
        kind = event.type if isinstance(event.type, str) else ""
        if name and not kind.startswith("response."):
            kind = name.decode("latin-1")
        if kind in _TEXT:
            if (event.item_id, event.output_index) != self._open:
                self._open_item(event)
            self._add_text(event.delta if type(event.delta) is str else read_delta_text(event.delta))
        else:
            self._read_rare_event(event, kind, data)

    def _read_rare_event(self, event: _Event, kind: str, data: bytes) -> None:
        """Add what an event means that is no piece of text."""
        if kind in _REASONING:
            self._add_reasoning(event, kind)
        elif kind in _WHOLE_TEXT:
            self._add_whole_text(event)
        elif kind.startswith("response.function_call_arguments."):
            self._add_argument_event(event, kind)
        elif kind in ("response.output_item.added", "response.output_item.done") and isinstance(event.item, dict):
            if kind.endswith("done"):
                self._add_item(event.item, event.item_id, event.output_index)
            else:
                self._begin_item(event.item, event)
        elif kind in _ENDS:
            self._end(event, kind)
        elif kind == "response.output_text.annotation.added":
            self._sources.add_annotation(event.annotation)
        elif kind in _BEGINNINGS and isinstance(event.response, dict):
            self._note_response(event.response, is_new=kind == "response.created")
        elif kind == "response.error" or not kind.startswith("response."):
            self._look_for_error(data)

    def _note_response(self, response: dict[str, Any], *, is_new: bool) -> None:
        """Note what a response that goes on says of itself: figures, which may run, and whether it is kept."""
        self._report_usage(response)
        if is_new:
            # A server that does not know background mode may pass over the wish for it.
            is_kept = response.get("background") is True
            self._kept_id = make_storable(read_string(response.get("id"))) if is_kept else ""

    def _report_usage(self, body: dict[str, Any]) -> None:
        report_openai_usage(self._counts, body.get("usage"))

    def _read_whole(self, body: dict[str, Any]) -> None:
        self._add_output(body.get("output"))
        self._read_end(body, "")

    # The items

    def _begin_item(self, item: dict[str, Any], event: _Event) -> None:
        if item.get("type") == "function_call":
            self._begin_call(item, event.item_id, event.output_index)
        elif item.get("type") != "message":
            self._note_thinking()
        elif not self._has_had_deltas(item, event.item_id, event.output_index):
            self._begins_paragraph = self._is_begun

    def _open_item(self, event: _Event) -> None:
        """Note that deltas of another item come from here on."""
        self._open = event.item_id, event.output_index
        self._has_deltas.update(self._list_keys(*self._open) or ["an item without a name"])
        self._reasoning_kind, self._summary_index = "", None

    def _has_had_deltas(self, item: dict[str, Any], item_id: object, place: object) -> bool:
        """Return whether deltas of the item have come."""
        keys = self._list_keys(item.get("id") or item_id, place)
        return "an item without a name" in self._has_deltas or any(key in self._has_deltas for key in keys)

    def _add_item(self, item: dict[str, Any], item_id: object = None, place: object = None) -> None:
        """Add what a whole item has and its deltas did not bring, and keep what goes back before a call."""
        kind = item.get("type")
        if kind == "function_call":
            call_id = self._find_call(item.get("id"), place)
            if call_id is None:
                call_id = self._begin_call(item, item_id, place)
            if call_id not in self._has_arguments:
                self._add_arguments(call_id, write_json(item.get("arguments")))
        elif kind == "reasoning":
            if not self._has_had_deltas(item, item_id, place):
                self._add_whole_reasoning(item)
            if item.get("encrypted_content") or item.get("content"):
                self._items_before.append(_pick(item, _REASONING_MEMBERS))
        elif kind == "message":
            if not self._has_had_deltas(item, item_id, place):
                self._begins_paragraph = self._is_begun
                self._add_text(read_plain_text(item.get("content")))
            for part in item["content"] if isinstance(item.get("content"), list) else []:
                self._add_citations(part)
            self._items_before.append(_pick(item, _MESSAGE_MEMBERS) | {"length": self._message_length})
            self._message_length = 0
        self._has_output = True

    def _add_citations(self, part: object) -> None:
        """Note what a whole part of a message cites, and which of it stands in the text too."""
        if isinstance(part, dict):
            for annotation in part["annotations"] if isinstance(part.get("annotations"), list) else []:
                self._sources.add_annotation(annotation)
            self._sources.note_links(read_plain_text(part))

    def _add_text(self, text: str) -> None:
        if text:
            self._has_output = self._counts.is_running = self._is_begun = True
            self._ends_in_thought = False
            self._message_length += len(text) + (len(PARAGRAPH) if self._begins_paragraph else 0)
            self._add_model_text(text)

    def _add_whole_text(self, event: _Event) -> None:
        """Add a text that comes whole, unless its deltas have come."""
        if not self._has_had_deltas({}, event.item_id, event.output_index):
            self._open_item(event)
            whole = event.part if event.part is not None else event.text if event.text is not None else event.refusal
            for text, is_thought in list_texts(whole):
                self._add_thought(text) if is_thought else self._add_text(text)

    def _add_reasoning(self, event: _Event, kind: str) -> None:
        """Add a piece of reasoning, or of a summary, whose parts are paragraphs."""
        if (event.item_id, event.output_index) != self._open:
            self._open_item(event)
        text = read_plain_text(event.delta)
        if not text or kind != (self._reasoning_kind or kind):
            return
        part = read_index(event.summary_index)
        place = read_index(event.output_index)
        # Copilot names an item by another id in each event: its place tells.
        is_new_item = None not in (place, self._thought_place) and place != self._thought_place
        is_new_part = self._summary_index is not None and part != self._summary_index
        self._reasoning_kind, self._summary_index, self._thought_place = kind, part, place
        self._has_output = True
        self._add_thought(text, begins_paragraph=is_new_item or is_new_part)

    def _add_whole_reasoning(self, item: dict[str, Any]) -> None:
        parts = item.get("summary") or item.get("content")
        texts = [read_plain_text(part) for part in (parts if isinstance(parts, list) else [parts])]
        if text := PARAGRAPH.join(filter(None, texts)):
            self._add_thought(text, begins_paragraph=True)

    def _add_thought(self, text: str, *, begins_paragraph: bool = False) -> None:
        """Add a piece of reasoning, which may begin a paragraph where reasoning came before it."""
        if begins_paragraph and self._ends_in_thought:
            self._batch.add_text(Reasoning, PARAGRAPH)
        self._ends_in_thought = self._counts.is_running = True
        self._batch.add_text(Reasoning, text)

    # The calls

    def _begin_call(self, item: dict[str, Any], item_id: object, place: object) -> str:
        self._end_text()
        call_id = self._ids.take(read_string(item.get("call_id")))
        for key in self._list_keys(item.get("id") or item_id, place):
            self._calls[key] = call_id
        self._latest_call = call_id
        self._has_output, self._ends_in_thought = True, False
        self._batch.put(ToolCall(call_id, make_storable(read_string(item.get("name")))))
        self._put_extra(call_id, read_string(item.get("id")))
        return call_id

    def _put_extra(self, call_id: str, item_id: str) -> None:
        """Keep with a call what has to be sent back before it: reasoning, and the phase of what was said."""
        items = self._take_items()
        if items and (content := write_extra(self._origin, {"id": item_id or None, "items": items})):
            self._batch.put(ToolCallExtra(call_id, content))

    def _take_items(self) -> list[dict[str, Any]]:
        """Return the items before this one that have to go back; none where they are no more than their text.

        A message's id is refused without the reasoning that it came with, so it has none where none was kept.
        """
        items, self._items_before = self._items_before, []
        if any(item["type"] == "reasoning" for item in items):
            return items
        if any("phase" in item for item in items):
            return [{name: value for name, value in item.items() if name != "id"} for item in items]
        return []

    def _find_call(self, item_id: object, place: object) -> str | None:
        return next((self._calls[key] for key in self._list_keys(item_id, place) if key in self._calls), None)

    def _find_call_of_event(self, event: _Event) -> str:
        return self._find_call(event.item_id, event.output_index) or self._latest_call

    @staticmethod
    def _list_keys(item_id: object, place: object) -> list[object]:
        return [key for key in (read_string(item_id), read_index(place)) if key not in ("", None)]

    def _add_argument_event(self, event: _Event, kind: str) -> None:
        call_id = self._find_call_of_event(event)
        if kind.endswith(".delta"):
            self._add_arguments(call_id, write_json(event.delta))
        elif kind.endswith(".done") and call_id not in self._has_arguments:
            self._add_arguments(call_id, write_json(event.arguments))

    def _add_arguments(self, call_id: str, piece: str) -> None:
        if call_id and piece:
            self._has_arguments.add(call_id)
            self._counts.is_running = True
            self._batch.add_text(call_id, piece)

    # The end

    def _end(self, event: _Event, kind: str) -> None:
        body = event.response if isinstance(event.response, dict) else {}
        if event.error is not None:  # Perplexity has it beside the response
            body = {"error": event.error, **body}
        for item in self._list_missing_items(body.get("output")):
            self._add_item(item)
        self._read_end(body, kind.removeprefix("response."))
        self._conclude()

    def _list_missing_items(self, output: object) -> list[Any]:
        """Return the items of the whole response of which the stream has brought nothing.

        Ids and places do not tell: some servers write others here. So an answer's text, its calls and the rest are
        taken from here where the stream had no text, no call or nothing at all.
        """
        had = {"message": self._is_begun, "function_call": bool(self._latest_call)}
        items = [item for item in output if isinstance(item, dict)] if isinstance(output, list) else []
        return [item for item in items if not had.get(read_string(item.get("type")), self._has_output)]

    def _add_output(self, output: object) -> None:
        for place, item in enumerate(output if isinstance(output, list) else []):
            if isinstance(item, dict):
                self._add_item(item, place=place)

    def _read_end(self, body: dict[str, Any], default: str) -> None:
        """Set the ending by the response's status, or `default`; raises `ChatError` where it failed."""
        self._report_usage(body)
        if has_content(error := body.get("error")):
            raise describe_stream_failure({"error": error})
        status = body.get("status") or default
        details = body.get("incomplete_details")
        reason = details.get("reason") if isinstance(details, dict) else details
        if default in ("failed", "cancelled") or status == "failed":
            self._ending = Ending(default or "failed", None, may_pass=True)
        elif reason or "incomplete" in (status, default):
            self._ending = read_ending(reason) or Ending("incomplete", None)
        else:
            self._ending = read_ending(status)

    def _add_before_end(self) -> None:
        """Add the sources of an answer without calls, and what later turns send back of it."""
        items = self._take_items()
        if self._latest_call:
            return
        self._batch.flush()
        length = self._batch.output_chars - self._batch.reasoning_chars
        if self._add_sources() and not items:
            items = [{"type": "message", "length": length}]
        if items and (content := write_extra(self._origin, {"items": items})):
            self._batch.put(NativeForm(content))

    def _choose_finish_reason(self, reason: FinishReason) -> FinishReason:
        return "tool_calls" if reason == "stop" and self._latest_call else reason


def _pick(item: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    kept = {name: item[name] for name in names if item.get(name) is not None}
    return {"summary": [], **kept} if kept.get("type") == "reasoning" else kept
