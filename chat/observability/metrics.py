"""The metrics of this process for its operators: docs/monitoring.md says what each means.

Each process counts for itself and is scraped by itself. No label holds anything of a user; a model that the site does
not offer (any more) is `other`. Nothing here is done for a token: answers and calls are counted when they end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from typing import Literal, get_args

from django.conf import settings
from django.utils import timezone
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from chat.core.errors import CODES
from chat.core.events import Usage

CONTENT_TYPE = CONTENT_TYPE_LATEST

# A series for each counter that says when it began is half of a scrape, and nothing here asks for it.
disable_created_metrics()  # type: ignore[no-untyped-call]

Reader = Literal["sse", "ndjson", "ws", "page"]

_FIRST_TOKEN = (0.05, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 7.5, 10, 15, 20, 30, 60)
_DURATION = (0.5, 1, 2, 5, 10, 20, 30, 45, 60, 90, 120, 180, 300, 600)
_QUEUE = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_DATABASE = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20)
_LAG = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

ANSWERS = Counter("chat_answers", "Answers that ended here.", ("model", "status", "code"))
QUEUED = Histogram("chat_answer_queue_seconds", "From the question to the upstream call.", ("model",), buckets=_QUEUE)
FIRST_TOKEN = Histogram(
    "chat_answer_first_token_seconds", "From the upstream call to the first word.", ("model",), buckets=_FIRST_TOKEN
)
DURATION = Histogram(
    "chat_answer_duration_seconds",
    "From the upstream call to the answer's end.",
    ("model", "status"),
    buckets=_DURATION,
)
CALLS = Counter("chat_provider_calls", "Upstream calls that were settled.", ("model", "outcome", "code"))
TOKENS = Counter("chat_tokens", "Tokens of settled upstream calls.", ("model", "kind"))
RETRIES = Counter("chat_retries", "Upstream calls that were retried automatically.", ("model", "code"))
FALLBACKS = Counter(
    "chat_fallbacks", "Models that were not available, so that another one was asked.", ("model", "instead", "code")
)
RECOVERIES = Counter(
    "chat_recoveries",
    "Interrupted answers that were continued automatically, or left as they were.",
    ("model", "code", "outcome"),
)
FOLLOWERS = Gauge("chat_followers", "Readers that follow an answer now.", ("kind",))
LOGINS = Counter("chat_logins", "Tries to log in that ended here.", ("outcome",))
LOOP_LAG = Histogram("chat_event_loop_lag_seconds", "How late the event loop woke a task.", buckets=_LAG)
RENDERING_FAILURES = Counter("chat_rendering_failures", "Texts that could not be rendered and were shown plain.")
CHECKPOINT = Histogram("chat_checkpoint_seconds", "Seconds for one write of all live answers.", buckets=_DATABASE)


RecoveryOutcome = Literal["gone_on", "finished", "left"]
LoginOutcome = Literal["right", "wrong", "braked", "busy"]

# What happens


def begin_at_zero() -> None:
    """Show every end that an answer of an offered model can have.

    Prometheus' `increase` does not see a series' first value, and the first refused key is what an alert is for.
    """
    for model in settings.CHAT_MODELS:
        ANSWERS.labels(model, "complete", "")
        ANSWERS.labels(model, "stopped", "")
        for code in CODES:
            ANSWERS.labels(model, "interrupted", code)
        for code, outcome in product(("server_lost", "server_restart", "upstream_error"), get_args(RecoveryOutcome)):
            RECOVERIES.labels(model, code, outcome)
    for model, chain in settings.CHAT_FALLBACKS.items():
        for instead, code in product(chain, ("rate_limited", "upstream_error", "unreachable", "timeout")):
            FALLBACKS.labels(_make_label(model), _make_label(instead), code)
    for login in get_args(LoginOutcome):
        LOGINS.labels(login)


def count_start(model: str, asked_at: datetime) -> None:
    """Count the beginning of an answer's upstream call, and the seconds since it was asked for."""
    QUEUED.labels(_make_label(model)).observe(max(0.0, (timezone.now() - asked_at).total_seconds()))


def count_end(
    model: str, status: str, code: str, *, first_token_ms: int | None = None, total_ms: int | None = None
) -> None:
    """Count an end that was written: by the answer's owner or, without times, by the process that found it lost."""
    name = _make_label(model)
    ANSWERS.labels(name, status, code).inc()
    if first_token_ms is not None:
        FIRST_TOKEN.labels(name).observe(first_token_ms / 1000)
    if total_ms is not None:
        DURATION.labels(name, status).observe(total_ms / 1000)


