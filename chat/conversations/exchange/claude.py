"""Conversations of Claude's archive: `conversations.json`, each with `chat_messages` that may name their parents.

The shape is what archives of 2024 to 2026 have; their maker has written it down nowhere. What is not known is left out,
and counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from chat.conversations.exchange.foreign_content import (
    make_call_id,
    make_result,
    make_tool_name,
    note_left_out,
    shorten_title,
    write_arguments,
)
from chat.conversations.exchange.json_values import find_moment, take_list, take_object, take_text
from chat.conversations.exchange.portable import PortableCall, PortableConversation, Source
from chat.conversations.exchange.tree import Node, assemble_tree
from chat.core.events import Lasting, Reasoning, Thought, Token, ToolArguments, ToolCall

SITE = "claude"

# The parent of a first message.
ROOT = "00000000-0000-4000-8000-000000000000"

_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,80}")

# Blocks that tell readers nothing.
_SILENT = ("token_budget", "flag")


def is_conversation(value: Any) -> bool:
    """Return whether a JSON value is a conversation of Claude's archive."""
    return isinstance(value, dict) and isinstance(value.get("chat_messages"), list)


def read_conversation(value: Mapping[str, Any]) -> PortableConversation:
    """Return a conversation with its branches. Raises `UnreadableError`."""
    begun_at = find_moment(value.get("created_at")) or datetime.now(UTC)
    left_out: Counter[str] = Counter()
    model = value.get("model")
    model = f"anthropic:{model}" if isinstance(model, str) and _MODEL.fullmatch(model) else ""
    messages = value["chat_messages"]
    nodes = _link([_read_message(*numbered, model, left_out) for numbered in enumerate(messages)], left_out)
    shown = value.get("current_leaf_message_uuid")
    updated_at = find_moment(value.get("updated_at")) or begun_at
    tree = assemble_tree(nodes, shown if isinstance(shown, str) else None, left_out, begun_at)
    return PortableConversation(
        source=Source(SITE, take_text(value.get("uuid"), "uuid", 200)),
        title=shorten_title(take_text(value.get("name"), "name", 1000)),
        created_at=begun_at,
        updated_at=updated_at,
        messages=tree.messages,
        leaf=tree.leaf,
        pinned_at=updated_at if value.get("is_starred") is True else None,
        left_out=left_out,
    )


def _link(nodes: list[Node], left_out: Counter[str]) -> list[Node]:
    """Return the messages that say something, each with its parent.

    Archives of before 2025 name no parents: there each message follows the one before. A message that says nothing is
    passed over.
    """
    if not any(node.parent for node in nodes):
        for before, node in pairwise(nodes):
            node.parent = before.key
    parents = {node.key: node.parent for node in nodes}
    is_empty = {node.key for node in nodes if not node.text.strip() and not node.parts}
    for node in nodes:
        parent, passed = node.parent, set()
        if parent is not None and parent != ROOT and parent not in parents:
            left_out["message that was deleted before the archive was made"] += 1
        while parent in is_empty and parent not in passed:
            passed.add(parent)
            parent = parents[parent]
        for each in passed:
            parents[each] = parent
        node.parent = parent
    return [node for node in nodes if node.key not in is_empty]


def _read_message(place: int, value: Any, model: str, left_out: Counter[str]) -> Node:
    body = take_object(value, "chat_messages")
    key = take_text(body.get("uuid"), "uuid", 200) or f"message {place}"
    parent = take_text(body.get("parent_message_uuid"), "parent_message_uuid", 200) or None
    created_at = find_moment(body.get("created_at"))
    extras = "".join(_read_attachments(body, left_out))
    if body.get("sender") == "human":
        text = "\n\n".join(filter(None, _list_texts(body)))
        return Node(key, parent, "user", created_at, (text + extras).replace("\r\n", "\n").strip("\n"))
    answer = _Answer(left_out)
    for block in take_list(body.get("content"), "content"):
        answer.take(take_object(block, "content"), created_at)
    if not answer.parts and (text := take_text(body.get("text"), "text")).strip():
        answer.parts.append(Token(text))
    if extras:
        answer.parts.append(Token(extras))
    is_stopped = body.get("stop_reason") == "user_canceled"
    return Node(
        key,
        parent,
        "assistant",
        created_at,
        parts=answer.parts,
        calls=answer.calls,
        model=model,
        status="stopped" if is_stopped else "complete",
        finish_reason="" if is_stopped else "length" if body.get("stop_reason") == "max_tokens" else "stop",
    )


