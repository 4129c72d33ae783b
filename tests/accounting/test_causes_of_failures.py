"""What a call failed of and what its provider said of it are on the ledger, and in the counts of its hour."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from chat.accounting import rollups
from chat.core.errors import CODES
from chat.core.events import Usage
from chat.core.failures import Cause, Failure, ProviderReport, find_cause
from chat.generation.store import CallResult, settle_call
from chat.generation.verdict import STOPPED_BY_USER, Verdict, make_interruption
from chat.models import Outcome, OutcomeHour, ProviderCall, Status
from tests.provider_server import ProviderServer, Script
from tests.provider_server.anthropic import REQUEST_ID
from tests.support.site import Json, Site

MODEL = "openai:gpt-test"


async def find_last_call(answer: Json) -> ProviderCall:
    return await ProviderCall.objects.filter(answer=answer["id"]).alatest("pk")


@pytest.mark.parametrize(
    ("script", "cause", "status"),
    [
        pytest.param(Script(status=503), Cause.STATUS, 503, id="status"),
        pytest.param(Script(status=429), Cause.RATE_LIMIT, 429, id="rate limit"),
        pytest.param(Script(status=401), Cause.KEY, 401, id="key"),
        pytest.param(Script(status=402), Cause.BUDGET, 402, id="budget"),
        pytest.param(Script(status=400), Cause.REFUSED_FORM, 400, id="refused form"),
        pytest.param(Script(content_filter=True), Cause.FILTER, 400, id="filter"),
        pytest.param(Script(text="Half an answer", drop_after=4), Cause.BROKEN_STREAM, None, id="broken stream"),
        pytest.param(Script(text="Half", error_event_after=2), Cause.REPORTED, None, id="reported"),
    ],
)
async def test_a_failed_call_of_an_answer_keeps_its_cause(
    site: Site, provider: ProviderServer, model: str, script: Script, cause: Cause, status: int | None
) -> None:
    provider.script = script
    call = await find_last_call(await site.ask(model=model))
    assert (call.error_cause, call.error_status) == (cause, status)
    assert call.request_id == REQUEST_ID


async def test_a_silence_is_a_timeout(site: Site, provider: ProviderServer, settings: Settings) -> None:
    settings.CHAT_FIRST_TOKEN_TIMEOUT = settings.CHAT_IDLE_TIMEOUT = 0.3
    provider.script = Script(text="Never", stall_after=0)
    call = await find_last_call(await site.ask())
    assert (call.error_cause, call.error_status) == (Cause.TIMEOUT, None)
    assert "nothing came" in call.error_message


async def test_nothing_of_the_conversation_is_kept_with_a_failure(site: Site, provider: ProviderServer) -> None:
    question = "My neighbour's name is Rumpelstiltskin"
    provider.script = Script(status=400, error_message=f"Cannot process: {question}")
    call = await find_last_call(await site.ask(question))
    assert call.error_message == "Cannot process: …"


async def test_half_characters_and_nul_in_a_providers_words_are_no_reason_to_lose_the_end(
    site: Site, provider: ProviderServer
) -> None:
    provider.script = Script(status=500, error_message="No\x00such \ud83d thing", error_type="a\x00type")
    answer = await site.ask()
    assert answer["status"] == "interrupted"
    assert (await find_last_call(answer)).error_message == "No\ufffdsuch \ufffd thing"


async def test_a_call_that_succeeds_has_no_cause(site: Site) -> None:
    call = await find_last_call(await site.ask())
    assert (call.error_cause, call.error_status, call.request_id, call.failure) == ("", None, "", None)


@pytest.mark.parametrize("code", CODES)
def test_a_call_of_which_only_the_code_is_known_has_its_cause(db: None, code: str) -> None:
    call = ProviderCall.objects.create(model=MODEL)
    settle_call(CallResult(call, Usage(1, 1), None, 5), make_interruption(code))
    call.refresh_from_db()
    assert call.failure == Failure(find_cause(code))


@pytest.mark.parametrize("verdict", [Verdict(Status.COMPLETE, "stop"), STOPPED_BY_USER])
def test_a_try_that_failed_before_says_nothing_of_a_good_end(db: None, verdict: Verdict) -> None:
    call = ProviderCall.objects.create(model=MODEL)
    failure = Failure(Cause.STATUS, ProviderReport(503))
    settle_call(CallResult(call, Usage(1, 1), None, 5, failure), verdict)
    call.refresh_from_db()
    assert call.failure is None


# By the hour


def write(ago: timedelta, code: str = "", cause: str = "", model: str = MODEL) -> None:
    outcome = Outcome.INTERRUPTED if code else Outcome.COMPLETE
    row = ProviderCall.objects.create(model=model, outcome=outcome, error_code=code, error_cause=cause)
    ProviderCall.objects.filter(pk=row.pk).update(started_at=NOON - ago)


NOON = timezone.now().replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)


def count_hours() -> Counter[tuple[Any, ...]]:
    return Counter(OutcomeHour.objects.values_list("hour", "model", "cause", "calls"))


def test_each_hour_counts_how_its_calls_ended(db: None) -> None:
    write(timedelta(0))
    write(-timedelta(minutes=59), "upstream_error", "status")
    write(-timedelta(minutes=1), "upstream_error", "status")
    write(-timedelta(minutes=2), "upstream_error", "broken_stream")
    write(timedelta(minutes=1), "timeout", "timeout")
    write(timedelta(0), "rate_limited", "rate_limit", "demo:tour")
    rollups.catch_up()
    before = NOON - timedelta(hours=1)
    assert count_hours() == Counter(
        [
            (NOON, MODEL, "", 1),
            (NOON, MODEL, "status", 2),
            (NOON, MODEL, "broken_stream", 1),
            (before, MODEL, "timeout", 1),
            (NOON, "demo:tour", "rate_limit", 1),
        ]
    )
    write(timedelta(0))
    rollups.catch_up()
    assert (NOON, MODEL, "", 2) in count_hours()
    counted = count_hours()
    rollups.rebuild()
    assert count_hours() == counted
    assert all(hour.tzinfo is not None and hour.astimezone(UTC).minute == 0 for hour, *_ in counted)


@pytest.mark.parametrize("code", CODES)
def test_a_row_of_the_version_before_counts_by_its_code(db: None, code: str) -> None:
    write(timedelta(0), code)
    rollups.catch_up()
    assert count_hours() == Counter([(NOON, MODEL, str(find_cause(code)), 1)])


def test_the_time_zone_of_a_reader_moves_no_hour(db: None) -> None:
    with timezone.override("Asia/Kolkata"):  # half an hour beside
        write(timedelta(minutes=20))
        rollups.catch_up()
        assert [hour for hour, *_ in count_hours()] == [NOON - timedelta(hours=1)]
