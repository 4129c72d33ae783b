"""Plots as SVG text. Colours and fonts are the style sheet's, by class; nothing here needs a script or a style
attribute, which the site's policy forbids."""

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


def bars(label: str, places: Sequence[str], series: Sequence[Series], say: Say) -> str:
    """Stacked bars, one stack a place."""
    tops = [sum(each.values[number] or 0 for each in series) for number in range(len(places))]
    axis = _Axis(places, max(tops, default=0), say)
    marks = []
    width = max(axis.step * 0.72, 1)
    for number, place in enumerate(places):
        below = 0.0
        x = axis.middle(number) - width / 2
        stack = []
        for each in series:
            value = each.values[number] or 0
            if value:
                height = axis.height(value)
                y = axis.y(below + value)
                stack.append(
                    f'<rect class="{each.kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>'
                )
                below += value
        title = "\n".join([place, *(f"{each.name}: {say(each.values[number] or 0)}" for each in series)])
        marks.append(f"<g>{_target(axis, number)}{''.join(stack)}<title>{escape(title)}</title></g>")
    return _plot(label, axis, "".join(marks))


def lines(label: str, places: Sequence[str], series: Sequence[Series], say: Say) -> str:
    """One line a series, with a dot at each place."""
    axis = _Axis(places, max((value or 0 for each in series for value in each.values), default=0), say)
    marks = []
    for each in series:
        known = [(axis.middle(number), axis.y(value)) for number, value in enumerate(each.values) if value is not None]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in known)
        dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2"/>' for x, y in known)
        marks.append(f'<g class="{each.kind}"><polyline points="{points}"/>{dots}</g>')
    for number, place in enumerate(places):
        said = ((each.name, each.values[number]) for each in series)
        title = "\n".join([place, *(f"{name}: {'none' if value is None else say(value)}" for name, value in said)])
        marks.append(f"<g>{_target(axis, number)}<title>{escape(title)}</title></g>")
    return _plot(label, axis, "".join(marks))


class _Axis:
    """Where values and places lie on the plot."""

    def __init__(self, places: Sequence[str], highest: float, say: Say) -> None:
        self.places = places
        self.say = say
        self.tick = round_step(highest / 4) if highest > 0 else 1.0
        self.ticks = [self.tick * number for number in range(-(-floor(highest * 1e9) // floor(self.tick * 1e9)) + 1)]
        self.top = max(self.ticks[-1], self.tick)
        self.step = PLOT_WIDTH / max(len(places), 1)

    def middle(self, number: int) -> float:
        return LEFT + (number + 0.5) * self.step

    def height(self, value: float) -> float:
        return value / self.top * PLOT_HEIGHT

    def y(self, value: float) -> float:
        return TOP + PLOT_HEIGHT - self.height(value)


def round_step(size: float) -> float:
    """The next larger of 1, 2, 2.5, 5 times a power of ten, so that the numbers at the axis are round."""
    power = 10.0 ** floor(log10(size))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= size * (1 - 1e-9))


def _target(axis: _Axis, number: int) -> str:
    """What the pointer finds: the whole height, so that a small value has its tooltip too."""
    x = axis.middle(number) - axis.step / 2
    return f'<rect class="target" x="{x:.1f}" y="{TOP}" width="{axis.step:.1f}" height="{PLOT_HEIGHT}"/>'


def _plot(label: str, axis: _Axis, marks: str) -> str:
    grid = "".join(
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{axis.y(tick):.1f}" y2="{axis.y(tick):.1f}"/>'
        f'<text class="value" x="{LEFT - 6}" y="{axis.y(tick) + 3.5:.1f}">{escape(axis.say(tick))}</text>'
        for tick in axis.ticks
    )
    # A date is about 60 units wide.
    every = max(1, -(-len(axis.places) * 70 // int(PLOT_WIDTH)))
    names = "".join(
        f'<text class="place" x="{axis.middle(number):.1f}" y="{HEIGHT - 6}">{escape(place)}</text>'
        for number, place in enumerate(axis.places)
        if number % every == 0
    )
    return (
        f'<svg class="plot" viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img" aria-label={quoteattr(label)}>'
        f'<g class="grid">{grid}</g><g class="places">{names}</g><g class="marks">{marks}</g></svg>'
    )
