"""An answer on a page: its parts in the order they came, and the changes that keep a page up with them.

Text, reasoning and tool calls are parts, each an element of its own. What a page shows is put together from the
answer's events alone, in the same way whether they are stored or still coming, so that a reload changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape
from typing import NamedTuple
from uuid import UUID

from django.template.loader import render_to_string

from chat.events import (
    Continued,
    Event,
    Lasting,
    Reasoning,
    TextEvent,
    Thought,
    Token,
    ToolArguments,
    ToolCall,
    ToolResult,
    text_of,
    width,
    with_text,
)
from chat.rendering import StreamingMarkdown, render, snapshot
from chat.tools import headline

# Stands in the text where an answer was continued, while it is rendered. Nobody writes it, see `chat.events.storable`.
_JOINT = "\ufdd0"
_JOINT_HTML = '<span class="joint" title="Continued here"></span>'


class Change(NamedTuple):
    """A swap of htmx. `html` is sanitised or escaped already; the other two are ours."""

    target: str
    how: str
    html: str

    def __str__(self) -> str:
        return f'<hx-partial hx-target="{self.target}" hx-swap="{self.how}">{self.html}</hx-partial>'


class TextPart:
    """Markdown. Its tail goes when the part ends."""

    template = "chat/_part_text.html"

    def __init__(self, id_: str) -> None:
        self.id = id_
        self._text: list[str] = []  # until it is shown: from then on the page has it
        self._markdown: StreamingMarkdown | None = None
        self._is_at_line_start = True
        self._is_over = False

    def takes(self, event: Lasting) -> bool:
        return isinstance(event, Token | Continued)

    def take(self, event: Lasting) -> None:
        if isinstance(event, Token):
            self._feed(event.content)
        elif not self._is_at_line_start:  # there it would hide the mark of a list, or of a heading
            self._feed(_JOINT)

    def _feed(self, text: str) -> None:
        self._is_at_line_start = text.endswith("\n")
        if self._markdown is None:
            self._text.append(text)
        else:
            self._markdown.feed(text)

    def end(self) -> None:
        if not self._is_over and self._markdown is not None:
            self._markdown.finish()
        self._is_over = True

    @property
    def html(self) -> str:
        text = "".join(self._text)
        return _jointed(render(text) if self._is_over else snapshot(text))

    def shown(self) -> None:
        """The page has all of it: changes begin here."""
        if self._markdown is None:
            self._markdown = StreamingMarkdown()
            self._markdown.feed("".join(self._text))
            if self._is_over:
                self._markdown.finish()
        self._markdown.changes()
        self._text.clear()

    def changes(self) -> Iterator[Change]:
        text, stretch = f"#{self.id}", f"#{self.id} > :last-child"
        targets = {"text": text, "stretch": stretch, "tail": f"{stretch} .tail", "open": f"{stretch} > :last-child"}
        if self._markdown is not None:
            for swap in self._markdown.changes():
                yield Change(targets[swap.target], swap.how, _jointed(swap.html))


def _jointed(html: str) -> str:
    return html.replace(_JOINT, _JOINT_HTML)


class ReasoningPart:
    """Plain text, folded."""

    template = "chat/_part_reasoning.html"

    def __init__(self, id_: str) -> None:
        self.id = id_
        self._text: list[str] = []
        self._milliseconds: int | None = None
        self._is_over = False
        self._told = ""

    def takes(self, event: Lasting) -> bool:
        return isinstance(event, Reasoning | Thought) and not self._is_over

    def take(self, event: Lasting) -> None:
        if isinstance(event, Thought):
            self._milliseconds = event.milliseconds
            self._is_over = True
        elif isinstance(event, Reasoning):
            self._text.append(event.content)

    def end(self) -> None:
        self._is_over = True

    @property
    def headline(self) -> str:
        if self._milliseconds is not None:
            return f"Thought for {max(1, round(self._milliseconds / 1000))} s"
        if self._is_over:
            return "Thought"
        return "Thinking…"  # chat.js counts the seconds

    @property
    def text(self) -> str:
        return "".join(self._text)

    def shown(self) -> None:
        self._text.clear()
        self._told = self.headline

    def changes(self) -> Iterator[Change]:
        if self._text:
            yield Change(f"#{self.id} > .thought", "beforeend", escape(self.text))
            self._text.clear()
        if self._told != self.headline:
            self._told = self.headline
            yield Change(f"#{self.id} > summary", "innerHTML", escape(self._told))


class ToolPart:
    """A call of a tool: what it does in a line, its arguments as they come, its result."""

    template = "chat/_part_tool.html"

    def __init__(self, id_: str, call: ToolCall) -> None:
        self.id = id_
        self._call = call
        self._arguments: list[str] = []
        self._result: ToolResult | None = None
        self._is_over = False
        self._told: tuple[str, str, str] = ("", "", "")

    def takes(self, event: Lasting) -> bool:
        return isinstance(event, ToolArguments | ToolResult) and event.id == self._call.id

    def take(self, event: Lasting) -> None:
        if isinstance(event, ToolArguments):
            self._arguments.append(event.delta)
        elif isinstance(event, ToolResult):
            self._result = event

    def end(self) -> None:
        self._is_over = True

    @property
    def state(self) -> str:
        """`running`, `done`, `failed`, or `cut` when the answer ended before the tool did."""
        if self._result is not None:
            return "done" if self._result.ok else "failed"
        return "cut" if self._is_over else "running"

    @property
    def headline(self) -> str:
        return headline(self._call.name, self.arguments)

    @property
    def arguments(self) -> str:
        return "".join(self._arguments)

    @property
    def result(self) -> str:
        return self._result.summary if self._result else ""

    @property
    def seconds(self) -> str:
        took = self._result.milliseconds / 1000 if self._result else 0
        return f"{took:.1f} s" if took >= 0.05 else ""

    @property
    def _now(self) -> tuple[str, str, str]:
        return self.state + self.headline, self.arguments, self.result

    def shown(self) -> None:
        self._told = self._now

    def changes(self) -> Iterator[Change]:
        told, self._told = self._told, self._now
        summary, arguments, result = (before != now for before, now in zip(told, self._now, strict=True))
        if summary or result:
            html = render_to_string("chat/_part_tool_summary.html", {"part": self}).strip()
            yield Change(f"#{self.id} > summary", "outerHTML", html)
        if arguments:
            yield Change(f"#{self.id} > .arguments", "innerHTML", escape(self.arguments))
        if result:
            yield Change(f"#{self.id} > .result", "innerHTML", escape(self.result))


Part = TextPart | ReasoningPart | ToolPart


class Parts:
    """The parts of one answer. The first is text, empty until there is some: it is where a page waits."""

    def __init__(self, answer_id: UUID) -> None:
        self._answer = answer_id
        self._parts: list[Part] = [TextPart(self._id(0))]

    def __iter__(self) -> Iterator[Part]:
        return iter(self._parts)

    def take(self, event: Lasting) -> None:
        """The answer goes on with this. A call's arguments and result belong to its part, wherever that stands."""
        if isinstance(event, ToolArguments | ToolResult):
            owner = next((part for part in reversed(self._parts) if part.takes(event)), None)
        else:
            owner = self._parts[-1] if self._parts[-1].takes(event) else self._begun_with(event)
        if owner is not None:
            owner.take(event)

    def _begun_with(self, event: Lasting) -> Part | None:
        id_ = self._id(len(self._parts))
        part: Part
        if isinstance(event, ToolCall):
            part = ToolPart(id_, event)
        elif isinstance(event, Reasoning):
            part = ReasoningPart(id_)
        elif isinstance(event, Token):
            part = TextPart(id_)
        else:
            return None
        if not isinstance(self._parts[-1], ToolPart):
            self._parts[-1].end()
        self._parts.append(part)
        return part

    def end(self) -> None:
        """Nothing more will come."""
        for part in self._parts:
            part.end()

    def _id(self, index: int) -> str:
        return f"part-{self._answer}-{index}"


