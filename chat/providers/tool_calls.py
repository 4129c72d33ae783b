"""Tool calls on their way: gathered from the deltas that a server sends, and written into the next request."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from uuid import uuid4

import msgspec

from chat.core.events import ToolCall, ToolCallExtra, make_storable
from chat.providers.base import Prompt
from chat.providers.decoder import BatchBuilder
from chat.providers.loose_json import read_index, read_string
from chat.providers.native_content import write_extra


def make_id() -> str:
    """Return an id for a call that came without one, in the form of OpenAI's."""
    return f"call_{uuid4().hex[:24]}"


def fit_id(call_id: str, allowed: re.Pattern[str]) -> str:
    """Return the id, or where the provider would refuse it, one that is always the same for it."""
    return call_id if allowed.fullmatch(call_id) else f"call_{sha256(call_id.encode()).hexdigest()[:24]}"


def parse_arguments(arguments: str) -> dict[str, Any]:
    """Return the arguments as an object, because a history may hold nothing else.

    Arguments that are no JSON object are kept under the name that Anthropic recommends ("Fine-grained tool streaming").
    """
    if not arguments.strip():
        return {}
    found = _parse_object(arguments)
    return {"INVALID_JSON": make_storable(arguments)} if found is None else found


def write_arguments(arguments: str) -> str:
    """Return what `parse_arguments` does as JSON; arguments that are an object stay as the model wrote them."""
    return (
        arguments
        if _parse_object(arguments) is not None
        else json.dumps(parse_arguments(arguments), ensure_ascii=False)
    )


def _parse_object(text: str) -> dict[str, Any] | None:
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def merge(old: Any, new: Any) -> Any:
    """Return what two deltas of a call brought beside its arguments: objects are joined, anything else is replaced."""
    if isinstance(old, dict) and isinstance(new, dict):
        return {**old, **{name: merge(old.get(name), value) for name, value in new.items()}}
    return old if new is None else new


class CallIds:
    """Gives each call of one answer an id of its own, whatever the server sends: nothing, or one that it has used."""

    def __init__(self, prompt: Prompt) -> None:
        self._taken = {call.id for turn in prompt.turns for call in turn.calls}

    def take(self, sent: str) -> str:
        """Return the id for a new call that came with the id `sent`, which may be empty."""
        call_id = make_storable(sent)
        if not call_id or call_id in self._taken:
            call_id = make_id()
        self._taken.add(call_id)
        return call_id


@dataclass(slots=True)
class CallPiece:
    """A delta of a call as OpenAI's format has it; each field may be missing, in one delta or in all."""

    index: int | None
    id: str
    name: str
    arguments: str
    extra: dict[str, Any] = field(default_factory=dict)


def read_pieces(calls: object) -> list[CallPiece]:
    """Return the deltas in a `tool_calls` as some server sent it, whatever is in the place of a number or an object."""
    sent = [calls] if isinstance(calls, dict) else calls if isinstance(calls, list) else []
    pieces = [_read_piece(call) for call in sent if isinstance(call, dict)]
    return [piece for piece in pieces if piece.id or piece.name or piece.arguments or piece.extra]


def _read_piece(call: dict[str, Any]) -> CallPiece:
    function = call.get("function")
    outer = {name: value for name, value in call.items() if name not in ("index", "id", "type", "function")}
    if isinstance(function, dict):
        inner = {name: value for name, value in function.items() if name not in ("name", "arguments")}
        if any(value is not None for value in inner.values()):
            outer["function"] = inner
    else:  # name and arguments stand beside the id
        function = {name: outer.pop(name, None) for name in ("name", "arguments")}
    return CallPiece(
        read_index(call.get("index")),
        read_string(call.get("id")),
        read_string(function.get("name")),
        write_json(function.get("arguments")),
        outer,
    )


@dataclass(eq=False, slots=True)
class _OpenCall:
    id: str
    sent_id: str
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    is_announced: bool = False
    pieces_put: int = 0  # how many of the arguments have been put into the batch
    extra: dict[str, Any] = field(default_factory=dict)
    extra_put: str = ""

    def has_whole_arguments(self) -> bool:
        # Where every delta repeats the name, only what ends like an object is worth a look.
        return (
            bool(self.arguments)
            and self.arguments[-1].endswith("}")
            and _parse_object("".join(self.arguments)) is not None
        )

    def has_same_arguments(self, arguments: str) -> bool:
        return arguments == "".join(self.arguments)

    def is_continued_by(self, piece: CallPiece) -> bool:
        """Return whether a piece with this call's id and another index continues the call, as LocalAI sends it."""
        is_named = piece.id == self.sent_id and piece.name in ("", self.name)
        return is_named and (not self.has_whole_arguments() or self.has_same_arguments(piece.arguments))


