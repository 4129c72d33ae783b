"""Guessing passwords is slowed down, on every way in and over all processes, and locks nobody out."""

from __future__ import annotations

import asyncio
import logging
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from django.contrib.auth import authenticate
from django.http import HttpRequest
from django.test import AsyncClient
from django.utils import timezone
from pytest_django import Settings

from chat.accounts import logins
from chat.models import LoginTally, User
from tests.support import databases
from tests.support.server import Cluster, Server
from tests.support.services import Postgres

RIGHT, WRONG = "lovelace", "byron"
HERE, ELSEWHERE = "198.51.100.1", "203.0.113.7"


async def log_in(name: str = "ada", password: str = WRONG, address: str = HERE, path: str = "/accounts/login/") -> Any:
    """Try to log in, as a new browser behind nginx."""
    form = {"username": name, "password": password}
    return await AsyncClient().post(path, form, headers={"x-forwarded-for": address})


async def guess(times: int, **given: str) -> list[int]:
    return [(await log_in(**given)).status_code for _ in range(times)]


async def let_time_pass(**time: float) -> None:
    """Let so much time pass for the brake."""
    ago = timedelta(**time)
    async for tally in LoginTally.objects.all():
        tally.free_at -= ago
        tally.wrong_until -= ago
        tally.known_until = tally.known_until and tally.known_until - ago
        await tally.asave()


@pytest.mark.parametrize("path", ["/accounts/login/", "/admin/login/"])
async def test_the_sixth_guess_has_to_wait_and_so_has_a_right_password(user: User, path: str) -> None:
    await User.objects.filter(pk=user.pk).aupdate(is_staff=True)
    assert await guess(5, path=path) == [200] * 5
    refused = await log_in(password=RIGHT, path=path)
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["Retry-After"]) <= 5
    assert b"Too many wrong passwords" in refused.content
    await let_time_pass(seconds=5)
    assert (await log_in(password=RIGHT, path=path)).status_code == 302


async def test_each_further_guess_waits_twice_as_long(user: User) -> None:
    await guess(5)
    waits = []
    for _ in range(8):
        waits.append(int((await log_in()).headers["Retry-After"]))
        await let_time_pass(seconds=waits[-1])
        assert (await log_in()).status_code == 200
    assert waits == pytest.approx([5, 10, 20, 40, 80, 160, 300, 300], abs=2)


async def test_wrong_passwords_on_all_login_pages_count_together(user: User) -> None:
    await guess(3)
    assert await guess(3, path="/admin/login/") == [200, 200, 429]


async def test_a_right_password_forgives_and_so_does_an_hour(user: User) -> None:
    await guess(4)
    assert (await log_in(password=RIGHT)).status_code == 302
    assert await guess(5) == [200] * 5
    assert await guess(1) == [429]
    await let_time_pass(minutes=61)
    assert await guess(5) == [200] * 5


async def test_nothing_tells_whether_the_account_exists(user: User) -> None:
    """Nor whether it is active: status, waiting time and sentence are the same, at every try."""
    await User.objects.acreate_user("gone", password=RIGHT, is_active=False)
    for _ in range(7):
        told = []
        for name in ("ada", "nobody", "gone"):
            response = await log_in(name=name, address=HERE if name == "ada" else f"198.51.100.{len(name)}")
            body = re.sub(rb'value="[^"]*"', b"", response.content)
            told.append((response.status_code, response.headers.get("Retry-After"), body))
        assert told[0] == told[1] == told[2]
    assert told[0][0] == 429


async def test_a_name_is_the_same_in_other_letters(user: User) -> None:
    assert [await guess(1, name=name) for name in ("ada", "Ada", "ADA", "\uff41da", "aDa", "adA")] == [[200]] * 5 + [
        [429]
    ]


