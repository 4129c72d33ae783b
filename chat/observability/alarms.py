"""Alarms that an administrator has to act on, logged once in a while and not for each question."""

from __future__ import annotations

import logging
import time

log = logging.getLogger(__name__)

# Seconds between two lines about one model in one process.
PAUSE = 300.0

reported_at: dict[str, float] = {}


def report_empty_budget(model: str) -> None:
    """Log as an error that the site's budget with a model's provider is used up, at most every `PAUSE` seconds."""
    now = time.monotonic()
    if now - reported_at.get(model, -PAUSE) >= PAUSE:
        reported_at[model] = now
        log.error("%s: the budget with its provider is used up; nobody gets an answer until it is raised", model)
