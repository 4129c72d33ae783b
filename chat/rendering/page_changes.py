"""The changes that bring a browser's page up to date, as the fewest htmx swaps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from chat.rendering.growth import find_growth
from chat.rendering.sink import TOP, TailContainer
from chat.rendering.whole_page import WholePage


@dataclass(frozen=True, slots=True)
class Swap:
    """One change of the page: the element that changes, the kind of swap as htmx calls it, and the new HTML.

    `open` is the last block, `stretch` the last stretch, `text` the whole text. The element is the last child of the
    last child … of these, as deep as `depth` says.
    """

    target: Literal["tail", "open", "stretch", "text"]
    how: Literal["beforebegin", "outerHTML", "innerHTML", "beforeend", "delete"]
    html: str = ""
    depth: int = 0


# The characters that a message spends around the HTML of one swap, about: one more swap has to save as many.
SWAP_CHARS = 120


class PageChanges:
    """A page in a browser, as swaps that do not depend on each other: htmx finds all targets before it makes the first.

    So everything since the last call of `take_swaps` becomes at most three kinds of swap: one that replaces the tail
    that the browser has, or the container around it, or appends to the tail and the elements in it; one that appends to
    the last stretch; one that appends stretches to the text.
    """

    def __init__(self) -> None:
        self._shown = TOP.render_empty_tail()  # tail of the browser
        self._container = TOP  # around that tail
        self._start_over(TOP.render_empty_tail())

    def _start_over(self, tail: str) -> None:
        self._inside = ""  # HTML before the browser's tail, or in its place
        self._replacement: str | None = None  # HTML in the place of the browser's container
        self._after: WholePage | None = None  # the page after the browser's container, which is closed
        self._is_rewritten = False  # the whole text is sent again
        self._tail = tail

    def seal(self, html: str) -> None:
        if self._after is not None:
            self._after.seal(html)
        else:
            self._inside += html

    def show(self, tail: str) -> None:
        if self._after is not None:
            self._after.show(tail)
        else:
            self._tail = tail

    def enter(self, container: TailContainer) -> None:
        self._get_following().enter(container)

    def leave(self) -> None:
        if self._after is not None:
            self._after.leave()
        else:
            self._after = WholePage()

    def replace(self, html: str) -> None:
        if self._after is not None:
            self._after.replace(html)
        else:
            self._after, self._replacement = WholePage(), html

    def begin_stretch(self, *, is_continued: bool) -> None:
        self._get_following().begin_stretch(is_continued=is_continued)

    def end(self) -> None:
        self._get_following().end()

    def restart(self) -> None:
        self._start_over(TOP.render_empty_tail())
        self._after, self._is_rewritten = WholePage(), True

    def _get_following(self) -> WholePage:
        """Return the page after the browser's tail, and begin it if there is none."""
        if self._after is None:
            self._after = WholePage()
        return self._after

    def take_swaps(self) -> list[Swap]:
        """Return the changes since the last call."""
        if self._after is not None and self._is_rewritten:
            swaps = [Swap("text", "innerHTML", self._after.render())]
        else:
            after, stretches = self._after.split_stretches() if self._after is not None else ("", "")
            swaps = self._make_swaps(after)
            if stretches:
                swaps.append(Swap("text", "beforeend", stretches))
        if self._after is not None:
            self._container, self._tail = self._after.container, self._after.tail
        self._shown = self._tail
        self._start_over(self._tail)
        return swaps

    def _grow_tail(self) -> list[Swap]:
        """Return the swaps that append to the browser's tail; none if replacing it is needed or shorter."""
        growth = find_growth(self._shown, self._tail) if not self._inside else None
        if not growth or sum(len(each.html) + SWAP_CHARS for each in growth) > len(self._tail) + SWAP_CHARS:
            return []
        return [Swap("tail", each.how, each.html, each.depth) for each in growth]

    def _make_swaps(self, after: str) -> list[Swap]:
        if self._replacement is not None:
            return [Swap("open", "outerHTML", self._replacement + after)]
        if self._after is None:
            if self._tail == self._shown:
                return [Swap("tail", "beforebegin", self._inside)] if self._inside else []
            return self._grow_tail() or [Swap("tail", "outerHTML", self._inside + self._tail)]
        if self._container.kind == "":
            html = self._inside + after
            return [Swap("tail", "outerHTML", html) if html else Swap("tail", "delete")]
        last = Swap("tail", "outerHTML", self._inside) if self._inside else Swap("tail", "delete")
        return [last, Swap("stretch", "beforeend", after)] if after else [last]
