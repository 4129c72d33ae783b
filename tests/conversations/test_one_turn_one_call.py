"""However often a form arrives, there is one answer to it and one upstream call."""

from __future__ import annotations

import asyncio
import uuid

from chat.models import Conversation, Message, ProviderCall, User
from tests.provider_server import ProviderServer, Script
from tests.support.site import Site
from tests.support.waiting import wait_until


async def test_the_same_turn_again_is_the_same_answer(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="Once.")
    conversation, turn = await site.begin_conversation(), str(uuid.uuid4())
    first = await site.ask(conversation=conversation, turn=turn)
    again = await site.ask(conversation=conversation, turn=turn)
    assert again == first
    assert len(provider.requests) == 1
    assert await ProviderCall.objects.acount() == 1


async def test_the_same_turn_at_once_from_many_tabs(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="Once.", delay_first=0.2)
    conversation, turn = await site.begin_conversation(), str(uuid.uuid4())
    answers = await asyncio.gather(*(site.begin(conversation=conversation, turn=turn) for _ in range(8)))
    assert len(set(answers)) == 1
    await site.read_events(answers[0])
    assert len(provider.requests) == 1
    assert await Message.objects.filter(conversation__id=conversation).acount() == 2


async def test_a_new_chat_sent_twice_is_one_conversation(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="Once.")
    form = {"content": "Hello", "turn": str(uuid.uuid4())}
    responses = await asyncio.gather(*(site.client.post("/send/", form) for _ in range(5)))
    assert {response.status_code for response in responses} == {302}
    assert len({response.headers["Location"] for response in responses}) == 1
    assert await Conversation.objects.acount() == 1
    await provider.wait_for_requests(1)
    assert await ProviderCall.objects.acount() == 1


async def test_the_same_turn_of_another_user_is_another_question(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="Once.")
    form = {"content": "Hello", "turn": str(uuid.uuid4())}
    await site.client.post("/send/", form)
    await site.client.aforce_login(await User.objects.acreate_user("grace"))
    await site.client.post("/send/", form)
    assert await Conversation.objects.acount() == 2


async def test_another_question_during_an_answer_is_refused(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(gate_after=0)
    conversation = await site.begin_conversation()
    await site.begin(conversation=conversation)
    response = await site.post(f"/api/conversations/{conversation}/messages/", {"content": "And?"})
    assert response.status_code == 409
    assert await Message.objects.filter(conversation__id=conversation).acount() == 2


async def test_retry_during_a_run_is_that_run(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(gate_after=0)
    answer = await site.begin()
    page = await site.client.post(f"/answers/{answer}/retry/", headers={"hx-request": "true"})
    assert (page.status_code, f'id="answer-{answer}"' in page.content.decode()) == (200, True)
    await provider.wait_for_requests(1)
    assert await ProviderCall.objects.acount() == 1


async def test_retry_at_once_from_many_tabs(site: Site, provider: ProviderServer) -> None:
    provider.enqueue(Script(status=500))
    provider.script = Script(gate_after=0)
    failed = await site.ask()
    retries = await asyncio.gather(*(site.retry(failed["id"]) for _ in range(6)))
    assert len(set(retries)) == 1
    await provider.wait_for_requests(2)
    assert await ProviderCall.objects.acount() == 2


async def are_both_attempts_complete() -> bool:
    return await Message.objects.filter(role="assistant", status="complete").acount() == 2


async def test_a_retry_form_sent_twice_after_its_end_is_one_retry(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="Once.")
    first = await site.ask()
    form = {"turn": str(uuid.uuid4())}
    for _ in range(2):
        await site.client.post(f"/answers/{first['id']}/retry/", form)
        await wait_until(are_both_attempts_complete)
    assert await ProviderCall.objects.acount() == 2
