"""The usage review, the staff's and the admin's lists on a large ledger: `DATABASE_URL=… python -m tests.bench.usage`.

Needs an empty database that may be filled, with a million rows or `--rows N`; DATABASE_URL names it. A second run takes
it as it is, and `--only WORD` asks for the pages with a word in their names, without the sums and the CSV. Each page is
asked for through the whole site, by a superuser, without a network: the median and the slowest of five, the first of
which finds nothing warm but the database. CPU is this process's own: with SQLite, on a busy machine, it is nearer to
the truth than the clock. Every sum is compared with a plain SQL sum over the rows. Nothing is asserted about time; the
aim is 300 ms, and 500 ms for the admin's own lists.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import sys
import time
from datetime import date, timedelta
from statistics import median
from urllib.parse import urlencode

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

# Ten times what a site counts in one transaction, where others wait to write: a third of the time for millions.
COUNTED_AT_ONCE = 100_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--only", default="", help="measure the pages with this in their names")
    options = parser.parse_args()

    import django  # noqa: PLC0415 - after the settings are chosen

    django.setup()
    fill(options.rows, options.users, options.days)
    measure(options.only)


def fill(count: int, users: int, days: int) -> None:
    from django.core.management import call_command  # noqa: PLC0415
    from django.db import connection  # noqa: PLC0415

    from chat.accounting import rollups  # noqa: PLC0415
    from chat.models import ProviderCall, TimesDay, UsageDay, User, UserDay, UserMonth  # noqa: PLC0415
    from tests.bench.large_ledger import write_ledger  # noqa: PLC0415
    from tests.support import ledger_rows  # noqa: PLC0415

    call_command("migrate", verbosity=0)
    if not ProviderCall.objects.exists():
        began = time.monotonic()
        made = ledger_rows.make_users(users)
        written = write_ledger(count, made, days)
        print(f"{written:,} rows written in {time.monotonic() - began:.0f} s", flush=True)
    began = time.monotonic()
    index_texts()
    began = time.monotonic()
    is_new = False
    while counted := rollups.count(COUNTED_AT_ONCE):
        print(f"{counted:,} counted in {time.monotonic() - began:.0f} s", flush=True)
        is_new = True
    if is_new:
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")  # or queries are planned as if no row were counted, and read the whole ledger
    User.objects.get_or_create(username="bench", is_staff=True, is_superuser=True)
    tables = (ProviderCall, UsageDay, UserDay, UserMonth, TimesDay)
    print(", ".join(f"{each.__name__} {each._default_manager.count():,}" for each in tables))


def index_texts() -> None:
    """Index what was written, as the site's sweeps do, with a cache that makes it quick on SQLite."""
    from django.db import connection  # noqa: PLC0415

    from chat.search.index import index_some  # noqa: PLC0415

    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA synchronous = OFF")
            cursor.execute("PRAGMA cache_size = -400000")
    began, indexed = time.monotonic(), 0
    while some := index_some(5000):
        indexed += some
    if indexed:
        print(f"{indexed:,} texts indexed in {time.monotonic() - began:.0f} s", flush=True)
    connection.close()  # what is measured has the site's own settings


