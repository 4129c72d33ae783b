"""What grows with an answer's length, and what with a conversation's: `python -m tests.bench.growth`.

Lengths: the site's CPU seconds for 100,000 characters of one answer at 2,000 tokens a second. A question's own cost,
measured with answers of one token, is told apart: short answers have more of it. Turns: the server's time and CPU time
for the page of a conversation and for a question in it. Both should not grow faster than what is shown.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import NamedTuple

import aiohttp

from tests.bench import tables
from tests.bench.__main__ import Site
from tests.bench.client import TARGETS, Job, Visitor, ask_on_page, make_cookies
from tests.bench.processes import describe_machine, load, read_cpu_seconds, run_listener
from tests.support.services import find_free_port

RATE = 2000
LENGTH_HEAD = (
    "Characters",
    "Answers",
    "CPU-s per 100,000 characters",
    "of these for the questions",
    "the rest",
    "Bytes a character",
    "Load",
)
TURNS_HEAD = (
    "Turns",
    "GET /c/…/, ms",
    "its CPU, ms",
    "its HTML, KB",
    "POST /send/, ms",
    "CPU with its answer, ms",
    "Load",
)
AGAIN = 5  # requests of a kind, of which the median counts


class Took(NamedTuple):
    """Seconds on the clock, CPU seconds of the server, bytes that came; of one of several."""

    clock: float
    cpu: float
    size: int


async def measure_repeated(pid: int, times: int, do: Callable[[], Awaitable[int]]) -> Took:
    """Do something so many times, one after the other. The CPU clock ticks in hundredths: it is read once for all."""
    clocks, sizes = [], []
    before = read_cpu_seconds(pid)
    for _ in range(times):
        began = time.monotonic()
        sizes.append(await do())
        clocks.append(time.monotonic() - began)
    await asyncio.sleep(0.2)  # what follows an answer: its end is written, its connection given back
    return Took(median(clocks), (read_cpu_seconds(pid) - before) / times, round(median(sizes)))


def write_question(characters: int) -> str:
    return json.dumps({"characters": characters, "rate": RATE, "first": 0})


async def measure_lengths(site: Site, pid: int, characters: list[int]) -> list[list[str]]:
    """Measure answers of each length as JSON and as HTML; return a line of the table for each."""
    rows = []
    most = max(characters)
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        for target in ("json", "page"):
            job = Job(target, site.server.url, write_question(4), 0, [], [])
            await measure_answers(http, pid, site, job, 10)
            alone = (await measure_answers(http, pid, site, job, 30)).cpu
            for length in characters:
                times = max(1, most // length // 2)
                took = await measure_answers(http, pid, site, replace(job, question=write_question(length)), times)
                rows.append(
                    show_row(
                        [
                            f"{length:,} as {'JSON' if target == 'json' else 'HTML'}",
                            str(times),
                            f"{took.cpu * 1e5 / length:.2f}",
                            f"{alone * 1e5 / length:.2f}",
                            f"{(took.cpu - alone) * 1e5 / length:.2f}",
                            f"{took.size / length:.1f}",
                            load(),
                        ]
                    )
                )
    return rows


async def measure_answers(http: aiohttp.ClientSession, pid: int, site: Site, job: Job, times: int) -> Took:
    """Ask in new conversations and read the answers to their ends."""
    visitors = iter(site.make_visitors(times))

    async def read() -> int:
        return sum([len(chunk) async for chunk in TARGETS[job.target](http, job, next(visitors))])

    return await measure_repeated(pid, times, read)


async def measure_turns(site: Site, pid: int, numbers: list[int]) -> list[list[str]]:
    """Measure conversations of each number of turns; return a line of the table for each."""
    rows = []
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        for number in numbers:
            visitors = site.make_visitors(2, number)

            async def open_page(visitor: Visitor = visitors[0]) -> int:
                async with http.get(
                    f"{site.server.url}/c/{visitor.conversation}/", headers=make_cookies(visitor)
                ) as page:
                    assert page.status == 200
                    return len(await page.read())

            clocks: list[float] = []

            async def ask(visitor: Visitor = visitors[1], clocks: list[float] = clocks) -> int:
                job = Job("page", site.server.url, write_question(4), 0, [], [])
                began = time.monotonic()
                stream = await ask_on_page(http, job, visitor)
                clocks.append(time.monotonic() - began)
                async with http.get(stream, headers=make_cookies(visitor)) as changes:
                    return len(await changes.read())

            await open_page()
            get = await measure_repeated(pid, AGAIN, open_page)
            await ask()
            clocks.clear()
            post = await measure_repeated(pid, AGAIN, ask)
            rows.append(
                show_row(
                    [
                        f"{number:,}",
                        f"{get.clock * 1000:.0f}",
                        f"{get.cpu * 1000:.0f}",
                        f"{get.size / 1000:.0f}",
                        f"{median(clocks) * 1000:.0f}",
                        f"{post.cpu * 1000:.0f}",
                        load(),
                    ]
                )
            )
    return rows


def show_row(row: list[str]) -> list[str]:
    print(f"| {' | '.join(row)} |", flush=True)
    return row


async def measure_all(site: Site, characters: list[int], numbers: list[int]) -> str:
    with site.serve() as pid:
        lines = await measure_lengths(site, pid, characters)
    with site.serve() as pid:
        turns = await measure_turns(site, pid, numbers)
    return f"{tables.format_table(LENGTH_HEAD, lines)}\n{tables.format_table(TURNS_HEAD, turns)}"


def parse_numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default="daphne", choices=["daphne", "uvicorn"])
    parser.add_argument("--database", default="sqlite", choices=["sqlite", "postgres"])
    parser.add_argument("--characters", type=parse_numbers, default=[2_000, 20_000, 200_000])
    parser.add_argument("--turns", type=parse_numbers, default=[10, 200, 2000])
    parser.add_argument("--quick", action="store_true", help="2,000 and 20,000 characters, 10 and 200 turns")
    parser.add_argument("--write", type=Path, help="put the tables into this page of the documentation")
    asked = parser.parse_args()
    if asked.quick:
        asked.characters, asked.turns = [2_000, 20_000], [10, 200]
    conditions = f"{describe_machine()}. {asked.server}, {asked.database}; medians of {AGAIN} requests."
    print(conditions)
    with ExitStack() as stack:
        port = find_free_port()
        stack.enter_context(run_listener("-m", "tests.bench.provider", str(port), port=port))
        site = stack.enter_context(Site(asked.server, asked.database, "memory", port))
        text = asyncio.run(measure_all(site, asked.characters, asked.turns))
    if asked.write:
        tables.write(asked.write, "bench: growth", f"{conditions}\n\n{text}")


if __name__ == "__main__":
    main()
