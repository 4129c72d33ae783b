"""The busiest hour of a growing site, in small: `python -m tests.bench.replay [--share 100] [--databases postgres]`.

A day has so many conversations of so many questions, and its busiest hour a tenth of them. The hour is replayed at its
own rate, for as long as a part of the day's conversations lasts, so that what a question costs, how many answers are
live at once and how the database grows are measured, and what a day of it needs is a product of measured figures. Each
conversation begins at a moment of chance and goes on a few seconds after each answer.
"""

from __future__ import annotations

import argparse
import math
import random
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import NamedTuple

import psycopg

from tests.bench import tables
from tests.bench.__main__ import CLIENT_STREAMS, READY, Load, Site, run_client
from tests.bench.client import Job, Reading, Target, Visitor
from tests.bench.processes import describe_machine, load, run_listener, watch_process
from tests.support.services import find_free_port

BUSIEST = 0.1  # of a day's questions are asked in one hour
THINKING = 3.0  # seconds that a person takes at least before the next question
HEAD = ("The busiest hour", "Measured")


@dataclass(frozen=True)
class Day:
    """What people do on a day. `tokens` are those of an answer, at so many a second."""

    conversations: int
    questions: int
    """In each conversation."""
    tokens: int
    rate: float

    @property
    def busiest(self) -> float:
        """Questions a second in the busiest hour."""
        return self.conversations * self.questions * BUSIEST / 3600


class Asked(NamedTuple):
    """When a visitor asks; seconds after the beginning."""

    start: float
    visitor: Visitor


def plan(day: Day, visitors: list[Visitor]) -> list[Asked]:
    """Return when each of these conversations asks its questions, the first one first."""
    chance = random.Random(7)
    answer = Load(1, day.tokens, day.rate, 0).seconds
    seconds = len(visitors) * day.questions / day.busiest
    asked = []
    for visitor in visitors:
        start = chance.uniform(0, seconds)
        for _ in range(day.questions):
            asked.append(Asked(start, visitor))
            start += answer + THINKING + chance.expovariate(1 / THINKING)
    return sorted(asked, key=lambda one: one.start)


def replay(site: Site, day: Day, target: Target, asked: list[Asked]) -> list[Reading]:
    """Ask all of it from as many client processes as it takes, and return what they read, in the order of the plan."""
    clients = math.ceil(len(asked) / day.questions / CLIENT_STREAMS) or 1
    begin, question = time.monotonic() + READY, Load(1, day.tokens, day.rate, 0).question
    jobs = []
    for number in range(clients):
        part = asked[number::clients]
        starts, visitors = [begin + one.start for one in part], [one.visitor for one in part]
        jobs.append(Job(target, site.server.url, question, day.tokens, starts, visitors))
    with ThreadPoolExecutor(clients) as pool:
        readings = list(pool.map(run_client, jobs))
    return [readings[number % clients][number // clients] for number in range(len(asked))]


def measure_size(url: str) -> int:
    """Return the bytes of a database."""
    if url.startswith("postgres"):
        with psycopg.connect(url) as connection:
            row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
            return int(row[0]) if row else 0
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:  # with what its journal has
        pages, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    return int(pages * size)


def measure(site: Site, day: Day, share: int, target: Target) -> list[list[str]]:
    """Replay a part of the day on a new process, and return the lines of the table."""
    visitors = site.make_visitors(day.conversations // share)
    asked = plan(day, visitors)
    url = site.server.environment["DATABASE_URL"]
    with site.serve() as pid:
        size = measure_size(url)
        with watch_process(pid) as gauge:
            readings = replay(site, day, target, asked)
        grown = (measure_size(url) - size) / len(asked)
    seconds, daily = len(asked) / day.busiest, day.conversations * day.questions
    halves = [
        [reading.first * 1000 for reading in half if reading.first is not None]
        for half in (readings[: len(readings) // 2], readings[len(readings) // 2 :])
    ]
    for trouble in {reading.trouble for reading in readings if reading.trouble}:
        print(f"{site.name}: {trouble}")
    cpu = gauge.cpu / len(asked)
    return [
        [
            "Conversations, questions",
            f"{len(visitors):,}, {len(asked):,} in {seconds:.0f} s, {day.busiest:.1f} a second",
        ],
        ["Answers complete and in order", f"{sum(reading.complete for reading in readings):,} of {len(readings):,}"],
        ["Live answers, on average", f"{day.busiest * (day.tokens / day.rate):.0f}"],
        *(
            [
                f"First word added in the {name} half, p50 / p99",
                f"{tables.compute_percentile(half, 50):.0f} / {tables.compute_percentile(half, 99):.0f} ms",
            ]
            for name, half in zip(("first", "second"), halves, strict=True)
        ),
        ["CPU of the process for a question and its answer", f"{cpu * 1000:.1f} ms"],
        ["Cores in the busiest hour", f"{cpu * day.busiest:.2f}"],
        ["Memory of the process, grown", f"{gauge.memory / 1024:.0f} MiB"],
        ["Database for a question and its answer", f"{grown / 1024:.1f} KiB"],
        ["Database a day, a year", f"{grown * daily / 2**30:.1f} GiB, {grown * daily * 365 / 2**30:,.0f} GiB"],
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--conversations", type=int, default=100_000, help="of a day")
    parser.add_argument("--questions", type=int, default=3, help="of a conversation")
    parser.add_argument("--tokens", type=int, default=225, help="of an answer")
    parser.add_argument("--rate", type=float, default=50, help="tokens a second")
    parser.add_argument("--share", type=int, default=100, help="replay one of so many conversations")
    parser.add_argument("--target", default="page", choices=["json", "page"])
    parser.add_argument("--server", default="daphne", choices=["daphne", "uvicorn"])
    parser.add_argument("--database", default="sqlite", choices=["sqlite", "postgres"])
    parser.add_argument("--broker", default="memory", choices=["memory", "redis"])
    asked = parser.parse_args()
    day = Day(asked.conversations, asked.questions, asked.tokens, asked.rate)
    with ExitStack() as stack:
        port = find_free_port()
        stack.enter_context(run_listener("-m", "tests.bench.provider", str(port), port=port))
        site = stack.enter_context(Site(asked.server, asked.database, asked.broker, port, "on"))
        rows = measure(site, day, asked.share, asked.target)
    print(f"{describe_machine()}. {site.name}; load average at the end: {load()}.\n\n{tables.format_table(HEAD, rows)}")


if __name__ == "__main__":
    main()
