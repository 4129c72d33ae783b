"""The blocks of one answer as Anthropic sent them, to be sent back unchanged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

from chat.providers.anthropic_messages import CALL_ID
from chat.providers.loose_json import read_plain_text
from chat.providers.tool_calls import fit_id, parse_arguments

# Blocks that the site tells apart, in the order in which it writes them itself.
_ORDER = {"thinking": 0, "redacted_thinking": 0, "text": 1, "tool_use": 2}

# What is read of a block, and may be of any type where a server sends it so.
_TEXTS = frozenset({"text", "thinking", "signature"})


class Content:
    """Gathers blocks and what is added to them: a text stands in one buffer, which costs a byte or two a character."""

    def __init__(self, interrupted: Sequence[Mapping[str, Any]] = ()) -> None:
        """`interrupted` are the blocks of an answer that goes on with these."""
        self._interrupted = interrupted
        self._blocks: list[dict[str, Any]] = []
        self._added: list[dict[str, StringIO]] = []
        self._kinds: list[str] = []
        self._places: dict[int | None, int] = {}  # of the blocks, by their indexes

    def begin(self, kind: str, block: dict[str, Any], index: int | None = None) -> None:
        """Begin a block of this kind with what it brought."""
        self._places[index] = len(self._blocks)
        kept = {**block, "type": kind}
        for member in _TEXTS & kept.keys():
            kept[member] = read_plain_text(kept[member])
        if not isinstance(kept.get("citations"), list):
            kept.pop("citations", None)
        self._kinds.append(kind)
        self._blocks.append(kept)
        self._added.append({})

    def add(self, member: str, piece: str) -> None:
        """Add a piece of a text to the block that was begun last."""
        self._add(member, piece, -1)

    def add_arguments(self, piece: str, index: int | None) -> None:
        """Add a piece of a call's arguments to the block of this index, or to the one that was begun last."""
        self._add("partial_json", piece, self._places.get(index, -1))

    def _add(self, member: str, piece: str, place: int) -> None:
        if not self._added or not piece:
            return
        buffer = self._added[place].get(member)
        if buffer is None:
            buffer = self._added[place][member] = StringIO()
        buffer.write(piece)

    def cite(self, citation: object) -> None:
        """Add a citation to the text that was begun last."""
        if self._blocks:
            self._blocks[-1]["citations"] = [*(self._blocks[-1].get("citations") or []), citation]

    def set_call_id(self, call_id: str) -> None:
        """Give the call that was begun last the id that its result will name."""
        self._blocks[-1]["id"] = fit_id(call_id, CALL_ID)

    @property
    def is_special(self) -> bool:
        """True when there is more than thoughts, then one text, then calls.

        That is an order of its own, a tool that the provider ran, or citations.
        """
        places = [_ORDER.get(kind, -1) for kind in self._kinds]
        return (
            -1 in places
            or places != sorted(places)
            or places.count(1) > 1
            or any(block.get("citations") for block in self._blocks)
        )

    @property
    def begins_paragraph(self) -> bool:
        """True when the last block is a text that other blocks part from an earlier text.

        It is not where the earlier text ends in white space. Citations split a sentence into neighbouring texts: these
        begin no paragraph.
        """
        kinds = [*(block["type"] for block in self._interrupted), *self._kinds]
        if kinds[-1] != "text" or kinds[-2:-1] in ([], ["text"]) or "text" not in kinds[:-1]:
            return False
        earlier = max(place for place, kind in enumerate(kinds[:-1]) if kind == "text") - len(self._interrupted)
        found = self._interrupted[earlier] if earlier < 0 else _join_block(self._blocks[earlier], self._added[earlier])
        text: str = found["text"]
        return text != "" and not text[-1].isspace()

    @property
    def texts(self) -> list[str]:
        """The texts of all blocks."""
        return [block["text"] for block in self.blocks if block["type"] == "text"]

    @property
    def blocks(self) -> list[dict[str, Any]]:
        """All blocks, whole. A blank text is left out, which the API sends and refuses."""
        whole = [_join_block(block, added) for block, added in zip(self._blocks, self._added, strict=True)]
        return [block for block in whole if block["type"] != "text" or block["text"].strip()]


def _join_block(block: dict[str, Any], added: dict[str, StringIO]) -> dict[str, Any]:
    whole = dict(block)
    for member, buffer in added.items():
        if member == "partial_json":
            whole["input"] = parse_arguments(buffer.getvalue())
        else:
            whole[member] = f"{whole.get(member) or ''}{buffer.getvalue()}"
    if whole["type"] == "text":
        whole.setdefault("text", "")
        if not whole.get("citations"):
            whole.pop("citations", None)
    return whole
