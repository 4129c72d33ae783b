"""An answer on a page: its parts in the order they came, and the changes that keep a page up with them.

Text, reasoning and tool calls are parts, each an element of its own. A page is put together from the answer's events
alone, in the same way whether they are stored or still coming, so that a reload changes nothing.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from html import escape
from typing import NamedTuple
from uuid import UUID

from django.template.loader import render_to_string

from chat.core.events import (
    Continued,
    Event,
    Lasting,
    Reasoning,
    Remark,
    TextEvent,
    Thought,
    Token,
    ToolArguments,
    ToolCall,
    ToolResult,
    count_positions,
    get_text,
    replace_text,
)
from chat.observability import metrics
from chat.rendering.document import StreamingMarkdown, render, render_snapshot
from chat.rendering.joint import JOINT
from chat.rendering.page_changes import Swap
from chat.tools.toolbox import write_headline

log = logging.getLogger(__name__)

_JOINT_HTML = '<span class="joint" title="Continued here"></span>'


class Change(NamedTuple):
    """A swap of htmx. `html` is sanitised or escaped already; target and manner are our own strings."""

    target: str
    how: str
    html: str

    def __str__(self) -> str:
        return f'<hx-partial hx-target="{self.target}" hx-swap="{self.how}">{self.html}</hx-partial>'


class Disclosure(NamedTuple):
    """The extent to which an answer is disclosed to a reader beside its text."""

    reasoning: bool = True
    tools: bool = True
    remarks: bool = True


EVERYTHING = Disclosure()


class TextPart:
    """Markdown. Text on which the renderer fails is shown as it was written."""

    template = "chat/_part_text.html"

    def __init__(self, id_: str, *, is_plain: bool = False) -> None:
        self.id = id_
        self.has_failed = False
        """The page has to be sent this part anew: its state is unknown, or plain text may be rendered now."""
        self.is_plain = is_plain
        self._is_never_markdown = is_plain
        self._text: list[str] = []  # that the page does not have yet
        self._markdown: StreamingMarkdown | None = None
        self.has_begun = False
        self._is_over = False
        self._chars_until_retry = 0  # of plain text, until rendering is tried again

    def accepts(self, event: Lasting) -> bool:
        return isinstance(event, Token | Continued) and not self._is_over

    def take(self, event: Lasting) -> None:
        if isinstance(event, Token):
            self._feed(event.content)
        else:
            self._feed(JOINT)

    def _feed(self, text: str) -> None:
        self.has_begun = True
        if self._markdown is None:
            self._text.append(text)
            return
        with self._catch_failure():
            self._markdown.feed(text)

    def _keep(self, half: str) -> None:
        if half:
            self._text.append(half)

    def end(self) -> None:
        if not self._is_over and self._markdown is not None:
            with self._catch_failure():
                self._markdown.finish()
        self._is_over = True

    @property
    def html(self) -> str:
        text = "".join(self._text)
        self.is_plain = self._is_never_markdown
        if not self.is_plain:
            shown = ""
            with self._catch_failure():
                shown = _mark_joints(render(text) if self._is_over else render_snapshot(text))
            if shown:
                return shown
            self.has_failed, self.is_plain = False, True
        return f'<div class="plain">{_render_plain(_split_half_line_end(text, is_over=self._is_over)[0])}</div>'

    def mark_shown(self) -> None:
        """Note that the page has all of this part; changes begin here."""
        text = "".join(self._text)
        self._text.clear()
        if self.is_plain:
            self._keep(_split_half_line_end(text, is_over=self._is_over)[1])
            self._chars_until_retry = max(self._chars_until_retry, len(text), _WORTH_ANOTHER_TRY)
            return
        with self._catch_failure():
            if self._markdown is None:
                self._markdown = StreamingMarkdown()
                self._markdown.feed(text)
                if self._is_over:
                    self._markdown.finish()
            self._markdown.take_changes()

    def take_changes(self) -> Iterator[Change]:
        if self.is_plain:
            text, half = _split_half_line_end("".join(self._text), is_over=self._is_over)
            self._text.clear()
            self._keep(half)
            self._chars_until_retry -= len(text)
            self.has_failed = self._chars_until_retry < 0 and not self._is_never_markdown
            if text:
                yield Change(f"#{self.id} > :last-child", "beforeend", _render_plain(text))
            return
        swaps: list[Swap] = []
        if self._markdown is not None and not self.has_failed:
            with self._catch_failure():
                swaps = self._markdown.take_changes()
        text_, stretch = f"#{self.id}", f"#{self.id} > :last-child"
        targets = {"text": text_, "stretch": stretch, "tail": f"{stretch} .tail", "open": f"{stretch} > :last-child"}
        for swap in swaps:
            yield Change(targets[swap.target] + " > :last-child" * swap.depth, swap.how, _mark_joints(swap.html))

    @contextmanager
    def _catch_failure(self) -> Iterator[None]:
        """Note whatever the renderer raises, a panic of its Rust too, as a failure of this text alone."""
        try:
            yield
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:
            # Neither the message nor a traceback: they may hold a part of the conversation.
            *_, last = traceback.walk_tb(error.__traceback__)
            where = f"{last[0].f_code.co_filename.rpartition('/')[2]}:{last[1]}"
            log.error("%s: the renderer raised %s at %s, the text is shown plain", self.id, type(error).__name__, where)
            metrics.RENDERING_FAILURES.inc()
            self.has_failed = True


# Plain text is tried again after at least this many further characters.
_WORTH_ANOTHER_TRY = 400


def _split_half_line_end(text: str, *, is_over: bool) -> tuple[str, str]:
    """Return plain text with each line end as one character, and what has to wait for the next piece.

    A carriage return at the end may be half of a line end; where a text was cut must not decide how it looks.
    """
    half = "\r" if text.endswith("\r") and not is_over else ""
    return text.removesuffix(half).replace("\r\n", "\n").replace("\r", "\n"), half


def _render_plain(text: str) -> str:
    return _mark_joints(escape(text))


def _mark_joints(html: str) -> str:
    return html.replace(JOINT, _JOINT_HTML)


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
        return _split_half_line_end("".join(self._text), is_over=self._is_over)[0]

    def mark_shown(self) -> None:
        _, half = _split_half_line_end("".join(self._text), is_over=self._is_over)
        self._text = [half] if half else []
        self._shown_state = self.headline

    def take_changes(self) -> Iterator[Change]:
        if self._text:
            text, half = _split_half_line_end("".join(self._text), is_over=self._is_over)
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
            # The answer goes on: what it was thinking, or calling, when it was cut does not.
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
        """The last part that is no remark: the answer goes on with it, unless it is over."""
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


class ShownAnswer:
    """The parts of an answer on one reader's page.

    The page has the answer up to position `seen` already. When `seen` is None it may have anything, and is sent all of
    it anew, with its text as it was written when `is_plain`.
    """

    def __init__(
        self, answer_id: UUID, seen: int | None, *, is_plain: bool = False, disclosure: Disclosure = EVERYTHING
    ) -> None:
        self._answer = answer_id
        self._seen = seen or 0
        self._position = 0
        self.is_ahead = False
        """The page has more than was stored, because the answer's process was killed; it has to be sent all anew."""
        self._parts = Parts(answer_id, is_plain=is_plain, disclosure=disclosure)
        self._shown_parts = 0
        self._is_anew = seen is None
        if not self._is_anew:
            self._catch_up()

    @property
    def has_failed(self) -> bool:
        """True when a text could not be rendered, so that the page has to be sent the whole anew."""
        return any(isinstance(part, TextPart) and part.has_failed for part in self._parts)

    @property
    def is_reasoning(self) -> bool:
        """True when the page's last part is reasoning that may go on."""
        last = next(reversed(list(self._parts)), None)
        return isinstance(last, ReasoningPart) and last.accepts(Reasoning(""))

    @property
    def differs_from_reload(self) -> bool:
        """True when a reload may show something else than the page does."""
        return self.is_ahead or self.has_failed or any(getattr(part, "is_plain", False) for part in self._parts)

    def take(self, event: Event, position: int) -> None:
        """Take in an event that ends at `position`; what the page has already changes nothing."""
        if not isinstance(event, Lasting):
            return
        self._position = position
        new = position - self._seen
        if new <= 0:
            self._parts.take(event)
            self._catch_up()
        elif isinstance(event, TextEvent) and new < count_positions(event):
            text = get_text(event)
            self._parts.take(replace_text(event, text[:-new]))
            self._catch_up()
            self._parts.take(replace_text(event, text[-new:]))
        else:
            self._parts.take(event)

    def _catch_up(self) -> None:
        parts = list(self._parts)
        for part in parts:
            part.mark_shown()
        self._shown_parts = len(parts)

    def end(self) -> None:
        self._parts.end()
        self.is_ahead = self._seen > self._position

    def take_changes(self) -> list[Change]:
        """Return the changes since the last call, for one message.

        htmx finds the targets of all changes of a message before it makes the first, so none may depend on another.
        """
        parts = list(self._parts)
        old, new = parts[: self._shown_parts], parts[self._shown_parts :]
        changes = [change for part in old for change in part.take_changes()]
        if new:
            html = "".join(render_to_string(part.template, {"part": part}).strip() for part in new)
            changes.append(Change(f"#parts-{self._answer}", "innerHTML" if self._is_anew else "beforeend", html))
            self._is_anew = False
            for part in new:
                part.mark_shown()
        self._shown_parts = len(parts)
        return changes
