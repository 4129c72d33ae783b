"""What an answer came to stands under it, and what the conversation did below the composer, as the ledger has both."""

from __future__ import annotations

import re
from decimal import Decimal
from html import unescape
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async
from django.db.models import Sum
from pytest_django import Settings

from chat.accounting.quotas import open_meters
from chat.accounting.spending import describe_rest, find_conversation_spending, find_spending
from chat.core.events import Usage
from chat.core.prices import Price
from chat.models import Budget, Message, ProviderCall
from tests.provider_server import ProviderServer, Script
from tests.support.site import Site


@pytest.fixture(autouse=True)
def prices(settings: Settings) -> None:
    settings.CHAT_PRICES = {"openai:gpt-test": Price(Decimal(10), Decimal(100), Decimal(10))}
    settings.CHAT_CONTEXT_WINDOWS = {"openai:gpt-test": 20_000}


async def load_page(site: Site, conversation: str) -> str:
    response: Any = await site.client.get(f"/c/{conversation}/")
    return unescape(response.content.decode())


def find_cost_line(html: str) -> str:
    found = re.search(r'<p id="cost-line"[^>]*>(.*?)</p>', unescape(html), re.DOTALL)
    assert found is not None, html
    return found[1].strip()


def find_facts(html: str) -> str:
    return str(re.findall(r'<span class="facts">(.*?)</span>', html, re.DOTALL)[-1])


async def test_an_answer_says_what_its_ledger_rows_say(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="Yes.", usage=Usage(2_000, 300))
    answer = await site.ask()
    assert find_facts(await load_page(site, answer["conversation"])).endswith("· 2,300 tokens · $0.0500")


async def test_the_cost_of_an_answer_includes_failed_tries(
    site: Site, provider: ProviderServer, settings: Settings
) -> None:
    """A call that broke before its first word, and the one after it, are one answer."""
    settings.CHAT_MAX_RETRIES = 1
    provider.enqueue(Script(eof_after=0), Script(text="Yes.", usage=Usage(2_000, 300)))
    answer = await site.ask("x" * 4_000, model="openai:gpt-test")
    rows = ProviderCall.objects.filter(answer=answer["id"])
    assert await rows.acount() == 2
    spent = await sync_to_async(find_spending)([UUID(answer["id"])])
    [spending] = spent.values()
    sums = await rows.aaggregate(input=Sum("input_tokens"), output=Sum("output_tokens"), cost=Sum("cost"))
    assert spending.tokens == sums["input"] + sums["output"] > 2_300
    assert spending.cost == sums["cost"] > Decimal("0.05")
    assert "about" in find_facts(await load_page(site, answer["conversation"]))


async def test_streamed_and_reloaded_are_the_same(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="Yes.", usage=Usage(2_000, 300))
    answer = await site.begin()
    response: Any = await site.stream(f"/answers/{answer}/stream/?after=0")
    streamed = b"".join([part async for part in response]).decode()
    page = await load_page(site, (await site.answer(answer))["conversation"])
    text = unescape(streamed.replace("\ndata: ", "\n"))
    assert find_cost_line(page) == "12 % of context · $0.0500 so far"
    assert find_cost_line(page) in text
    assert find_facts(page) in text


async def test_the_conversations_cost_is_the_users_part_of_it(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="Yes.", usage=Usage(2_000, 300))
    answer = await site.ask()
    await site.retry(answer["id"])
    message = await Message.objects.aget(pk=answer["id"])
    read = {"input_tokens": 2_000, "output_tokens": 300}
    await ProviderCall.objects.acreate(user=site.user, answer=message, purpose="title", cost=1, outcome="complete")
    await ProviderCall.objects.acreate(
        user=site.user, answer=message, billed_to="site", cost=5, outcome="complete", **read
    )
    await site.ask()  # elsewhere
    spent = await sync_to_async(find_conversation_spending)(UUID(answer["conversation"]), UUID(answer["id"]))
    assert (spent.user_id, spent.cost, spent.context) == (site.user.pk, Decimal("1.10"), 2_300)


async def test_the_least_rest_is_shown(site: Site, settings: Settings, provider: ProviderServer) -> None:
    provider.script = Script(text="Yes.", usage=Usage(2_000, 300))
    assert await sync_to_async(describe_rest)(site.user.pk) == ""
    settings.CHAT_USER_TOKENS_PER_DAY = 10_000
    answer = await site.ask()
    assert find_cost_line(await load_page(site, answer["conversation"])).endswith("· 7,700 tokens left today")
    budget = await Budget.objects.acreate(name="B", scope="user", user=site.user, cost=Decimal("0.06"), period="week")
    await sync_to_async(open_meters)(budget)
    assert find_cost_line(await load_page(site, answer["conversation"])).endswith("· $0.0100 left this week")
    assert find_cost_line((await site.client.get("/")).content.decode()) == "$0.0100 left this week"


async def test_the_picker_has_the_prices_of_an_estimate(site: Site) -> None:
    page = unescape((await site.client.get("/")).content.decode())
    assert 'data-rate="[10.0, 100.0]"' in page
