"""What was never asked costs nothing; what the provider took in and then lost costs its input."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async
from pytest_django import Settings

from chat.accounting import quotas
from chat.generation.admission import SlotQueue
from chat.generation.process import get_runner
from chat.models import ProviderCall
from chat.tools.toolbox import Toolbox
from tests.conftest import ANTHROPIC, OPENAI
from tests.provider_server import Call, ProviderServer, Script
from tests.support.site import Site
from tests.support.waiting import wait_until

TOOL = Script(text="", tool_calls=[Call("calculate", '{"expression": "1+1"}')])


@pytest.fixture
async def tools(site: Site) -> None:
    get_runner().resources.toolbox = Toolbox(["chat.tools.calculator.calculate"])


async def list_rows() -> list[tuple[str, str, int, int]]:
    fields = ("outcome", "error_code", "input_tokens", "output_tokens")
    return [row async for row in ProviderCall.objects.order_by("pk").values_list(*fields)]


async def test_a_step_too_many_has_no_row(site: Site, provider: ProviderServer, settings: Settings) -> None:
    settings.CHAT_TOOL_STEPS = 2
    provider.script = TOOL
    answer = await site.ask("1+1?")
    assert answer["error"]["code"] == "tool_limit"
    assert len(provider.requests) == len(await list_rows()) == 2


async def test_a_stop_while_a_row_is_being_written_leaves_none_running(
    site: Site, provider: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second row of a tool loop is inserted by a thread that nobody can interrupt, and Stop comes meanwhile."""
    provider.enqueue(TOOL, Script(text="Two."))
    inserting, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    admit = quotas.admit

    def admit_slowly(call: ProviderCall, **how: Any) -> ProviderCall:
        admitted = admit(call, **how)
        if not how.get("is_request", True):
            loop.call_soon_threadsafe(inserting.set)
            asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(10)
        return admitted

    monkeypatch.setattr(quotas, "admit", admit_slowly)
    answer = await site.begin("1+1?")
    await asyncio.wait_for(inserting.wait(), 10)
    stopping = asyncio.ensure_future(get_runner().interrupt_all("server_restart"))
    live = get_runner().find(UUID(answer))
    await wait_until(lambda: live is None or live.cut is not None)
    go_on.set()
    await stopping
    await wait_until(lambda: is_over(2))
    assert (await list_rows())[1] == ("interrupted", "server_restart", 0, 0)
    assert len(provider.requests) == 1
    assert (await site.answer(answer))["status"] == "interrupted"


async def is_over(count: int) -> bool:
    found = await list_rows()
    return len(found) == count and all(outcome != "running" for outcome, *_ in found)


async def test_while_an_answer_waits_for_its_slot_its_row_costs_nothing(site: Site, provider: ProviderServer) -> None:
    """Whatever kills the process then, the sweep finds a call that was never made."""
    get_runner().resources.slots = SlotQueue(1, 1)
    provider.script = Script(text="Yes.", gate_after=0)
    await site.begin("x" * 400)
    await provider.wait_for_requests(1)
    await site.begin("y" * 400)
    await wait_until(lambda: has_inputs([100, 0]))
    provider.release()
    await provider.wait_for_requests(2)
    assert await has_inputs([12, 100])
    provider.release()
    await wait_until(lambda: is_over(2))


async def has_inputs(wanted: list[int]) -> bool:
    return [row[2] for row in await list_rows()] == wanted


@pytest.mark.parametrize("fault", [{"drop_after": 0}, {"eof_after": 0}], ids=["reset", "clean end"])
@pytest.mark.parametrize("model", [OPENAI])
async def test_a_call_that_was_accepted_and_then_cut_costs_its_input(
    site: Site, provider: ProviderServer, model: str, fault: dict[str, Any]
) -> None:
    provider.script = Script(text="Never said.", **fault)
    answer = await site.ask("x" * 400, model=model)
    assert answer["status"] == "interrupted"
    assert [row[2:] for row in await list_rows()] == [(100, 0)]
    assert answer["usage"]["estimated"]


@pytest.mark.parametrize("status", [400, 401, 429, 500, 503])
@pytest.mark.parametrize("model", [OPENAI, ANTHROPIC])
async def test_a_refusal_costs_nothing(site: Site, provider: ProviderServer, status: int, model: str) -> None:
    provider.script = Script(status=status)
    answer = await site.ask("x" * 400, model=model)
    assert answer["status"] == "interrupted"
    assert {row[2:] for row in await list_rows()} == {(0, 0)}


async def test_a_failure_that_the_stream_tells_of_before_a_word_is_a_refusal(
    site: Site, provider: ProviderServer
) -> None:
    provider.script = Script(text="Never said.", error_event_after=0)
    await site.ask("x" * 400)
    assert [row[2:] for row in await list_rows()] == [(0, 0)]


async def test_a_model_of_a_provider_that_there_is_none_costs_nothing(site: Site, settings: Settings) -> None:
    settings.CHAT_MODELS = ["nobody:knows"]
    answer = await site.ask("x" * 400, model="nobody:knows")
    assert answer["error"]["code"] == "bad_request"
    assert [row[2:] for row in await list_rows()] == [(0, 0)]


async def test_the_input_includes_the_schemas_of_tools(
    site: Site, provider: ProviderServer, settings: Settings, tools: None
) -> None:
    settings.CHAT_USER_TOKENS_PER_DAY = 1_000_000
    settings.CHAT_RESERVE_OUTPUT = 1
    provider.script = Script(text="Two.", no_usage=True, gate_after=0)
    schemas = sum(schema.size for schema in get_runner().resources.toolbox.list_schemas())
    answer = await site.begin("1234")
    await provider.wait_for_requests(1)
    reserved = (await sync_to_async(quotas.find_standing)(site.user)).tokens.reserved
    provider.release()
    await site.read_events(answer)
    told = len(str(provider.requests[0].body.get("tools", [])))
    assert schemas > 0
    assert 0.5 * told / 4 < (await list_rows())[0][2] < 1.5 * told / 4 + 10
    assert reserved == (await list_rows())[0][2] + 1


async def test_the_input_includes_the_schema_of_the_answer(site: Site, provider: ProviderServer) -> None:
    schema = {"type": "object", "properties": {f"name{number}": {"type": "string"} for number in range(20)}}
    provider.script = Script(text="{}", no_usage=True)
    await site.ask("1234", response_schema=schema)  # type: ignore[arg-type]
    assert (await list_rows())[0][2] > 100