def _list_texts(body: Mapping[str, Any]) -> list[str]:
    """Return the texts of a question: of its blocks, or the one that archives before 2025 have alone."""
    blocks = [take_object(block, "content") for block in take_list(body.get("content"), "content")]
    texts = [take_text(block.get("text"), "text") for block in blocks if block.get("type") == "text"]
    return texts if any(texts) else [take_text(body.get("text"), "text")]


def _read_attachments(body: Mapping[str, Any], left_out: Counter[str]) -> Iterator[str]:
    """Yield the text of attachments, which a long paste is too, and a line for each file that is left out."""
    for attachment in take_list(body.get("attachments"), "attachments"):
        fields = take_object(attachment, "attachments")
        name = take_text(fields.get("file_name"), "file_name", 200)
        text = take_text(fields.get("extracted_content"), "extracted_content")
        if text.strip():
            yield f"\n\n{name}\n\n{text}" if name else f"\n\n{text}"
        else:
            yield note_left_out(left_out, "file", name)
    for file in take_list(body.get("files"), "files"):
        fields = take_object(file, "files")
        name = take_text(fields.get("file_name"), "file_name", 200)
        kind = "image" if fields.get("file_kind") == "image" or _IMAGE.search(name) else "file"
        yield note_left_out(left_out, kind, name)


_IMAGE = re.compile(r"\.(png|jpe?g|gif|webp|heic|svg)$", re.IGNORECASE)


class _Answer:
    """The parts of an answer, from its blocks."""

    def __init__(self, left_out: Counter[str]) -> None:
        self.parts: list[Lasting] = []
        self.calls: list[PortableCall] = []
        self._left_out = left_out
        self._open: dict[str, tuple[ToolCall, str]] = {}  # calls without a result yet, with their arguments

    def take(self, block: Mapping[str, Any], at: datetime | None) -> None:
        """Take a block in."""
        kind = block.get("type")
        if kind == "text":
            self._say(take_text(block.get("text"), "text"))
        elif kind == "thinking":
            self._think(block)
        elif kind == "tool_use":
            self._call(block)
        elif kind == "tool_result":
            self._return(block, at)
        elif kind not in _SILENT:
            name = kind if isinstance(kind, str) and re.fullmatch(r"\w{1,40}", kind) else "unknown"
            self._left_out[f"content of the kind {name}"] += 1

    def _say(self, text: str) -> None:
        if not text:
            return
        if self.parts and isinstance(self.parts[-1], Token):
            text = f"\n\n{text}"
        self.parts.append(Token(text))

    def _think(self, block: Mapping[str, Any]) -> None:
        text = take_text(block.get("thinking"), "thinking")
        if not text:
            return
        self.parts.append(Reasoning(text))
        started, ended = find_moment(block.get("start_timestamp")), find_moment(block.get("stop_timestamp"))
        if started and ended and timedelta() < ended - started < timedelta(days=1):
            self.parts.append(Thought(round((ended - started).total_seconds() * 1000)))

    def _call(self, block: Mapping[str, Any]) -> None:
        id_ = take_text(block.get("id"), "id", 200) or f"call-{len(self.parts)}"
        name = make_tool_name(take_text(block.get("name"), "name", 200))
        call, arguments = ToolCall(make_call_id(id_), name), write_arguments(block.get("input") or {})
        self._open[id_] = call, arguments
        self.parts += [call, ToolArguments(call.id, arguments)]

    def _return(self, block: Mapping[str, Any], at: datetime | None) -> None:
        """Attach a result to the call that it names, or else to the last call without one."""
        id_ = take_text(block.get("tool_use_id"), "tool_use_id", 200)
        if id_ not in self._open and self._open:
            id_ = next(reversed(self._open))
        if id_ not in self._open:
            self._left_out["result of a tool that was not called"] += 1
            return
        call, arguments = self._open.pop(id_)
        text = "\n".join(self._list_results(block.get("content")))
        made, result = make_result(call.id, call.name, arguments, text, at, ok=block.get("is_error") is not True)
        self.calls.append(made)
        self.parts.append(result)

    def _list_results(self, content: Any) -> Iterator[str]:
        if isinstance(content, str):
            yield take_text(content, "content")
            return
        for block in take_list(content, "content"):
            fields = take_object(block, "content")
            if isinstance(fields.get("text"), str):
                yield take_text(fields["text"], "text")
            elif fields.get("type") == "image":
                yield note_left_out(
                    self._left_out, "image", take_text(fields.get("file_uuid"), "file_uuid", 120)
                ).strip()
            else:
                self._left_out["part of a tool's result"] += 1
