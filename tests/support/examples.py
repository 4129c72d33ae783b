"""How many examples a property is tried with: few with every run, as many as `EXAMPLES` says when somebody asks."""

from __future__ import annotations

import os

from hypothesis import settings

_ASKED_FOR = int(os.environ.get("EXAMPLES") or 0)


def try_examples(bound: int) -> settings:
    """Return the settings of a property that is tried with so many examples, and without a deadline for each."""
    return settings(max_examples=_ASKED_FOR or bound, deadline=None)
