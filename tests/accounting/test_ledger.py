"""Every upstream call is on the ledger, with the provider's own figures where it gave them."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

import pytest
from pytest_django import Settings

from chat.accounting.pricing import compute_cost
from chat.core.events import Usage
from chat.core.prices import Price
from chat.core.tokens import estimate_tokens
from chat.models import Conversation, ProviderCall, User
from tests.provider_server import ProviderServer, Script
from tests.support.site import Site


async def test_the_providers_figures_are_kept(site: Site, provider: ProviderServer, model: str) -> None:
    provider.script = Script(text="Four words are said.", usage=Usage(100, 40, cached_tokens=30))
    answer = await site.ask(model=model)
    assert answer["usage"] == {
        "input_tokens": 100,
        "output_tokens": 40,
        "cached_tokens": 30,
        "reasoning_tokens": 0,
        "written_tokens": 0,
        "written_hour_tokens": 0,
        "searches": 0,
        "estimated": False,
    }
    call = await ProviderCall.objects.aget(answer=UUID(answer["id"]))
    assert (call.outcome, call.error_code, call.estimated) == ("complete", "", False)
    assert call.first_token_ms is not None
    assert call.total_ms is not None
    assert call.total_ms >= call.first_token_ms


async def test_a_provider_that_gives_no_figures_is_estimated(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="12345678", no_usage=True)
    answer = await site.ask("1234")
    assert (answer["usage"]["input_tokens"], answer["usage"]["output_tokens"]) == (1, 2)
    assert answer["usage"]["estimated"]


async def test_an_aborted_call_is_an_estimate_of_what_had_come(
    site: Site, provider: ProviderServer, model: str
) -> None:
    provider.script = Script(text="12345678 and more", drop_after=8)
    answer = await site.ask(model=model)
    assert answer["usage"]["estimated"]
    assert answer["usage"]["output_tokens"] == 2


async def test_the_price_is_that_of_the_settings(site: Site, provider: ProviderServer, settings: Settings) -> None:
    settings.CHAT_PRICES = {"openai:gpt-test": Price(Decimal("2.50"), Decimal(10), Decimal("1.25"))}
    provider.script = Script(text="x", usage=Usage(1000, 100, cached_tokens=400))
    answer = await site.ask()
    call = await ProviderCall.objects.aget(answer=UUID(answer["id"]))
    assert call.cost == Decimal("0.003000")


async def test_a_model_without_a_price_has_no_cost(site: Site, provider: ProviderServer) -> None:
    answer = await site.ask()
    assert (await ProviderCall.objects.aget(answer=UUID(answer["id"]))).cost is None


async def test_the_ledger_outlives_the_conversation_and_its_user(site: Site, provider: ProviderServer) -> None:
    answer = await site.ask()
    await Conversation.objects.filter(pk=answer["conversation"]).adelete()
    await User.objects.filter(pk=site.user.pk).adelete()
    call = await ProviderCall.objects.aget()
    assert (call.answer_id, call.user_id, call.outcome) == (None, None, "complete")


@pytest.mark.parametrize(("chars", "tokens"), [(0, 0), (1, 1), (4, 1), (5, 2), (400, 100)])
def test_an_estimate_is_four_characters_a_token(chars: int, tokens: int) -> None:
    assert estimate_tokens(chars) == tokens


def test_cached_input_has_its_own_price() -> None:
    price = Price(Decimal(4), Decimal(8), Decimal(1))
    assert compute_cost(Usage(1_000_000, 500_000, cached_tokens=500_000), price) == Decimal("6.5")
    assert compute_cost(Usage(1, 1), None) is None
