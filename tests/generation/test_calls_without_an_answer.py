"""Titles, the admin's model test and lines of a batch end like an answer's call: in time, with a verdict, and their row
settled, whatever happens to whoever waits for them.
"""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from pytest_django import Settings

from chat.accounting import quotas
from chat.admin import model_health
from chat.conversations.turn_refusals import DrainingError
from chat.generation import titles
from chat.generation.background_call import BackgroundCalls, EndedCall, Request
from chat.generation.process import get_runner
from chat.models import Conversation, ProviderCall, User
from chat.providers.base import Prompt, Turn
from tests.conftest import ANTHROPIC, OPENAI
from tests.provider_server import ProviderServer, Script
from tests.support.site import Site
from tests.support.waiting import wait_until


def request(model: str = OPENAI, *, seconds: float = 10, is_streamed: bool = False) -> Request:
    prompt = Prompt(model.partition(":")[2], (Turn("user", "x" * 400),))
    return Request(model, prompt, "a test", seconds, is_streamed=is_streamed)


def open_row(model: str = OPENAI) -> ProviderCall:
    return quotas.admit(ProviderCall(purpose="test", billed_to="site", model=model, input_tokens=100))


async def make(wanted: Request) -> EndedCall:
    return await get_runner().background.make(wanted, open_row)


async def list_rows() -> list[tuple[str, str, int]]:
    fields = ("outcome", "error_code", "input_tokens")
    return [each async for each in ProviderCall.objects.order_by("pk").values_list(*fields)]


STREAMED = pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])


@STREAMED
@pytest.mark.parametrize("model", [OPENAI, ANTHROPIC])
async def test_a_background_call_completes_with_its_row(
    site: Site, provider: ProviderServer, model: str, is_streamed: bool
) -> None:
    provider.script = Script(text="Yes.")
    ended = await make(request(model, is_streamed=is_streamed))
    assert (ended.verdict.status, ended.call.text, ended.error) == ("complete", "Yes.", None)
    assert await list_rows() == [("complete", "", 12)]


@STREAMED
async def test_a_provider_that_says_nothing_is_left_in_time(
    site: Site, provider: ProviderServer, is_streamed: bool
) -> None:
    provider.script = Script(delay_headers=60) if not is_streamed else Script(stall_after=0)
    began = time.monotonic()
    ended = await make(request(seconds=0.5, is_streamed=is_streamed))
    assert time.monotonic() - began < 10
    assert ended.verdict.error_code == "timeout"
    assert await list_rows() == [("interrupted", "timeout", 100)]


@STREAMED
@pytest.mark.parametrize(
    ("script", "code", "tokens"),
    [
        (Script(status=401), "auth_failed", 0),
        (Script(status=503), "upstream_error", 0),
        (Script(finish_reason="content_filter"), "content_filter", 12),
        (Script(text="Half", drop_after=0), "upstream_error", 100),
    ],
)
async def test_each_failure_has_its_code_and_its_row(
    site: Site, provider: ProviderServer, is_streamed: bool, script: Script, code: str, tokens: int
) -> None:
    provider.script = script
    ended = await make(request(is_streamed=is_streamed))
    assert ended.verdict.error_code == code
    assert await list_rows() == [("interrupted", code, tokens)]


async def test_a_call_to_an_unknown_provider_costs_nothing(site: Site) -> None:
    ended = await make(request("nobody:knows"))
    assert ended.verdict.error_code == "bad_request"
    assert await list_rows() == [("interrupted", "bad_request", 0)]


