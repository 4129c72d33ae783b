"""An answer on a page: its parts in the order they came.

Text, reasoning and tool calls are parts, each an element of its own. A page is put together from the answer's events
alone, in the same way whether they are stored or still coming, so that a reload changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape
from typing import NamedTuple
from uuid import UUID

from django.template.loader import render_to_string

from chat.core.events import (
    Continued,
    Lasting,
    Reasoning,
    Remark,
    Thought,
    Token,
    ToolArguments,
    ToolCall,
    ToolResult,
)
from chat.streaming.page_change import Change
from chat.streaming.text_part import TextPart, split_half_line_end
from chat.tools.toolbox import write_headline


class Disclosure(NamedTuple):
    """The extent to which an answer is disclosed to a reader beside its text."""

    reasoning: bool = True
    tools: bool = True
    remarks: bool = True


EVERYTHING = Disclosure()


class ReasoningPart:
    """Reasoning as plain text, folded away."""

    template = "chat/_part_reasoning.html"
    has_begun = True

    def __init__(self, id_: str) -> None:
        self.id = id_
        self._text: list[str] = []
        self._milliseconds: int | None = None
        self._is_over = False
        self._shown_state = ""

    def accepts(self, event: Lasting) -> bool:
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
        return "Thinking…"  # countdowns.js counts the seconds

    @property
    def text(self) -> str:
        return split_half_line_end("".join(self._text), is_over=self._is_over)[0]

    def mark_shown(self) -> None:
        _, half = split_half_line_end("".join(self._text), is_over=self._is_over)
        self._text = [half] if half else []
        self._shown_state = self.headline

    def take_changes(self) -> Iterator[Change]:
        if self._text:
            text, half = split_half_line_end("".join(self._text), is_over=self._is_over)
            self._text = [half] if half else []
            if text:
                yield Change(f"#{self.id} > .thought", "beforeend", escape(text))
        if self._shown_state != self.headline:
            self._shown_state = self.headline
            yield Change(f"#{self.id} > summary", "innerHTML", escape(self._shown_state))


class HiddenReasoning(ReasoningPart):
    """Reasoning that a reader is not shown: the texts around it stay apart."""

    template = "chat/_part_hidden.html"

    def take_changes(self) -> Iterator[Change]:
        return iter(())


class ToolPart:
    """A call of a tool: one line about it, its arguments as they come, its result."""

    template = "chat/_part_tool.html"
    has_begun = True

    def __init__(self, id_: str, call: ToolCall) -> None:
        self.id = id_
        self._call = call
        self._arguments: list[str] = []
        self._result: ToolResult | None = None
        self._is_over = False
        self._shown_state: tuple[str, str, str] = ("", "", "")

    def accepts(self, event: Lasting) -> bool:
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
        return write_headline(self._call.name, self.arguments)

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

    def mark_shown(self) -> None:
        self._shown_state = self._now

    def take_changes(self) -> Iterator[Change]:
        shown, self._shown_state = self._shown_state, self._now
        summary, arguments, result = (before != now for before, now in zip(shown, self._now, strict=True))
        if summary or result:
            html = render_to_string("chat/_part_tool_summary.html", {"part": self}).strip()
            yield Change(f"#{self.id} > summary", "outerHTML", html)
        if arguments:
            yield Change(f"#{self.id} > .arguments", "innerHTML", escape(self.arguments))
        if result:
            yield Change(f"#{self.id} > .result", "innerHTML", escape(self.result))


class HiddenTool(ToolPart):
    """A call of a tool that a reader is not shown: the texts around it stay apart."""

    template = "chat/_part_hidden.html"

    def take_changes(self) -> Iterator[Change]:
        return iter(())


class RemarkPart:
    """A sentence of the site about the answer; it never changes."""

    template = "chat/_part_remark.html"

    def __init__(self, id_: str, remark: Remark) -> None:
        self.id = id_
        self.code, self.message = remark.code, remark.message

    def accepts(self, event: Lasting) -> bool:
        return False

    def take(self, event: Lasting) -> None:
        """Do nothing: no event belongs to a remark."""

    def end(self) -> None:
        """Do nothing: a remark is complete from the beginning."""

    def mark_shown(self) -> None:
        """Do nothing: a remark never changes."""

    def take_changes(self) -> Iterator[Change]:
        return iter(())


Part = TextPart | ReasoningPart | ToolPart | RemarkPart


class Parts:
    """The parts of one answer. The first is text, empty until there is some, and shows that the page is waiting."""

    def __init__(self, answer_id: UUID, *, is_plain: bool = False, disclosure: Disclosure = EVERYTHING) -> None:
        self._answer = answer_id
        self._is_plain = is_plain
        self._disclosure = disclosure
        self._parts: list[Part] = [TextPart(self._make_id(0), is_plain=is_plain)]

    def __iter__(self) -> Iterator[Part]:
        return iter(self._parts)

    def take(self, event: Lasting) -> None:
        """Take an event in. A call's arguments and result go to the part of that call, wherever it stands."""
        if isinstance(event, ToolArguments | ToolResult):
            owner = next((part for part in reversed(self._parts) if part.accepts(event)), None)
        else:
            owner = self._last if self._last.accepts(event) else self._begin_part(event)
        if owner is not None:
            owner.take(event)

    def _begin_part(self, event: Lasting) -> Part | None:
        id_ = self._make_id(len(self._parts))
        part: Part
        if isinstance(event, ToolCall):
            part = ToolPart(id_, event) if self._disclosure.tools else HiddenTool(id_, event)
        elif isinstance(event, Remark):
            if not self._disclosure.remarks:
                return None
            part = RemarkPart(id_, event)
        elif isinstance(event, Reasoning):
            part = ReasoningPart(id_) if self._disclosure.reasoning else HiddenReasoning(id_)
        elif isinstance(event, Token):
            part = TextPart(id_, is_plain=self._is_plain)
        elif isinstance(event, Continued):
            # The answer continues: what it was thinking, or calling, when it was cut does not.
            for cut in self._parts:
                if not isinstance(cut, TextPart):
                    cut.end()
            return None
        else:
            return None
        # A remark in the middle of a text stands below it: it must not cut a list or a block of code in two.
        if not isinstance(self._last, ToolPart) and not (isinstance(part, RemarkPart) and self._last.has_begun):
            self._last.end()
        self._parts.append(part)
        return part

    @property
    def _last(self) -> TextPart | ReasoningPart | ToolPart:
        """The last part that is no remark: the answer continues in it, unless it is over."""
        return next(part for part in reversed(self._parts) if not isinstance(part, RemarkPart))

    def end(self) -> None:
        """End all parts."""
        for part in self._parts:
            part.end()

    def _make_id(self, index: int) -> str:
        return f"part-{self._answer}-{index}"


def build_parts(
    answer_id: UUID, events: Iterable[Lasting], *, is_live: bool, disclosure: Disclosure = EVERYTHING
) -> Parts:
    """Return the parts of an answer from its events, as far as they are disclosed."""
    parts = Parts(answer_id, disclosure=disclosure)
    for event in events:
        parts.take(event)
    if not is_live:
        parts.end()
    return parts