async def test_a_name_is_the_same_between_blanks(user: User, caplog: pytest.LogCaptureFixture) -> None:
    """The form looks it up without them, so each blank more would be a guess for nothing."""
    names = ["ada", " ada", "ada ", "\u2003ada\t", "\n ada  ", "  ada"]
    assert [await guess(1, name=name) for name in names] == [[200]] * 5 + [[429]]
    lines = [record.getMessage() for record in caplog.records if record.name == "chat.accounts.logins"]
    assert len(lines) == 6
    assert all(line.endswith(f"for user {user.pk}") for line in lines)


@pytest.mark.parametrize("name", ["a\0da", "\0", "ada\ud800"])
def test_a_name_that_no_database_can_look_up_is_refused_like_any_other(user: User, name: str) -> None:
    """The log, which says whether there is such a user, asks PostgreSQL for it."""
    for number in range(20):
        logins.record_wrong_password(logins.admit(f"name{number}", HERE))
    assert logins.admit(name, HERE).refused_for > 0


async def test_the_owner_of_a_guessed_account_logs_in_from_another_address(user: User) -> None:
    """Whoever guesses on purpose locks nobody out."""
    await guess(6)
    assert (await log_in(password=RIGHT, address=ELSEWHERE)).status_code == 302


def test_many_addresses_hold_an_account_up_for_seconds_and_never_lock_it(user: User) -> None:
    owner = logins.admit("ada", ELSEWHERE)
    logins.record_right_password(owner)
    delays = []
    for number in range(60):
        attempt = logins.admit("ada", f"192.0.2.{number}")
        assert not attempt.refused_for
        delays.append(attempt.delay)
        logins.record_wrong_password(attempt)
    assert delays[:10] == [0] * 10
    assert delays[10:] == sorted(delays[10:])
    assert 0.5 <= delays[10] < delays[-1] == 8
    # Where the owner has been lately there is not even a delay.
    assert logins.admit("ada", ELSEWHERE).delay == 0


async def test_one_password_for_many_names_is_a_guess_too(user: User) -> None:
    assert (await log_in(password=RIGHT)).status_code == 302
    statuses = [(await log_in(name=f"name{number}")).status_code for number in range(22)]
    assert statuses == [200] * 20 + [429] * 2
    # Who has been here lately shares the address, and nothing else.
    assert (await log_in(password=RIGHT)).status_code == 302
    assert (await log_in(password=RIGHT, name="name1", address=ELSEWHERE)).status_code == 200


async def test_an_account_of_ones_own_does_not_free_an_address(user: User) -> None:
    await User.objects.acreate_user("eve", password=RIGHT)
    assert (await log_in(name="eve", password=RIGHT)).status_code == 302
    for number in range(20):
        await log_in(name=f"name{number}")
    assert (await log_in(name="eve", password=RIGHT)).status_code == 302
    assert await guess(1, name="another") == [429]


async def test_a_login_page_that_looks_at_no_password_forgives_nothing(user: User) -> None:
    """Somebody who is logged in is sent on at once, whatever name they give."""
    other = await User.objects.acreate_user("eve", password="nevermind")
    await guess(5)
    client = AsyncClient()
    await client.aforce_login(other)
    await let_time_pass(seconds=5)
    form = {"username": "ada", "password": WRONG}
    assert (await client.post("/accounts/login/", form, headers={"x-forwarded-for": HERE})).status_code == 302
    assert not await LoginTally.objects.filter(known_until__isnull=False).aexists()
    assert await guess(2) == [200, 429]


async def test_the_old_password_of_a_change_is_not_for_guessing(user: User) -> None:
    await User.objects.filter(pk=user.pk).aupdate(is_staff=True)
    client = AsyncClient()
    await client.aforce_login(await User.objects.aget(pk=user.pk))

    async def change(old: str, new: str = "analytical-engine") -> int:
        form = {"old_password": old, "new_password1": new, "new_password2": new}
        response: Any = await client.post("/admin/password_change/", form, headers={"x-forwarded-for": HERE})
        return int(response.status_code)

    assert [await change(WRONG) for _ in range(6)] == [200] * 5 + [429]
    await let_time_pass(seconds=5)
    assert await change(RIGHT) == 302
    assert (await log_in(password="analytical-engine")).status_code == 302


