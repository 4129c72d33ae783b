"""The plot of the staff's page: how many calls failed in each of the last hours, and of what."""

from __future__ import annotations

from typing import NamedTuple

from django.utils import timezone
from django.utils.safestring import SafeString, mark_safe

from chat import charts
from chat.accounting.failing_models import FailureHours, ModelFailures, count_failures
from chat.templatetags.figures import write_compact

# Causes that have a colour of their own, the most frequent ones; the others are one more.
MAX_COLOURS = 5


class FailurePlot(NamedTuple):
    """A drawn plot, the names and classes of its colours, and the failures of each model."""

    svg: SafeString
    legend: list[tuple[str, str]]
    models: list[ModelFailures]


def draw_failures(model: str = "") -> FailurePlot | None:
    """Draw the failed calls of the last day, of one model or of all; None where there were none."""
    counted = count_failures(model)
    if not counted.models:
        return None
    series = _make_series(counted)
    places = [f"{timezone.localtime(hour):%H:%M}" for hour in counted.hours]
    svg = charts.draw_bars("Failed calls by hour and cause", places, series, write_compact)
    legend = [(each.name, each.kind) for each in series]
    return FailurePlot(mark_safe(svg), legend, counted.models)  # noqa: S308 - charts escapes what it is given


def _make_series(counted: FailureHours) -> list[charts.Series]:
    causes = list(counted.causes.items())
    named = causes if len(causes) <= MAX_COLOURS + 1 else causes[:MAX_COLOURS]
    series = [charts.Series(cause.label, f"cause-{number}", values) for number, (cause, values) in enumerate(named, 1)]
    if others := [values for _, values in causes[len(named) :]]:
        series.append(
            charts.Series("others", f"cause-{MAX_COLOURS + 1}", [sum(each) for each in zip(*others, strict=True)])
        )
    return series
