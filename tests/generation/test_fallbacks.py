"""Where a model is not available another one is asked, before the first word, and everybody is told."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group
from pytest_django import Settings

from chat.accounting import meters
from chat.core.events import Usage
from chat.generation import model_circuits
from chat.generation.process import get_runner
from chat.models import Budget, Meter, ModelAccess, ModelFallback, ProviderCall
from tests.provider_server import Call, ProviderServer, RefusedPart, Script
from tests.support.site import Json, Site

# What is tried here is the same on every database; the concurrency of reservations is in the room of accounting.
OPENAI, ANTHROPIC = "openai:gpt-test", "anthropic:messages-test"


@pytest.fixture
def other(model: str) -> str:
    """The model of the other wire format."""
    return ANTHROPIC if model == OPENAI else OPENAI


@pytest.fixture
def site(site: Site, settings: Settings) -> Site:
    settings.CHAT_FALLBACKS = {OPENAI: [ANTHROPIC], ANTHROPIC: [OPENAI]}
    settings.CHAT_FIRST_TOKEN_TIMEOUT = settings.CHAT_IDLE_TIMEOUT = 5
    return site


def make_notice(model: str, instead: str) -> Json:
    return {"code": "fallback", "message": f"{model} was not available, so {instead} answers."}


async def list_rows(answer: Json) -> list[tuple[str, str, str, int]]:
    rows = ProviderCall.objects.filter(answer=answer["id"]).order_by("pk")
    return [(row.model, row.outcome, row.error_cause, row.output_tokens) async for row in rows]


BEFORE_A_WORD = [
    pytest.param(Script(status=503), "status", id="status"),
    pytest.param(Script(status=529), "status", id="overloaded"),
    pytest.param(Script(status=429), "rate_limit", id="rate limit"),
    pytest.param(Script(status=429, retry_after=3600), "rate_limit", id="a long wait"),
    pytest.param(Script(status=401), "key", id="key"),
    pytest.param(Script(status=402), "budget", id="the provider's budget"),
    pytest.param(Script(status=404), "refused_form", id="no such model"),
    pytest.param(Script(status=504), "timeout", id="gateway timeout"),
    pytest.param(Script(html_page=True), "bad_answer", id="web page"),
    pytest.param(Script(text="Never said", drop_after=0), "broken_stream", id="reset"),
    pytest.param(Script(text="Never said", drop_after=0, drop_by="close"), "broken_stream", id="close"),
    pytest.param(Script(text="Never said", eof_after=0), "broken_stream", id="clean EOF"),
    pytest.param(Script(text="Never said", error_event_after=0), "reported", id="error in the stream"),
    pytest.param(Script(text="Never said", malformed_json_after=0), "bad_answer", id="malformed JSON"),
]


@pytest.mark.parametrize(("script", "cause"), BEFORE_A_WORD)
async def test_before_the_first_word_another_model_answers(
    site: Site, provider: ProviderServer, model: str, other: str, script: Script, cause: str
) -> None:
    provider.enqueue(script)
    provider.script = Script(text="Here I am.", usage=Usage(3, 2))
    answer = await site.ask(model=model)
    assert (answer["status"], answer["text"], answer["error"]) == ("complete", "Here I am.", None)
    assert (answer["model"], answer["asked_model"]) == (other, model)
    assert answer["notices"] == [make_notice(model, other)]
    assert await list_rows(answer) == [(model, "interrupted", cause, 0), (other, "complete", "", 2)]
    assert len(provider.requests) == 2


@pytest.mark.parametrize(("script", "cause"), BEFORE_A_WORD)
async def test_a_model_of_the_responses_api_gives_way_too(
    site: Site, provider: ProviderServer, settings: Settings, script: Script, cause: str
) -> None:
    settings.CHAT_PROVIDERS["openai"]["api"] = "responses"
    await get_runner().pool.aclose()  # the next call makes them again
    provider.enqueue(script)
    answer = await site.ask(model=OPENAI)
    assert [request.path for request in provider.requests] == ["/v1/responses", "/v1/messages"]
    assert (answer["status"], answer["notices"]) == ("complete", [make_notice(OPENAI, ANTHROPIC)])
    assert (await list_rows(answer))[0][:3] == (OPENAI, "interrupted", cause)


async def test_a_silent_model_gives_way_after_its_time(
    site: Site, provider: ProviderServer, settings: Settings
) -> None:
    settings.CHAT_FIRST_TOKEN_TIMEOUT = settings.CHAT_IDLE_TIMEOUT = 0.3
    provider.enqueue(Script(text="Never", stall_after=0))
    provider.script = Script(text="Here I am.")
    answer = await site.ask(model=OPENAI)
    assert (answer["text"], answer["model"]) == ("Here I am.", ANTHROPIC)


async def test_a_provider_that_is_away_gives_way(site: Site, provider: ProviderServer, settings: Settings) -> None:
    settings.CHAT_PROVIDERS["openai"]["base_url"] = "http://127.0.0.1:9/v1"
    await get_runner().pool.aclose()  # the next call makes them again
    answer = await site.ask(model=OPENAI)
    assert (answer["status"], answer["model"]) == ("complete", ANTHROPIC)


async def test_readers_are_told_while_they_wait_and_after_a_reload(site: Site, provider: ProviderServer) -> None:
    provider.enqueue(Script(status=503))
    provider.script = Script(text="Here I am.")
    answer = await site.begin(model=OPENAI)
    live = await site.read_events(answer)
    notice = next(event for _, event in live if event["type"] == "notice" and event["code"] == "fallback")
    assert notice["message"] == make_notice(OPENAI, ANTHROPIC)["message"]
    kinds = [event["type"] for _, event in live]
    assert kinds.index("notice") < kinds.index("token")
    replayed = [event for _, event in await site.read_events(answer, 0)]
    assert notice["message"] in [event.get("message") for event in replayed]
    page = (await site.get(f"/c/{(await site.answer(answer))['conversation']}/")).content.decode()
    assert make_notice(OPENAI, ANTHROPIC)["message"] in page


AFTER_A_WORD = [
    pytest.param(Script(text="Half an answer", chunk_size=4, drop_after=4), id="reset"),
    pytest.param(Script(text="Half an answer", chunk_size=4, eof_after=4), id="clean EOF"),
    pytest.param(Script(text="Half an answer", chunk_size=4, error_event_after=4), id="error in the stream"),
    pytest.param(Script(text="Half an answer", reasoning="Hm.", drop_after=0), id="after a thought"),
]


@pytest.mark.parametrize("script", AFTER_A_WORD)
async def test_after_the_first_word_no_other_model_is_asked(
    site: Site, provider: ProviderServer, model: str, script: Script
) -> None:
    provider.enqueue(script)
    answer = await site.ask(model=model)
    assert (answer["status"], answer["model"], answer["asked_model"]) == ("interrupted", model, model)
    assert len(provider.requests) == 1


async def test_after_a_tool_no_other_model_is_asked(site: Site, provider: ProviderServer, settings: Settings) -> None:
    provider.enqueue(Script(text="", tool_calls=[Call("nobody_has_it")]), Script(status=503))
    answer = await site.ask(model=OPENAI)
    assert (answer["status"], answer["model"], len(provider.requests)) == ("interrupted", OPENAI, 2)


@pytest.mark.parametrize(
    ("script", "code"),
    [
        pytest.param(Script(content_filter=True), "content_filter", id="filter"),
        pytest.param(Script(status=400), "bad_request", id="bad request"),
        pytest.param(Script(status=422), "bad_request", id="refused form"),
        pytest.param(Script(context_length=True), "context_length", id="too long"),
    ],
)
async def test_a_fault_of_the_question_asks_no_other_model(
    site: Site, provider: ProviderServer, model: str, script: Script, code: str
) -> None:
    provider.enqueue(script)
    answer = await site.ask(model=model)
    assert (answer["error"]["code"], answer["model"], answer["notices"]) == (code, model, [])
    assert len(provider.requests) == 1


async def test_a_refusal_is_an_answer(site: Site, provider: ProviderServer, model: str) -> None:
    provider.enqueue(Script(text="", finish_reason="content_filter"))
    answer = await site.ask(model=model)
    assert (answer["error"]["code"], len(provider.requests)) == ("content_filter", 1)


@pytest.mark.parametrize(("window", "is_asked"), [(200_000, True), (1_000, False), (None, False)])
async def test_a_conversation_that_is_too_long_goes_to_a_model_that_reads_more(
    site: Site, provider: ProviderServer, settings: Settings, window: int | None, is_asked: bool
) -> None:
    settings.CHAT_CONTEXT_WINDOWS = {OPENAI: 8_000, **({ANTHROPIC: window} if window else {})}
    provider.enqueue(Script(context_length=True))
    answer = await site.ask(model=OPENAI)
    assert answer["model"] == (ANTHROPIC if is_asked else OPENAI)
    assert answer["status"] == ("complete" if is_asked else "interrupted")


async def test_the_chain_is_gone_through_in_its_order_and_the_last_error_counts(
    site: Site, provider: ProviderServer, settings: Settings
) -> None:
    settings.CHAT_MODELS = [OPENAI, "openai:gpt-second", ANTHROPIC]
    settings.CHAT_FALLBACKS = {OPENAI: ["openai:gpt-second", ANTHROPIC]}
    provider.enqueue(Script(status=503), Script(status=401), Script(status=429))
    answer = await site.ask(model=OPENAI)
    assert answer["error"]["code"] == "rate_limited"
    assert [row[:3] for row in await list_rows(answer)] == [
        (OPENAI, "interrupted", "status"),
        ("openai:gpt-second", "interrupted", "key"),
        (ANTHROPIC, "interrupted", "rate_limit"),
    ]
    assert (answer["model"], answer["asked_model"]) == (ANTHROPIC, OPENAI)
    assert answer["notices"] == [make_notice(OPENAI, "openai:gpt-second"), make_notice("openai:gpt-second", ANTHROPIC)]


async def test_the_last_model_of_a_chain_is_retried_as_one_without_a_chain(
    site: Site, provider: ProviderServer, settings: Settings
) -> None:
    settings.CHAT_MAX_RETRIES = 1
    provider.enqueue(Script(status=503), Script(status=429, retry_after=0.1))
    answer = await site.ask(model=OPENAI)
    assert (answer["status"], len(provider.requests)) == ("complete", 3)


async def test_a_model_without_a_chain_fails_with_its_own_error(
    site: Site, provider: ProviderServer, settings: Settings
) -> None:
    settings.CHAT_FALLBACKS = {}
    provider.enqueue(Script(status=503))
    answer = await site.ask(model=OPENAI)
    assert (answer["status"], answer["notices"], len(provider.requests)) == ("interrupted", [], 1)


async def test_the_admins_chain_counts_before_the_setting(site: Site, provider: ProviderServer) -> None:
    await ModelFallback.objects.acreate(model=OPENAI, chain=[])
    provider.enqueue(Script(status=503))
    assert (await site.ask(model=OPENAI))["status"] == "interrupted"
    await ModelFallback.objects.filter(model=OPENAI).aupdate(chain=["demo:tour"])
    provider.enqueue(Script(status=503))
    assert (await site.ask(model=OPENAI))["model"] == "demo:tour"


async def test_a_model_that_the_user_may_not_use_is_passed_over(
    site: Site, provider: ProviderServer, settings: Settings
) -> None:
    settings.CHAT_FALLBACKS = {OPENAI: [ANTHROPIC, "demo:tour"]}
    access = await ModelAccess.objects.acreate(model=ANTHROPIC)
    await sync_to_async(access.groups.add)(await Group.objects.acreate(name="Others"))
    provider.enqueue(Script(status=503))
    answer = await site.ask(model=OPENAI)
    assert (answer["status"], answer["model"]) == ("complete", "demo:tour")


async def test_a_model_that_the_site_no_longer_has_is_passed_over(
    site: Site, provider: ProviderServer, settings: Settings
) -> None:
    settings.CHAT_FALLBACKS = {OPENAI: ["openai:gone", ANTHROPIC]}
    provider.enqueue(Script(status=503))
    assert (await site.ask(model=OPENAI))["model"] == ANTHROPIC


async def test_each_model_is_asked_in_its_own_way(site: Site, provider: ProviderServer, settings: Settings) -> None:
    settings.CHAT_MAX_TOKENS = {OPENAI: 111, ANTHROPIC: 222}
    settings.CHAT_MODEL_OPTIONS = {ANTHROPIC: {"efforts": ("low", "high")}}
    settings.CHAT_EFFORT = {ANTHROPIC: "high"}
    provider.enqueue(Script(status=503))
    answer = await site.ask(model=OPENAI)
    asked, instead = (request.body for request in provider.requests)
    assert 111 in asked.values()
    assert (instead["model"], instead["max_tokens"]) == ("messages-test", 222)
    assert answer["effort"] == "high"


async def test_the_next_question_goes_to_the_model_that_was_chosen(site: Site, provider: ProviderServer) -> None:
    provider.enqueue(Script(status=503))
    answer = await site.ask(model=OPENAI)
    assert answer["model"] == ANTHROPIC
    page = (await site.get(f"/c/{answer['conversation']}/")).content.decode()
    assert re.search(rf'value="{OPENAI}"[^>]*selected', page)
    retried = await site.retry(answer["id"])
    await site.read_events(retried)
    assert (await site.answer(retried))["model"] == OPENAI


async def test_stop_works_while_the_other_model_is_asked(site: Site, provider: ProviderServer) -> None:
    provider.enqueue(Script(status=503), Script(text="Never", stall_after=0))
    answer = await site.begin(model=OPENAI)
    await provider.wait_until(lambda: len(provider.requests) == 2)
    assert (await site.stop(answer))["status"] == "stopped"
    assert [row[:2] for row in await list_rows({"id": answer})] == [(OPENAI, "interrupted"), (ANTHROPIC, "stopped")]


# Limits


async def add_budget(**fields: Any) -> Budget:
    return await Budget.objects.acreate(name="Research", scope="site", **fields)


async def test_a_model_whose_budget_has_no_room_is_passed_over(
    site: Site, provider: ProviderServer, settings: Settings
) -> None:
    settings.CHAT_FALLBACKS = {OPENAI: [ANTHROPIC, "demo:tour"]}
    await add_budget(tokens=1, model="anthropic")
    provider.enqueue(Script(status=503))
    answer = await site.ask(model=OPENAI)
    assert (answer["model"], [row[0] for row in await list_rows(answer)]) == ("demo:tour", [OPENAI, "demo:tour"])


async def test_without_a_model_that_has_room_the_failure_itself_counts(site: Site, provider: ProviderServer) -> None:
    await add_budget(tokens=1, model="anthropic")
    provider.enqueue(Script(status=503))
    answer = await site.ask(model=OPENAI)
    assert (answer["error"]["code"], answer["model"], answer["notices"]) == ("upstream_error", OPENAI, [])
    assert len(await list_rows(answer)) == 1


async def test_reservations_of_the_first_model_are_free_for_the_second(site: Site, provider: ProviderServer) -> None:
    """With room for one call, and the first still holding it, the second would find none."""
    await add_budget(tokens=1_100)
    provider.enqueue(Script(status=503))
    provider.script = Script(text="x", usage=Usage(10, 5))
    answer = await site.ask(model=OPENAI)
    assert (answer["status"], answer["model"]) == ("complete", ANTHROPIC)
    [meter] = [row async for row in Meter.objects.all()]
    assert (meter.used, meter.held) == (15, 0)


async def test_simultaneous_fallbacks_reserve_and_spend_for_the_model_that_answers(
    site: Site, provider: ProviderServer
) -> None:
    await add_budget(tokens=100_000)
    is_away = RefusedPart(part="model=gpt-test", message="Overloaded", status=503)
    provider.script = Script(text="x", usage=Usage(10, 5), refused_parts=[is_away])
    answers = await asyncio.gather(*(site.ask(model=OPENAI) for _ in range(8)))
    assert {answer["model"] for answer in answers} == {ANTHROPIC}
    assert {answer["status"] for answer in answers} == {"complete"}
    [meter] = [row async for row in Meter.objects.all()]
    assert (meter.used, meter.held) == (8 * 15, 0)
    await sync_to_async(meters.recount)()
    assert (await Meter.objects.aget()).held == 0


async def test_a_budgets_own_choice_is_said_in_the_same_way(site: Site, provider: ProviderServer) -> None:
    await add_budget(tokens=1, model="openai", fallback_model=ANTHROPIC)
    answer = await site.ask(model=OPENAI)
    assert (answer["model"], answer["asked_model"]) == (ANTHROPIC, OPENAI)
    [notice] = answer["notices"]
    assert notice["code"] == "fallback"
    assert notice["message"].endswith(f"so {ANTHROPIC} answers.")


# A model that fails again and again


async def test_a_model_that_fails_again_and_again_is_not_asked_for_a_while(
    site: Site, provider: ProviderServer
) -> None:
    for _ in range(model_circuits.MAX_FAILURES):
        provider.enqueue(Script(status=503), Script(text="Here."))
        await site.ask(model=OPENAI)
    provider.script = Script(text="Here.")
    asked = len(provider.requests)
    answer = await site.ask(model=OPENAI)
    assert (answer["status"], answer["model"], len(provider.requests)) == ("complete", ANTHROPIC, asked + 1)
    assert answer["notices"] == [make_notice(OPENAI, ANTHROPIC)]
    assert (await list_rows(answer))[0] == (OPENAI, "interrupted", "skipped", 0)
    first = await ProviderCall.objects.filter(answer=answer["id"]).order_by("pk").afirst()
    assert first is not None
    assert (first.input_tokens, first.cost or 0) == (0, 0)


async def test_a_failing_model_without_a_chain_is_still_asked(
    site: Site, provider: ProviderServer, settings: Settings
) -> None:
    settings.CHAT_FALLBACKS = {}
    for _ in range(model_circuits.MAX_FAILURES + 1):
        provider.enqueue(Script(status=503))
        await site.ask(model=OPENAI)
    provider.script = Script(text="Here.", usage=Usage(9, 4))
    answer = await site.ask(model=OPENAI)
    assert (answer["status"], answer["text"], answer["notices"]) == ("complete", "Here.", [])
    assert await list_rows(answer) == [(OPENAI, "complete", "", 4)]


async def test_metrics_count_what_was_asked_instead(site: Site, provider: ProviderServer) -> None:
    provider.enqueue(Script(status=503))
    await site.ask(model=OPENAI)
    scrape = (await site.get("/metrics")).content.decode()
    assert f'chat_fallbacks_total{{code="upstream_error",instead="{ANTHROPIC}",model="{OPENAI}"}}' in scrape
