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
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Self

import httpx2

from tests.bench import peers, tables
from tests.bench.client import Job, Reading, Target, Visitor
from tests.bench.processes import Gauge, describe_machine, load, run_listener, watch_process
from tests.bench.question import LIMITS
from tests.support import databases
from tests.support.server import ROOT, FreshServer
from tests.support.services import Postgres, Redis, find_free_port

FIRST = 0.2  # seconds that the provider thinks before its first word
READY = 2.0  # seconds for a client process to be there before its first question, unless `--ready` says otherwise
WARMING = 8  # streams before what is measured: for its first ones a process starts threads
FILLING = 400  # questions before those of the site that are measured, at `FILLING_RATE` a second: its threads' caches
FILLING_RATE = 30  # (of SQLite's pages and statements, for example) take 9 MB once, as much as 150 open streams
USER_STREAMS = 10  # one user has so many streams open
IN_ADVANCE = 60  # conversations that are made at once
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


SCENES: dict[str, dict[str, Any]] = {
    "plain": {},
    "thinking": {"thinking": 100},  # tokens of reasoning before the answer
    "tools": {"tool": "calculate"},  # two upstream calls, and the tool between them
    "search": {},  # while somebody searches
}
"""What the bench's provider is asked for besides tokens, by the name of the scene."""

SEARCHES = 10  # a second, in the scene of that name


@dataclass(frozen=True)
class Load:
    """How much is asked of every target."""

    streams: int
    tokens: int
    rate: float
    spread: float
    """Seconds over which the streams begin."""
    scene: str = "plain"
    turns: int = 0
    """Turns that each conversation has had."""
    ready: float = READY

    @property
    def name(self) -> str:
        scene = "" if self.scene == "plain" else f", {self.scene}"
        return scene + (f", after {self.turns:,} turns" if self.turns else "")

    @property
    def rounds(self) -> int:
        """A single stream is repeated several times, one after the other: one figure alone has no median."""
        return 5 if self.streams == 1 else 1

    @property
    def answers(self) -> int:
        return self.streams * self.rounds

    @property
    def seconds(self) -> float:
        """How long a round takes, with some time to spare."""
        thinking: int = SCENES[self.scene].get("thinking", 0)
        return self.spread + FIRST + (thinking + self.tokens) / self.rate + 0.5

    @property
    def question(self) -> str:
        return json.dumps({"tokens": self.tokens, "rate": self.rate, "first": FIRST, **SCENES[self.scene]})


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

    def format_row(self, floor: float) -> list[str]:
        """Return a line of the table; `floor` is the pass-through's `cpu`."""
        first = [reading.first * 1000 for reading in self.readings if reading.first is not None]
        delays = [delay * 1000 for reading in self.readings for delay in reading.delays]
        complete = sum(reading.complete for reading in self.readings)
        return [
            f"{self.load.streams}, {self.name}{self.load.name}",
            f"{complete} of {len(self.readings)}",
            f"{tables.compute_percentile(first, 50):.1f} / {tables.compute_percentile(first, 99):.0f}",
            f"{tables.compute_percentile(delays, 50):.1f} / {tables.compute_percentile(delays, 99):.0f}",
            f"{self.cpu:.1f}",
            f"{self.cpu / floor:.1f} x" if floor else tables.NONE,
            f"{self.gauge.memory / self.load.streams:.0f}",
            str(self.gauge.threads),
            self.average,
        ]


def ask(target: Target, url: str, load: Load, visitors: list[Visitor]) -> list[Reading]:
    """Open a stream for each visitor, from as many client processes as it takes; return what they read."""
    begin = time.monotonic() + load.ready
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
        return [reading for readings in pool.map(run_client, jobs) for reading in readings]


def run_client(job: Job) -> list[Reading]:
    """Run a job in a process of its own."""
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
    """Warm the target up with short streams that count for nothing, by the first visitors, then measure."""
    before = len(visitors) - load_.answers
    ask(target, url, Load(WARMING, min(100, load_.tokens), 100, 0, ready=load_.ready), visitors[:WARMING])
    if filling := visitors[WARMING:before]:
        ask(target, url, Load(len(filling), 20, 200, len(filling) / FILLING_RATE, ready=load_.ready), filling)
    with watch_process(pid) as gauge:
        readings = ask(target, url, load_, visitors[before:])
    for reading in readings:
        if reading.trouble:
            print(f"{name}: {reading.trouble}", file=sys.stderr)
            break
    return Measured(name, load_, readings, gauge, load())


