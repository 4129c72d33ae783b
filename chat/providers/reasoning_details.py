"""`reasoning_details`: reasoning in blocks, with signatures or encrypted, as OpenRouter and MiniMax send it.

They require the blocks to be sent back unchanged with the tool calls that followed them. A stream sends each block in
pieces: neighbouring pieces with the same type and index are one block.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from chat.core.events import make_storable
from chat.providers.native_content import MAX_EXTRA_CHARS

_PREFIX = "details:"

# The members of a block that come in pieces.
_TEXTS = ("text", "summary", "data", "signature")


class ReasoningDetails:
    """The blocks of one answer since the last signature."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._blocks: list[dict[str, Any]] = []

    def add(self, sent: list[Any]) -> None:
        """Add the pieces in one delta."""
        for piece in sent:
            if not isinstance(piece, dict):
                continue
            last = self._blocks[-1] if self._blocks else None
            if last is not None and _are_one(last, piece):
                _join(last, piece)
            else:
                self._blocks.append(dict(piece))

    def take_signature(self) -> str:
        """Clear the blocks and return them as the signature of the reasoning; empty when there are none or too many."""
        blocks, self._blocks = self._blocks, []
        if not blocks:
            return ""
        kept = json.dumps({"model": self._model, "blocks": blocks}, ensure_ascii=False)
        return make_storable(_PREFIX + kept) if len(kept) <= MAX_EXTRA_CHARS else ""


def _are_one(block: dict[str, Any], piece: dict[str, Any]) -> bool:
    """Return whether a piece continues a block. A stream of OpenRouter's may have the index 0 for all of them."""
    is_other = block.get("id") is not None and piece.get("id") is not None and block["id"] != piece["id"]
    return not is_other and all(block.get(name) == piece.get(name) for name in ("type", "index"))


def _join(block: dict[str, Any], piece: dict[str, Any]) -> None:
    for name, value in piece.items():
        before = block.get(name)
        if name in _TEXTS and isinstance(before, str) and isinstance(value, str):
            block[name] = before + value
        elif value is not None:
            block[name] = value


def get_details_text(sent: list[Any]) -> str:
    """Return the readable text in a delta's blocks."""
    texts = (piece.get(name) for piece in sent if isinstance(piece, dict) for name in ("text", "summary"))
    return "".join(text for text in texts if isinstance(text, str))


def read_details(model: str, signatures: Iterable[str]) -> list[dict[str, Any]]:
    """Return the blocks in these signatures, for the model that sent them; nothing for another, which refuses them."""
    blocks: list[dict[str, Any]] = []
    for signature in signatures:
        if signature.startswith(_PREFIX):
            kept = json.loads(signature.removeprefix(_PREFIX))
            blocks += kept["blocks"] if kept["model"] == model else []
    return blocks