def test_a_way_in_that_nobody_thought_of_meets_the_brake_too(user: User) -> None:
    """Whatever calls Django's `authenticate` with its request."""

    def authenticate_with(password: str) -> object:
        request = HttpRequest()
        request.META["REMOTE_ADDR"] = HERE
        return authenticate(request, username="ada", password=password)

    assert authenticate_with(RIGHT) == user
    assert [authenticate_with(WRONG) for _ in range(5)] == [None] * 5
    assert authenticate_with(RIGHT) is None


async def test_of_many_at_once_only_the_free_ones_are_looked_at(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = []
    check = User.check_password

    def note_and_check(self: User, password: str) -> bool:
        looked_at.append(password)
        return check(self, password)

    monkeypatch.setattr(User, "check_password", note_and_check)
    statuses = [response.status_code for response in await asyncio.gather(*(log_in() for _ in range(30)))]
    assert sorted(statuses) == [200] * 5 + [429] * 25
    assert len(looked_at) == 5


async def test_the_brake_can_be_switched_off(user: User, settings: Settings) -> None:
    settings.CHAT_LOGIN_TRIES = 0
    assert await guess(12) == [200] * 12
    assert await LoginTally.objects.acount() == 0


async def test_wrong_passwords_are_logged_and_counted_without_what_was_typed(
    user: User, caplog: pytest.LogCaptureFixture
) -> None:
    before = (await AsyncClient().get("/metrics")).content.decode()
    with caplog.at_level(logging.WARNING, "chat.accounts.logins"):
        await guess(6)
        await log_in(name="my-secret-password")
        await log_in(name="ada", password=RIGHT, address=ELSEWHERE)
    lines = [record.getMessage() for record in caplog.records if record.name == "chat.accounts.logins"]
    assert lines[:5] == [f"wrong password from {HERE} for user {user.pk}"] * 5
    assert lines[5] == f"login refused for 5 s: too many wrong passwords from {HERE} for user {user.pk}"
    assert lines[6] == f"wrong password from {HERE} for no user"
    for word in ("my-secret-password", WRONG, "ada"):
        assert not any(word in line for line in lines)
        assert not [key async for key in LoginTally.objects.values_list("key", flat=True) if word in key]
    after = (await AsyncClient().get("/metrics")).content.decode()
    for outcome, grown in (("wrong", 6), ("braked", 1), ("right", 1), ("busy", 0)):
        assert read_count(after, outcome) - read_count(before, outcome) == grown


def read_count(metrics: str, outcome: str) -> float:
    found = re.search(rf'^chat_logins_total{{outcome="{outcome}"}} ([\d.]+)$', metrics, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_forgotten_tallies_are_deleted(user: User) -> None:
    for number in range(3):
        logins.record_wrong_password(logins.admit(f"name{number}", HERE))
    logins.record_right_password(logins.admit("ada", ELSEWHERE))
    LoginTally.objects.update(wrong_until=timezone.now() - timedelta(seconds=1))
    assert logins.forget_old() == 9  # three names from here, their network, and what is known of no account elsewhere
    assert LoginTally.objects.get().known_until is not None


def test_two_processes_on_postgresql_count_together(tmp_path: Path) -> None:
    with Postgres() as postgres:
        database, token = databases.prepare_database(tmp_path, postgres.url)
        with Cluster("uvicorn", database, token, size=2, logs=tmp_path) as cluster:
            one, two = cluster.servers
            assert [try_wrong_password(server) for server in (one, two, one, two, one, two, one)] == [200] * 5 + [
                429
            ] * 2


def try_wrong_password(server: Server) -> int:
    with httpx2.Client(base_url=server.url, timeout=30) as client:
        client.get("/accounts/login/")
        form = {"username": "demo", "password": WRONG, "csrfmiddlewaretoken": client.cookies["csrftoken"]}
        return client.post("/accounts/login/", data=form).status_code
