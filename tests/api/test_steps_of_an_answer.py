"""An answer's JSON has its tool calls, and its texts, thoughts and calls in their order."""

from __future__ import annotations

import pytest

from chat.generation.process import get_runner
from chat.tools.toolbox import Toolbox
from tests.conftest import ANTHROPIC
from tests.provider_server import Call, ProviderServer, Script
from tests.support.site import Site

CALCULATOR = "chat.tools.calculator.calculator"


@pytest.fixture
async def site(site: Site) -> Site:
    get_runner().resources.toolbox = Toolbox([CALCULATOR])
    return site


async def test_a_text_alone_is_one_step(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="Grüße 🚀", chunk_size=3)
    answer = await site.ask()
    assert (answer["steps"], answer["tool_calls"]) == ([{"type": "text", "start": 0, "end": 7}], [])


async def test_steps_and_calls_in_their_order(site: Site, provider: ProviderServer) -> None:
    call = Call("calculator", '{"expression": "6*7"}', id="call_7")
    provider.enqueue(Script(text="I reckon. ", reasoning="Hm. ", tool_calls=[call]))
    provider.script = Script(text="It is 42.")
    answer = await site.ask(model=ANTHROPIC)
    kinds = [step["type"] for step in answer["steps"]]
    assert kinds == ["reasoning", "text", "tool_call", "text"]
    texts = [answer["text"][step["start"] : step["end"]] for step in answer["steps"] if step["type"] == "text"]
    assert texts[0].strip() == "I reckon."
    assert "".join(texts) == answer["text"]
    thought = answer["steps"][0]
    assert answer["reasoning"][thought["start"] : thought["end"]].strip() == "Hm."
    [made] = answer["tool_calls"]
    assert made["id"] == next(step["id"] for step in answer["steps"] if step["type"] == "tool_call")
    assert (made["name"], made["ok"]) == ("calculator", True)
    assert "42" in made["summary"]
    assert made["arguments"].replace(" ", "") == '{"expression":"6*7"}'
    events = [event for _, event in await site.read_events(answer["id"]) if event["type"] == "tool_result"]
    assert [(event["id"], event["summary"]) for event in events] == [(made["id"], made["summary"])]
