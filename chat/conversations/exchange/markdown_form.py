"""The branch of a conversation that is shown, as Markdown for people."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from chat.conversations.exchange.portable import PortableConversation, PortableMessage
from chat.core.errors import CODES
from chat.core.events import Lasting, Reasoning, Remark, Token, ToolArguments, ToolCall, ToolResult
from chat.core.lines import join_lines


def write_markdown(conversation: PortableConversation) -> str:
    """Return the shown branch of a conversation as one Markdown document."""
    return "\n\n".join(_write_blocks(conversation)) + "\n"


def _write_blocks(conversation: PortableConversation) -> Iterator[str]:
    yield f"# {_escape(conversation.title) or 'New chat'}"
    yield f"*{conversation.created_at:%Y-%m-%d %H:%M} UTC*"
    if conversation.system_prompt:
        yield "## System prompt"
        yield conversation.system_prompt
    for message in conversation.list_branch():
        if message.is_question:
            yield f"## You · {message.created_at:%Y-%m-%d %H:%M}"
            yield message.text
        else:
            name = message.model.partition(":")[2]
            yield f"## {_escape(name) or 'Assistant'} · {message.created_at:%Y-%m-%d %H:%M}"
            yield from _write_answer(message)


def _write_answer(message: PortableMessage) -> Iterator[str]:
    """Yield the parts of an answer: text as it was written, reasoning and tools folded away; then how it ended."""
    yield from filter(None, map(str, _list_blocks(message.parts)))
    yield from (f"*{_escape(part.message)}*" for part in message.parts if isinstance(part, Remark))
    if note := _describe_end(message):
        yield f"*{note}*"


class _Text(list[str]):
    """A stretch of text."""

    def __str__(self) -> str:
        return "".join(self).strip("\n")


class _Tool(list[str]):
    """A call of a tool with its arguments."""

    def __init__(self, name: str) -> None:
        self.name, self.outcome = name, "not finished"

    def __str__(self) -> str:
        return _fold(f"Tool {self.name}", f"{''.join(self)}\n\n{self.outcome}")


def _list_blocks(parts: Iterable[Lasting]) -> list[_Text | _Tool | str]:
    """Return the blocks of an answer; a call's arguments and result go to its own, wherever it stands."""
    blocks: list[_Text | _Tool | str] = []
    tools: dict[str, _Tool] = {}
    for part in parts:
        if isinstance(part, Token):
            if not blocks or not isinstance(blocks[-1], _Text):
                blocks.append(_Text())
            blocks[-1].append(part.content)  # type: ignore[union-attr]  # the last one is a text now
        elif isinstance(part, Reasoning):
            blocks.append(_fold("Reasoning", part.content))
        elif isinstance(part, ToolCall):
            tools[part.id] = _Tool(part.name)
            blocks.append(tools[part.id])
        elif isinstance(part, ToolArguments) and part.id in tools:
            tools[part.id].append(part.delta)
        elif isinstance(part, ToolResult) and part.id in tools:
            tools.pop(part.id).outcome = part.summary if part.ok else f"failed: {part.summary}"
    return blocks


def _describe_end(message: PortableMessage) -> str:
    """Return how an answer ended, where that is not plain from its text."""
    if message.status == "interrupted":
        return f"Interrupted: {CODES[message.error_code].message}"
    if message.status == "stopped":
        return "Stopped."
    if message.status != "complete":
        return "Still being written."
    return "The model reached its length limit." if message.finish_reason == "length" else ""


def _fold(headline: str, text: str) -> str:
    """Return a block that readers open, with its text as it was written."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return (
        f"<details>\n<summary>{_escape_html(headline)}</summary>\n\n{fence}text\n{text.strip()}\n{fence}\n\n</details>"
    )


def _escape(line: str) -> str:
    """Return a line that is no markup, such as a title."""
    return re.sub(r"([\\`*_\[\]<>#|])", r"\\\1", join_lines(line))


def _escape_html(line: str) -> str:
    return join_lines(line).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
