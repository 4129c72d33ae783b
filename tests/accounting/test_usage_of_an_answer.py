"""An answer's usage has one meaning, streamed and reloaded: every upstream call that wrote it, of all its runs, and not
the call for its conversation's title.
"""

from __future__ import annotations

import json

import pytest
from pytest_django import Settings

from chat.core.events import Usage
from chat.generation.process import get_runner
from chat.models import ProviderCall
from chat.tools.toolbox import Toolbox
from tests.provider_server import Call, ProviderServer, Script
from tests.support.site import Json, Site
from tests.support.waiting import wait_until


def read_figures(usage: Json) -> tuple[int, int, bool]:
    return usage["input_tokens"], usage["output_tokens"], usage["estimated"]


async def read_streamed_usage(site: Site, answer: str) -> tuple[int, int, bool]:
    """Return the figures of the usage event in the answer's stream."""
    [usage] = [event for _, event in await site.read_events(answer) if event["type"] == "usage"]
    return read_figures(usage)


async def read_kept_usage(site: Site, answer: Json) -> tuple[tuple[int, int, bool], tuple[int, int, bool]]:
    """Return the figures in the answer's own JSON, and those in the JSON of its conversation."""
    conversation = json.loads((await site.get(f"/api/conversations/{answer['conversation']}/")).content)
    [of_conversation] = [each["usage"] for each in conversation["messages"] if each["id"] == answer["id"]]
    return read_figures((await site.answer(answer["id"]))["usage"]), read_figures(of_conversation)


async def test_the_usage_of_an_answer_does_not_include_its_title(
    site: Site, provider: ProviderServer, settings: Settings
) -> None:
    settings.CHAT_TITLE_MODEL = "openai:small"
    provider.enqueue(Script(text="Yes.", usage=Usage(10, 3)), Script(text="A title", usage=Usage(500, 7)))
    answer = await site.ask("Why?")
    titled = ProviderCall.objects.filter(purpose="title", outcome="complete")
    await wait_until(titled.aexists)
    assert await read_streamed_usage(site, answer["id"]) == (10, 3, False)
    assert await read_kept_usage(site, answer) == ((10, 3, False), (10, 3, False))


async def test_the_usage_of_a_continued_answer_includes_every_run(site: Site, provider: ProviderServer) -> None:
    provider.enqueue(
        Script(text="First half", finish_reason="length", usage=Usage(10, 3)),
        Script(text=" and second half", usage=Usage(25, 4), gate_after=1),
    )
    answer = await site.ask("Why?")
    response = await site.post(f"/api/answers/{answer['id']}/continue/")
    assert response.status_code == 202
    await provider.wait_for_requests(2)
    provider.release()
    live = await read_streamed_usage(site, answer["id"])
    assert live == (35, 7, False)
    assert await read_kept_usage(site, answer) == (live, live)
    assert await read_streamed_usage(site, answer["id"]) == live


async def test_the_usage_of_an_answer_includes_every_step_of_its_tool_loop(
    site: Site, provider: ProviderServer
) -> None:
    get_runner().resources.toolbox = Toolbox(["chat.tools.calculator.calculate"])
    provider.enqueue(
        Script(text="", tool_calls=[Call("calculate", '{"expression": "1+1"}')], usage=Usage(10, 3), gate_after=0),
        Script(text="Two.", usage=Usage(25, 4)),
    )
    answer = await site.begin("1+1?")
    await provider.wait_for_requests(1)
    provider.release()
    assert await read_streamed_usage(site, answer) == (35, 7, False)
    assert read_figures((await site.answer(answer))["usage"]) == (35, 7, False)


@pytest.mark.parametrize("status", [429, 503])
async def test_a_refused_try_adds_nothing_to_the_tokens(
    site: Site, provider: ProviderServer, settings: Settings, status: int
) -> None:
    settings.CHAT_MAX_RETRIES = 1
    provider.enqueue(Script(status=status, retry_after=0), Script(text="Yes.", usage=Usage(10, 3)))
    answer = await site.ask("Why?")
    live = read_figures(answer["usage"])
    assert live[:2] == (10, 3)
    assert await read_streamed_usage(site, answer["id"]) == live
