"""The site beside its provider and a plain pass-through, all under the same load: `make bench ARGS="--streams 1,50"`.

Provider, pass-through, site and load clients are processes of their own. Every token says when it was sent, on the
clock that all processes of a machine share, so its delay is measured where it arrives. "Added" to the first word is
what lies between question and word beyond what the provider itself took. CPU seconds are those of the serving process
alone, for 100,000 tokens, and hold what a question costs as well as what its tokens do. Nothing is asserted here: the
figures are for reading, and on a busy machine the ratios to the pass-through, measured in the same run, are the ones
to read. `--quick` takes under two minutes. `tests.bench.growth` and `tests.bench.browser` measure the rest.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Self

from tests.bench import tables
from tests.bench.client import Job, Reading, Target, Visitor
from tests.bench.processes import Gauge, listening, load, machine, watching
from tests.server import ROOT, Server
from tests.services import Postgres, Redis, free_port

FIRST = 0.2  # seconds that the provider thinks before its first word
READY = 2.0  # seconds for a client process to be there before its first question
WARMING = 8  # streams; a process starts as many threads for its first ones, and fills its caches
USER_STREAMS = 10  # one user has so many streams open
CLIENT_STREAMS = 250  # a client process reads so many, and stays well under a core

HEAD = (
    "Streams and target",
    "Complete",
    "First word added, p50 / p99, ms",
    "Token delay, p50 / p99, ms",
    "CPU-s per 100,000 tokens",
    "of the pass-through's",
    "KiB a stream",
    "Threads",
    "Load",
)


@dataclass(frozen=True)
class Load:
    """How much is asked of every target."""

    streams: int
    tokens: int
    rate: float
    spread: float
    """Seconds over which the streams begin."""

    @property
    def rounds(self) -> int:
        """One stream alone is asked for several times, one after the other: a median of one is none."""
        return 5 if self.streams == 1 else 1

    @property
    def answers(self) -> int:
        return self.streams * self.rounds

    @property
    def seconds(self) -> float:
        """How long a round takes, with some time to spare."""
        return self.spread + FIRST + self.tokens / self.rate + 0.5

    @property
    def question(self) -> str:
        return json.dumps({"tokens": self.tokens, "rate": self.rate, "first": FIRST})


@dataclass(frozen=True)
class Measured:
    """One target under one load."""

    name: str
    load: Load
    readings: list[Reading]
    gauge: Gauge
    average: str

    @property
    def cpu(self) -> float:
        """CPU seconds for 100,000 tokens."""
        return self.gauge.cpu * 100_000 / (len(self.readings) * self.load.tokens)

    def row(self, floor: float) -> list[str]:
        """A line of the table; `floor` is the pass-through's `cpu`."""
        first = [reading.first * 1000 for reading in self.readings if reading.first is not None]
        delays = [delay * 1000 for reading in self.readings for delay in reading.delays]
        complete = sum(reading.complete for reading in self.readings)
        return [
            f"{self.load.streams}, {self.name}",
            f"{complete} of {len(self.readings)}",
            f"{tables.percentile(first, 50):.1f} / {tables.percentile(first, 99):.0f}",
            f"{tables.percentile(delays, 50):.1f} / {tables.percentile(delays, 99):.0f}",
            f"{self.cpu:.1f}",
            f"{self.cpu / floor:.1f} x" if floor else tables.NONE,
            f"{self.gauge.memory / self.load.streams:.0f}",
            str(self.gauge.threads),
            self.average,
        ]