async def test_a_fault_in_the_adapter_ends_the_call(
    site: Site, provider: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def raise_fault(self: object, prompt: Prompt) -> None:
        raise KeyError("oh")

    monkeypatch.setattr("chat.providers.openai_provider.OpenAIProvider.complete", raise_fault)
    ended = await make(request())
    assert ended.verdict.error_code == "upstream_error"
    assert [outcome for outcome, *_ in await list_rows()] == ["interrupted"]


@pytest.mark.parametrize("after", [0, 0.01, 0.05, 0.2])
async def test_waiting_for_a_call_may_be_cancelled_at_any_moment(
    site: Site, provider: ProviderServer, after: float
) -> None:
    provider.script = Script(delay_headers=60)
    waiting = asyncio.ensure_future(make(request()))
    await asyncio.sleep(after)  # the call is in another state at each of these moments
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert all(outcome != "running" for outcome, *_ in await list_rows())
    assert get_runner().background.calls == []


async def test_a_drain_waits_for_background_calls(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="Yes.", gate_after=0)
    making = asyncio.ensure_future(make(request()))
    await provider.wait_for_requests(1)
    order: list[str] = []
    making.add_done_callback(lambda _: order.append("call"))
    draining = asyncio.ensure_future(get_runner().background.drain(10))
    draining.add_done_callback(lambda _: order.append("drain"))
    await asyncio.sleep(0)  # the drain begins; it would cancel the call in this turn of the loop if it did not wait
    provider.release()
    await draining
    assert (await making).verdict.status == "complete"
    assert order == ["call", "drain"]


async def test_a_drain_ends_background_calls_that_take_too_long(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(delay_headers=60)
    making = asyncio.ensure_future(make(request()))
    await provider.wait_for_requests(1)
    await get_runner().drain(0)
    assert (await making).verdict.error_code == "server_restart"
    assert await list_rows() == [("interrupted", "server_restart", 100)]


async def test_after_a_drain_no_background_call_begins(site: Site) -> None:
    background = BackgroundCalls(get_runner().pool)
    await background.drain(0)
    with pytest.raises(DrainingError):
        await background.make(request(), open_row)
    assert await list_rows() == []


async def test_the_lease_of_a_background_call_is_renewed_while_it_lasts(
    site: Site, provider: ProviderServer, settings: Settings
) -> None:
    settings.CHAT_LEASE = 1
    provider.script = Script(text="Yes.", gate_after=0)
    making = asyncio.ensure_future(make(request(seconds=30)))
    await provider.wait_for_requests(1)
    first = (await ProviderCall.objects.aget()).lease_until

    async def is_renewed() -> bool:
        call = await ProviderCall.objects.aget()
        return first is not None and call.lease_until is not None and call.lease_until > first + timedelta(seconds=1)

    await wait_until(is_renewed)
    assert [outcome for outcome, *_ in await list_rows()] == ["running"]
    provider.release()
    assert (await making).verdict.status == "complete"
    assert await list_rows() == [("complete", "", 12)]


async def test_a_title_that_never_comes_is_given_up(
    site: Site, provider: ProviderServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.CHAT_TITLE_MODEL = "openai:small"
    monkeypatch.setattr(titles, "PATIENCE", 0.3)
    provider.enqueue(Script(text="Because."), Script(delay_headers=60))
    answer = await site.ask("Why?")
    given_up = ProviderCall.objects.filter(purpose="title", outcome="interrupted", error_code="timeout")
    await wait_until(given_up.aexists)
    assert (await Conversation.objects.aget(pk=answer["conversation"])).title == "Why?"


async def test_a_title_of_a_conversation_that_is_deleted_meanwhile_is_settled(
    site: Site, provider: ProviderServer, settings: Settings
) -> None:
    settings.CHAT_TITLE_MODEL = "openai:small"
    provider.enqueue(Script(text="Because."), Script(text="A title", gate_after=0))
    answer = await site.ask("Why?")
    await provider.wait_for_requests(2)
    await Conversation.objects.filter(pk=answer["conversation"]).adelete()
    provider.release()
    await wait_until(ProviderCall.objects.filter(purpose="title", outcome="complete").aexists)


async def test_a_model_test_is_cut_off_with_its_page(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(stall_after=0)
    by = await sync_to_async(User.objects.get)(pk=site.user.pk)
    testing = asyncio.ensure_future(model_health.test_model(OPENAI, by))
    await provider.wait_for_requests(1)
    testing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await testing
    assert await list_rows() == [("interrupted", "abandoned", 106)] or (await list_rows())[0][:2] == (
        "interrupted",
        "abandoned",
    )


# Another model, where one is not available

CHAIN = (ANTHROPIC,)


async def list_models_asked() -> list[tuple[str, str, str]]:
    fields = ("model", "outcome", "error_code")
    return [each async for each in ProviderCall.objects.order_by("pk").values_list(*fields)]


@STREAMED
@pytest.mark.parametrize(
    ("script", "code"),
    [(Script(status=503), "upstream_error"), (Script(status=401), "auth_failed"), (Script(status=429), "rate_limited")],
)
async def test_after_a_failure_the_next_model_of_the_chain_is_asked(
    site: Site, provider: ProviderServer, is_streamed: bool, script: Script, code: str
) -> None:
    provider.enqueue(script, Script(text="Yes."))
    ended = await make(request(is_streamed=is_streamed)._replace(chain=CHAIN))
    assert (ended.call.text, ended.model, ended.used.input_tokens) == ("Yes.", ANTHROPIC, 12)
    assert await list_models_asked() == [(OPENAI, "interrupted", code), (ANTHROPIC, "complete", "")]
    assert provider.requests[-1].body["model"] == ANTHROPIC.partition(":")[2]


@pytest.mark.parametrize(
    "script",
    [Script(finish_reason="content_filter"), Script(status=400), Script(text="Half", finish_reason="length")],
    ids=["a filter", "a wrong request", "a cut"],
)
async def test_no_other_model_is_asked_after_a_fault_of_the_request(
    site: Site, provider: ProviderServer, script: Script
) -> None:
    provider.script = script
    await make(request()._replace(chain=CHAIN))
    assert [model for model, *_ in await list_models_asked()] == [OPENAI]


async def test_all_models_of_a_chain_share_the_time_of_one_call(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(delay_headers=60)
    began = time.monotonic()
    ended = await make(request(seconds=0.5)._replace(chain=CHAIN))
    assert time.monotonic() - began < 10
    assert ended.verdict.error_code == "timeout"
    assert ended.used.input_tokens == sum(tokens for *_, tokens in await list_rows())


async def test_a_model_that_limits_have_no_room_for_is_passed_over(site: Site, provider: ProviderServer) -> None:
    provider.enqueue(Script(status=503), Script(text="Yes."))
    refused = "openai:dear"

    def open_row_or_refuse(model: str) -> ProviderCall:
        if model == refused:
            raise quotas.QuotaError("There is no room for it.", None)
        return open_row(model)

    ended = await get_runner().background.make(request()._replace(chain=(refused, *CHAIN)), open_row_or_refuse)
    assert (ended.call.text, ended.model) == ("Yes.", ANTHROPIC)
