"""The usage review shows what the ledger's rows add up to, to those who may read them."""

from __future__ import annotations

import csv
import re
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from html import unescape
from io import StringIO
from itertools import combinations_with_replacement, product
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group, Permission
from django.db import connections
from django.http import StreamingHttpResponse
from django.test import AsyncClient, Client
from django.urls import reverse
from django.utils import timezone

from chat.accounting import ledger, reports, rollups
from chat.accounting.figures import sum_lines
from chat.accounting.selections import Selection
from chat.admin import usage_csv, usage_review
from chat.http.csv_lines import write_line
from chat.models import Outcome, ProviderCall, Pruning, User
from tests.support import ledger_rows
from tests.support.usage_ledger import add_up_in_sql, choose_everything, load_page, read_cards

ADDRESSES = ("/admin/usage/", "/admin/usage/calls/", "/admin/usage/calls/csv/", "/admin/usage/csv/day/")


@pytest.fixture
def admin(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


# Who may


@pytest.fixture(params=["anonymous", "user", "staff", "staff with the permission", "user with the permission", "root"])
def visitor(db: None, request: pytest.FixtureRequest) -> tuple[str, Client]:
    client = Client()
    kind = str(request.param)
    if kind != "anonymous":
        user = User.objects.create_user("ada", is_staff="staff" in kind or kind == "root", is_superuser=kind == "root")
        if "permission" in kind:
            user.user_permissions.add(Permission.objects.get(codename="view_providercall"))
        client.force_login(user)
    return kind, client


@pytest.mark.parametrize("address", ADDRESSES)
def test_only_staff_who_may_read_the_ledger_see_it(visitor: tuple[str, Client], address: str) -> None:
    kind, client = visitor
    response = client.get(address)
    statuses = {"staff": 403, "staff with the permission": 200, "root": 200}
    assert response.status_code == statuses.get(kind, 302)
    if response.status_code == 302:
        assert "login" in response.headers["Location"]


def test_the_admins_index_links_the_review_for_those_who_may(visitor: tuple[str, Client]) -> None:
    kind, client = visitor
    response = client.get("/admin/")
    assert ("/admin/usage/" in response.content.decode()) is (kind in {"staff with the permission", "root"})


def test_the_list_of_calls_links_the_review(admin: Client) -> None:
    assert 'href="/admin/usage/"' in admin.get("/admin/chat/providercall/").content.decode()


# What is shown


def test_calls_of_deleted_users_stay_and_stand_in_one_line(db: None) -> None:
    users = ledger_rows.make_users(3)
    ledger_rows.write(ledger_rows.make_ledger_rows(90, users, 3))
    rollups.catch_up()
    calls = add_up_in_sql().calls
    users[0].delete()
    users[1].delete()
    names = [line.name for line in reports.make_table(choose_everything(), "user")]
    assert sorted(names) == [reports.DELETED, "user-0002"]
    assert sum_lines(reports.make_table(choose_everything(), "user")).calls == calls


def test_a_call_that_nobody_priced_is_no_price_and_never_nothing(admin: Client) -> None:
    ledger_rows.write(iter([make_settled_call(cost=None)]))
    html = load_page(admin)
    assert read_cards(html)["Cost"] == "no price"
    assert "$0" not in re.sub(r"<svg.*?</svg>", "", html, flags=re.DOTALL)
    ledger_rows.write(iter([make_settled_call(cost=Decimal(0)), make_settled_call(cost=Decimal("0.5"))]))
    assert read_cards(load_page(admin))["Cost"] == "0.50000000"
    assert read_cards(load_page(admin))["Cost more"] == "1 call without a price"


def make_settled_call(**fields: Any) -> ProviderCall:
    given = {"model": "openai:gpt-4o", "outcome": "complete", "started_at": timezone.now(), **fields}
    return ProviderCall(**given)


def test_a_call_counts_when_it_is_settled(admin: Client) -> None:
    call = ProviderCall.objects.create(model="demo:tour")
    html = load_page(admin)
    assert read_cards(html)["Calls"] == "0"
    assert "1 call still running" in html
    call.outcome = Outcome.COMPLETE
    ledger.settle(call)
    assert read_cards(load_page(admin))["Calls"] == "1"


def test_an_empty_ledger_has_a_page(admin: Client) -> None:
    for period, _ in usage_review.PERIODS:
        assert "No calls were settled" in load_page(admin, period=period)


def test_the_page_says_from_when_on_rows_were_pruned(admin: Client) -> None:
    ledger_rows.write(ledger_rows.make_ledger_rows(50, ledger_rows.make_users(2), 10))
    Pruning.objects.create(before=timezone.now().date() - timedelta(3), rows=30)
    day = (timezone.now().date() - timedelta(3)).isoformat()
    assert f"before {day} were pruned" in load_page(admin, period="all")
    assert "were pruned" not in load_page(admin, period="today")
    assert f"before {day} were pruned" in admin.get("/admin/usage/calls/", {"period": "all"}).content.decode()


def test_the_page_needs_no_script_and_no_style_of_its_own(admin: Client) -> None:
    ledger_rows.write(ledger_rows.make_ledger_rows(300, ledger_rows.make_users(3), 20))
    html = load_page(admin, period="30")
    assert html.count('<svg class="plot"') == 6
    assert " style=" not in html
    main = html[html.index('id="content-main"') :]
    assert "<script" not in main
    assert "<style" not in html


def test_a_name_cannot_write_into_the_page(admin: Client) -> None:
    evil = "<script>alert(1)</script>"
    user = User.objects.create(username=evil)
    user.groups.add(Group.objects.create(name=evil))
    ledger_rows.write(iter([make_settled_call(user=user, model=f"x:{evil}")]))
    for address in ("/admin/usage/", "/admin/usage/calls/"):
        assert evil not in admin.get(address).content.decode()


# The period and the filters


@pytest.mark.parametrize(
    ("period", "start", "end"),
    [
        ("today", "2026-03-15", "2026-03-15"),
        ("7", "2026-03-09", "2026-03-15"),
        ("month", "2026-03-01", "2026-03-15"),
        ("last_month", "2026-02-01", "2026-02-28"),
        ("year", "2026-01-01", "2026-03-15"),
    ],
)
def test_a_named_period_is_so_many_days(period: str, start: str, end: str) -> None:
    days = usage_review.find_days(period, date(2026, 3, 15))
    assert [str(day) for day in days] == [start, end]


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"start": "yesterday"}, "Enter a valid date."),
        ({"end": "2026-02-30"}, "Enter a valid date."),
        ({"start": "2026-02-02", "end": "2026-02-01"}, "The first day is after the last one."),
        ({"user": "nobody"}, "There is no user of this name."),
        ({"user": "a\x00b"}, "Null characters are not allowed."),
        ({"group": "999"}, "Select a valid choice"),
        ({"group": "x"}, "Select a valid choice"),
        ({"model": "openai:none"}, "Select a valid choice"),
        ({"provider": "'; DROP"}, "Select a valid choice"),
        ({"outcome": "running"}, "Select a valid choice"),
        ({"period": "fortnight"}, "Select a valid choice"),
    ],
)
@pytest.mark.parametrize("address", ADDRESSES)
def test_a_bad_value_is_named_and_no_fault(admin: Client, address: str, query: dict[str, str], sentence: str) -> None:
    response = admin.get(address, query)
    assert response.status_code == 400
    assert sentence in unescape(response.content.decode())


