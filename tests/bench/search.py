"""What a search takes among many messages: `python -m tests.bench.search --messages 100000 [--own 0.5]`.

The database is the one of DATABASE_URL, best an empty one; with `python -m tests.support.services postgres --` before
it is a PostgreSQL of its own. It is filled once to a tenth of the messages and measured, then to all of them. A part of
them is one user's, who searches; the rest is of a thousand others. Times are those of `chat.search` with its database,
for a page of twenty hits with their excerpts, without HTTP; a second table has the list and an export.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

from tests.bench import tables
from tests.bench.many_messages import Texts, fill
from tests.bench.processes import load

TIMES = 60  # of each kind of search
HEAD = ("Search", "found", "p50, ms", "p95, ms", "slowest, ms", "CPU p50, ms")


def list_queries(texts: Texts) -> dict[str, tuple[Callable[[], str], dict[str, Any]]]:
    """Return kinds of searches: how each makes its next text, and its filters."""
    from django.utils import timezone  # noqa: PLC0415

    words, chance = texts.words, texts.chance
    month = timezone.now() - timedelta(days=1)
    return {
        "a common word": (lambda: words[chance.randrange(20)] + " ", {}),
        "two common words": (lambda: f"{words[chance.randrange(20)]} {words[chance.randrange(20, 60)]} ", {}),
        "two words in the middle": (lambda: " ".join(chance.sample(words[200:2000], 2)) + " ", {}),
        "a rare word": (lambda: words[chance.randrange(20_000, 30_000)] + " ", {}),
        "a common and a rare one": (lambda: f"{words[0]} {words[chance.randrange(5000, 30_000)]} ", {}),
        "a phrase": (lambda: f'"{words[chance.randrange(10)]} {words[chance.randrange(200)]}"', {}),
        "two letters": (lambda: words[chance.randrange(3000)][:2], {}),
        "three letters": (lambda: words[chance.randrange(3000)][:3], {}),
        "a word and four letters": (lambda: f"{words[chance.randrange(100)]} {words[chance.randrange(3000)][:4]}", {}),
        "Japanese": (lambda: "".join(chance.choices("東京都大阪府の学生", k=2)), {}),
        "nothing": (lambda: "zzzz", {}),
        "a word, of a model": (lambda: words[chance.randrange(500)] + " ", {"model": "demo:m1"}),
        "a word, of a day": (lambda: words[chance.randrange(500)] + " ", {"since": month}),
        "a rare status": (lambda: words[chance.randrange(20)] + " ", {"status": "stopped"}),
    }


def measure(texts: Texts) -> str:
    """Return a table of how long searches took."""
    from chat.models import User  # noqa: PLC0415
    from chat.search.hits import Filters, search  # noqa: PLC0415
    from chat.search.queries import read_query  # noqa: PLC0415

    user = User.objects.get(username="bench")
    rows: list[list[str]] = []
    everything: list[float] = []
    all_work: list[float] = []
    for name, (make_text, filters) in list_queries(texts).items():
        times, work, found = [], [], 0
        for _ in range(TIMES):
            query = read_query(make_text())
            assert query is not None
            began, worked = time.perf_counter(), time.process_time()
            found += len(search(user.pk, query, Filters(**filters)).hits)
            times.append((time.perf_counter() - began) * 1000)
            work.append((time.process_time() - worked) * 1000)
        everything, all_work = everything + times, all_work + work
        rows.append(_write_row(name, f"{found / TIMES:.0f}", times, work))
    rows.append(_write_row("all", "", everything, all_work))
    return tables.format_table(HEAD, rows)


def measure_lists(texts: Texts) -> str:
    """Return a table of what the list, an export and a page of a conversation took."""
    from chat.conversations.exchange.database_reader import load_conversation  # noqa: PLC0415
    from chat.conversations.exchange.json_form import write_document  # noqa: PLC0415
    from chat.conversations.listing import ListPlace  # noqa: PLC0415
    from chat.models import Conversation, User  # noqa: PLC0415
    from chat.web.listed_conversations import show_open  # noqa: PLC0415

    user, zone = User.objects.get(username="bench"), ZoneInfo("Europe/Berlin")
    own = list(Conversation.objects.owned_by(user).order_by("-updated_at"))
    chance = texts.chance
    works: dict[str, Callable[[], object]] = {
        "the list": lambda: show_open(user, zone),
        "the list, anywhere": lambda: show_open(user, zone, before=ListPlace.from_conversation(chance.choice(own))),
        "the list, near its end": lambda: show_open(user, zone, before=ListPlace.from_conversation(own[-60])),
        "a conversation as JSON": lambda: json.dumps(write_document(load_conversation(chance.choice(own)))),
    }
    rows = []
    for name, work in works.items():
        times, cpu = [], []
        for _ in range(TIMES):
            began, worked = time.perf_counter(), time.process_time()
            work()
            times.append((time.perf_counter() - began) * 1000)
            cpu.append((time.process_time() - worked) * 1000)
        rows.append(_write_row(name, "", times, cpu))
    return tables.format_table(("Work", *HEAD[1:]), rows)


def measure_archive() -> str:
    """Return a table of what an export of all that the user has took, and its import by another user."""
    from chat.conversations.exchange import files, jobs  # noqa: PLC0415
    from chat.conversations.exchange.job_run import run_job  # noqa: PLC0415
    from chat.models import ExchangeJob, User  # noqa: PLC0415

    user = User.objects.get(username="bench")
    reader = User.objects.create_user(f"{uuid4()}")
    rows = []
    archive: Path | None = None
    for name, owner, kind in (
        ("an export of all", user, ExchangeJob.Kind.EXPORT),
        ("its import", reader, ExchangeJob.Kind.IMPORT),
    ):
        begun = jobs.begin_job(owner, kind, uuid4(), draft=archive)
        job = jobs.claim_next()
        assert job is not None
        assert job.pk == begun.pk
        began, worked, memory = time.perf_counter(), time.process_time(), measure_memory()
        run_job(job, lambda: False)
        took, work = time.perf_counter() - began, time.process_time() - worked
        job.refresh_from_db()
        assert not job.error, job.error
        archive = files.find_path(job.pk)
        size = f"{job.size / 1e6:.0f}"
        rows.append([name, f"{job.done:,}", size, f"{took:.0f}", f"{work:.0f}", f"{measure_memory() - memory:.0f}"])
        archive = archive.rename(archive.with_name(f"{uuid4()}")) if kind == ExchangeJob.Kind.EXPORT else archive
    return tables.format_table(("Work", "conversations", "MB", "s", "CPU-s", "more memory, MB"), rows)


def measure_memory() -> float:
    """Return the most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def _write_row(name: str, found: str, times: list[float], work: list[float]) -> list[str]:
    p50, p95 = statistics.median(times), tables.compute_percentile(times, 95)
    return [name, found, f"{p50:.1f}", f"{p95:.1f}", f"{max(times):.0f}", f"{statistics.median(work):.1f}"]


def main() -> None:
    """Fill, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--own", type=float, default=0.5, help="which part of them is the user's who searches")
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatsite.settings")

    import django  # noqa: PLC0415 - after the settings are chosen

    django.setup()

    from django.core.management import call_command  # noqa: PLC0415
    from django.db import connection  # noqa: PLC0415

    call_command("migrate", verbosity=0)
    texts = Texts()
    for messages in (options.messages // 10, options.messages):
        fill(texts, messages, options.own)
        print(
            f"{connection.vendor}, {messages:,} messages, load {load()}\n\n{measure(texts)}\n{measure_lists(texts)}",
            flush=True,
        )
        print(measure_archive(), flush=True)


if __name__ == "__main__":
    main()
