"""The models that are failing now, by their last calls on the ledger, and the outcomes of the calls of each hour."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from django.conf import settings
from django.core.cache import cache
from django.db.models import Sum
from django.utils import timezone

from chat.accounting import rollups
from chat.core.failures import Cause, find_cause
from chat.models import Outcome, OutcomeHour, ProviderCall

# Codes for which a provider is to blame, or the site's key. Our own restarts and limits say nothing about a model.
UPSTREAM = ("rate_limited", "upstream_error", "unreachable", "timeout", "auth_failed", "provider_budget", "bad_request")

# Whether a model is failing is judged by its last `LAST_CALLS` calls of the time `WITHIN`, if they are `LEAST_CALLS` or
# more.
LAST_CALLS = 20
WITHIN = timedelta(minutes=10)
LEAST_CALLS = 5


class FailingModel(NamedTuple):
    """A model of whose last `calls` calls `failures` failed, and the commonest cause."""

    model: str
    failures: int
    calls: int
    cause: Cause

    @property
    def sentence(self) -> str:
        """The failure rate and its main cause, as the staff's pages say them."""
        how_many = "all" if self.failures == self.calls else f"{self.failures}"
        return f"{self.model} is failing now: {how_many} of its last {self.calls} calls failed ({self.cause.label})."


def find_failing_models() -> list[FailingModel]:
    """Return the site's models of whose last calls at least `CHAT_FAILING_PERCENT` failed; kept for seconds."""
    if not settings.CHAT_FAILING_PERCENT:
        return []
    return cache.get_or_set("chat.failing_models", _read_failing_models) or []


def _read_failing_models() -> list[FailingModel]:
    found = (_read_last_calls(model) for model in settings.CHAT_MODELS)
    return [each for each in found if each is not None]


def _read_last_calls(model: str) -> FailingModel | None:
    """Return a model if it is failing: by the first rows of an index, however many calls there are."""
    ended = ProviderCall.objects.filter(model=model, started_at__gte=timezone.now() - WITHIN)
    ended = ended.exclude(outcome=Outcome.RUNNING).exclude(error_cause=Cause.SKIPPED)
    calls = list(ended.order_by("-started_at", "-pk").values_list("error_code", "error_cause")[:LAST_CALLS])
    causes = Counter(Cause(cause) if cause else find_cause(code) for code, cause in calls if code in UPSTREAM)
    failures = causes.total()
    if len(calls) < LEAST_CALLS or 100 * failures < settings.CHAT_FAILING_PERCENT * len(calls):
        return None
    return FailingModel(model, failures, len(calls), causes.most_common(1)[0][0])


# By the hour

HOURS = 24


class ModelFailures(NamedTuple):
    """A model's failures in some hours, of how many calls, with their causes, the most frequent first."""

    model: str
    failures: int
    calls: int
    causes: list[tuple[Cause, int]]


class FailureHours(NamedTuple):
    """The failed calls of the last hours: those of each cause, hour by hour, and those of each model."""

    hours: Sequence[datetime]
    causes: dict[Cause, list[int]]
    models: list[ModelFailures]


def count_failures(model: str = "") -> FailureHours:
    """Return how the calls of the last `HOURS` hours failed, of one model or of all; the last one is under way."""
    rollups.catch_up()
    now = timezone.now().replace(minute=0, second=0, microsecond=0)
    hours = [now - timedelta(hours=ago) for ago in reversed(range(HOURS))]
    rows = OutcomeHour.objects.filter(hour__gte=hours[0], **({"model": model} if model else {}))
    by_hour: dict[Cause, Counter[datetime]] = {}
    for cause, hour, calls in rows.exclude(cause="").values_list("cause", "hour").annotate(n=Sum("calls")):
        by_hour.setdefault(Cause(cause), Counter())[hour] += calls
    causes = {cause: [found[hour] for hour in hours] for cause, found in by_hour.items()}
    by_model: dict[str, Counter[str]] = {}
    for name, cause, calls in rows.values_list("model", "cause").annotate(n=Sum("calls")):
        by_model.setdefault(name, Counter())[cause] += calls
    models = [_add_up(name, found) for name, found in by_model.items()]
    frequent = dict(sorted(causes.items(), key=lambda item: -sum(item[1])))
    failed = sorted((each for each in models if each.failures), key=lambda each: (-each.failures, each.model))
    return FailureHours(hours, frequent, failed)


def _add_up(model: str, calls: Counter[str]) -> ModelFailures:
    failed = [(Cause(cause), number) for cause, number in calls.most_common() if cause]
    return ModelFailures(model, sum(number for _, number in failed), calls.total(), failed)
