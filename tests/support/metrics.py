"""The metrics as a monitor reads them."""

from __future__ import annotations

import re
from typing import Any

from django.test import AsyncClient
from prometheus_client.parser import text_string_to_metric_families

from chat.observability import metrics

Sample = tuple[str, frozenset[tuple[str, str]]]

POOL = {"pool_size": 5, "pool_available": 2, "requests_waiting": 1, "requests_queued": 7, "requests_wait_ms": 1500}


class Scrape(dict[Sample, float]):
    """The samples of a scrape by name and labels."""

    def get_sample(self, name: str, **labels: str) -> float:
        """Return the value of a sample, which is 0 when nothing was counted for it yet."""
        return self.get((name, frozenset(labels.items())), 0.0)


def parse_metrics(body: str) -> Scrape:
    families = text_string_to_metric_families(body)
    return Scrape(
        ((sample.name, frozenset(sample.labels.items())), sample.value)
        for family in families
        for sample in family.samples
    )


async def scrape(client: AsyncClient | None = None) -> Scrape:
    response: Any = await (client or AsyncClient()).get("/metrics")
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    return parse_metrics(response.content.decode())


def make_figures(**changes: Any) -> metrics.Figures:
    now = {"live": 0, "waiting": 0, "draining": False, "broker": "memory", "broker_is_up": True}
    return metrics.Figures(**{**now, "lag": 0.0, "checkpoint_age": 0.0, **changes})


# What the documentation and the dashboard are compared with


def list_exported_samples() -> set[str]:
    """Return every family that a scrape has, by the names of its samples in Prometheus."""
    names = set()
    for family in text_string_to_metric_families(metrics.render_scrape(make_figures(pool=POOL)).decode()):
        if family.type == "histogram":
            names |= {f"{family.name}_{part}" for part in ("bucket", "sum", "count")}
        else:
            names.add(f"{family.name}_total" if family.type == "counter" else family.name)
    return names


def find_metric_names(text: str) -> set[str]:
    return set(re.findall(r"\b(?:chat|process|python)_[a-z0-9_]+\b", text))
