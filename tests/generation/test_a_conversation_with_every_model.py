"""One conversation goes through today's models, with tools, thoughts and other efforts: nothing is refused."""

from __future__ import annotations

from itertools import cycle

import pytest
from anthropic.types.message_create_params import MessageCreateParamsStreaming
from openai.types.responses.response_create_params import ResponseCreateParamsStreaming
from pytest_django import Settings

from chat.core.events import Usage
from chat.generation.process import get_runner
from chat.models import Conversation, ProviderCall
from chat.tools.toolbox import Toolbox
from tests.provider_server import Call, ProviderServer, Script
from tests.support.sdk_types import find_complaints
from tests.support.site import Json, Site

# What is tried here is the same on every database.
pytestmark = pytest.mark.sqlite

CLAUDE = [f"anthropic:claude-{name}" for name in ("fable-5-2", "opus-5-5", "sonnet-5-5", "haiku-5-5", "haiku-4-5")]
GPT = [f"openai:gpt-{name}" for name in ("6.2-sol", "6.2-astra", "6.1-terra", "6-luna", "5.5", "4.1")]
ROUTE = [*CLAUDE, *GPT, *reversed(CLAUDE), *reversed(GPT)]
EFFORTS = ("", "low", "high", "max", "none", "medium", "xhigh", "minimal")


def double(number: int) -> int:
    """Double a number."""
    return 2 * number


@pytest.fixture
async def site(site: Site, settings: Settings) -> Site:
    settings.CHAT_MODELS = [*CLAUDE, *GPT]
    # As with OpenAI itself, in whose place the tests' server is.
    settings.CHAT_MODEL_OPTIONS = {model: {"api": "responses"} for model in GPT}
    settings.CHAT_TOOLS = [f"{__name__}.double"]
    get_runner().resources.toolbox = Toolbox(settings.CHAT_TOOLS)
    return site


async def list_outcomes(answer: Json) -> list[str]:
    return [row.outcome async for row in ProviderCall.objects.filter(answer=answer["id"])]


def assert_typed(provider: ProviderServer) -> None:
    """Assert that every request is valid by the types of the providers' own SDKs."""
    for request in provider.requests:
        is_claude = request.path == "/v1/messages"
        kind = MessageCreateParamsStreaming if is_claude else ResponseCreateParamsStreaming
        assert list(find_complaints(request.body, kind)) == []


async def test_models_and_efforts_change_in_the_middle(site: Site, provider: ProviderServer) -> None:
    conversation = await site.begin_conversation()
    for number, (model, effort) in enumerate(zip(ROUTE, cycle(EFFORTS), strict=False)):
        await Conversation.objects.filter(pk=conversation).aupdate(effort=effort)
        first, second = (Call("double", '{"number": 21}', f"call_{number}{place}") for place in "ab")
        provider.enqueue(
            Script(text="I look. ", reasoning="Twice.", reasoning_between="Hm.", tool_calls=[first]),
            Script(text="", reasoning="Again.", tool_calls=[second]),
            Script(text="It is 42.", reasoning="So."),
        )
        answer = await site.ask("Twice 21?", conversation, model=model)
        assert (answer["status"], answer["text"]) == ("complete", "I look. It is 42."), model
        assert await list_outcomes(answer) == ["complete"] * 3, model
    assert len(provider.requests) == 3 * len(ROUTE)
    assert_typed(provider)


@pytest.mark.parametrize("model", ["anthropic:claude-sonnet-5-5", "openai:gpt-6.1-terra"])
async def test_the_cache_is_read_although_the_effort_changes(site: Site, provider: ProviderServer, model: str) -> None:
    conversation = await site.begin_conversation()
    await Conversation.objects.filter(pk=conversation).aupdate(system_prompt="Be brief and know everything. " * 500)
    for number in range(20):
        if number == 10:
            await Conversation.objects.filter(pk=conversation).aupdate(effort="low")
        provider.enqueue(Script(text=f"Answer {number}. " * 9, reasoning="So. " * 20, counts_tokens=True))
        assert (await site.ask(f"Question {number}? " * 5, conversation, model=model))["status"] == "complete"
    billed = sum([*provider.prompt_cache.invoice, *provider.strict.invoice.values()], Usage(0, 0))
    rows = [row.usage async for row in ProviderCall.objects.all()]
    assert sum(rows, Usage(0, 0)) == billed
    assert billed.cached_tokens >= 0.9 * billed.input_tokens
