"""Conversations of ChatGPT's archive: `conversations.json`, each with a `mapping` of messages that name their parents.

The shape is what archives of 2023 to 2026 have; their maker has written it down nowhere. What is not known is left out,
and counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from chat.conversations.exchange.chatgpt_marks import Marks
from chat.conversations.exchange.foreign_content import (
    make_call_id,
    make_result,
    make_tool_name,
    note_left_out,
    shorten_title,
    write_arguments,
)
from chat.conversations.exchange.json_values import find_moment, take_list, take_object, take_text
from chat.conversations.exchange.portable import PortableConversation, Source
from chat.conversations.exchange.tree import Node, assemble_tree
from chat.core.events import Lasting, Reasoning, Thought, Token, ToolArguments, ToolCall

SITE = "chatgpt"

_IMAGES = ("image_asset_pointer", "video_container_asset_pointer")
_SOUNDS = ("audio_asset_pointer", "real_time_user_audio_video_asset_pointer")
_NOTES = ("user_editable_context", "model_editable_context", "app_pairing_content")

_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,80}")


def is_conversation(value: Any) -> bool:
    """Return whether a JSON value is a conversation of ChatGPT's archive."""
    return isinstance(value, dict) and isinstance(value.get("mapping"), dict)


def read_conversation(value: Mapping[str, Any]) -> PortableConversation:
    """Return a conversation with its branches. Raises `UnreadableError`."""
    begun_at = find_moment(value.get("create_time")) or datetime.now(UTC)
    reader = _Reader(take_object(value["mapping"], "mapping"))
    nodes = reader.read()
    shown = value.get("current_node")
    shown = reader.find_kept(shown) if isinstance(shown, str) else None
    messages, leaf = assemble_tree(nodes, shown, reader.left_out, begun_at)
    updated_at = find_moment(value.get("update_time")) or begun_at
    return PortableConversation(
        source=Source(SITE, take_text(value.get("conversation_id") or value.get("id"), "conversation_id", 200)),
        title=shorten_title(take_text(value.get("title"), "title", 1000)),
        created_at=begun_at,
        updated_at=updated_at,
        messages=messages,
        leaf=leaf,
        system_prompt=reader.system_prompt,
        # Its page calls a star a pin. When a conversation was archived is not said.
        pinned_at=find_moment(value.get("pinned_time")) or (updated_at if value.get("is_starred") is True else None),
        archived_at=updated_at if value.get("is_archived") is True else None,
        left_out=reader.left_out,
    )


class _Message:
    """One message of a mapping, with the fields that this reads."""

    def __init__(self, key: str, body: Mapping[str, Any]) -> None:
        self.key = key
        self.author = take_object(body.get("author") or {}, "author")
        self.content = take_object(body.get("content") or {}, "content")
        self.metadata = take_object(body.get("metadata") or {}, "metadata")
        self.role = self.author.get("role")
        self.kind = self.content.get("content_type")
        self.recipient = body.get("recipient")
        self.status = body.get("status")
        self.created_at = find_moment(body.get("create_time"))
        self.is_hidden = self.metadata.get("is_visually_hidden_from_conversation") is True

    @property
    def is_call(self) -> bool:
        return self.role == "assistant" and isinstance(self.recipient, str) and self.recipient not in ("all", "")


