"""A provider that refuses one tool costs the model that tool alone, then and from then on; readers are told which."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from chat.generation.process import get_runner
from chat.models import Refusal
from chat.tools.toolbox import Toolbox
from tests.conftest import ANTHROPIC, OPENAI
from tests.provider_server import Call, ProviderServer, RefusedPart, Script
from tests.support.site import Json, Site

# What is tried here is the same on every database.
pytestmark = pytest.mark.sqlite

HERE = "tests.generation.test_one_refused_tool"

OF_OPENAI = RefusedPart(
    part="tools.*.function.name=halve",
    message="Invalid schema for function 'halve': In context=('properties', 'number'), schema must have a 'type' key.",
    code="invalid_function_parameters",
    param="tools[1].function.parameters",
)
OF_ANTHROPIC = RefusedPart(
    part="tools.*.name=halve",
    message="tools.1.custom.input_schema: JSON schema is invalid. It must match JSON Schema draft 2020-12",
)


def double(number: int) -> int:
    """Double a number."""
    return 2 * number


def halve(number: int) -> float:
    """Halve a number."""
    return number / 2


def add(number: int) -> int:
    """Add one to a number."""
    return number + 1


def offer_tools(settings: Settings, *names: str) -> None:
    settings.CHAT_TOOLS = [f"{HERE}.{name}" for name in names]
    get_runner().resources.toolbox = Toolbox(settings.CHAT_TOOLS)


def list_tools(body: Json) -> list[str]:
    return [(tool.get("function") or tool)["name"] for tool in body.get("tools", [])]


@pytest.mark.parametrize(("model", "refusal"), [(OPENAI, OF_OPENAI), (ANTHROPIC, OF_ANTHROPIC)])
async def test_the_tool_that_is_refused_is_left_out_alone_and_remembered(
    site: Site, provider: ProviderServer, settings: Settings, model: str, refusal: RefusedPart
) -> None:
    offer_tools(settings, "double", "halve", "add")
    provider.enqueue(
        Script(refused_parts=[refusal]),
        Script(text="", tool_calls=[Call("double", '{"number": 21}')]),
        Script(text="42."),
        Script(text="Hello."),
    )
    first, second = await site.ask(model=model), await site.ask(model=model)
    assert [answer["text"] for answer in (first, second)] == ["42.", "Hello."]
    assert [list_tools(request.body) for request in provider.requests] == [
        ["double", "halve", "add"],
        *[["double", "add"]] * 3,
    ]
    for answer in (first, second):
        [notice] = answer["notices"]
        assert "'halve'" in notice["message"]
        assert "does not take tools" not in notice["message"]


async def test_several_refused_tools_are_left_out_one_by_one_and_a_tool_taken_away_is_spoken_of_no_more(
    site: Site, provider: ProviderServer, settings: Settings
) -> None:
    offer_tools(settings, "double", "halve", "add")
    names = ("Invalid 'tools[0].function.name': not yours.", "Invalid 'tools[1].function.name': not yours.")
    parts = [
        RefusedPart(part=f"tools.*.function.name={tool}", message=message)
        for tool, message in zip(("double", "add"), names, strict=True)
    ]
    provider.script = Script(text="Hello.", refused_parts=parts)
    answer = await site.ask()
    assert [list_tools(request.body) for request in provider.requests] == [
        ["double", "halve", "add"],
        ["halve", "add"],
        ["halve"],
    ]
    assert len(answer["notices"]) == 2
    offer_tools(settings, "halve")
    assert (await site.ask())["notices"] == []


async def test_a_model_whose_only_tool_is_refused_is_still_one_that_takes_tools(
    site: Site, provider: ProviderServer, settings: Settings
) -> None:
    offer_tools(settings, "halve")
    provider.script = Script(text="Hello.", refused_parts=[OF_OPENAI])
    assert (await site.ask())["text"] == "Hello."
    offer_tools(settings, "double")
    assert (await site.ask())["notices"] == []
    assert [list_tools(request.body) for request in provider.requests] == [["halve"], [], ["double"]]
    assert [refusal.name async for refusal in Refusal.objects.all()] == ["halve"]
