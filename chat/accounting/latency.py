"""The times of calls in a report: percentiles by model, provider and period."""

from __future__ import annotations

from collections import defaultdict
from datetime import date
from typing import NamedTuple

from chat.accounting.histogram import compute_percentile
from chat.accounting.providers import split_provider
from chat.models import Measure


class Timing(NamedTuple):
    """Milliseconds, at most 5 % off when they come from the sums; None where there is nothing to tell."""

    first_p50: float | None = None
    first_p95: float | None = None
    total_p50: float | None = None
    total_p95: float | None = None


UNKNOWN = Timing()


class LatencyHistogram:
    """Histograms of models, providers and periods. Call it with ("model", "openai:gpt-4o") for that model's times."""

    def __init__(self, *, is_known: bool) -> None:
        self.is_known = is_known
        self._counts: dict[tuple[str, str, int], dict[int, int]] = defaultdict(lambda: defaultdict(int))

    def count(self, step: date | None, model: str, measure: int, bucket: int, calls: int) -> None:
        kinds = [("total", ""), ("model", model), ("provider", split_provider(model))] if model else []
        if step is not None:
            kinds.append(("step", step.isoformat()))
        for kind, name in kinds:
            self._counts[kind, name, measure][bucket] += calls

    def __call__(self, kind: str, name: str) -> Timing:
        if not self.is_known:
            return UNKNOWN
        return Timing(
            *(
                compute_percentile(self._counts.get((kind, name, measure), {}), share)
                for measure in (Measure.FIRST_TOKEN, Measure.TOTAL)
                for share in (0.5, 0.95)
            )
        )
