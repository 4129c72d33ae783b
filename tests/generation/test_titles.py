"""A cheap model writes the title after the first answer; until then, and when it fails, it is the one by rules."""

from __future__ import annotations

import json

import pytest
from pytest_django import Settings

from chat.core.events import Usage
from chat.models import Conversation, ProviderCall
from tests.provider_server import ProviderServer, RefusedPart, Script
from tests.support.site import Json, Site
from tests.support.waiting import wait_until

# What is tried here is the same on every database.
pytestmark = pytest.mark.sqlite

ANSWER = Script(text="Because air scatters blue light.")


@pytest.fixture
def site(site: Site, settings: Settings) -> Site:
    settings.CHAT_TITLE_MODEL = "openai:small"
    return site


async def read_title(answer: Json) -> str:
    return (await Conversation.objects.aget(pk=answer["conversation"])).title


async def has_title(answer: Json, title: str) -> bool:
    return await read_title(answer) == title


async def is_title_settled(answer: Json) -> bool:
    """Return whether the call for the title is on the ledger and has ended."""
    calls = ProviderCall.objects.filter(answer=answer["id"], purpose="title").exclude(outcome="running")
    return await calls.aexists()


async def test_the_title_comes_after_the_first_answer(site: Site, provider: ProviderServer) -> None:
    provider.enqueue(ANSWER, Script(text='"Why the sky is blue"\n'))
    answer = await site.ask("why is the sky blue, please tell me")
    await wait_until(lambda: is_title_settled(answer))
    await wait_until(lambda: has_title(answer, "Why the sky is blue"))
    assert provider.requests[1].body["model"] == "small"
    assert "scatters" in str(provider.requests[1].body["messages"])


@pytest.mark.parametrize(
    "refusal",
    [
        "parameter.enable_thinking must be set to false for non-streaming calls",
        "<400> InternalError.Algo.InvalidParameter: This model only support stream mode, please enable the stream "
        "parameter to access the model.",
        "enable thinking can not be support when `stream=False`.",
        "Stream must be set to true",
    ],
)
async def test_a_model_that_only_streams_writes_titles_too(site: Site, provider: ProviderServer, refusal: str) -> None:
    """As Alibaba's models that think, at its own API and at ModelScope."""
    error = {"error": {"message": refusal, "type": "invalid_request_error", "code": "invalid_parameter_error"}}
    refused = Script(status=400, raw=json.dumps(error), raw_type="application/json")
    provider.enqueue(ANSWER, refused, Script(text="Blue skies", usage=Usage(30, 4)))
    answer = await site.ask("Why?")
    await wait_until(lambda: has_title(answer, "Blue skies"))
    assert [request.body.get("stream", False) for request in provider.requests] == [True, False, True]
    calls = ProviderCall.objects.filter(answer=answer["id"], purpose="title").order_by("pk")
    await wait_until(calls.filter(outcome="complete").aexists)
    rows = [(row.outcome, row.input_tokens, row.output_tokens) async for row in calls]
    assert rows == [("interrupted", 0, 0), ("complete", 30, 4)]


@pytest.mark.parametrize(
    ("said", "title"),
    [
        (Script(text="<think>\nOkay, the user wants a title.\n</think>\n\n**Blue skies**"), "Blue skies"),
        (Script(text='{"title": "Blue skies"}', reasoning="A title, then."), "Blue skies"),
        (Script(text="<think>\nOkay, the user wants a title for", finish_reason="length"), "Why?"),
        (Script(text="", reasoning="Okay, the user wants a title for", finish_reason="length"), "Why?"),
        (Script(text="I'm sorry, but I can't help with that."), "Why?"),
    ],
    ids=["thoughts in the text", "JSON", "thoughts alone in the text", "thoughts alone", "a refusal"],
)
async def test_the_title_is_stripped_of_its_typography_and_falls_back_to_the_question(
    site: Site, provider: ProviderServer, said: Script, title: str
) -> None:
    provider.enqueue(ANSWER, said)
    answer = await site.ask("Why?")
    await wait_until(lambda: is_title_settled(answer))
    await wait_until(lambda: has_title(answer, title))


async def test_a_title_model_that_refuses_a_parameter_is_asked_without_it(site: Site, provider: ProviderServer) -> None:
    no_system = RefusedPart(part="messages.*.role=system", message="System role not supported")
    provider.enqueue(ANSWER)
    provider.script = Script(text="Blue skies", refused_parts=[no_system])
    answer = await site.ask("Why?")
    await wait_until(lambda: has_title(answer, "Blue skies"))
    assert len(provider.requests) == 3
    assert "Write a title" in str(provider.requests[2].body["messages"])


async def test_the_title_has_its_own_call_on_the_ledger(site: Site, provider: ProviderServer) -> None:
    provider.enqueue(ANSWER, Script(text="A title"))
    answer = await site.ask("Why?")
    await wait_until(lambda: is_title_settled(answer))
    calls = [(call.purpose, call.outcome, call.model) async for call in ProviderCall.objects.order_by("pk")]
    assert calls == [("answer", "complete", "openai:gpt-test"), ("title", "complete", "openai:small")]


async def test_a_failure_leaves_the_first_question(site: Site, provider: ProviderServer) -> None:
    provider.enqueue(ANSWER, Script(status=500))
    answer = await site.ask("Why?")
    await wait_until(lambda: is_title_settled(answer))
    await wait_until(lambda: has_title(answer, "Why?"))
    assert (await site.answer(answer["id"]))["status"] == "complete"


async def test_a_title_of_the_users_own_is_left_alone(site: Site, provider: ProviderServer) -> None:
    provider.enqueue(ANSWER, Script(text="A title", gate_after=0))
    answer = await site.ask("Why?")
    await provider.wait_for_requests(2)
    await Conversation.objects.filter(pk=answer["conversation"]).aupdate(title="Mine")
    provider.release()
    await wait_until(lambda: is_title_settled(answer))
    await wait_until(lambda: has_title(answer, "Mine"))


async def test_only_the_first_answer_of_a_conversation_gets_a_title_written(
    site: Site, provider: ProviderServer
) -> None:
    provider.enqueue(ANSWER, Script(text="A title"), ANSWER)
    first = await site.ask("Why?")
    await wait_until(lambda: is_title_settled(first))
    await site.ask("And red?", first["conversation"])
    assert len(provider.requests) == 3


async def test_no_title_is_written_after_an_interrupted_answer(site: Site, provider: ProviderServer) -> None:
    provider.enqueue(Script(text="Half an ans", drop_after=4))
    await site.ask("Why?")
    assert len(provider.requests) == 1


async def test_another_model_writes_the_title_where_its_own_is_not_available(
    site: Site, provider: ProviderServer, settings: Settings
) -> None:
    settings.CHAT_FALLBACKS = {"openai:small": ["openai:gpt-test"]}
    provider.enqueue(ANSWER, Script(status=503), Script(text="Blue skies"))
    answer = await site.ask("Why?")
    await wait_until(lambda: has_title(answer, "Blue skies"))
    calls = [(call.purpose, call.outcome, call.model) async for call in ProviderCall.objects.order_by("pk")]
    assert calls[1:] == [("title", "interrupted", "openai:small"), ("title", "complete", "openai:gpt-test")]
