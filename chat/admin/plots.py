"""The plots of the usage review and of the dashboard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from django.utils.safestring import SafeString, mark_safe

from chat import charts
from chat.accounting.formatting import write_dollars
from chat.accounting.reports import Trend
from chat.models import COST_UNIT
from chat.templatetags.figures import write_compact, write_milliseconds, write_percent

# Models with a colour of their own in the plot of costs; the others share the last one.
MODELS_APART = 5
COLOURS = ("first", "second", "third", "fourth", "fifth", "sixth")

# The address of what a bar stands for, by the name of its hour, day or month.
Link = Callable[[str], str]


class Plot(NamedTuple):
    """A drawn plot with its title and its legend."""

    title: str
    legend: list[tuple[str, str]]  # a name and the class of its colour
    svg: SafeString


def draw_usage_plots(trend: Trend, link: Link) -> list[Plot]:
    """Draw the review's plots, all over the same hours, days or months."""
    figures = [line.figures for line in trend.series]
    tokens = (
        _make_series("input", "first", (each.input_tokens for each in figures)),
        _make_series("output", "second", (each.output_tokens for each in figures)),
    )
    ends = (
        _make_series("answered or stopped", "first", (each.calls - each.interrupted for each in figures)),
        _make_series("interrupted", "bad", (each.interrupted for each in figures)),
    )
    shares = _make_series("interrupted calls", "bad", (each.error_share if each.calls else None for each in figures))
    plots = [
        _draw_bars("Tokens", trend, tokens, write_compact, link),
        draw_cost(trend, link),
        _draw_bars("Calls", trend, ends, write_compact, link),
        _draw_lines("Error rate", trend, (shares,), write_percent),
    ]
    if trend.timed and trend.step != "hour":  # times are counted by the day
        plots += [
            draw_first_token(trend),
            _draw_times("Time of the whole answer", trend, "total_p50", "total_p95"),
        ]
    return plots


def draw_cost(trend: Trend, link: Link) -> Plot:
    """Draw what the calls cost, by model."""
    units = Counter[str]()
    for (_, model), amount in trend.cost_units.items():
        units[model] += amount
    apart = [model for model, amount in units.most_common(MODELS_APART) if amount]
    stacks = [
        _make_series(model, colour, (trend.cost_units.get((line.name, model), 0) * COST_UNIT for line in trend.series))
        for model, colour in zip(apart, COLOURS, strict=False)
    ]
    if any(amount for model, amount in units.items() if model not in apart):
        rest = (
            sum(trend.cost_units.get((line.name, model), 0) for model in units if model not in apart) * COST_UNIT
            for line in trend.series
        )
        stacks.append(_make_series("other models", COLOURS[MODELS_APART], rest))
    return _draw_bars(
        "Cost", trend, stacks or [_make_series("US dollars", "first", (0 for _ in trend.series))], write_dollars, link
    )


def draw_first_token(trend: Trend) -> Plot:
    """Draw how long users waited for the first token."""
    return _draw_times("Time to the first token", trend, "first_p50", "first_p95")


def _draw_times(title: str, trend: Trend, half: str, most: str) -> Plot:
    timings = [line.timing for line in trend.series]
    series = (
        _make_series("p50", "first", (getattr(each, half) for each in timings)),
        _make_series("p95", "second", (getattr(each, most) for each in timings)),
    )
    return _draw_lines(title, trend, series, write_milliseconds)


def _make_series(name: str, colour: str, values: Iterable[Any]) -> charts.Series:
    return charts.Series(name, colour, [None if value is None else float(value) for value in values])


def _draw_bars(title: str, trend: Trend, series: Sequence[charts.Series], say: charts.Say, link: Link) -> Plot:
    links = [link(line.name) for line in trend.series]
    svg = charts.draw_bars(f"{title} by {trend.step}", _list_place_names(trend), series, say, links)
    return _draw_frame(title, series, svg)


def _draw_lines(title: str, trend: Trend, series: Sequence[charts.Series], say: charts.Say) -> Plot:
    return _draw_frame(
        title, series, charts.draw_lines(f"{title} by {trend.step}", _list_place_names(trend), series, say)
    )


def _list_place_names(trend: Trend) -> list[str]:
    """Return what stands below the axis: `09:00`, `11-28` or `2026-11`."""
    shown = {"hour": slice(11, None), "day": slice(5, None), "month": slice(7)}[trend.step]
    return [line.name[shown] for line in trend.series]


def _draw_frame(title: str, series: Sequence[charts.Series], svg: str) -> Plot:
    return Plot(title, [(each.name, each.kind) for each in series], mark_safe(svg))  # noqa: S308 - charts escapes
