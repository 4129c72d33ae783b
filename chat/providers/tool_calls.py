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

from chat.events import ToolCall, storable
from chat.providers import Prompt
from chat.providers.wire import Batch


def made_up_id() -> str:
    """An id for a call that came without one; the same form as OpenAI's."""
    return f"call_{uuid4().hex[:24]}"


def fitting_id(call_id: str, allowed: re.Pattern[str]) -> str:
    """The id, or when the provider would refuse it (another one made it), another that is always the same for it."""
    return call_id if allowed.fullmatch(call_id) else f"call_{sha256(call_id.encode()).hexdigest()[:24]}"


def arguments_object(arguments: str) -> dict[str, Any]:
    """The arguments as an object, which is all that the history may hold. What is none is kept under the name that
    Anthropic recommends for it: https://docs.claude.com/en/docs/agents-and-tools/tool-use/fine-grained-tool-streaming
    """
    if not arguments.strip():
        return {}
    found = _object(arguments)
    return {"INVALID_JSON": storable(arguments)} if found is None else found


def arguments_text(arguments: str) -> str:
    """The same as text; arguments that are an object stay as the model wrote them."""
    return arguments if _object(arguments) is not None else json.dumps(arguments_object(arguments), ensure_ascii=False)


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


class CallIds:
    """Gives each call of one answer an id of its own, whatever the server sends: nothing, or one that it has used."""

    def __init__(self, prompt: Prompt) -> None:
        self._taken = {call.id for turn in prompt.turns for call in turn.calls}

    def take(self, sent: str) -> str:
        """The id for a new call that came with the id `sent`, which may be empty."""
        call_id = storable(sent)
        if not call_id or call_id in self._taken:
            call_id = made_up_id()
        self._taken.add(call_id)
        return call_id


@dataclass(slots=True)
class Piece:
    """A delta of a call as OpenAI's format has it; each field may be missing, in one delta or in all."""

    index: int | None
    id: str
    name: str
    arguments: str


@dataclass(eq=False, slots=True)
class _Open:
    id: str
    sent_id: str
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    is_told: bool = False

    def has_whole_arguments(self) -> bool:
        # Where every delta repeats the name, only what ends like an object is worth a look.
        return (
            bool(self.arguments) and self.arguments[-1].endswith("}") and _object("".join(self.arguments)) is not None
        )


class Gatherer:
    """One answer's tool calls, from deltas that hold to OpenAI's format or only nearly.

    Which call a delta belongs to is said by its index, or its id, or neither: then it is the latest call's, unless it
    brings a name and that call has all it needs. A call is told when its name is known to be whole: it is a tool's and
    the beginning of no other's, or arguments follow it.
    """

    def __init__(self, batch: Batch, prompt: Prompt) -> None:
        self._batch = batch
        self._ids = CallIds(prompt)
        self._tools = [tool.name for tool in prompt.tools]
        self._calls: list[_Open] = []
        self._by_index: dict[int, _Open] = {}

    @property
    def has_any(self) -> bool:
        return bool(self._calls)

    def add(self, pieces: Iterable[Piece]) -> None:
        """Add what one delta brings."""
        for place, piece in enumerate(pieces):
            self._add(piece, self._call_of(piece, is_first=place == 0))

    def end(self) -> None:
        """No more comes, or the next call does: tell what still waited for its name, or for the rest of it."""
        for call in self._calls:
            self._tell(call)

    def _add(self, piece: Piece, call: _Open) -> None:
        if piece.name and not call.is_told:
            # Some servers repeat the name, or send it as far as it has come.
            call.name = piece.name if piece.name.startswith(call.name) else call.name + piece.name
        if piece.arguments:
            call.arguments.append(piece.arguments)
        if call.is_told:
            self._say(call, piece.arguments)
        elif call.name and (piece.arguments or self._is_whole(call.name)):
            self._tell(call)

    def _call_of(self, piece: Piece, *, is_first: bool) -> _Open:
        known = self._known(piece)
        if known is not None and not self._begins_another(piece, known, is_first=is_first):
            return known
        self.end()
        call = _Open(self._ids.take(piece.id), piece.id)
        self._calls.append(call)
        if piece.index is not None:
            self._by_index[piece.index] = call
        return call

    def _known(self, piece: Piece) -> _Open | None:
        if piece.index is not None:
            return self._by_index.get(piece.index)
        latest = self._calls[-1] if self._calls else None
        if piece.id and (piece.name or latest is None or latest.sent_id):
            return next((call for call in self._calls if call.sent_id == piece.id), None)
        return latest

    def _begins_another(self, piece: Piece, known: _Open, *, is_first: bool) -> bool:
        """Whether the piece is the beginning of another call than the one that its index, or its lack of it, names."""
        if not piece.name:
            return False
        if piece.id and known.sent_id:
            return piece.id != known.sent_id
        if not known.name:
            return False
        if piece.index is None and not piece.id and not is_first:
            return True
        return known.has_whole_arguments()

    def _is_whole(self, name: str) -> bool:
        return name in self._tools and not any(tool != name and tool.startswith(name) for tool in self._tools)

    def _tell(self, call: _Open) -> None:
        if not call.is_told:
            call.is_told = True
            self._batch.put(ToolCall(call.id, storable(call.name)))
            self._say(call, "".join(call.arguments))

    def _say(self, call: _Open, arguments: str) -> None:
        if arguments:
            self._batch.text(call.id, arguments)


def as_text(arguments: str | dict[str, Any] | None) -> str:
    """Arguments as JSON; some servers send them as an object."""
    return json.dumps(arguments, ensure_ascii=False) if isinstance(arguments, dict) else arguments or ""