def measure(only: str) -> None:
    from django.contrib.auth.models import Group  # noqa: PLC0415
    from django.test import AsyncClient, Client  # noqa: PLC0415
    from django.urls import reverse  # noqa: PLC0415

    from chat.models import User  # noqa: PLC0415

    bench = User.objects.get(username="bench")
    client = Client()
    client.force_login(bench)
    group = str(Group.objects.order_by("name")[0].pk)
    today = date.today()
    page, calls = reverse("usage"), reverse("usage_calls")
    queries: dict[str, tuple[str, dict[str, str]]] = {
        "overview": (reverse("admin:index"), {}),
        "today": (page, {"period": "today"}),
        "this month": (page, {}),
        "7 days": (page, {"period": "7"}),
        "30 days": (page, {"period": "30"}),
        "61 days": (page, {"start": str(today - timedelta(60))}),
        "92 days": (page, {"start": str(today - timedelta(91))}),
        "last month": (page, {"period": "last_month"}),
        "this year": (page, {"period": "year"}),
        "everything": (page, {"period": "all"}),
        "everything, one user": (page, {"period": "all", "user": "user-0007"}),
        "everything, one group": (page, {"period": "all", "group": group}),
        "92 days, one group": (page, {"start": str(today - timedelta(91)), "group": group}),
        "30 days, one group": (page, {"period": "30", "group": group}),
        "everything, one model": (page, {"period": "all", "model": "openai:gpt-4o"}),
        "everything, one provider": (page, {"period": "all", "provider": "anthropic"}),
        "everything, interrupted": (page, {"period": "all", "outcome": "interrupted"}),
        "calls": (calls, {"period": "all"}),
        "calls, one user, interrupted": (calls, {"period": "all", "user": "user-0007", "outcome": "interrupted"}),
        "calls, one group": (calls, {"period": "all", "group": group}),
        "calls, one provider, stopped": (calls, {"period": "all", "provider": "demo", "outcome": "stopped"}),
        "calls, a model, interrupted": (calls, {"period": "all", "model": "demo:tour", "outcome": "interrupted"}),
    }
    deep = f"{(today - timedelta(300)).isoformat()}T00:00:00+00:00_1000"
    queries["calls, 300 days down"] = (calls, {"period": "all", "after": deep})
    staff, week, oldest = reverse("staff"), f"{today - timedelta(7)}T00:00Z", f"{today - timedelta(300)}T00:00Z"
    queries |= {
        "staff": (staff, {}),
        "staff, a code": (staff, {"code": "timeout"}),
        "staff, a model": (staff, {"model": "openai:gpt-4o"}),
        "staff, a user": (staff, {"user": "user-0007"}),
        "staff, last day": (staff, {"age": "day"}),
        "staff, recovered": (staff, {"state": "recovered"}),
        "staff, dismissed": (staff, {"state": "dismissed"}),
        "staff, a group": (reverse("staff-group"), {"code": "timeout", "model": "openai:gpt-4o"}),
        "staff, all answers": (reverse("staff-group"), {}),
    }
    lists = {name: reverse(f"admin:chat_{name}_changelist") for name in ("providercall", "message", "conversation")}
    for name, path in lists.items():
        began_at = "started_at" if name == "providercall" else "created_at"
        user = "conversation__user__id__exact" if name == "message" else "user__id__exact"
        queries |= {
            f"admin {name}": (path, {}),
            f"admin {name}, page 3": (path, {"p": "3"}),
            f"admin {name}, a user": (path, {user: "7"}),
            f"admin {name}, oldest first": (path, {"o": "0" if name == "providercall" else "1"}),
            f"admin {name}, by another column": (path, {"o": "5"}),
            f"admin {name}, a week": (path, {f"{began_at}__gte": week}),
            f"admin {name}, until long ago": (path, {f"{began_at}__lt": oldest}),
            f"admin {name}, a month": (path, {f"{began_at}__year": f"{today:%Y}", f"{began_at}__month": f"{today:%m}"}),
            f"admin {name}, a name": (path, {"q": "user-0007"}),
        }
    for name in ("message", "conversation"):
        queries |= {
            f"admin {name}, a word": (lists[name], {"q": "topic4321"}),
            f"admin {name}, a common piece": (lists[name], {"q": "topic43"}),
            f"admin {name}, a word of half": (lists[name], {"q": "question"}),
            f"admin {name}, no word": (lists[name], {"q": "zzzz"}),
        }
    queries["admin providercall, for the site"] = (lists["providercall"], {"billed_to__exact": "site"})
    queries["admin providercall, tests"] = (lists["providercall"], {"purpose__exact": "test"})
    for name in ("providercall", "message"):
        failed = {"outcome__exact" if name == "providercall" else "status__exact": "interrupted"}
        queries |= {
            f"admin {name}, failed": (lists[name], failed),
            f"admin {name}, a failure": (lists[name], {**failed, "error_code__exact": "timeout"}),
            f"admin {name}, a model": (lists[name], {"model": "demo:tour"}),
        }
    for name, (path, query) in queries.items():
        if only not in name:
            continue
        times, work = [], []
        for _ in range(5):
            began, worked = time.monotonic(), time.process_time()
            response = client.get(path, query)
            times.append((time.monotonic() - began) * 1000)
            work.append((time.process_time() - worked) * 1000)
            assert response.status_code == 200, (name, response.status_code, response.content)
        slow = "  <-- slow" if median(times) > (500 if name.startswith("admin") else 300) else ""
        print(
            f"{name:32} median {median(times):4.0f} ms, slowest {max(times):4.0f} ms, CPU {median(work):4.0f} ms{slow}",
            flush=True,
        )
    if only:
        return
    check_sums(client.get(page, {"period": "all"}).content.decode())
    asyncio.run(stream(AsyncClient(), bench, reverse("usage_calls_csv")))


def check_sums(html: str) -> None:
    """Compare the page's totals with a plain SQL sum over the rows, and exit with an error if they differ."""
    from django.db import connection  # noqa: PLC0415

    began = time.monotonic()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT COUNT(*), SUM(CAST(ROUND(cost * 100000000) AS BIGINT)), SUM(input_tokens), SUM(output_tokens) "
            "FROM chat_providercall WHERE outcome <> 'running'"
        )
        count, units, *tokens = cursor.fetchone()
    print(f"plain SQL took {(time.monotonic() - began) * 1000:.0f} ms")
    shown = re.findall(r'<data value="([\d.]+)"', html)[:4]
    figures = (int(shown[0]), round(float(shown[1]) * 1e8), int(shown[2]), int(shown[3]))
    wanted = (int(count), int(units), *map(int, tokens))
    print("sums on the page:", figures, "equal to SQL" if figures == wanted else f"NOT EQUAL to {wanted}")
    if figures != wanted:
        sys.exit(1)


async def stream(client: object, user: object, path: str) -> None:
    from asgiref.sync import sync_to_async  # noqa: PLC0415
    from django.test import AsyncClient  # noqa: PLC0415

    assert isinstance(client, AsyncClient)
    await sync_to_async(client.force_login)(user)  # type: ignore[arg-type]
    began = time.monotonic()
    response = await client.get(f"{path}?{urlencode({'period': 'all'})}")
    first, lines = None, 0
    async for chunk in response:  # type: ignore[attr-defined]
        first = first or time.monotonic() - began
        lines += chunk.count(b"\n")
    assert first is not None
    took = time.monotonic() - began
    print(f"CSV of all calls: first bytes after {first * 1000:.0f} ms, {lines - 1:,} lines in {took:.0f} s")


if __name__ == "__main__":
    main()
