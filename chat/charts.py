"""Plots as SVG text.

Colours and fonts are the style sheet's, by class: the site's policy forbids scripts and style attributes here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import floor, log10
from xml.sax.saxutils import escape, quoteattr

WIDTH, HEIGHT = 640.0, 220.0
LEFT, RIGHT, TOP, BOTTOM = 56.0, 8.0, 12.0, 24.0
PLOT_WIDTH, PLOT_HEIGHT = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

Say = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Series:
    """One quantity at each place of the axis; None leaves a gap. `kind` is the class of its colour."""

    name: str
    kind: str
    values: Sequence[float | None]


def draw_bars(label: str, places: Sequence[str], series: Sequence[Series], say: Say, links: Sequence[str] = ()) -> str:
    """Draw stacked bars, one stack for each of `places`, each a link where `links` are given."""
    tops = [sum(each.values[number] or 0 for each in series) for number in range(len(places))]
    axis = _Axis(places, max(tops, default=0), say)
    marks = []
    width = max(axis.step * 0.72, 1)
    for number, place in enumerate(places):
        below = 0.0
        x = axis.find_middle(number) - width / 2
        stack = []
        for each in series:
            value = each.values[number] or 0
            if value:
                height = max(axis.scale_height(value), 1)  # the smallest is seen, too
                y = axis.find_y(below) - height
                stack.append(
                    f'<rect class="{each.kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>'
                )
                below += value
        title = "\n".join([place, *(f"{each.name}: {say(each.values[number] or 0)}" for each in series)])
        drawn = f"{_draw_target(axis, number)}{''.join(stack)}<title>{escape(title)}</title>"
        marks.append(_link(drawn, links[number]) if links else f"<g>{drawn}</g>")
    return _draw_plot(label, axis, "".join(marks))


def draw_lines(label: str, places: Sequence[str], series: Sequence[Series], say: Say) -> str:
    """Draw one line a series, with a dot at each of `places`."""
    axis = _Axis(places, max((value or 0 for each in series for value in each.values), default=0), say)
    marks = []
    for each in series:
        known = [
            (axis.find_middle(number), axis.find_y(value))
            for number, value in enumerate(each.values)
            if value is not None
        ]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in known)
        dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2"/>' for x, y in known)
        marks.append(f'<g class="{each.kind}"><polyline points="{points}"/>{dots}</g>')
    for number, place in enumerate(places):
        said = ((each.name, each.values[number]) for each in series)
        title = "\n".join([place, *(f"{name}: {'none' if value is None else say(value)}" for name, value in said)])
        marks.append(f"<g>{_draw_target(axis, number)}<title>{escape(title)}</title></g>")
    return _draw_plot(label, axis, "".join(marks))


def _link(drawn: str, address: str) -> str:
    """Make a link for the pointer; the keyboard finds the same ones in the table of the page."""
    return f'<a href={quoteattr(address)} tabindex="-1">{drawn}</a>'


class _Axis:
    """The coordinates of values and places on the plot."""

    def __init__(self, places: Sequence[str], highest: float, say: Say) -> None:
        self.places = places
        self.say = say
        self.tick = round_step(highest / 4) if highest > 0 else 1.0
        self.ticks = [self.tick * number for number in range(-(-floor(highest * 1e9) // floor(self.tick * 1e9)) + 1)]
        self.top = max(self.ticks[-1], self.tick)
        self.step = PLOT_WIDTH / max(len(places), 1)

    def find_middle(self, number: int) -> float:
        return LEFT + (number + 0.5) * self.step

    def scale_height(self, value: float) -> float:
        return value / self.top * PLOT_HEIGHT

    def find_y(self, value: float) -> float:
        return TOP + PLOT_HEIGHT - self.scale_height(value)


def round_step(size: float) -> float:
    """Return the next larger of 1, 2, 2.5, 5 times a power of ten, so that the numbers at the axis are round."""
    power = 10.0 ** floor(log10(size))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= size * (1 - 1e-9))


def _draw_target(axis: _Axis, number: int) -> str:
    """Draw the area of a tooltip: the whole height, so that a small value has one too."""
    x = axis.find_middle(number) - axis.step / 2
    return f'<rect class="target" x="{x:.1f}" y="{TOP}" width="{axis.step:.1f}" height="{PLOT_HEIGHT}"/>'


def _draw_plot(label: str, axis: _Axis, marks: str) -> str:
    grid = "".join(
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{axis.find_y(tick):.1f}" y2="{axis.find_y(tick):.1f}"/>'
        f'<text class="value" x="{LEFT - 6}" y="{axis.find_y(tick) + 3.5:.1f}">{escape(axis.say(tick))}</text>'
        for tick in axis.ticks
    )
    # A date is about 60 units wide.
    every = max(1, -(-len(axis.places) * 70 // int(PLOT_WIDTH)))
    names = "".join(
        f'<text class="place" x="{axis.find_middle(number):.1f}" y="{HEIGHT - 6}">{escape(place)}</text>'
        for number, place in enumerate(axis.places)
        if number % every == 0
    )
    role = "group" if "<a " in marks else "img"  # an image has nothing in it that can be pressed
    return (
        f'<svg class="plot" viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="{role}" aria-label={quoteattr(label)}>'
        f'<g class="grid">{grid}</g><g class="places">{names}</g><g class="marks">{marks}</g></svg>'
    )