def test_dates_at_the_ends_of_the_calendar_are_no_fault(admin: Client) -> None:
    for calls in ([], [make_settled_call()]):
        ledger_rows.write(iter(calls))
        for address, (start, end) in product(ADDRESSES, combinations_with_replacement(("0001-01-01", "9999-12-31"), 2)):
            assert admin.get(address, {"start": start, "end": end}).status_code == 200
    assert read_cards(load_page(admin, start="0001-01-01", end="9999-12-31"))["Calls"] == "1"


def test_an_unknown_table_is_not_found(admin: Client) -> None:
    assert admin.get("/admin/usage/csv/weather/").status_code == 404


def test_users_come_a_page_at_a_time(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_review, "USERS_A_PAGE", 50)
    users = ledger_rows.make_users(70)
    ledger_rows.write(iter([make_settled_call(user=user) for user in users]))
    pages = [load_page(admin, page=number) for number in ("1", "2")]
    names = [set(re.findall(r">(user-\d+)</a>", html)) for html in pages]
    assert [len(some) for some in names] == [50, 20]
    assert not names[0] & names[1]


# Single calls and files


def test_the_calls_are_paged_without_a_gap_or_a_repeat(admin: Client) -> None:
    moment = datetime(2026, 1, 5, 12, tzinfo=UTC)
    ledger_rows.write(
        iter([make_settled_call(started_at=moment + timedelta(seconds=number // 90)) for number in range(350)])
    )
    seen: list[int] = []
    query = "?period=all"
    while query:
        html = unescape(admin.get(f"/admin/usage/calls/{query}").content.decode())
        seen += map(int, re.findall(r"/admin/chat/providercall/(\d+)/change/", html))
        older = re.search(r'href="([^"]+)">Older', html)
        query = older[1] if older else ""
    assert seen == sorted(seen, reverse=True)
    assert len(seen) == 350


@pytest.mark.parametrize(
    "after",
    [
        *("x", "2026-01-01_1", "2026-01-01T00:00:00+00:00_", "_5", "9" * 400),
        *("0001-01-01T00:00:00+14:00_5", "9999-12-31T23:00:00-12:00_5"),  # years 0 and 10000 of UTC
    ],
)
def test_a_page_of_calls_that_cannot_be_is_named(admin: Client, after: str) -> None:
    response = admin.get("/admin/usage/calls/", {"after": after})
    assert response.status_code == 400
    assert "There is no such page of the ledger." in response.content.decode()


@pytest.fixture
async def connected(transactional_db: None) -> AsyncIterator[None]:
    """A database whose connection in the event loop's thread is closed after the test.

    PostgreSQL could not drop the test database while it is open.
    """
    yield
    await sync_to_async(connections.close_all)()


async def test_the_rows_stream_as_csv_in_parts_and_whole(connected: None, monkeypatch: pytest.MonkeyPatch) -> None:
    users = await sync_to_async(ledger_rows.make_users)(5)
    await sync_to_async(ledger_rows.write)(ledger_rows.make_ledger_rows(700, users, 20))
    monkeypatch.setattr(usage_csv, "ROWS_A_CHUNK", 100)
    chunks = await read_parts("/admin/usage/calls/csv/?period=all")
    assert len(chunks) > 6
    rows = list(csv.DictReader(StringIO("".join(chunks))))
    wanted = await sync_to_async(add_up_in_sql)()
    assert len(rows) == wanted.calls
    assert sum(int(row["output_tokens"]) for row in rows) == wanted.output_tokens
    assert sum(Decimal(row["cost"]) for row in rows if row["cost"] != "no price") == wanted.cost
    assert {row["outcome"] for row in rows} <= {"complete", "stopped", "interrupted"}


async def test_the_rows_of_one_provider_stream_as_csv(connected: None) -> None:
    """Which models are the provider's is asked of the database too, and that not in the event loop."""
    await sync_to_async(ledger_rows.write)(ledger_rows.make_ledger_rows(50, [await User.objects.acreate()], 20))
    chunks = await read_parts("/admin/usage/calls/csv/?period=all&provider=openai")
    wanted = await sync_to_async(add_up_in_sql)("model LIKE %s", "openai:%")
    assert len(list(csv.DictReader(StringIO("".join(chunks))))) == wanted.calls > 20


async def test_a_table_streams_as_csv(connected: None) -> None:
    users = await sync_to_async(ledger_rows.make_users)(5)
    await sync_to_async(ledger_rows.write)(ledger_rows.make_ledger_rows(300, users, 20))
    rows = list(csv.DictReader(StringIO("".join(await read_parts("/admin/usage/csv/user/?period=all")))))
    assert {row["user"] for row in rows} == {*(user.username for user in users), reports.DELETED}
    assert sum(int(row["calls"]) for row in rows) == (await sync_to_async(add_up_in_sql)()).calls


async def read_parts(path: str) -> list[str]:
    """Return the parts of a CSV file, as they come."""
    client = AsyncClient()
    await sync_to_async(client.force_login)(await sync_to_async(User.objects.create_superuser)("root"))
    response: object = await client.get(path)
    assert isinstance(response, StreamingHttpResponse)
    assert response.headers["Content-Type"].startswith("text/csv")
    assert ".csv" in response.headers["Content-Disposition"]
    return [chunk.decode() async for chunk in response]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_text_that_a_spreadsheet_would_run_is_quoted(text: str) -> None:
    [[cell, number]] = csv.reader(StringIO(write_line([text, -1]), newline=""))
    assert cell == f"'{text}"
    assert number == "-1"


def test_harmless_text_is_left_as_it_is() -> None:
    assert write_line(["a=b", "x, y", None, 'say "so"']) == 'a=b,"x, y",,"say ""so"""\r\n'


def test_the_addresses_are_those_of_the_admin() -> None:
    assert reverse("usage") == "/admin/usage/"


# Links and the period before


def test_each_line_of_a_table_leads_to_its_calls(admin: Client, db: None) -> None:
    ledger_rows.write(ledger_rows.make_ledger_rows(60, ledger_rows.make_users(3), 3))
    html = load_page(admin, period="30", outcome="complete")
    found = {unescape(link) for link in re.findall(r'href="(/admin/usage/calls/[^"]*)"', html)}
    for wanted in ("model=openai%3Agpt-4o", "provider=openai", "user=user-0001", "purpose=answer", "group="):
        links = [link for link in found if wanted in link]
        assert links, wanted
        for link in links:
            assert "outcome=" in link, link
            assert admin.get(link).status_code == 200


def test_a_line_and_its_list_count_the_same_calls(admin: Client, db: None) -> None:
    ledger_rows.write(ledger_rows.make_ledger_rows(90, ledger_rows.make_users(3), 3))
    html = load_page(admin, period="30")
    for kind in ("purpose", "model", "user"):
        table = html[html.index(f'id="by-{kind}"') :]
        link, count = re.findall(r'href="(/admin/usage/calls/[^"]*)">\s*([\d,]+)<', table)[0]
        listed = admin.get(unescape(link)).content.decode()
        assert listed.count('<th scope="row">') == int(count), kind


def test_a_period_is_compared_with_the_one_before(admin: Client, db: None) -> None:
    today = timezone.now().date()
    days = [*[10] * 4, *[3] * 6]  # 4 calls in the week before the last one, 6 in the last
    now = timezone.now()
    ledger_rows.write(
        ProviderCall(model="demo:tour", outcome="complete", started_at=now - timedelta(days=ago)) for ago in days
    )
    html = load_page(admin, period="7")
    assert f"Changes are against {today - timedelta(13)} to {today - timedelta(7)}" in html
    assert "+50\N{NO-BREAK SPACE}%" in html
    assert "Changes are against" not in load_page(admin, period="all")


@pytest.mark.parametrize(
    ("period", "start", "end", "first", "last"),
    [
        ("month", date(2026, 11, 1), date(2026, 11, 28), date(2026, 10, 1), date(2026, 10, 28)),
        ("month", date(2026, 3, 1), date(2026, 3, 31), date(2026, 2, 1), date(2026, 2, 28)),
        ("last_month", date(2026, 3, 1), date(2026, 3, 31), date(2026, 2, 1), date(2026, 2, 28)),
        ("year", date(2026, 1, 1), date(2026, 11, 28), date(2025, 1, 1), date(2025, 11, 28)),
        ("7", date(2026, 11, 22), date(2026, 11, 28), date(2026, 11, 15), date(2026, 11, 21)),
        ("", date(2026, 11, 28), date(2026, 11, 28), date(2026, 11, 27), date(2026, 11, 27)),
    ],
)
def test_the_period_before_is_as_long_or_the_month_before(
    db: None, period: str, start: date, end: date, first: date, last: date
) -> None:
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    in_it = datetime(first.year, first.month, first.day, 12, tzinfo=UTC)
    ledger_rows.write(ProviderCall(model="demo:tour", outcome="complete", started_at=at) for at in (long_ago, in_it))
    rollups.catch_up()
    before = usage_review.find_earlier_period(period, Selection(start, end))
    assert before is not None
    assert (before.start, before.end) == (first, last)
