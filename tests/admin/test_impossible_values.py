"""A number, day or text in an admin's address that no database can look up is no page, and never a fault of the site's.

These values pass Django's own checks: ids of more than 64 bits, days before or after the calendar, and NUL.
"""

from __future__ import annotations

import itertools
import random
import re

import pytest
from django.apps import apps
from django.test import Client

from chat.models import User

HUGE = "9" * 25
VALUES = [HUGE, f"-{HUGE}", str(2**63), "9" * 5000, "9999", "10000", "0", "-1", "1.5", "nan", "\u0663", "\0", "x"]
VALUES += ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "9999-12-31", "2026-02-30", f"1,{HUGE}", "", ".."]
DATES = [("9999",), ("9999", "12"), ("9999", "12", "31"), ("\u0669\u0669\u0669\u0669",), (HUGE,), ("2026", HUGE)]
DATES += [("2026", "13"), ("2026", "2", "30"), ("0",), ("\0",), ("2026", "2", HUGE), ("1",), ("-1",)]


@pytest.fixture
def admin(transactional_db: None) -> Client:  # PostgreSQL ends a transaction at such a value
    client = Client()
    client.force_login(User.objects.create_superuser("root", password="root"))
    return client


def find_lists(admin: Client) -> list[str]:
    """Return the addresses of all lists, from the admin's first page."""
    return sorted(set(re.findall(r'href="(/admin/(?:chat|auth)/[a-z]+/)"', admin.get("/admin/").content.decode())))


def list_fields(address: str) -> list[str]:
    _, _, app, model, _ = address.split("/")
    return [field.name for field in apps.get_model(app, model)._meta.get_fields() if field.concrete]


def check(admin: Client, address: str, *names: str, values: tuple[str, ...]) -> None:
    status = admin.get(address, dict(zip(names, values, strict=False))).status_code
    assert status in {200, 302, 400, 403, 404}, (address, names, values)


def test_no_value_of_a_filter_is_a_fault(admin: Client) -> None:
    lists, chance, next_values = find_lists(admin), random.Random("values"), itertools.cycle(VALUES)
    assert len(lists) > 15
    for address in lists:
        for field in list_fields(address):
            lookup = chance.choice(["", "__gt", "__in", "__exact", "__year"])
            check(admin, address, field + lookup, values=(next(next_values),))
        for field in {"created_at", "started_at", "at", "begins", "date_joined"}.intersection(list_fields(address)):
            for values in DATES:
                check(admin, address, f"{field}__year", f"{field}__month", f"{field}__day", values=values)


def test_no_id_is_a_fault(admin: Client) -> None:
    lists, chance = find_lists(admin), random.Random("ids")
    for value in VALUES:
        for address in chance.sample(lists, 3):
            check(admin, f"{address}{value or 'x'}/{chance.choice(['change', 'delete', 'history'])}/", values=())
        check(admin, "/admin/chat/limit/add/", "user", "group", values=(value, value))
        check(admin, "/admin/chat/modelaccess/add/", "groups", values=(value,))


def test_no_id_in_a_form_is_a_fault(admin: Client) -> None:
    ids = {"_selected_action": [HUGE], "groups": [HUGE], "user": HUGE}
    form = {"action": "delete_selected", "model": "openai:m", **ids}
    for page in ("/admin/chat/limit/", "/admin/chat/limit/add/", "/admin/chat/modelaccess/add/"):
        assert admin.post(page, form).status_code in {200, 302, 404}, page


def test_a_long_number_is_searched_for_all_the_same(admin: Client) -> None:
    for address in find_lists(admin):
        assert admin.get(address, {"q": HUGE}).status_code == 200
