"""The interface by which a fold writes a page, and the containers that the page's tail stands in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from chat.rendering.blocks import Fence
from chat.rendering.highlight import CODE_END, CONTINUED_CODE_START


@dataclass(frozen=True, slots=True)
class TailContainer:
    """The open list, table or block of code that the tail stands in, if any."""

    kind: Literal["", "list", "table", "fence"]
    tail: Literal["div", "li", "tr", "span"]
    start: str = ""
    end: str = ""

    def render_empty_tail(self) -> str:
        return render_tail_element(self.tail)


TOP = TailContainer("", "div")
MORE_CODE = TailContainer("fence", "span", CONTINUED_CODE_START, CODE_END)


class OpenItems(NamedTuple):
    """An open list, and the number of its next item."""

    tag: str
    number: int = 1

    def make_container(self) -> TailContainer:
        start = f' start="{self.number}"' if self.tag == "ol" and self.number != 1 else ""
        return TailContainer("list", "li", f"<{self.tag}{start}>", f"</{self.tag}>")

    def advance(self) -> OpenItems:
        return OpenItems(self.tag, self.number + 1)


@dataclass(slots=True)
class OpenCode:
    """An open block of code: the fence that began it, and its lines in this stretch."""

    fence: Fence
    lines: list[str] = field(default_factory=list)
    chars: int = 0

    def add(self, line: str) -> None:
        self.lines.append(line)
        self.chars += len(line)

    def forget_lines(self) -> None:
        """Forget the lines, which stay as they are shown: the block goes on in another stretch."""
        self.lines, self.chars = [], 0


class Sink(Protocol):
    """A page that a fold writes. Each call changes the page that the calls before it made."""

    def seal(self, html: str) -> None:
        """Put HTML before the tail, where it stays."""

    def show(self, tail: str) -> None:
        """Show this tail in place of the one before."""

    def enter(self, container: TailContainer) -> None:
        """Open a container around the tail."""

    def leave(self) -> None:
        """Close the container and put the tail after it."""

    def replace(self, html: str) -> None:
        """Put HTML in the place of the container, and the tail after it."""

    def begin_stretch(self, *, is_continued: bool) -> None:
        """Close the stretch and put the tail into a new one, which may continue the block before it."""

    def end(self) -> None:
        """Remove the tail: the text is whole."""

    def restart(self) -> None:
        """Empty the page but for an empty tail: the calls that follow write it from its beginning."""


def render_tail_element(tag: str, html: str = "") -> str:
    """Return the element that the page's tail is in."""
    return f'<{tag} class="tail">{html}</{tag}>'