def parts_of(answer_id: UUID, events: Iterable[Lasting], *, is_live: bool) -> Parts:
    """The parts of an answer as it is stored."""
    parts = Parts(answer_id)
    for event in events:
        parts.take(event)
    if not is_live:
        parts.end()
    return parts


class Following:
    """The parts that one reader's page shows, which has the answer up to position `seen` already."""

    def __init__(self, answer_id: UUID, seen: int) -> None:
        self._answer = answer_id
        self._seen = seen
        self._position = 0
        self.is_ahead = False
        """The page has seen more than was kept: the answer's process was killed. It has to be shown the whole anew."""
        self._parts = Parts(answer_id)
        self._shown = 0  # parts that the page has
        self._catch_up()

    def take(self, event: Event, position: int) -> None:
        """Take in an event that ends at `position`. What the page shows already changes nothing."""
        if not isinstance(event, Lasting):
            return
        self._position = position
        new = position - self._seen
        if new <= 0:
            self._parts.take(event)
            self._catch_up()
        elif isinstance(event, TextEvent) and new < width(event):
            text = text_of(event)
            self._parts.take(with_text(event, text[:-new]))
            self._catch_up()
            self._parts.take(with_text(event, text[-new:]))
        else:
            self._parts.take(event)

    def _catch_up(self) -> None:
        parts = list(self._parts)
        for part in parts:
            part.shown()
        self._shown = len(parts)

    def end(self) -> None:
        self._parts.end()
        self.is_ahead = self._seen > self._position

    def changes(self) -> list[Change]:
        """The changes since they were last taken, for one message: htmx finds the targets of all its parts before it
        swaps the first, so no change may depend on another."""
        parts = list(self._parts)
        old, new = parts[: self._shown], parts[self._shown :]
        changes = [change for part in old for change in part.changes()]
        if new:
            html = "".join(render_to_string(part.template, {"part": part}).strip() for part in new)
            changes.append(Change(f"#parts-{self._answer}", "beforeend", html))
            for part in new:
                part.shown()
        self._shown = len(parts)
        return changes
