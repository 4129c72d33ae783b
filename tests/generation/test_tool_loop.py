"""A model calls tools until it answers in text; whatever goes wrong with one goes back to it, and the page shows it."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any
from uuid import UUID

import pytest
from pydantic import Field
from pytest_django import Settings

from chat.generation.answer_state import AnswerState
from chat.generation.process import get_runner
from chat.models import Message, ProviderCall, ToolCall
from chat.tools.base import Context
from chat.tools.toolbox import Toolbox
from tests.provider_server import Call, ProviderServer, Script
from tests.support.site import Json, Site
from tests.support.waiting import wait_until

# What is tried here is the same on every database.
pytestmark = pytest.mark.sqlite

HERE = "tests.generation.test_tool_loop"
STEP = Script(text="Let me see. ", tool_calls=[Call("double", '{"number": 21}')])
END = Script(text="It is 42.")

ran: list[float] = []


def double(number: Annotated[int, Field(description="What to double")]) -> int:
    """Double a number."""
    return 2 * number


async def slow(seconds: float) -> str:
    """Take your time."""
    ran.append(time.monotonic())
    await asyncio.sleep(seconds)
    return f"{seconds} s later"


def broken() -> str:
    """Fail."""
    raise RuntimeError("out of order")


def whose(context: Context) -> str:
    """Tell for whom this is called."""
    return f"{context.user_id} {context.conversation_id}"


def endless() -> str:
    """Say too much."""
    return "x" * 1_000_000


@pytest.fixture
async def site(site: Site, settings: Settings) -> Site:
    settings.CHAT_TOOL_TIMEOUT = 5
    get_runner().resources.toolbox = Toolbox(
        [f"{HERE}.{name}" for name in ("double", "slow", "broken", "whose", "endless")]
    )
    return site


def list_results(provider: ProviderServer, request: int) -> list[str]:
    """Return the results that the model was told of in a request, in either format."""
    found = []
    for message in provider.requests[request].body["messages"]:
        content: Any = message["content"]
        if message["role"] == "tool":
            found.append(str(content))
        elif isinstance(content, list):
            found += [str(block["content"]) for block in content if block.get("type") == "tool_result"]
    return found


async def ask_and_check(site: Site, model: str) -> Json:
    answer = await site.ask("What is twice 21?", model=model)
    assert answer["status"] == "complete", answer
    return answer


async def test_the_answer_goes_on_after_a_tool(site: Site, provider: ProviderServer, model: str) -> None:
    provider.enqueue(STEP, END)
    answer = await ask_and_check(site, model)
    assert answer["text"] == "Let me see. It is 42."
    assert list_results(provider, 1) == ["42"]
    call = await ToolCall.objects.aget(answer=answer["id"])
    assert (call.name, call.arguments, call.result, call.ok) == ("double", '{"number": 21}', "42", True)


async def test_three_steps_are_three_calls_on_the_ledger(site: Site, provider: ProviderServer, model: str) -> None:
    provider.enqueue(STEP, STEP, END)
    answer = await ask_and_check(site, model)
    rows = [row async for row in ProviderCall.objects.filter(answer=answer["id"]).order_by("pk")]
    assert [row.outcome for row in rows] == ["complete"] * 3
    assert answer["usage"]["input_tokens"] == sum(row.input_tokens for row in rows)
    assert not answer["usage"]["estimated"]


async def test_events_show_the_call_its_arguments_and_its_result(
    site: Site, provider: ProviderServer, model: str
) -> None:
    provider.enqueue(STEP, END)
    events = [event for _, event in await site.read_events(await site.begin("Twice 21?", model=model))]
    kinds = [event["type"] for event in events]
    assert kinds.index("tool_call") < kinds.index("tool_arguments") < kinds.index("tool_result")
    assert "".join(event["delta"] for event in events if event["type"] == "tool_arguments") == '{"number": 21}'
    result = next(event for event in events if event["type"] == "tool_result")
    assert (result["summary"], result["ok"]) == ("42", True)
    call = next(event for event in events if event["type"] == "tool_call")
    assert (call["name"], call["id"]) == ("double", result["id"])


async def test_parallel_calls_run_at_once(site: Site, provider: ProviderServer, model: str) -> None:
    ran.clear()
    calls = [Call("slow", '{"seconds": 0.5}', id=f"call_{number}") for number in range(3)]
    provider.enqueue(Script(text="", tool_calls=calls), END)
    await ask_and_check(site, model)
    assert len(ran) == 3
    assert max(ran) - min(ran) < 0.4
    assert len(list_results(provider, 1)) == 3


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("double", '{"number": ', "are not valid"),
        ("double", '{"number": "many"}', "are not valid"),
        ("double", "{}", "are not valid"),
        ("treble", "{}", "no tool called"),
        ("broken", "{}", "out of order"),
        ("slow", '{"seconds": 60}', "did not answer within"),
        ("endless", "{}", "was cut"),
    ],
    ids=["bad JSON", "a wrong type", "nothing", "no such tool", "an exception", "a tool that hangs", "1 MB"],
)
async def test_a_tools_error_goes_back_to_the_model(
    site: Site, provider: ProviderServer, settings: Settings, model: str, name: str, arguments: str, told: str
) -> None:
    settings.CHAT_TOOL_TIMEOUT = 0.5
    provider.enqueue(Script(text="", tool_calls=[Call(name, arguments)]), END)
    answer = await ask_and_check(site, model)
    assert answer["text"] == "It is 42."
    [result] = list_results(provider, 1)
    assert told in result
    assert len(result) < 25_000
    page = (await site.get(f"/c/{answer['conversation']}/")).content.decode()
    assert ("failed" in page) == (name != "endless")


async def test_a_tool_knows_for_whom_it_is_called(site: Site, provider: ProviderServer) -> None:
    provider.enqueue(Script(text="", tool_calls=[Call("whose")]), END)
    answer = await ask_and_check(site, "openai:gpt-test")
    assert list_results(provider, 1) == [f"{site.user.pk} {answer['conversation']}"]


async def test_a_model_that_only_calls_tools_is_cut_off(
    site: Site, provider: ProviderServer, settings: Settings, model: str
) -> None:
    settings.CHAT_TOOL_STEPS = 3
    provider.script = STEP
    answer = await site.ask(model=model)
    assert (answer["status"], answer["error"]["code"]) == ("interrupted", "tool_limit")
    assert len(provider.requests) == 3


def read_state(answer: str) -> AnswerState | None:
    live = get_runner().find(UUID(answer))
    return None if live is None else live.state


async def test_stop_works_inside_a_tool(site: Site, provider: ProviderServer, model: str) -> None:
    provider.enqueue(Script(text="Wait. ", tool_calls=[Call("slow", '{"seconds": 60}')]), END)
    answer = await site.begin(model=model)
    async for _, event in site.follow(answer):
        if event["type"] == "tool_arguments":
            await wait_until(lambda: read_state(answer) == AnswerState.RUNNING_TOOLS)
            stopped = await asyncio.wait_for(site.stop(answer), 5)
    assert (stopped["status"], stopped["text"]) == ("stopped", "Wait. ")
    assert len(provider.requests) == 1
    outcomes = [row.outcome async for row in ProviderCall.objects.filter(answer=UUID(answer))]
    assert len(outcomes) == 1
    assert "running" not in outcomes
    page = (await site.get(f"/c/{stopped['conversation']}/")).content.decode()
    assert "not finished" in page


async def test_the_next_turns_history_has_the_calls_and_their_results(
    site: Site, provider: ProviderServer, model: str
) -> None:
    provider.enqueue(STEP, STEP, END, Script(text="Yes."))
    first = await ask_and_check(site, model)
    await site.ask("Really?", first["conversation"], model=model)
    assert list_results(provider, 3) == ["42", "42"]
    assert "Let me see." in str(provider.requests[3].body["messages"])
    assert "It is 42." in str(provider.requests[3].body["messages"])


async def test_a_tool_that_was_cut_off_has_a_result_in_the_history(
    site: Site, provider: ProviderServer, model: str
) -> None:
    """Both providers refuse a call without one."""
    provider.enqueue(Script(text="", tool_calls=[Call("slow", '{"seconds": 60}')]), END)
    answer = await site.begin(model=model)
    async for _, event in site.follow(answer):
        if event["type"] == "tool_arguments":
            await site.stop(answer)
    conversation = (await site.answer(answer))["conversation"]
    await site.ask("Never mind", conversation, model=model)
    assert list_results(provider, 1) == ["There is no result: the answer ended first."]


async def test_every_cut_of_an_answer_with_tools_is_a_place_to_go_on_from(
    site: Site, provider: ProviderServer, model: str
) -> None:
    provider.enqueue(STEP, STEP, END)
    answer = await ask_and_check(site, model)
    whole = await site.read_events(answer["id"])
    width = (await Message.objects.aget(pk=answer["id"])).position

    def list_positions(events: list[Any]) -> list[tuple[str, str]]:
        said: list[tuple[str, str]] = []
        for _, event in events:
            text = event.get("content", event.get("delta"))
            said += [(event["type"], char) for char in text] if text else [(event["type"], "")]
        return said

    for cut in range(1, width + 1):
        after = list_positions(await site.read_events(answer["id"], cut))
        assert list_positions(whole)[1:][cut:] == after


async def test_a_provider_that_wants_no_tools_is_asked_without(
    site: Site, provider: ProviderServer, model: str
) -> None:
    provider.enqueue(Script(status=400, error_message="This model does not support tools."), END)
    answer = await ask_and_check(site, model)
    assert answer["text"] == "It is 42."
    assert "tools" in provider.requests[0].body
    assert "tools" not in provider.requests[1].body
    provider.script = END
    await ask_and_check(site, model)
    assert "tools" not in provider.requests[2].body


async def test_reasoning_is_kept_apart_and_its_signature_goes_back(site: Site, provider: ProviderServer) -> None:
    step = Script(text="", reasoning="Twice 21 …", tool_calls=[Call("double", '{"number": 21}')])
    provider.enqueue(step, END)
    answer = await ask_and_check(site, "anthropic:messages-test")
    assert (answer["text"], answer["reasoning"]) == ("It is 42.", "Twice 21 …")
    [said] = [message for message in provider.requests[1].body["messages"] if message["role"] == "assistant"]
    assert said["content"][0]["type"] == "thinking"
    assert said["content"][0]["signature"]
