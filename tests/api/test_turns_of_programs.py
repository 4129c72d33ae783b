"""A program that sends a request again, because no response came, does nothing twice."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import uuid4

import pytest

from chat.models import Conversation, Message, ProviderCall
from tests.conftest import ANTHROPIC
from tests.provider_server import ProviderServer, Script
from tests.support.site import Json, Site

pytestmark = pytest.mark.database

HALF = Script(text="One two three", chunk_size=4, drop_after=8)


def read(response: Any) -> Json:
    said: Json = json.loads(response.content)
    return said


async def post(site: Site, path: str, **body: Any) -> tuple[int, Json]:
    response = await site.post(path, body)
    return response.status_code, read(response)


async def test_a_conversation_is_made_once(site: Site) -> None:
    turn = str(uuid4())
    made = await asyncio.gather(*(post(site, "/api/conversations/", turn=turn) for _ in range(4)))
    assert {status for status, _ in made} == {201}
    assert len({said["id"] for _, said in made}) == await Conversation.objects.acount() == 1
    other = await post(site, "/api/conversations/", turn=str(uuid4()))
    assert other[1]["id"] != made[0][1]["id"]


async def test_the_turn_of_a_deleted_conversation_makes_none(site: Site) -> None:
    turn = str(uuid4())
    _, made = await post(site, "/api/conversations/", turn=turn)
    assert (await site.client.delete(f"/api/conversations/{made['id']}/")).status_code == 204
    status, refused = await post(site, "/api/conversations/", turn=turn)
    assert (status, refused["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    "other",
    [
        {"content": "Goodbye"},
        {"content": "Hello", "model": ANTHROPIC},
        {"content": "Hello", "response_schema": {"type": "object"}},
    ],
)
async def test_a_turn_with_another_question_is_refused_with_its_answer(
    site: Site, provider: ProviderServer, other: Json
) -> None:
    path, turn = f"/api/conversations/{await site.begin_conversation()}/messages/", str(uuid4())
    answer = (await post(site, path, content="Hello", turn=turn))[1]["id"]
    status, said = await post(site, path, turn=turn, **other)
    assert (status, said["error"]["code"], said["error"]["answer"]) == (409, "turn_taken", answer)
    assert (await post(site, path, content="Hello", turn=turn))[1]["id"] == answer
    assert len(provider.requests) == 1


async def test_line_ends_and_unstorable_characters_are_no_difference(site: Site, provider: ProviderServer) -> None:
    path, turn = f"/api/conversations/{await site.begin_conversation()}/messages/", str(uuid4())
    sent = [await post(site, path, content="a\r\nb\0", turn=turn) for _ in range(2)]
    assert [status for status, _ in sent] == [200, 200]
    assert len(provider.requests) == 1


async def test_a_retry_is_made_once(site: Site, provider: ProviderServer) -> None:
    answer, turn = (await site.ask())["id"], str(uuid4())
    path = f"/api/answers/{answer}/retry/"
    sent = await asyncio.gather(*(post(site, path, turn=turn) for _ in range(4)))
    attempt = sent[0][1]["answer"]
    await site.read_events(attempt)
    sent.append(await post(site, path, turn=turn))
    assert {(status, said["answer"]) for status, said in sent} == {(202, attempt)}
    assert await ProviderCall.objects.acount() == 2
    status, said = await post(site, path, turn=turn, model=ANTHROPIC)
    assert (status, said["error"]["code"], said["error"]["answer"]) == (409, "turn_taken", attempt)


async def test_a_continuation_is_made_once(site: Site, provider: ProviderServer) -> None:
    """Also after it has ended in the middle once more, where another Continue would go on."""
    provider.enqueue(HALF, Script(text="three four", chunk_size=4, drop_after=4))
    provider.script = Script(text="four")
    answer, turn = (await site.ask())["id"], str(uuid4())
    path = f"/api/answers/{answer}/continue/"
    assert (await post(site, path, turn=turn))[0] == 202
    await site.read_events(answer)
    assert (await post(site, path, turn=turn)) == (202, {"answer": answer, "events": f"/api/answers/{answer}/events/"})
    assert (await site.answer(answer))["status"] == "interrupted"
    assert len(provider.requests) == 2
    assert (await post(site, path, turn=str(uuid4())))[0] == 202
    await site.read_events(answer)
    assert len(provider.requests) == 3


@pytest.mark.parametrize("route", ["retry", "continue"])
async def test_a_model_that_is_not_offered_is_not_replaced_by_another(
    site: Site, provider: ProviderServer, route: str
) -> None:
    provider.enqueue(HALF)
    answer = (await site.ask())["id"]
    status, said = await post(site, f"/api/answers/{answer}/{route}/", model="openai:none")
    assert (status, said["error"]["code"], said["error"]["field"]) == (400, "bad_request", "model")
    assert len(provider.requests) == 1


async def test_another_model_may_continue(site: Site, provider: ProviderServer) -> None:
    provider.enqueue(HALF)
    answer = (await site.ask())["id"]
    assert (await post(site, f"/api/answers/{answer}/continue/", model=ANTHROPIC))[0] == 202
    await site.read_events(answer)
    assert (await site.answer(answer))["model"] == ANTHROPIC


async def test_a_live_answer_is_not_retried(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(gate_after=0)
    answer = await site.begin()
    status, said = await post(site, f"/api/answers/{answer}/retry/")
    assert (status, said["error"]["code"], said["error"]["answer"]) == (409, "busy", answer)
    assert await Message.objects.answers().acount() == 1
