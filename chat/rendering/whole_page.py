"""A page as one string."""

from __future__ import annotations

from chat.rendering.sink import TOP, TailContainer

_STRETCH = '<div class="stretch">'
_CONTINUED = '<div class="stretch on">'
_STRETCH_END = "</div>"


class WholePage:
    """A page as one string; or an addition to one, and then its first stretch is the end of the page's last."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self._stretches: list[str] = []  # that are whole, the first without its tags
        self._start = ""  # tag of the stretch that is open
        self._before: list[str] = []
        self._inside: list[str] = []
        self.tail = TOP.render_empty_tail()
        self.container = TOP

    def seal(self, html: str) -> None:
        self._inside.append(html)

    def show(self, tail: str) -> None:
        self.tail = tail

    def enter(self, container: TailContainer) -> None:
        self._before += self._inside
        self._inside = [container.start]
        self.container, self.tail = container, container.render_empty_tail()

    def leave(self) -> None:
        self._before += [*self._inside, self.container.end]
        self._inside = []
        self.container, self.tail = TOP, TOP.render_empty_tail()

    def replace(self, html: str) -> None:
        self._inside = [html]
        self.container, self.tail = TOP, TOP.render_empty_tail()

    def begin_stretch(self, *, is_continued: bool) -> None:
        end = _STRETCH_END if self._stretches else ""
        self._stretches.append("".join([self._start, *self._before, *self._inside, end]))
        self._start = _CONTINUED if is_continued else _STRETCH
        self._before, self._inside = [], []
        self.tail = TOP.render_empty_tail()

    def end(self) -> None:
        self.tail = ""

    def split_stretches(self) -> tuple[str, str]:
        """Return the inside of the first stretch, and the other stretches."""
        last = "".join([self._start, *self._before, *self._inside, self.tail, self.container.end])
        first, *others = [*self._stretches, last]
        return first, "".join(others) + (_STRETCH_END if others else "")

    def render(self) -> str:
        first, others = self.split_stretches()
        return f"{_STRETCH}{first}{_STRETCH_END}{others}"