class Site:
    """A way to run the site, with a database and a broker of its own for as long as the context lasts."""

    def __init__(self, server: str, database: str, broker: str, provider: int, limits: str = "off") -> None:
        self._kind, self._database, self._broker, self._is_limited = server, database, broker, limits == "on"
        self.name = f"{server}, {'SQLite' if database == 'sqlite' else 'PostgreSQL'}, {broker}"
        self._environment = {
            "OPENAI_BASE_URL": f"http://127.0.0.1:{provider}/v1",
            "OPENAI_API_KEY": "sk-test",
            "CHAT_MODELS": "openai:m",
            "CHAT_ACCESS_LOG": "0",
            "CHAT_MAX_ANSWER_CHARS": "1000000",
            **(LIMITS if self._is_limited else {}),
        }
        self.name += ", limits and budgets" if self._is_limited else ""

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        logs = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        if self._broker == "redis":
            self._environment["REDIS_URL"] = self._stack.enter_context(Redis()).url
        postgres = self._stack.enter_context(Postgres()).url if self._database == "postgres" else ""
        database = databases.prepare_database(logs, postgres).database
        self.server = FreshServer(self._kind, database, logs=logs, **self._environment)
        self._known: list[Visitor] = []
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @contextmanager
    def serve(self) -> Iterator[int]:
        """Serve the site in a new process and yield its pid."""
        with self.server:
            yield self.server.pid

    def make_visitors(self, conversations: int, turns: int = 0) -> list[Visitor]:
        """Return new conversations of new users. Empty ones are made in advance: each time, a process has to start."""
        if turns:
            return self._make_visitors(conversations, turns)
        if len(self._known) < conversations:
            self._known += self._make_visitors(max(conversations, IN_ADVANCE))
        taken, self._known = self._known[:conversations], self._known[conversations:]
        return taken

    def _make_visitors(self, conversations: int, turns: int = 0) -> list[Visitor]:
        users = -(-conversations // USER_STREAMS)
        given = users, conversations, turns, int(self._is_limited)
        done = subprocess.run(
            [sys.executable, "-m", "tests.bench.visitors", *map(str, given)],
            cwd=ROOT,
            env=self.server.environment,
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
        return [Visitor(**fields) for fields in json.loads(done.stdout)]


def measure_direct(load_: Load, servers: Mapping[str, tuple[int, int]]) -> Iterator[Measured]:
    """Measure the provider itself, the pass-through and peers; each has a pid and a port."""
    visitors = [Visitor()] * (load_.answers + WARMING)
    for name, (pid, port) in servers.items():
        yield measure(name, "provider", f"http://127.0.0.1:{port}", pid, load_, visitors)


def measure_site(site: Site, load_: Load) -> Iterator[Measured]:
    """Measure the site's two streams, each in a new process: memory freed by one would hide what the next takes."""
    targets: tuple[Target, ...] = ("json", "page")
    for target in targets:
        filling = min(FILLING, 20 * load_.streams)
        visitors = site.make_visitors(WARMING + filling + load_.answers, load_.turns)
        with site.serve() as pid, ExitStack() as stack:
            name = f"{site.name}: {'JSON' if target == 'json' else 'HTML'}"
            if load_.scene == "search":
                stack.enter_context(search_meanwhile(site.server.url, visitors[0].token))
            yield measure(name, target, site.server.url, pid, load_, visitors)


@contextmanager
def search_meanwhile(url: str, token: str) -> Iterator[None]:
    """Have somebody search in their conversations, `SEARCHES` times a second."""
    is_over = threading.Event()

    def search() -> None:
        with httpx2.Client(base_url=url, headers={"authorization": f"Bearer {token}"}, timeout=60) as client:
            while not is_over.wait(1 / SEARCHES):
                client.get("/api/search/", params={"q": "sunlight"}).raise_for_status()

    searcher = threading.Thread(target=search)
    searcher.start()
    try:
        yield
    finally:
        is_over.set()
        searcher.join()


def run(
    loads: list[Load], ways: list[tuple[str, str, str, str]], peers_of: Sequence[str] = (), peers_from: Path = Path()
) -> list[list[str]]:
    """Measure all targets under all loads; print the table's rows as they come, and return them."""
    rows: list[list[str]] = []
    port, between_port = find_free_port(), find_free_port()
    with ExitStack() as stack:
        provider = stack.enter_context(run_listener("-m", "tests.bench.provider", str(port), port=port))
        arguments = ("-m", "tests.bench.pass_through", str(between_port), str(port))
        between = stack.enter_context(run_listener(*arguments, port=between_port))
        servers = {"the provider": (provider, port), "pass-through": (between, between_port)}
        for name in peers_of:
            peer_port = find_free_port()
            servers[name] = stack.enter_context(peers.serve_peer(name, peers_from, peer_port, port)), peer_port
        sites = [stack.enter_context(Site(*way[:3], port, way[3])) for way in ways]
        floors: dict[int, float] = {}  # the pass-through's, by the number of streams
        for load_ in loads:
            plain = replace(load_, scene="plain", turns=0)
            for measured in () if load_.streams in floors else [*measure_direct(plain, servers)]:
                if measured.name == "pass-through":
                    floors[load_.streams] = measured.cpu
                rows.append(show_row(measured.format_row(floors.get(load_.streams, 0))))
            for site in sites:
                rows += [show_row(measured.format_row(floors[load_.streams])) for measured in measure_site(site, load_)]
    return rows


def show_row(row: list[str]) -> list[str]:
    print(f"| {' | '.join(row)} |", flush=True)
    return row


def split_list(text: str) -> list[str]:
    return text.split(",")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__)
    parser.add_argument("--servers", type=split_list, default=["daphne", "uvicorn"], help="daphne,uvicorn")
    parser.add_argument("--databases", type=split_list, default=["sqlite"], help="sqlite,postgres")
    parser.add_argument("--brokers", type=split_list, default=["memory"], help="memory,redis")
    parser.add_argument("--limits", type=split_list, default=["on"], help="on,off: every limit of users, and a budget")
    parser.add_argument("--streams", type=split_list, default=["1", "50", "200", "500"], help="at once: 1,50,200,500")
    parser.add_argument("--tokens", type=int, default=225, help="in each answer")
    parser.add_argument("--rate", type=float, default=50, help="tokens a second in each stream")
    parser.add_argument("--spread", type=float, default=2, help="seconds over which the streams begin")
    parser.add_argument(
        "--scenes", type=split_list, default=["plain"], help=f"what answers are like: {','.join(SCENES)}"
    )
    parser.add_argument("--turns", type=split_list, default=["0"], help="turns that a conversation has had: 0,2000")
    parser.add_argument("--ready", type=float, default=READY, help="seconds for the clients to start")
    parser.add_argument(
        "--peers", type=split_list, default=[], help=f"{','.join(peers.PEERS)}, see tests/bench/peers.py"
    )
    parser.add_argument("--peers-from", type=Path, default=Path(), help="the directory where they are installed")
    parser.add_argument("--quick", action="store_true", help="daphne alone, 1 and 20 streams of 50 tokens")
    parser.add_argument("--write", type=Path, help="put the table into this page of the documentation")
    return parser.parse_args()


def main() -> None:
    asked = parse_options()
    if asked.quick:
        asked.servers, asked.streams, asked.tokens, asked.spread = ["daphne"], ["1", "20"], 50, 0.5
    loads = [
        Load(int(streams), asked.tokens, asked.rate, asked.spread, scene, int(turns), asked.ready)
        for streams, turns, scene in product(asked.streams, asked.turns, asked.scenes)
    ]
    conditions = (
        f"{describe_machine()}. {asked.tokens} tokens an answer at {asked.rate:g} a second, "
        f"begun over {asked.spread:g} s. "
        f"Load: the machine's load average over a minute after each line; the machine has {os.cpu_count()} cores."
    )
    print(conditions)
    print(tables.format_table(HEAD, []), end="", flush=True)
    ways = list(product(asked.servers, asked.databases, asked.brokers, asked.limits))
    rows = run(loads, ways, asked.peers, asked.peers_from)
    if asked.write:
        tables.write(asked.write, "bench: load", f"{conditions}\n\n{tables.format_table(HEAD, rows)}")


if __name__ == "__main__":
    main()
