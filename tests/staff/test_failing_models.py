"""The staff are told which models are failing now, and how the calls of the last day failed."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from chat.accounting import rollups
from chat.accounting.failing_models import LAST_CALLS, LEAST_CALLS, count_failures, find_failing_models
from chat.core.failures import Cause
from chat.models import Outcome, OutcomeHour, ProviderCall, User
from tests.staff.test_staff import read_words

MODEL, OTHER = "openai:gpt-test", "demo:tour"


@pytest.fixture(autouse=True)
def models(db: None, settings: Settings) -> None:
    settings.CHAT_MODELS = [MODEL, OTHER]


@pytest.fixture
def desk(db: None) -> Client:
    user = User.objects.create_user("reader")
    user.user_permissions.set(Permission.objects.filter(codename="retry_answer"))
    client = Client()
    client.force_login(user)
    return client


def write(number: int, code: str = "", cause: str = "", *, ago: timedelta = timedelta(0), model: str = MODEL) -> None:
    outcome = Outcome.INTERRUPTED if code else Outcome.COMPLETE
    rows = [
        ProviderCall.objects.create(model=model, outcome=outcome, error_code=code, error_cause=cause)
        for _ in range(number)
    ]
    ids = [row.pk for row in rows]
    ProviderCall.objects.filter(pk__in=ids).update(started_at=timezone.now() - ago)


def fail(number: int, ago: timedelta = timedelta(0)) -> None:
    write(number, "upstream_error", "status", ago=ago)


# Now


def test_a_model_whose_calls_all_fail_is_failing(settings: Settings) -> None:
    fail(LEAST_CALLS)
    write(LEAST_CALLS, model=OTHER)
    [found] = find_failing_models()
    assert (found.model, found.failures, found.calls, found.cause) == (MODEL, LEAST_CALLS, LEAST_CALLS, Cause.STATUS)
    assert found.sentence == f"{MODEL} is failing now: all of its last {LEAST_CALLS} calls failed (error status)."


@pytest.mark.parametrize(("percent", "is_failing"), [(0, False), (1, True), (40, True), (41, False), (100, False)])
def test_the_threshold_is_a_setting(settings: Settings, percent: int, is_failing: bool) -> None:
    settings.CHAT_FAILING_PERCENT = percent
    write(6)
    fail(4)
    assert bool(find_failing_models()) == is_failing


def test_too_few_calls_say_nothing() -> None:
    fail(LEAST_CALLS - 1)
    assert not find_failing_models()


def test_failures_of_long_ago_do_not_count() -> None:
    fail(LAST_CALLS, timedelta(minutes=11))
    write(1)
    assert not find_failing_models()


def test_the_last_calls_count_and_not_those_before_them() -> None:
    fail(5 * LAST_CALLS, timedelta(minutes=5))
    assert find_failing_models()
    write(LAST_CALLS)
    assert not find_failing_models()


@pytest.mark.parametrize("code", ["server_restart", "abandoned", "quota_exceeded", "content_filter", "context_length"])
def test_failures_that_are_not_the_providers_do_not_count(code: str) -> None:
    write(LAST_CALLS, code)
    assert not find_failing_models()


def test_calls_that_were_not_made_say_nothing() -> None:
    """Otherwise a model that is left alone would seem to fail for as long as it is."""
    fail(LEAST_CALLS)
    write(LAST_CALLS, "upstream_error", "skipped")
    [found] = find_failing_models()
    assert found.calls == LEAST_CALLS


def test_rows_of_the_version_before_have_the_cause_of_their_code() -> None:
    write(LEAST_CALLS, "timeout")
    [found] = find_failing_models()
    assert found.cause == Cause.TIMEOUT


def test_the_banner_is_on_the_staffs_pages_the_admins_first_page_and_model_health(desk: Client) -> None:
    fail(LEAST_CALLS)
    admin = Client()
    admin.force_login(User.objects.create_superuser("root"))
    for client, page in ((desk, "/staff/"), (admin, "/admin/"), (admin, "/admin/chat/modelhealth/")):
        assert f"{MODEL} is failing now" in read_words(client.get(page))
    assert "is failing now" not in Client().get("/accounts/login/").content.decode()


def test_looking_for_them_reads_a_few_rows_of_an_index() -> None:
    fail(2 * LAST_CALLS)
    with CaptureQueriesContext(connection) as seen:
        find_failing_models()
    assert len(seen) == 2
    assert all(f"LIMIT {LAST_CALLS}" in query["sql"] for query in seen.captured_queries)


# By the hour


def test_failures_are_counted_by_hour_cause_and_model() -> None:
    write(3)
    fail(2)
    write(1, "timeout", "timeout", ago=timedelta(hours=1))
    write(4, "rate_limited", "rate_limit", model=OTHER)
    write(9, "timeout", "timeout", ago=timedelta(hours=30))
    found = count_failures()
    assert list(found.causes) == [Cause.RATE_LIMIT, Cause.STATUS, Cause.TIMEOUT]
    assert [found.causes[cause][-2:] for cause in found.causes] == [[0, 4], [0, 2], [1, 0]]
    assert [(each.model, each.failures, each.calls) for each in found.models] == [(OTHER, 4, 4), (MODEL, 3, 6)]
    assert found.models[1].causes == [(Cause.STATUS, 2), (Cause.TIMEOUT, 1)]
    assert [each.model for each in count_failures(MODEL).models] == [MODEL]


def test_the_page_draws_them_without_reading_the_ledger(desk: Client) -> None:
    fail(2)
    write(2)
    rollups.catch_up()
    ProviderCall.objects.all().delete()
    shown = desk.get("/staff/").content.decode()
    assert "Failed calls by hour and cause" in shown
    assert re.search("2 of 4 calls failed:\\s*2 error status", read_words(desk.get("/staff/")))
    assert "error status: 2" in shown  # a bar's tooltip


def test_the_filter_by_model_holds_for_the_plot(desk: Client) -> None:
    fail(1)
    write(1, "timeout", "timeout", model=OTHER)
    shown = read_words(desk.get("/staff/", {"model": OTHER}))
    assert "1 timeout" in shown
    assert "1 error status" not in shown


def test_a_day_without_failures_has_no_plot(desk: Client) -> None:
    write(5)
    assert "Failed calls" not in read_words(desk.get("/staff/"))


def test_many_causes_share_the_last_colour(desk: Client) -> None:
    for cause in Cause:
        write(1, "upstream_error", cause.value)
    shown = desk.get("/staff/").content.decode()
    assert 'class="cause-6">others' in shown
    assert "cause-7" not in shown
    assert OutcomeHour.objects.count() == len(Cause)