class CallGatherer:
    """One answer's tool calls, from deltas that hold to OpenAI's format or only nearly.

    A delta's index or its id says which call it belongs to. A delta with neither belongs to the latest call, unless it
    brings a name and that call has all it needs. An object that follows a call's whole arguments is another call of the
    same tool, or the same arguments again, or, after `{}`, the arguments for which that held the place.

    A call is announced when its name is known to be whole: it is a tool's and the beginning of no other's, or arguments
    follow it.
    """

    def __init__(self, batch: BatchBuilder, prompt: Prompt) -> None:
        self._batch = batch
        self._model = prompt.model
        self._ids = CallIds(prompt)
        self._tools = [tool.name for tool in prompt.tools]
        self._calls: list[_OpenCall] = []
        self._by_index: dict[int, _OpenCall] = {}

    @property
    def has_any(self) -> bool:
        return bool(self._calls)

    def add(self, pieces: Iterable[CallPiece]) -> None:
        """Add what one delta brings."""
        for place, piece in enumerate(pieces):
            self._add(piece, self._choose_call(piece, is_first=place == 0))

    def end(self) -> None:
        """Emit what was held back, as the stream ends."""
        self._put_held_calls()
        self.release()

    def release(self) -> None:
        """Emit arguments that were held back: something else than a call follows."""
        for call in self._calls:
            if call.is_announced:
                self._put_arguments(call, is_whole=True)

    def _put_held_calls(self) -> None:
        """Emit calls that were held back until their name was complete: the stream ends, or the next call begins."""
        for call in self._calls:
            self._put_call(call)
            content = write_extra(self._model, call.extra)
            if content != call.extra_put:
                call.extra_put = content
                self._batch.put(ToolCallExtra(call.id, content))

    def _add(self, piece: CallPiece, call: _OpenCall) -> None:
        if piece.extra:
            call.extra = merge(call.extra, piece.extra)
        if piece.name and not call.is_announced:
            # Some servers repeat the name, or send it as far as it has come.
            call.name = piece.name if piece.name.startswith(call.name) else call.name + piece.name
        if _begins_object(piece) and call.has_whole_arguments():
            if call.has_same_arguments(piece.arguments):
                piece.arguments = ""
            elif not call.pieces_put:
                call.arguments.clear()  # `{}` held the place of these
        if piece.arguments:
            call.arguments.append(piece.arguments)
        if call.is_announced:
            self._put_arguments(call)
        elif call.name and (piece.arguments or self._is_whole(call.name)):
            self._put_call(call)

    def _choose_call(self, piece: CallPiece, *, is_first: bool) -> _OpenCall:
        known = self._find_call(piece)
        if known is not None and not self._begins_another(piece, known, is_first=is_first):
            if piece.index is not None:
                self._by_index[piece.index] = known
            return known
        self._put_held_calls()
        call = _OpenCall(self._ids.take(piece.id), piece.id, name=known.name if known and not piece.name else "")
        self._calls.append(call)
        if piece.index is not None:
            self._by_index[piece.index] = call
        return call

    def _find_call(self, piece: CallPiece) -> _OpenCall | None:
        latest = self._calls[-1] if self._calls else None
        if piece.index is not None:
            known = self._by_index.get(piece.index)
            if known is None and piece.id:
                return next((call for call in self._calls if call.is_continued_by(piece)), None)
            # A piece with nothing but an unknown index belongs to the latest call.
            return latest if known is None and not piece.id and not piece.name else known
        if piece.id and (piece.name or latest is None or latest.sent_id):
            return next((call for call in self._calls if call.sent_id == piece.id), None)
        return latest

    def _begins_another(self, piece: CallPiece, known: _OpenCall, *, is_first: bool) -> bool:
        """Return whether the piece begins another call than the one that its index, or its lack of it, names."""
        if not piece.name or (piece.id and (piece.id, piece.name) == (known.sent_id, known.name)):
            has_all = _begins_object(piece) and known.has_whole_arguments()
            return has_all and known.arguments != ["{}"] and not known.has_same_arguments(piece.arguments)
        if piece.id and known.sent_id:
            # Some servers announce a call twice, under two ids.
            return piece.id != known.sent_id and (bool(known.arguments) or piece.name != known.name)
        if not known.name:
            return False
        if piece.index is None and not piece.id and not is_first:
            return True
        return known.has_whole_arguments()

    def _is_whole(self, name: str) -> bool:
        return name in self._tools and not any(tool != name and tool.startswith(name) for tool in self._tools)

    def _put_call(self, call: _OpenCall) -> None:
        if not call.is_announced:
            call.is_announced = True
            self._batch.put(ToolCall(call.id, make_storable(call.name)))
            self._put_arguments(call)

    def _put_arguments(self, call: _OpenCall, *, is_whole: bool = False) -> None:
        """Emit the arguments that have not been; `{}` alone only when nothing more can come of them."""
        if call.arguments == ["{}"] and not is_whole:
            return
        arguments = "".join(call.arguments[call.pieces_put :])
        call.pieces_put = len(call.arguments)
        if arguments:
            self._batch.add_text(call.id, arguments)


# In a string a quotation mark would be escaped: what a model writes into an argument seldom looks like this.
_OBJECT = re.compile(r"\s*\{\s*(?:[\"}]|\Z)")


def _begins_object(piece: CallPiece) -> bool:
    return _OBJECT.match(piece.arguments) is not None


def write_json(arguments: object) -> str:
    """Return arguments as JSON; some servers send them as an object."""
    if isinstance(arguments, str):
        return arguments
    return json.dumps(arguments, ensure_ascii=False) if isinstance(arguments, dict | list) else ""
