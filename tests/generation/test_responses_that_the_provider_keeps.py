"""In background mode a broken connection costs an answer nothing, and what ends it early cancels it at the provider."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from typing import Any, Literal
from uuid import UUID

import pytest
from django.db.models import F
from django.utils import timezone
from pytest_django import Settings

from chat.generation import upstream_call
from chat.generation.process import get_runner, make_process
from chat.generation.upstream_call import MAX_TAKE_UPS
from chat.models import Conversation, Message, ProviderCall
from chat.providers.registry import Pool
from chat.tools.toolbox import Toolbox
from tests.provider_server import Call, ProviderServer, Script
from tests.provider_server.wire import Refusal
from tests.support.site import Json, Site, join_text
from tests.support.waiting import wait_until

MODEL = "openai:gpt-6.2-sol"
TEXT = "".join(f"word{number} 日本 \U0001f469\u200d\U0001f467; " for number in range(80))
HERE = "tests.generation.test_responses_that_the_provider_keeps"

ran: list[int] = []


def double(number: int) -> int:
    """Double a number."""
    ran.append(number)
    return 2 * number


@pytest.fixture
async def site(site: Site, settings: Settings, provider: ProviderServer, monkeypatch: pytest.MonkeyPatch) -> Site:
    configuration = {"api_key": "sk-test", "base_url": provider.openai_url, "api": "responses", "background": True}
    settings.CHAT_PROVIDERS = {"openai": configuration}
    settings.CHAT_MODELS = [MODEL]
    get_runner().resources.pool = Pool(settings.CHAT_PROVIDERS)
    monkeypatch.setattr(upstream_call, "TAKE_UP_AFTER", 0.001)
    return site


def count_requests(provider: ProviderServer) -> int:
    """Return how often the model was asked for an answer."""
    return sum(request.method == "POST" and request.path == "/v1/responses" for request in provider.requests)


async def list_rows(answer: Json) -> list[ProviderCall]:
    return [row async for row in ProviderCall.objects.filter(answer=answer["id"]).order_by("pk")]


@pytest.mark.parametrize("drop_by", ["reset", "close"])
async def test_a_connection_that_breaks_anywhere_costs_nothing(
    drop_by: Literal["reset", "close"], site: Site, provider: ProviderServer
) -> None:
    drops = sorted(random.Random(7).sample(range(len(TEXT)), 20))
    thought = "It is about words. " * 9
    provider.script = Script(text=TEXT, reasoning=thought, drop_connections_at=drops, drop_by=drop_by, chunk_size=5)
    answer = await site.ask(model=MODEL)
    assert (answer["status"], answer["text"]) == ("complete", TEXT)
    assert count_requests(provider) == 1
    assert len(provider.requests) == 1 + len(drops)
    [row] = await list_rows(answer)
    assert (row.outcome, row.output_tokens, row.estimated) == ("complete", 34, False)


async def test_readers_see_one_text_across_broken_connections(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text=TEXT, drop_connections_at=range(50, 1500, 90))
    events = await site.read_events(await site.begin(model=MODEL))
    assert join_text(events) == TEXT
    assert [event["type"] for _, event in events].count("done") == 1


async def test_a_break_among_tools_runs_each_of_them_once(site: Site, provider: ProviderServer) -> None:
    ran.clear()
    get_runner().resources.toolbox = Toolbox([f"{HERE}.double"])
    calls = [Call("double", '{"number": 21}', "call_1"), Call("double", '{"number": 4}', "call_2")]
    provider.enqueue(
        Script(
            text="Let me see. ",
            reasoning="Two.",
            reasoning_between="And.",
            tool_calls=calls,
            drop_connections_at=[0, 5, 11],
        ),
        Script(text="42 and 8.", drop_connections_at=[0, 3]),
    )
    answer = await site.ask(model=MODEL)
    assert (answer["status"], answer["text"]) == ("complete", "Let me see. 42 and 8.")
    assert sorted(ran) == [4, 21]
    assert (count_requests(provider), [row.outcome for row in await list_rows(answer)]) == (2, ["complete", "complete"])


async def test_a_provider_that_is_away_for_a_while_is_waited_for(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text=TEXT, drop_connections_at=[100])
    provider.background.refusals.extend([Refusal(503, "server_error", "Not now.")] * (MAX_TAKE_UPS - 1))
    answer = await site.ask(model=MODEL)
    assert (answer["status"], answer["text"]) == ("complete", TEXT)


async def test_a_provider_that_stays_away_ends_the_answer_with_its_text_and_is_sent_a_cancellation(
    site: Site, provider: ProviderServer
) -> None:
    provider.script = Script(text=TEXT, drop_connections_at=[100], gate_after=150)
    provider.background.refusals.extend([Refusal(503, "server_error", "Not now.")] * MAX_TAKE_UPS)
    answer = await site.ask(model=MODEL)
    assert (answer["status"], answer["error"]["code"]) == ("interrupted", "upstream_error")
    assert answer["text"]
    assert TEXT.startswith(answer["text"])
    assert (count_requests(provider), provider.background.all[0].status) == (1, "cancelled")


async def test_a_response_lost_before_its_first_word_is_cancelled_before_the_retry(
    site: Site, provider: ProviderServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream_call, "BACKOFF", 0.001)
    settings.CHAT_MAX_RETRIES = 1
    provider.enqueue(Script(text=TEXT, drop_connections_at=[0], gate_after=50))
    provider.background.refusals.extend([Refusal(503, "server_error", "Not now.")] * MAX_TAKE_UPS)
    answer = await site.ask(model=MODEL)
    assert answer["status"] == "complete"
    assert [response.status for response in provider.background.all] == ["cancelled", "completed"]
    assert [row.outcome for row in await list_rows(answer)] == ["interrupted", "complete"]


async def test_a_response_that_failed_at_the_provider_interrupts_the_answer(
    site: Site, provider: ProviderServer
) -> None:
    provider.script = Script(text=TEXT, error_event_after=100)
    answer = await site.ask(model=MODEL)
    assert (answer["status"], answer["error"]["code"]) == ("interrupted", "upstream_error")
    assert len(provider.requests) == 1


async def test_a_response_that_the_provider_no_longer_has_interrupts_the_answer(
    site: Site, provider: ProviderServer
) -> None:
    provider.script = Script(text=TEXT, drop_connections_at=[100])
    provider.background.kept_for = 0
    answer = await site.ask(model=MODEL)
    assert (answer["status"], answer["error"]["code"]) == ("interrupted", "upstream_error")
    assert not provider.background.cancelled


# Ends before its time


async def begin_answer(site: Site, provider: ProviderServer) -> str:
    provider.script = Script(text=TEXT, gate_after=40)
    answer = await site.begin(model=MODEL)
    await wait_until(lambda: has_text(site, answer))
    return answer


async def has_text(site: Site, answer: str) -> bool:
    return len((await site.answer(answer))["text"]) >= 40


async def test_stop_cancels_the_response(site: Site, provider: ProviderServer) -> None:
    answer = await begin_answer(site, provider)
    stopped = await site.stop(answer)
    assert (stopped["status"], stopped["text"]) == ("stopped", TEXT[:40])
    assert provider.background.all[0].status == "cancelled"
    [row] = await list_rows(stopped)
    assert (row.outcome, row.estimated) == ("stopped", True)
    await provider.wait_until_closed(provider.requests[0], 0.5)


async def test_stop_before_the_first_word_cancels_the_response(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text=TEXT, gate_after=0)
    answer = await site.begin(model=MODEL)
    await wait_until(lambda: is_kept(answer))
    assert (await site.stop(answer))["status"] == "stopped"
    assert provider.background.all[0].status == "cancelled"


async def is_kept(answer: str) -> bool:
    return (await Message.objects.aget(pk=answer)).bookmark is not None


async def test_a_provider_that_cannot_be_reached_does_not_hold_up_stop(site: Site, provider: ProviderServer) -> None:
    answer = await begin_answer(site, provider)
    provider.background.refusals.append(Refusal(503, "server_error", "Not now."))
    assert (await site.stop(answer))["status"] == "stopped"
    assert provider.background.all[0].status == "in_progress"


async def test_an_answer_that_nobody_watches_is_cancelled(
    site: Site, provider: ProviderServer, settings: Settings
) -> None:
    answer = await begin_answer(site, provider)
    settings.CHAT_ABANDON_AFTER = 0.05
    await wait_until(lambda: is_ended(answer))
    assert (await site.answer(answer))["error"]["code"] == "abandoned"
    assert provider.background.all[0].status == "cancelled"


async def is_ended(answer: str) -> bool:
    return not (await Message.objects.aget(pk=answer)).is_live


async def test_a_deleted_conversation_is_cancelled(site: Site, provider: ProviderServer) -> None:
    answer = await begin_answer(site, provider)
    conversation = await Conversation.objects.aget(messages=UUID(answer))
    await conversation.adelete()
    await wait_until(lambda: provider.background.all[0].status == "cancelled")


async def test_a_response_that_grows_too_long_is_cancelled(
    site: Site, provider: ProviderServer, settings: Settings
) -> None:
    settings.CHAT_MAX_ANSWER_CHARS = 30
    provider.script = Script(text=TEXT, gate_after=60)
    answer = await site.ask(model=MODEL)
    assert answer["error"]["code"] == "too_long"
    assert provider.background.all[0].status == "cancelled"


@pytest.mark.parametrize(
    "fields", [{"losses": 1}, {"stop_requested_at": timezone.now()}], ids=["lost twice", "stopped"]
)
async def test_a_response_of_a_lost_answer_that_is_not_taken_up_is_cancelled(
    fields: dict[str, Any], site: Site, provider: ProviderServer
) -> None:
    answer = await begin_answer(site, provider)

    async def is_seized() -> bool:
        gone = {
            "owner": "elsewhere:1:abc",
            "fence": F("fence") + 1,
            "lease_until": timezone.now() - timedelta(seconds=1),
        }
        await Message.objects.filter(pk=answer).aupdate(**gone, **fields)
        await get_runner().supervisor.sweeper.sweep()
        return await is_ended(answer)

    await wait_until(is_seized)
    await wait_until(lambda: provider.background.all[0].status == "cancelled")
    assert count_requests(provider) == 1


async def test_a_drain_leaves_the_response_to_the_next_process_which_follows_it(
    site: Site, provider: ProviderServer
) -> None:
    answer = await begin_answer(site, provider)
    reading = asyncio.ensure_future(site.read_events(answer))
    await get_runner().drain(0.1)
    assert provider.background.all[0].status == "in_progress"
    provider.release()
    other = make_process().runner
    other.prepare()
    events = await asyncio.wait_for(reading, 10)
    assert (join_text(events), events[-1].event["type"]) == (TEXT, "done")
    finished = await site.answer(answer)
    assert (finished["status"], finished["text"], finished["interruptions"]) == ("complete", TEXT, 1)
    [row] = await list_rows(finished)
    assert (count_requests(provider), row.outcome, row.output_tokens) == (1, "complete", 34)
    await other.drain(0)


# What a checkpoint keeps


async def test_a_checkpoint_has_the_number_of_its_own_text(site: Site, provider: ProviderServer) -> None:
    """What came since comes again from there, so nothing is skipped, whenever the process dies."""
    provider.script = Script(text=TEXT, chunk_size=3, delay_between=0.002)
    answer = await site.begin(model=MODEL)
    seen = set()
    while not await is_ended(answer):
        message = await Message.objects.aget(pk=answer)
        if message.is_live and message.bookmark is not None:
            frames = provider.background.all[0].sent.split(b"\n\n")[: message.bookmark["number"] + 1]
            said = sum(frame.count(b"output_text.delta") // 2 for frame in frames) * 3
            assert said <= len(message.text)
            assert message.bookmark["position"] <= message.position
            seen.add(message.bookmark["number"])
    assert len(seen) > 2


async def test_an_answer_that_has_ended_has_no_bookmark(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text=TEXT)
    answer = await site.ask(model=MODEL)
    assert (await Message.objects.aget(pk=answer["id"])).bookmark is None