class _Reader:
    """Reads the messages of a mapping.

    Those that say nothing are passed over, so that what follows them follows the one before: the root, and system
    messages, most of which are empty.
    """

    def __init__(self, mapping: Mapping[str, Any]) -> None:
        self.left_out: Counter[str] = Counter()
        self.system_prompt = ""
        self._messages: list[_Message] = []
        self._parents: dict[str, str | None] = {}
        self._nodes: dict[str, Node] = {}
        self._calls: dict[str, tuple[ToolCall, str]] = {}  # with their arguments, by the message that made them
        for key, entry in mapping.items():
            body = take_object(entry, "mapping")
            parent = body.get("parent")
            self._parents[key] = parent if isinstance(parent, str) else None
            if body.get("message") is not None:
                self._messages.append(_Message(key, take_object(body["message"], "message")))

    def read(self) -> list[Node]:
        """Return the messages that say something, in their order."""
        for message in self._messages:
            if message.is_call:
                arguments = write_arguments(self._read_text(message))
                call = ToolCall(make_call_id(message.key), make_tool_name(str(message.recipient)))
                self._calls[message.key] = call, arguments
        for message in self._messages:
            if (node := self._read_message(message)) is not None:
                self._nodes[message.key] = node
        for key in self._nodes:
            parent = self._parents[key]
            if parent is not None and parent not in self._parents:
                self.left_out["message that was deleted before the archive was made"] += 1
        for key, node in self._nodes.items():
            node.parent = self.find_kept(self._parents[key])
        return list(self._nodes.values())

    def find_kept(self, key: str | None) -> str | None:
        """Return the message, or the nearest one before it that was read; None where there is none."""
        passed: dict[str, None] = {}
        while key is not None and key in self._parents and key not in self._nodes and key not in passed:
            passed[key] = None
            key = self._parents[key]
        found = key if key in self._nodes else None
        for each in passed:  # a long chain of messages that say nothing is walked once
            self._parents[each] = found
        return found

    def _read_message(self, message: _Message) -> Node | None:
        """Return a message as a step of the tree; None for one that says nothing to readers."""
        if message.kind in _NOTES:
            self.left_out["note of ChatGPT's own, such as custom instructions"] += 1
        elif message.role == "system":
            self._take_system_prompt(self._read_text(message).strip())
        elif message.role == "tool" or (message.role == "assistant" and not message.is_hidden):
            return self._make_step(message, self._read_parts(message))
        elif message.role == "user" and not message.is_hidden:
            text = self._read_text(message).replace("\r\n", "\n").strip("\n")
            return Node(message.key, None, "user", message.created_at, text) if text.strip() else None
        elif not message.is_hidden:
            self.left_out["message of an author that is not known"] += 1
        return None

    def _take_system_prompt(self, text: str) -> None:
        if self.system_prompt and text not in ("", self.system_prompt):
            self.left_out["further system message"] += 1
        self.system_prompt = self.system_prompt or text

    def _make_step(self, message: _Message, parts: list[Lasting]) -> Node | None:
        if not parts:
            return None
        details = message.metadata.get("finish_details")
        reason = details.get("type") if isinstance(details, dict) else None
        is_stopped = message.status == "in_progress" or reason == "interrupted"
        node = Node(
            message.key,
            None,
            "assistant",
            message.created_at,
            parts=parts,
            model=_name_model(message.metadata.get("model_slug")),
            status="stopped" if is_stopped else "complete",
            finish_reason="length" if reason == "max_tokens" else "" if is_stopped else "stop",
        )
        if message.role == "tool":
            self._add_result(node, message)
        return node

    def _add_result(self, node: Node, message: _Message) -> None:
        """Make a step the result of the call before it; a result without a call gets one of its own."""
        [text] = node.parts
        name = make_tool_name(take_text(message.author.get("name"), "name", 200))
        own = ToolCall(make_call_id(message.key), name), "{}"
        call, arguments = self._calls.get(self._parents[message.key] or "", own)
        made, result = make_result(
            call.id,
            call.name,
            arguments,
            text.content if isinstance(text, Token) else "",
            message.created_at,
            ok=message.kind != "system_error",
        )
        node.parts = [call, ToolArguments(call.id, arguments), result] if call is own[0] else [result]
        node.calls = [made]

    def _read_parts(self, message: _Message) -> list[Lasting]:
        """Return what an answer or a tool says."""
        if message.key in self._calls:
            call, arguments = self._calls[message.key]
            return [call, ToolArguments(call.id, arguments)]
        if message.kind == "thoughts":
            text = "\n\n".join(_list_thoughts(message.content))
            return [Reasoning(text)] if text else []
        if message.kind == "reasoning_recap":
            seconds = message.metadata.get("finished_duration_sec")
            if isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 < seconds < 1_000_000:
                return [Thought(round(seconds * 1000))]
            return []
        text = self._read_text(message)
        if message.role == "tool":
            return [Token(text.strip())]
        if message.kind == "code" and text.strip():
            text = f"```{_take_word(message.content.get('language'))}\n{text}\n```"
        return [Token(text)] if text.strip() else []

    def _read_text(self, message: _Message) -> str:
        """Return the text of a message, with a line for each thing of it that is left out."""
        return "".join(self._read_texts(message))

    def _read_texts(self, message: _Message) -> Iterator[str]:
        names = _list_attachments(message.metadata)
        marks = Marks(message.metadata.get("content_references"), self.left_out)
        for part in _list_texts(message.content):
            if isinstance(part, str):
                yield marks.replace_in(take_text(part, "text"))
                continue
            body = take_object(part, "parts")
            kind = _take_word(body.get("content_type"))
            if isinstance(text := body.get("text"), str) and text:
                yield marks.replace_in(take_text(text, "text"))
            elif kind in _IMAGES or kind in _SOUNDS:
                what = "image" if kind in _IMAGES else "recording"
                name = names.pop(0) if names else take_text(body.get("asset_pointer"), "asset_pointer", 120)
                yield note_left_out(self.left_out, what, name)
            else:
                self.left_out[f"content of the kind {kind or 'unknown'}"] += 1
        for name in names:
            yield note_left_out(self.left_out, "file", name)


def _list_texts(content: Mapping[str, Any]) -> list[Any]:
    """Return the parts of a message's content: most have `parts`, some kinds a field of their own."""
    if "parts" in content:
        return take_list(content["parts"], "parts")
    return [content[name] for name in ("text", "result", "title", "url") if isinstance(content.get(name), str)][:1]


def _list_thoughts(content: Mapping[str, Any]) -> Iterator[str]:
    for thought in take_list(content.get("thoughts"), "thoughts"):
        body = take_object(thought, "thoughts")
        summary, text = (take_text(body.get(name), name) for name in ("summary", "content"))
        if line := "\n".join(filter(None, (summary, text))):
            yield line


def _list_attachments(metadata: Mapping[str, Any]) -> list[str]:
    attachments = take_list(metadata.get("attachments"), "attachments")
    return [take_text(take_object(each, "attachments").get("name"), "name", 200) for each in attachments]


def _name_model(slug: Any) -> str:
    """Return `provider:model` of a model's name at ChatGPT."""
    return f"openai:{slug}" if isinstance(slug, str) and _SLUG.fullmatch(slug) else ""


def _take_word(value: Any) -> str:
    return value if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_+#.-]{1,40}", value) else ""
