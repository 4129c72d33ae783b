"""The admin's page of models: what the ledger says of each, and one small call to see for oneself."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from chat.admin import model_health
from chat.admin.model_health import Health, Rate
from chat.core.prices import Price
from chat.models import ProviderCall, User
from tests.provider_server import ProviderServer, RefusedPart, Script
from tests.support.site import Site

PAGE = "/admin/chat/modelhealth/"
MODEL = "openai:gpt-test"


@pytest.fixture
async def admin(site: Site) -> Site:
    root = await sync_to_async(User.objects.create_superuser)("root", password="root")
    return await sync_to_async(Site)(root)


def call(outcome: str, code: str = "", *, ago: float, model: str = MODEL) -> None:
    """Keep a call in the ledger that began `ago` minutes before now."""
    row = ProviderCall.objects.create(model=model, outcome=outcome, error_code=code)
    ProviderCall.objects.filter(pk=row.pk).update(started_at=timezone.now() - timedelta(minutes=ago))


def find_health(model: str) -> Health:
    return next(item for item in model_health.list_health() if item.model == model)


async def press_test_button(admin: Site, model: str = MODEL) -> tuple[Any, str]:
    """Press the button; return the response, and the words of the page after it."""
    response: Any = await admin.client.post(f"{PAGE}test/", {"model": model})
    page = (await admin.get(PAGE)).content.decode()
    return response, " ".join(re.sub(r"<[^>]+>", " ", page).split())


def test_rates_are_of_the_calls_that_ended_in_the_last_hour_and_day(db: None, settings: Settings) -> None:
    settings.CHAT_MODELS = [MODEL, "demo:tour"]
    for ago in (1, 2, 3):
        call("complete", ago=ago)
    call("interrupted", "upstream_error", ago=5)
    call("interrupted", "rate_limited", ago=90)
    call("running", ago=1)
    call("complete", ago=60 * 25)
    found = find_health(MODEL)
    assert (found.hour, found.day) == (Rate(4, 1), Rate(5, 2))
    assert (found.hour.percent, found.state) == (25, "ailing")
    assert found.last_code == "upstream_error"
    assert find_health("demo:tour").hour.percent is None


def test_failures_that_are_not_the_providers_are_no_errors(db: None, settings: Settings) -> None:
    settings.CHAT_MODELS = [MODEL]
    for code in ("abandoned", "server_restart", "server_lost", "quota_exceeded", "too_long"):
        call("interrupted", code, ago=1)
    found = find_health(MODEL)
    assert (found.hour, found.last_error, found.state) == (Rate(5, 0), None, "well")


@pytest.mark.parametrize(("outcome", "code", "state"), [("complete", "", "well"), ("interrupted", "timeout", "down")])
def test_a_model_is_shown_as_well_or_down(db: None, settings: Settings, outcome: str, code: str, state: str) -> None:
    settings.CHAT_MODELS = [MODEL]
    assert find_health(MODEL).state == "unknown"
    call(outcome, code, ago=1)
    assert find_health(MODEL).state == state


def test_a_model_without_a_price_says_so(db: None, settings: Settings) -> None:
    settings.CHAT_MODELS = [MODEL]
    assert not find_health(MODEL).is_priced
    settings.CHAT_PRICES = {MODEL: Price(Decimal(1), Decimal(2), Decimal(1))}
    assert find_health(MODEL).is_priced


def test_the_latest_calls_are_found_by_an_index(db: None) -> None:
    calls = ProviderCall.objects.filter(model=MODEL, outcome="complete").order_by("-started_at")[:1]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET enable_seqscan = off")
    assert "calls_by_model_and_outcome" in calls.explain()


async def test_a_test_is_one_small_call_at_the_sites_cost(admin: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="ready")
    response, page = await press_test_button(admin)
    assert (response.status_code, response.headers["Location"]) == (302, PAGE)
    assert "Test of openai:gpt-test: answered in" in page
    assert "ready" in page
    [request] = provider.requests
    assert (
        max(request.body.get("max_tokens", 0), request.body.get("max_completion_tokens", 0)) == model_health.MAX_TOKENS
    )
    made = await ProviderCall.objects.aget()
    assert (made.purpose, made.billed_to, made.user_id, made.requested_by_id) == ("test", "site", None, admin.user.pk)
    assert (made.outcome, made.input_tokens, made.output_tokens, made.estimated) == ("complete", 12, 34, False)
    assert made.total_ms is not None


async def test_a_test_that_fails_says_why_and_is_on_the_ledger(admin: Site, provider: ProviderServer) -> None:
    provider.script = Script(status=401, echo_key=True)
    _, page = await press_test_button(admin)
    assert "openai:gpt-test: auth_failed" in page
    assert "sk-test" not in page
    made = await ProviderCall.objects.aget()
    assert (made.outcome, made.error_code) == ("interrupted", "auth_failed")


async def test_a_test_asks_otherwise_as_a_question_does(admin: Site, provider: ProviderServer) -> None:
    refusal = RefusedPart(
        part="max_tokens", message="Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens'."
    )
    provider.script = Script(text="ready", refused_parts=[refusal])
    for _ in range(2):
        _, page = await press_test_button(admin)
        assert "Test of openai:gpt-test: answered in" in page
    assert ["max_completion_tokens" in request.body for request in provider.requests] == [False, True, True]
    outcomes = [made.outcome async for made in ProviderCall.objects.order_by("pk")]
    assert outcomes == ["interrupted", "complete", "complete"]


async def test_a_test_of_a_silent_model_ends(
    admin: Site, provider: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_health, "PATIENCE", 0.3)
    provider.script = Script(stall_after=0)
    _, page = await press_test_button(admin)
    assert "openai:gpt-test: timeout" in page
    made = await ProviderCall.objects.aget()
    assert (made.outcome, made.error_code, made.estimated) == ("interrupted", "timeout", True)
    assert made.total_ms is not None
    assert made.total_ms < 10_000


async def test_only_the_sites_models_are_tested_and_only_by_post(admin: Site, provider: ProviderServer) -> None:
    response, _ = await press_test_button(admin, "openai:another")
    assert response.status_code == 404
    assert (await admin.get(f"{PAGE}test/")).status_code == 404
    assert provider.requests == []