def ask(target: Target, url: str, load: Load, visitors: list[Visitor]) -> list[Reading]:
    """Open a stream for each visitor, from as many client processes as it takes; what they read."""
    begin = time.monotonic() + READY
    starts = [
        begin + load.seconds * (number // load.streams) + load.spread * (number % load.streams) / load.streams
        for number in range(len(visitors))
    ]
    clients = -(-len(visitors) // CLIENT_STREAMS)
    jobs = [
        Job(target, url, load.question, load.tokens, starts[number::clients], visitors[number::clients])
        for number in range(clients)
    ]
    with ThreadPoolExecutor(clients) as pool:
        return [reading for readings in pool.map(_client, jobs) for reading in readings]


def _client(job: Job) -> list[Reading]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.client"],
        cwd=ROOT,
        input=json.dumps(asdict(job)),
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return [Reading(**fields) for fields in json.loads(done.stdout)]


def measure(name: str, target: Target, url: str, pid: int, load_: Load, visitors: list[Visitor]) -> Measured:
    """Warm the target up with a few short streams that count for nothing, then measure."""
    few = visitors[:WARMING]
    ask(target, url, Load(WARMING, 100, 100, 0), few)
    with watching(pid) as gauge:
        readings = ask(target, url, load_, visitors[WARMING:])
    for reading in readings:
        if reading.trouble:
            print(f"{name}: {reading.trouble}", file=sys.stderr)
            break
    return Measured(name, load_, readings, gauge, load())


class Site:
    """A way to run the site, with a database and a broker of its own for as long as the context lasts."""

    def __init__(self, server: str, database: str, broker: str, provider: int) -> None:
        self._kind, self._database, self._broker = server, database, broker
        self.name = f"{server}, {'SQLite' if database == 'sqlite' else 'PostgreSQL'}, {broker}"
        self._environment = {
            "OPENAI_BASE_URL": f"http://127.0.0.1:{provider}/v1",
            "OPENAI_API_KEY": "sk-test",
            "CHAT_MODELS": "openai:m",
            "CHAT_ACCESS_LOG": "0",
            "CHAT_MAX_ANSWER_CHARS": "1000000",
        }

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        logs = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        if self._broker == "redis":
            self._environment["REDIS_URL"] = self._stack.enter_context(Redis()).url
        database: Path | str = logs / "site.sqlite3"
        if self._database == "postgres":
            database = self._stack.enter_context(Postgres()).create_database()
        self.server = Server(self._kind, database, logs=logs, **self._environment)
        self.server.manage("migrate", "--verbosity", "0")
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @contextmanager
    def serving(self) -> Iterator[int]:
        """A new process; its pid."""
        with self.server:
            yield self.server.pid

    def visitors(self, conversations: int, turns: int = 0) -> list[Visitor]:
        """New conversations of new users."""
        users = -(-conversations // USER_STREAMS)
        done = subprocess.run(
            [sys.executable, "-m", "tests.bench.visitors", *map(str, (users, conversations, turns))],
            cwd=ROOT,
            env=self.server.environment,
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
        return [Visitor(**fields) for fields in json.loads(done.stdout)]


def direct(load_: Load, provider: tuple[int, int], between: tuple[int, int]) -> Iterator[Measured]:
    """The provider itself and the pass-through; each is a pid and a port."""
    visitors = [Visitor()] * (load_.answers + WARMING)
    for name, (pid, port) in (("the provider", provider), ("pass-through", between)):
        yield measure(name, "provider", f"http://127.0.0.1:{port}", pid, load_, visitors)


def of_site(site: Site, load_: Load) -> Iterator[Measured]:
    """The site's two streams, each in a new process: memory that the first one freed would hide what the next takes."""
    targets: tuple[Target, ...] = ("json", "page")
    for target in targets:
        visitors = site.visitors(load_.answers + WARMING)
        with site.serving() as pid:
            name = f"{site.name}: {'JSON' if target == 'json' else 'HTML'}"
            yield measure(name, target, site.server.url, pid, load_, visitors)


def run(loads: list[Load], ways: list[tuple[str, str, str]]) -> list[list[str]]:
    """Measure all targets under all loads; the table's rows, printed as they come."""
    rows: list[list[str]] = []
    port, between_port = free_port(), free_port()
    with ExitStack() as stack:
        provider = stack.enter_context(listening("-m", "tests.bench.provider", str(port), port=port))
        arguments = ("-m", "tests.bench.pass_through", str(between_port), str(port))
        between = stack.enter_context(listening(*arguments, port=between_port))
        sites = [stack.enter_context(Site(*way, provider=port)) for way in ways]
        for load_ in loads:
            floor = 0.0
            for measured in direct(load_, (provider, port), (between, between_port)):
                floor = measured.cpu
                rows.append(shown(measured.row(floor if measured.name == "pass-through" else 0)))
            for site in sites:
                rows += [shown(measured.row(floor)) for measured in of_site(site, load_)]
    return rows


def shown(row: list[str]) -> list[str]:
    print(f"| {' | '.join(row)} |", flush=True)
    return row


def listed(text: str) -> list[str]:
    return text.split(",")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__)
    parser.add_argument("--servers", type=listed, default=["daphne", "uvicorn"], help="daphne,uvicorn")
    parser.add_argument("--databases", type=listed, default=["sqlite"], help="sqlite,postgres")
    parser.add_argument("--brokers", type=listed, default=["memory"], help="memory,redis")
    parser.add_argument("--streams", type=listed, default=["1", "50", "200", "500"], help="at once: 1,50,200,500")
    parser.add_argument("--tokens", type=int, default=200, help="in each answer")
    parser.add_argument("--rate", type=float, default=50, help="tokens a second in each stream")
    parser.add_argument("--spread", type=float, default=2, help="seconds over which the streams begin")
    parser.add_argument("--quick", action="store_true", help="daphne alone, 1 and 20 streams of 50 tokens")
    parser.add_argument("--write", type=Path, help="put the table into this page of the documentation")
    return parser.parse_args()


def main() -> None:
    asked = options()
    if asked.quick:
        asked.servers, asked.streams, asked.tokens, asked.spread = ["daphne"], ["1", "20"], 50, 0.5
    loads = [Load(int(streams), asked.tokens, asked.rate, asked.spread) for streams in asked.streams]
    conditions = (
        f"{machine()}. {asked.tokens} tokens an answer at {asked.rate:g} a second, begun over {asked.spread:g} s. "
        f"Load: the machine's load average over a minute after each line; the machine has {os.cpu_count()} cores."
    )
    print(conditions)
    print(tables.table(HEAD, []), end="", flush=True)
    rows = run(loads, list(product(asked.servers, asked.databases, asked.brokers)))
    if asked.write:
        tables.write(asked.write, "bench: load", f"{conditions}\n\n{tables.table(HEAD, rows)}")


if __name__ == "__main__":
    main()
