"""The text of an answer on a page: sealed blocks once, its tail as it grows; plain where the renderer fails."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape

from chat.core.events import (
    Continued,
    Lasting,
    Token,
)
from chat.observability import metrics
from chat.rendering.document import StreamingMarkdown, render, render_snapshot
from chat.rendering.joint import JOINT
from chat.rendering.page_changes import Swap
from chat.streaming.page_change import Change

log = logging.getLogger(__name__)


_JOINT_HTML = '<span class="joint" title="Continued here"></span>'


class TextPart:
    """Markdown. Text on which the renderer fails is shown as it was written."""

    template = "chat/_part_text.html"

    def __init__(self, id_: str, *, is_plain: bool = False) -> None:
        self.id = id_
        self.has_failed = False
        """The page has to be sent this part again: its state is unknown, or plain text may be rendered now."""
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
        return f'<div class="plain">{_render_plain(split_half_line_end(text, is_over=self._is_over)[0])}</div>'

    def mark_shown(self) -> None:
        """Note that the page has all of this part; changes begin here."""
        text = "".join(self._text)
        self._text.clear()
        if self.is_plain:
            self._keep(split_half_line_end(text, is_over=self._is_over)[1])
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
            text, half = split_half_line_end("".join(self._text), is_over=self._is_over)
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


def split_half_line_end(text: str, *, is_over: bool) -> tuple[str, str]:
    """Return plain text with each line end as one character, and what has to wait for the next piece.

    A carriage return at the end may be half of a line end; where a text was cut must not decide how it looks.
    """
    half = "\r" if text.endswith("\r") and not is_over else ""
    return text.removesuffix(half).replace("\r\n", "\n").replace("\r", "\n"), half


def _render_plain(text: str) -> str:
    return _mark_joints(escape(text))


def _mark_joints(html: str) -> str:
    return html.replace(JOINT, _JOINT_HTML)