def count_call(model: str, outcome: str, code: str, usage: Usage) -> None:
    """Count a row of the ledger that has its last figures."""
    name = _make_label(model)
    CALLS.labels(name, outcome, code).inc()
    TOKENS.labels(name, "input").inc(usage.input_tokens)
    TOKENS.labels(name, "output").inc(usage.output_tokens)
    TOKENS.labels(name, "cached").inc(usage.cached_tokens)
    TOKENS.labels(name, "written").inc(usage.written_tokens)
    TOKENS.labels(name, "written_hour").inc(usage.written_hour_tokens)
    TOKENS.labels(name, "reasoning").inc(usage.reasoning_tokens)


def count_retry(model: str, code: str) -> None:
    """Count an upstream call that failed with `code` and is made again, without the user."""
    RETRIES.labels(_make_label(model), code).inc()


def count_fallback(model: str, instead: str, code: str) -> None:
    """Count a model that failed with `code` before a word, and that another one was asked instead of."""
    FALLBACKS.labels(_make_label(model), _make_label(instead), code).inc()


def count_recovery(model: str, code: str, outcome: RecoveryOutcome) -> None:
    """Count an interruption with `code` after which the answer was continued automatically, or left as it was."""
    RECOVERIES.labels(_make_label(model), code, outcome).inc()


def count_login(outcome: LoginOutcome) -> None:
    """Count a try to log in."""
    LOGINS.labels(outcome).inc()


def count_follower(kind: Reader) -> AbstractContextManager[object]:
    """Count a follower of an answer for as long as the context lasts."""
    return FOLLOWERS.labels(kind).track_inprogress()


def _make_label(model: str) -> str:
    return model if model in settings.CHAT_MODELS else "other"


# What a scrape gets


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures that are read at a scrape. `pool` is what psycopg's pool says of itself, if there is one."""

    live: int
    waiting: int
    draining: bool
    broker: str
    broker_is_up: bool
    lag: float
    checkpoint_age: float
    pool: Mapping[str, int] | None = None

    def build_families(self) -> Iterable[Metric]:
        yield GaugeMetricFamily("chat_live_answers", "Answers that this process writes now.", self.live)
        yield GaugeMetricFamily("chat_waiting_answers", "Answers that wait for a slot.", self.waiting)
        yield GaugeMetricFamily("chat_draining", "1 while the process takes no new question.", self.draining)
        broker = GaugeMetricFamily("chat_broker_up", "1 while the broker answers.", labels=("broker",))
        broker.add_metric([self.broker], self.broker_is_up)
        yield broker
        yield GaugeMetricFamily(
            "chat_event_loop_lag_mean_seconds", "How late tasks are woken, over the last ten seconds.", self.lag
        )
        yield GaugeMetricFamily(
            "chat_checkpoint_age_seconds", "Since all live text was last written.", self.checkpoint_age
        )
        if self.pool is not None:
            yield from _build_pool_families(self.pool)


def _build_pool_families(pool: Mapping[str, int]) -> Iterable[Metric]:
    idle = pool.get("pool_available", 0)
    connections = GaugeMetricFamily("chat_database_connections", "Connections of the pool.", labels=("state",))
    connections.add_metric(["idle"], idle)
    connections.add_metric(["used"], pool.get("pool_size", 0) - idle)
    yield connections
    waiting = pool.get("requests_waiting", 0)
    yield GaugeMetricFamily("chat_database_waiting", "Work that waits for a connection now.", waiting)
    waited = pool.get("requests_queued", 0)
    yield CounterMetricFamily("chat_database_waits", "Work that had to wait for a connection.", waited)
    seconds = pool.get("requests_wait_ms", 0) / 1000
    yield CounterMetricFamily("chat_database_wait_seconds", "Time waited for connections.", seconds)


class _Scrape:
    """Collects all counters, and these figures."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Sequence[Metric]:
        return [*REGISTRY.collect(), *self._figures.build_families()]


def render_scrape(figures: Figures) -> bytes:
    """Return the body of a scrape, in Prometheus' text format."""
    return generate_latest(_Scrape(figures))
