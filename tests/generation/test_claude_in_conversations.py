"""Conversations with today's Claude models, against a server that refuses what the real one refuses."""

from __future__ import annotations

import json

import pytest
from pytest_django import Settings

from chat.generation.answer_run import MAX_PAUSES
from chat.generation.process import get_runner
from chat.models import Conversation, ProviderCall
from chat.tools.toolbox import Toolbox
from tests.conftest import ANTHROPIC
from tests.provider_server import Call, ProviderServer, Script
from tests.support.site import Json, Site

SONNET, OPUS, HAIKU = (f"anthropic:claude-{name}" for name in ("sonnet-5-5", "opus-4-6", "haiku-4-5"))
PAUSED: list[Json] = [
    {"type": "message_start", "message": {"usage": {"input_tokens": 7, "output_tokens": 1}, "content": []}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "I search. "}},
    {"type": "content_block_stop", "index": 0},
    {
        "type": "content_block_start",
        "index": 1,
        "content_block": {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}},
    },
    {"type": "content_block_stop", "index": 1},
    {"type": "message_delta", "delta": {"stop_reason": "pause_turn"}, "usage": {"output_tokens": 9}},
    {"type": "message_stop"},
]


def double(number: int) -> int:
    """Double a number."""
    return 2 * number


@pytest.fixture
async def claude(site: Site, settings: Settings) -> Site:
    settings.CHAT_MODELS = [SONNET, OPUS, HAIKU, ANTHROPIC]
    settings.CHAT_TOOLS = [f"{__name__}.double"]
    get_runner().resources.toolbox = Toolbox(settings.CHAT_TOOLS)
    return site


def stream(events: list[Json]) -> str:
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)


async def list_rows(answer: Json) -> list[ProviderCall]:
    return [row async for row in ProviderCall.objects.filter(answer=answer["id"]).order_by("pk")]


async def test_models_may_change_in_the_middle_with_tools_and_thoughts_in_the_past(
    claude: Site, provider: ProviderServer
) -> None:
    conversation = await claude.begin_conversation()
    for model in (SONNET, OPUS, HAIKU, SONNET):
        provider.enqueue(
            Script(
                text="I double. ",
                reasoning="Twice.",
                reasoning_between="Hm.",
                tool_calls=[Call("double", '{"number": 21}', "call_a")],
            ),
            Script(text="It is 42.", reasoning="So."),
        )
        answer = await claude.ask("Twice 21?", conversation, model=model)
        assert (answer["status"], answer["text"], answer["notices"]) == ("complete", "I double. It is 42.", [])
        assert [row.outcome for row in await list_rows(answer)] == ["complete", "complete"]
    assert len(provider.requests) == 8


async def test_a_conversation_that_is_too_long_in_the_middle_of_a_loop_goes_on_without_its_beginning(
    claude: Site, provider: ProviderServer
) -> None:
    """And without the thoughts: they are bound to everything that stood before them."""
    conversation = await claude.begin_conversation()
    for number in range(3):
        await claude.ask(f"Question {number}?", conversation, model=SONNET)
    call = Call("double", '{"number": 21}', "call_a")
    provider.enqueue(Script(text="", reasoning="Twice.", tool_calls=[call]), Script(context_length=True))
    provider.script = Script(text="It is 42.", reasoning="So.")
    answer = await claude.ask("Twice 21?", conversation, model=SONNET)
    assert (answer["status"], answer["text"]) == ("complete", "It is 42.")
    assert len(provider.requests) == 6
    assert "Question 0?" not in str(provider.requests[-1].body)


async def test_the_effort_of_a_conversation_is_asked_for_and_what_is_not_taken_is_said(
    claude: Site, provider: ProviderServer
) -> None:
    conversation = await claude.begin_conversation()
    await Conversation.objects.filter(pk=conversation).aupdate(effort="xhigh", temperature=0.5)
    sonnet = await claude.ask("Hi", conversation, model=SONNET)
    assert provider.requests[0].body["output_config"] == {"effort": "xhigh"}
    assert ["temperature" in notice["message"] for notice in sonnet["notices"]] == [True]
    opus = await claude.ask("Hi", conversation, model=OPUS)
    assert provider.requests[1].body["output_config"] == {"effort": "high"}
    assert ["'high'" in notice["message"] for notice in opus["notices"]] == [True]
    haiku = await claude.ask("Hi", conversation, model=HAIKU)
    assert "output_config" not in provider.requests[2].body
    assert ["for its effort" in notice["message"] for notice in haiku["notices"]] == [True]
    assert {answer["status"] for answer in (sonnet, opus, haiku)} == {"complete"}


async def test_a_paused_turn_goes_on_by_itself_each_call_on_the_ledger(claude: Site, provider: ProviderServer) -> None:
    provider.enqueue(Script(raw=stream(PAUSED)), Script(raw=stream(PAUSED)), Script(text="It is blue."))
    answer = await claude.ask("Why?", model=SONNET)
    assert (answer["status"], answer["text"]) == ("complete", "I search. I search. It is blue.")
    assert [row.output_tokens for row in await list_rows(answer)] == [9, 9, 34]
    assert provider.requests[2].body["messages"][-1]["content"][-1]["type"] == "server_tool_use"


async def test_a_provider_that_interrupts_for_ever_ends_as_a_limit_does(claude: Site, provider: ProviderServer) -> None:
    provider.script = Script(raw=stream(PAUSED))
    answer = await claude.ask("Why?", model=SONNET)
    assert (answer["status"], answer["finish_reason"]) == ("complete", "length")
    assert len(provider.requests) == MAX_PAUSES + 1


async def test_a_model_that_declines_says_why(claude: Site, provider: ProviderServer) -> None:
    declined = {"stop_reason": "refusal", "stop_details": {"type": "refusal", "category": "cyber"}}
    provider.enqueue(Script(raw=stream([PAUSED[0], {"type": "message_delta", "delta": declined}, PAUSED[-1]])))
    answer = await claude.ask("Why?", model=SONNET)
    assert (answer["status"], answer["error"]["code"]) == ("interrupted", "content_filter")
    assert [notice["code"] for notice in answer["notices"]] == ["refused"]
    page = (await claude.get(f"/c/{answer['conversation']}/")).content.decode()
    assert "could help with an attack" in page


async def test_the_ledger_equals_the_invoice_over_twenty_turns_with_tools(
    claude: Site, provider: ProviderServer
) -> None:
    conversation = await claude.begin_conversation()
    await Conversation.objects.filter(pk=conversation).aupdate(system_prompt="Be brief. " * 1_500)
    for number in range(20):
        if number % 4 == 0:
            call = Call("double", f'{{"number": {number}}}', f"call_{number}")
            provider.enqueue(Script(text="", reasoning="Twice.", tool_calls=[call]))
        provider.enqueue(Script(text=f"Answer {number}.", reasoning="So."))
        answer = await claude.ask(f"Question {number}?", conversation, model=SONNET)
        assert answer["status"] == "complete"
    billed = provider.strict.invoice[SONNET.partition(":")[2]]
    rows = [row async for row in ProviderCall.objects.all()]
    assert (len(rows), any(row.estimated for row in rows)) == (25, False)
    for name in ("input_tokens", "output_tokens", "cached_tokens", "written_tokens", "written_hour_tokens"):
        assert sum(getattr(row, name) for row in rows) == getattr(billed, name), name
    assert billed.cached_tokens >= 0.9 * billed.input_tokens
