"""An answer on one reader's page, and the changes that keep the page up to date."""

from __future__ import annotations

from uuid import UUID

from django.template.loader import render_to_string

from chat.core.events import (
    Event,
    Lasting,
    Reasoning,
    TextEvent,
    count_positions,
    get_text,
    replace_text,
)
from chat.streaming.page_change import Change
from chat.streaming.page_parts import EVERYTHING, Disclosure, Parts, ReasoningPart
from chat.streaming.text_part import TextPart


class ShownAnswer:
    """The parts of an answer on one reader's page.

    The page has the answer up to position `seen` already. When `seen` is None its state is unknown, and it is sent the
    whole answer, with its text as plain text when `is_plain`.
    """

    def __init__(
        self, answer_id: UUID, seen: int | None, *, is_plain: bool = False, disclosure: Disclosure = EVERYTHING
    ) -> None:
        self._answer = answer_id
        self._seen = seen or 0
        self._position = 0
        self.is_ahead = False
        """The page has more than was stored, as the answer's process was killed; it has to be sent the whole answer."""
        self._parts = Parts(answer_id, is_plain=is_plain, disclosure=disclosure)
        self._shown_parts = 0
        self._replaces_page = seen is None
        if not self._replaces_page:
            self._catch_up()

    @property
    def has_failed(self) -> bool:
        """True when a text could not be rendered, so that the page has to be sent the whole answer again."""
        return any(isinstance(part, TextPart) and part.has_failed for part in self._parts)

    @property
    def is_reasoning(self) -> bool:
        """True when the page's last part is reasoning that may go on."""
        last = next(reversed(list(self._parts)), None)
        return isinstance(last, ReasoningPart) and last.accepts(Reasoning(""))

    @property
    def differs_from_reload(self) -> bool:
        """True when a reload may show something other than the page does."""
        return self.is_ahead or self.has_failed or any(getattr(part, "is_plain", False) for part in self._parts)

    def take(self, event: Event, position: int) -> None:
        """Add an event that ends at `position`; text that the page has already makes no change."""
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
            changes.append(Change(f"#parts-{self._answer}", "innerHTML" if self._replaces_page else "beforeend", html))
            self._replaces_page = False
            for part in new:
                part.mark_shown()
        self._shown_parts = len(parts)
        return changes
