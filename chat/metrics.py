"""What this process counts for its operators: docs/monitoring.md says what each metric means.

Each process counts for itself and is scraped by itself. No label holds anything of a user; a model that the site does
not offer (any more) is `other`. Nothing here is done for a token: answers and calls are counted when they end.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

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

from chat.background import detached
from chat.errors import CODES
from chat.events import Usage

CONTENT_TYPE = CONTENT_TYPE_LATEST

# A series for each counter that says when it began is half of a scrape, and nothing here asks for it.
disable_created_metrics()  # type: ignore[no-untyped-call]

Reader = Literal["sse", "ndjson", "ws", "page"]

# The loop is asked so often whether it is late, and its lag is the mean of the samples of so many seconds: one import
# that holds it for a second does not count as being late, a loop that is saturated does.
SAMPLE_EVERY = 0.25
LAG_WINDOW = 10.0

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
RETRIES = Counter("chat_retries", "Upstream calls that were made again by themselves.", ("model", "code"))
FOLLOWERS = Gauge("chat_followers", "Readers that follow an answer now.", ("kind",))
LOOP_LAG = Histogram("chat_event_loop_lag_seconds", "How late the event loop woke a task.", buckets=_LAG)
CHECKPOINT = Histogram("chat_checkpoint_seconds", "One write of all live answers.", buckets=_DATABASE)


# What happens


def begin_at_zero() -> None:
    """Show every end that an answer of an offered model can have: Prometheus' `increase` does not see a series' first
    value, and the first refused key is what an alert is for."""
    for model in settings.CHAT_MODELS:
        ANSWERS.labels(model, "complete", "")
        ANSWERS.labels(model, "stopped", "")
        for code in CODES:
            ANSWERS.labels(model, "interrupted", code)


def answer_started(model: str, asked_at: datetime) -> None:
    """The upstream call of an answer begins."""
    QUEUED.labels(_offered(model)).observe(max(0.0, (timezone.now() - asked_at).total_seconds()))


def answer_ended(
    model: str, status: str, code: str, *, first_token_ms: int | None = None, total_ms: int | None = None
) -> None:
    """The end of an answer is written, by its owner or, without its times, by whoever found that the owner was lost."""
    name = _offered(model)
    ANSWERS.labels(name, status, code).inc()
    if first_token_ms is not None:
        FIRST_TOKEN.labels(name).observe(first_token_ms / 1000)
    if total_ms is not None:
        DURATION.labels(name, status).observe(total_ms / 1000)


def call_settled(model: str, outcome: str, code: str, usage: Usage) -> None:
    """A row of the ledger has its last figures."""
    name = _offered(model)
    CALLS.labels(name, outcome, code).inc()
    TOKENS.labels(name, "input").inc(usage.input_tokens)
    TOKENS.labels(name, "output").inc(usage.output_tokens)
    TOKENS.labels(name, "cached").inc(usage.cached_tokens)
    TOKENS.labels(name, "reasoning").inc(usage.reasoning_tokens)


def retried(model: str, code: str) -> None:
    """An upstream call failed with `code` and is made again, without the user."""
    RETRIES.labels(_offered(model), code).inc()


def following(kind: Reader) -> AbstractContextManager[object]:
    """Someone follows an answer."""
    return FOLLOWERS.labels(kind).track_inprogress()


def _offered(model: str) -> str:
    return model if model in settings.CHAT_MODELS else "other"


# How the process fares


class Pulse:
    """Whether the event loop and the keeper of one runner keep time."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float]] = deque()
        self._due: float | None = None
        self._sampler: asyncio.Task[None] | None = None
        self._kept_at = time.monotonic()

    def wake(self) -> None:
        """Sample the event loop from now on."""
        if self._sampler is None or self._sampler.done():
            self._sampler = detached(self._sample())

    def kept(self) -> None:
        """The keeper has written all that was due, if only nothing."""
        self._kept_at = time.monotonic()

    @property
    def checkpoint_age(self) -> float:
        """Seconds since the keeper last had written all that was due."""
        return time.monotonic() - self._kept_at

    @property
    def lag(self) -> float:
        """Seconds that a task waits for the event loop: the mean of the last ten seconds, or a wait that lasts."""
        now = time.monotonic()
        lags = [lag for at, lag in self._samples if now - at < LAG_WINDOW]
        overdue = now - self._due if self._due is not None else 0.0
        return max(overdue, sum(lags) / len(lags) if lags else 0.0)

    async def _sample(self) -> None:
        while True:
            self._due = time.monotonic() + SAMPLE_EVERY
            await asyncio.sleep(SAMPLE_EVERY)
            now = time.monotonic()
            lag = max(0.0, now - self._due)
            LOOP_LAG.observe(lag)
            self._samples.append((now, lag))
            while now - self._samples[0][0] > LAG_WINDOW:
                self._samples.popleft()

    async def aclose(self) -> None:
        if self._sampler is not None:
            self._sampler.cancel()
            await asyncio.gather(self._sampler, return_exceptions=True)


# What a scrape gets


@dataclass(frozen=True, slots=True)
class Figures:
    """What is not counted but asked for at a scrape. `pool` is what psycopg's pool says of itself, if there is one."""

    live: int
    waiting: int
    draining: bool
    broker: str
    broker_is_up: bool
    lag: float
    checkpoint_age: float
    pool: Mapping[str, int] | None = None

    def families(self) -> Iterable[Metric]:
        yield GaugeMetricFamily("chat_live_answers", "Answers that this process writes now.", self.live)
        yield GaugeMetricFamily("chat_waiting_answers", "Answers that wait here for a place.", self.waiting)
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
            yield from _pool_families(self.pool)


def _pool_families(pool: Mapping[str, int]) -> Iterable[Metric]:
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
    """All that is counted, and these figures."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Sequence[Metric]:
        return [*REGISTRY.collect(), *self._figures.families()]


def exposition(figures: Figures) -> bytes:
    """The body of a scrape, in Prometheus' text format."""
    return generate_latest(_Scrape(figures))
