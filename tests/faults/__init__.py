"""Faults under load, against whole servers in processes of their own, driven by the public contract alone.

Each test compares three logs: what the provider sent, what each client received, and what the database holds.

`make test` runs a short form. `make faults` runs the long one (`FAULTS=long`): more answers, more faults, and both
servers on both databases, one process and three, with Redis and without. What is left to chance comes from
`FAULTS_SEED`, which a failing test prints.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from itertools import product
from typing import NamedTuple, TypeVar

LONG = os.environ.get("FAULTS") == "long"
SEED = os.environ.get("FAULTS_SEED") or str(secrets.randbelow(1_000_000))

# The places of the short form. They are few, because three servers take some seconds to start. Between them they
# have both servers, both databases, one process and several, with Redis and without.
ALONE = "daphne-sqlite-1"
FILE = "uvicorn-sqlite-2"
MANY = "uvicorn-postgres-3-redis"

T = TypeVar("T")


def choose_length(short: T, long: T) -> T:
    """Return `long` in the long form (`FAULTS=long`), else `short`."""
    return long if LONG else short


class Place(NamedTuple):
    """The servers that a test runs against: their kind, database and number, and whether they use Redis."""

    kind: str
    database: str
    size: int
    redis: bool

    def __str__(self) -> str:
        return f"{self.kind}-{self.database}-{self.size}{'-redis' if self.redis else ''}"


def find_place(name: str) -> Place:
    """Return a place by its name, such as `uvicorn-postgres-3-redis`."""
    kind, database, size, *redis = name.split("-")
    return Place(kind, database, int(size), bool(redis))


def choose_places(*short: str, sizes: Iterable[int] = (1, 3), redis: Iterable[bool] = (False, True)) -> list[Place]:
    """Return the places with the names in `short`; in the long form, every combination of servers and databases."""
    every = [Place(*each) for each in product(("daphne", "uvicorn"), ("sqlite", "postgres"), sizes, redis)]
    return every if LONG else [find_place(name) for name in short]
