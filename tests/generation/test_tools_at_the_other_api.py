"""A model that takes tools at the Responses API alone is asked there: no answer loses its tools without a word."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from chat.generation.process import get_runner
from chat.models import ProviderCall, Refusal
from chat.tools.toolbox import Toolbox
from tests.provider_server import Call, ProviderServer, RefusedPart, Script
from tests.support.site import Site

pytestmark = pytest.mark.sqlite

HERE = "tests.generation.test_tools_at_the_other_api"
MODEL = "openai:gpt-5.6-terra"
ALWAYS = "openai:gpt-6.2-sol"
CALL = Call("double", '{"number": 21}', "call_1")
NO_RESPONSES = RefusedPart(
    part="input", status=404, type="not_found", message="Unknown request URL: POST /v1/responses"
)


def double(number: int) -> int:
    """Double a number."""
    return 2 * number


@pytest.fixture(autouse=True)
async def tools(site: Site, settings: Settings) -> None:
    settings.CHAT_TOOLS = [f"{HERE}.double"]
    settings.CHAT_MODELS = [MODEL, ALWAYS, *settings.CHAT_MODELS]
    get_runner().resources.toolbox = Toolbox(settings.CHAT_TOOLS)


def list_paths(provider: ProviderServer) -> list[str]:
    return [request.path.removeprefix("/v1/") for request in provider.requests]


async def test_a_refusal_that_names_the_responses_api_is_answered_by_asking_there(
    site: Site, provider: ProviderServer
) -> None:
    provider.script = Script(text="42.")
    provider.enqueue(Script(), Script(text="", reasoning="Twice.", tool_calls=[CALL]))
    answer = await site.ask(model=MODEL)
    assert (answer["status"], answer["text"], answer["notices"]) == ("complete", "42.", [])
    assert list_paths(provider) == ["chat/completions", "responses", "responses"]
    assert all("tools" in request.body for request in provider.requests)
    kinds = [item.get("type") for item in provider.requests[-1].body["input"]]
    assert kinds[-3:] == ["reasoning", "function_call", "function_call_output"]
    # The next question is asked there at once, with the reasoning of the last turn.
    second = await site.ask(conversation=answer["conversation"], model=MODEL)
    assert second["status"] == "complete"
    assert list_paths(provider)[3:] == ["responses"]
    assert provider.requests[-1].body["input"][: len(kinds)] == provider.requests[-2].body["input"]


@pytest.mark.parametrize(("model", "sentence"), [(MODEL, "does not reason"), (ALWAYS, "does not take tools")])
async def test_where_there_is_no_such_api_readers_are_told_what_they_lose(
    site: Site, provider: ProviderServer, model: str, sentence: str
) -> None:
    provider.script = Script(text="Hello.", refused_parts=[NO_RESPONSES])
    answer = await site.ask(model=model)
    assert (answer["status"], answer["text"]) == ("complete", "Hello.")
    assert sentence in " ".join(notice["message"] for notice in answer["notices"])
    calls = await ProviderCall.objects.filter(answer=answer["id"]).acount()
    assert calls == len(provider.requests)
    again = await site.ask(model=model)
    assert len(provider.requests) == calls + 1
    assert sentence in " ".join(notice["message"] for notice in again["notices"])
    assert await Refusal.objects.filter(kind="no_tools" if model == ALWAYS else "effort_none").aexists()
