"""Continue goes on with a partial answer in the same message, and says where it was joined."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from chat.models import Message, ProviderCall
from chat.providers.adaptations import CONTINUE_INSTRUCTION
from tests.provider_server import ProviderServer, Script
from tests.support.site import Json, Site, join_text

HALF = Script(text="One two three", chunk_size=4, drop_after=8)
REST = Script(text="three four.")


async def continue_answer(site: Site, answer: str) -> Json:
    response = await site.post(f"/api/answers/{answer}/continue/")
    assert response.status_code == 202, response.content
    await site.read_events(answer)
    return await site.answer(answer)


async def test_a_continued_answer_stays_one_message(site: Site, provider: ProviderServer, model: str) -> None:
    provider.enqueue(HALF, REST)
    failed = await site.ask("Count", model=model)
    assert (failed["status"], failed["text"]) == ("interrupted", "One two ")
    whole = await continue_answer(site, failed["id"])
    assert (whole["status"], whole["text"], whole["error"]) == ("complete", "One two three four.", None)
    assert await Message.objects.filter(parent=failed["parent"]).acount() == 1


async def test_both_calls_of_a_continued_answer_are_on_the_ledger(site: Site, provider: ProviderServer) -> None:
    provider.enqueue(HALF, REST)
    failed = await site.ask()
    await continue_answer(site, failed["id"])
    outcomes = [call.outcome async for call in ProviderCall.objects.filter(answer=failed["id"]).order_by("pk")]
    assert outcomes == ["interrupted", "complete"]


async def test_anthropic_goes_on_with_its_own_words(site: Site, provider: ProviderServer) -> None:
    provider.enqueue(HALF, REST)
    failed = await site.ask("Count", model="anthropic:messages-test")
    await continue_answer(site, failed["id"])
    messages = provider.requests[1].body["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant"]
    assert "One two" in str(messages[1]["content"])
    assert "One two " not in str(messages[1]["content"])  # it refuses a blank at the end


async def test_a_model_that_does_not_go_on_with_its_own_words_is_told_to(site: Site, provider: ProviderServer) -> None:
    refusal = "This model does not support assistant message prefill. The conversation must end with a user message."
    provider.enqueue(HALF, Script(status=400, error_message=refusal), REST)
    failed = await site.ask("Count", model="anthropic:messages-test")
    whole = await continue_answer(site, failed["id"])
    assert (whole["status"], whole["text"]) == ("complete", "One two three four.")
    messages = provider.requests[2].body["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert CONTINUE_INSTRUCTION in str(messages[2]["content"])
    calls = ProviderCall.objects.filter(answer=failed["id"]).order_by("pk")
    assert [call.outcome async for call in calls] == ["interrupted", "interrupted", "complete"]


async def test_openai_is_told_to_go_on(site: Site, provider: ProviderServer) -> None:
    provider.enqueue(HALF, REST)
    failed = await site.ask("Count", model="openai:gpt-test")
    await continue_answer(site, failed["id"])
    messages = provider.requests[1].body["messages"]
    assert [message["content"] for message in messages] == ["Count", "One two", CONTINUE_INSTRUCTION]


async def test_a_reader_who_had_the_end_gets_the_rest_exactly(site: Site, provider: ProviderServer) -> None:
    """At every position that it may have reached before."""
    provider.enqueue(HALF, REST)
    failed = await site.ask()
    seen = await site.read_events(failed["id"])
    await continue_answer(site, failed["id"])
    for position, _ in seen:
        text = "One two "[:position] + join_text(await site.read_events(failed["id"], position))
        assert text == "One two three four."
    page = await site.stream(f"/answers/{failed['id']}/stream/?after={seen[-1].position}")
    body = b"".join([chunk async for chunk in page]).decode()
    assert "three four." in body


async def test_the_page_shows_where_it_was_joined(site: Site, provider: ProviderServer) -> None:
    provider.enqueue(HALF, REST)
    failed = await site.ask()
    await continue_answer(site, failed["id"])
    page = await site.get(f"/c/{failed['conversation']}/")
    assert 'One two <span class="joint" title="Continued here"></span>three four.' in page.content.decode()


@pytest.mark.parametrize("script", [Script(text="All."), Script(status=500)], ids=["whole", "empty"])
async def test_complete_and_empty_answers_cannot_be_continued(
    site: Site, provider: ProviderServer, script: Script
) -> None:
    provider.script = script
    answer = await site.ask()
    response = await site.post(f"/api/answers/{answer['id']}/continue/")
    assert response.status_code == 409
    assert len(provider.requests) == 1


async def test_a_stopped_answer_can_be_continued_and_one_at_its_length_limit(
    site: Site, provider: ProviderServer
) -> None:
    provider.enqueue(Script(text="One two three", chunk_size=4, gate_after=8), REST)
    answer = await site.begin()
    await provider.wait_for_requests(1)
    await site.stop(answer)
    assert (await continue_answer(site, answer))["status"] == "complete"
    provider.enqueue(Script(text="One two ", finish_reason="length"), REST)
    limited = await site.ask()
    assert limited["finish_reason"] == "length"
    assert (await continue_answer(site, limited["id"]))["text"] == "One two three four."


async def test_an_answer_with_a_later_message_cannot_be_continued(site: Site, provider: ProviderServer) -> None:
    provider.enqueue(HALF)
    failed = await site.ask()
    await site.ask("Never mind", failed["conversation"])
    assert (await site.post(f"/api/answers/{failed['id']}/continue/")).status_code == 409


async def test_a_double_click_is_one_call(site: Site, provider: ProviderServer) -> None:
    provider.enqueue(HALF, Script(text="three", gate_after=1))
    failed = await site.ask()
    path = f"/api/answers/{failed['id']}/continue/"
    responses = await asyncio.gather(*(site.post(path) for _ in range(5)))
    assert {response.status_code for response in responses} == {202}
    await provider.wait_for_requests(2)
    provider.release()
    await site.read_events(failed["id"])
    assert len(provider.requests) == 2


async def test_an_unknown_answer_cannot_be_continued(site: Site) -> None:
    assert (await site.post(f"/api/answers/{uuid4()}/continue/")).status_code == 404
