"""A text as the page that shows it: loaded whole, or streamed as changes to a page."""

from __future__ import annotations

from chat.rendering.fold import Fold
from chat.rendering.page_changes import PageChanges, Swap
from chat.rendering.whole_page import WholePage


def render(text: str) -> str:
    """Return the HTML of a whole text."""
    whole = WholePage()
    fold = Fold(whole)
    fold.read(text)
    fold.end()
    return whole.render()


def render_snapshot(text: str) -> str:
    """Return the HTML of a text that still grows: what a page shows that has made all its changes."""
    whole = WholePage()
    fold = Fold(whole)
    fold.read(text)
    fold.show()
    return whole.render()


class StreamingMarkdown:
    """A growing text on one reader's page, as changes to that page."""

    def __init__(self) -> None:
        self._changes = PageChanges()
        self._fold = Fold(self._changes)
        self._is_over = False

    def feed(self, delta: str) -> None:
        """Take in the next piece of the text."""
        self._fold.read(delta)

    def finish(self) -> None:
        """Seal the rest and take the tail away: the text is whole."""
        self._fold.end()
        self._is_over = True

    def take_changes(self) -> list[Swap]:
        """Return the changes since the last call; an empty list if the page shows the same.

        They go into one message, without those of another call: the changes of one call do not depend on each other,
        those of two calls do.
        """
        if not self._is_over:
            self._fold.show()
        return self._changes.take_swaps()
