"""A text as a browser shows it while it streams, held beside the page that is loaded at each moment."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from chat.rendering.document import StreamingMarkdown, render, render_snapshot
from chat.rendering.page_changes import Swap
from tests.support.page import Page

_SELECTORS = {
    "text": "",
    "stretch": "> :last-child",
    "tail": "> :last-child .tail",
    "open": "> :last-child > :last-child",
}


def stream_pieces(pieces: Iterable[str]) -> Iterator[str]:
    """Yield what the page shows after each piece, and when the text is over; each is what a reload would show."""
    page, streaming, text = Page(), StreamingMarkdown(), ""
    for piece in pieces:
        streaming.feed(piece)
        apply_swaps(page, streaming.take_changes())
        text += piece
        assert page.html == render_snapshot(text), text
        yield page.html
    streaming.finish()
    apply_swaps(page, streaming.take_changes())
    assert page.html == render(text), text
    yield page.html


def apply_swaps(page: Page, swaps: Iterable[Swap]) -> None:
    """Make the swaps on the page as htmx would."""
    for swap in swaps:
        page.swap(
            _SELECTORS[swap.target] + " > :last-child" * swap.depth, swap.how, "" if swap.how == "delete" else swap.html
        )


def render_inside(text: str) -> str:
    """Return the HTML of a whole text that fills one stretch, without that."""
    return render(text).removeprefix('<div class="stretch">').removesuffix("</div>")


def read_words(html: str) -> str:
    """Return what a reader reads: the HTML without its tags."""
    return re.sub("<[^>]+>", "", html)
