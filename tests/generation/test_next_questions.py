"""What is asked while an answer is being written waits for its end: kept, in order, asked once, and never lost."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import AsyncClient
from django.utils import timezone
from pytest_django import Settings

from chat.conversations.actions import ask_next
from chat.generation.next_questions import NextQuestionAsker
from chat.generation.process import get_runner, make_process
from chat.models import Conversation, Message, NextQuestion, Status, User
from tests.provider_server import ProviderServer, Script
from tests.support.site import Site
from tests.support.waiting import wait_until

GATED = Script(text="One two three.", chunk_size=4, gate_after=4)
HTMX = {"hx-request": "true"}


class Page:
    """A page of a conversation in which an answer is being written."""

    def __init__(self, site: Site, conversation: str) -> None:
        self.site, self.conversation = site, conversation

    async def send(self, content: str, *, turn: str = "", **fields: str) -> Any:
        turn = turn or str(uuid.uuid4())
        form = {"content": content, "conversation": self.conversation, "turn": turn, "waits": "1", **fields}
        return await self.site.client.post("/send/", form, headers=HTMX)

    async def post(self, pk: int, what: str, **fields: str) -> Any:
        return await self.site.client.post(f"/next/{pk}/{what}/", fields, headers=HTMX)

    async def list_asked(self) -> list[str]:
        return [text async for text in Message.objects.filter(role="user").values_list("text", flat=True)]

    async def list_waiting(self) -> list[str]:
        return [text async for text in NextQuestion.objects.values_list("text", flat=True)]

    async def get_first(self) -> NextQuestion:
        found = await NextQuestion.objects.afirst()
        assert found is not None
        return found

    async def load_list(self) -> str:
        return (await self.site.client.get(f"/c/{self.conversation}/next/", headers=HTMX)).content.decode()

    async def wait_until_asked(self, *texts: str) -> None:
        async def is_done() -> bool:
            return await self.list_asked() == ["Zero", *texts] and not await Message.objects.live().aexists()

        await wait_until(is_done)
        assert await self.list_waiting() == []


@pytest.fixture
async def page(site: Site, provider: ProviderServer) -> Page:
    provider.script = GATED
    live = await site.begin("Zero")
    conversation = await Conversation.objects.aget()
    assert (await Message.objects.aget(pk=live)).is_live
    return Page(site, str(conversation.pk))


def let_all_end(provider: ProviderServer) -> None:
    provider.script = Script(text="Done.")
    provider.release()


async def test_questions_are_kept_shown_and_asked_in_their_order(page: Page, provider: ProviderServer) -> None:
    for text in ("First", "Second", "Third"):
        kept = await page.send(text)
        assert (kept.status_code, b'hx-target="#queue"' in kept.content) == (200, True)
    shown = await page.load_list()
    assert shown.index("First") < shown.index("Second") < shown.index("Third")
    assert "Asked when this answer is complete." in shown
    whole = (await page.site.client.get(f"/c/{page.conversation}/")).content.decode()
    assert whole.index('id="queue"') < whole.index("First")  # a reload shows them too
    assert await page.list_asked() == ["Zero"]
    let_all_end(provider)
    await page.wait_until_asked("First", "Second", "Third")
    order = [answer async for answer in Message.objects.answers().values_list("status", "parent__text")]
    assert order == [("complete", text) for text in ("Zero", "First", "Second", "Third")]
    branch, _ = await sync_to_async((await Conversation.objects.aget()).load_branch)()
    assert [message.text for message in branch if message.role == "user"] == ["Zero", "First", "Second", "Third"]


async def test_the_same_form_is_one_question_before_it_is_asked_and_after(page: Page, provider: ProviderServer) -> None:
    turn = str(uuid.uuid4())
    await asyncio.gather(*(page.send("First", turn=turn) for _ in range(3)))
    assert await page.list_waiting() == ["First"]
    let_all_end(provider)
    await page.wait_until_asked("First")
    again = await page.send("First", turn=turn)
    assert b"Done." in again.content
    assert await page.list_asked() == ["Zero", "First"]


async def test_a_form_sent_twice_and_a_late_question_do_not_overtake(page: Page, provider: ProviderServer) -> None:
    """They arrive when the answer has ended, and before the question that waits for that is asked."""
    turn = str(uuid.uuid4())
    await page.send("First")
    await page.send("Second", turn=turn)
    asker, get_runner().next_questions = get_runner().next_questions, None
    assert isinstance(asker, NextQuestionAsker)
    get_runner().supervisor.sweeper.sweeps.clear()
    let_all_end(provider)
    await wait_until(lambda: Message.objects.filter(status=Status.COMPLETE, role="assistant").aexists())
    for text, form in (("Second", turn), ("Third", str(uuid.uuid4()))):
        assert b'hx-target="#queue"' in (await page.send(text, turn=form)).content
    get_runner().next_questions = asker
    await asker.sweep()
    await page.wait_until_asked("First", "Second", "Third")


async def test_many_that_find_it_due_ask_it_once(page: Page, provider: ProviderServer) -> None:
    """Two processes with their sweeps and hooks, all at once."""
    other = make_process()
    asker = other.runner.next_questions
    assert isinstance(asker, NextQuestionAsker)
    for text in ("First", "Second"):
        await page.send(text)
    let_all_end(provider)
    runners = [get_runner(), other.runner] * 3
    conversation = uuid.UUID(page.conversation)

    async def race() -> None:
        while await NextQuestion.objects.aexists():
            tries = [ask_next(runner, conversation) for runner in runners]
            await asyncio.gather(*tries, asker.sweep(), return_exceptions=True)

    await asyncio.wait_for(race(), 20)
    await page.wait_until_asked("First", "Second")
    await other.runner.drain(1)


async def test_they_are_asked_by_a_process_that_has_heard_of_nothing(page: Page, provider: ProviderServer) -> None:
    """A sweep finds the questions that a process has left which is gone."""
    get_runner().next_questions = None
    await page.send("First")
    let_all_end(provider)
    await wait_until(lambda: Message.objects.filter(status=Status.COMPLETE, role="assistant").aexists())
    await page.wait_until_asked("First")  # by the sweep that this process still has


@pytest.mark.parametrize("end", ["stopped", "interrupted"])
async def test_after_an_answer_that_is_not_whole_they_wait_and_say_so(
    end: str, page: Page, site: Site, provider: ProviderServer
) -> None:
    await page.send("First")
    await page.send("Second")
    live = await Message.objects.live().aget()
    if end == "stopped":
        await site.stop(str(live.pk))
    else:
        await get_runner().interrupt_all("timeout")
    asker = get_runner().next_questions
    assert isinstance(asker, NextQuestionAsker)
    await asker.sweep()
    assert (await page.list_asked(), await page.list_waiting()) == (["Zero"], ["First", "Second"])
    shown = await page.load_list()
    assert {"stopped": "You stopped the last answer", "interrupted": "The last answer was interrupted"}[end] in shown
    assert "Send now" in shown
    let_all_end(provider)
    first = await page.get_first()
    assert (await page.post(first.pk, "send")).status_code == 200
    await page.wait_until_asked("First", "Second")
    assert (await page.post(first.pk, "send")).status_code == 404  # sent twice


async def test_send_now_stops_what_is_being_written(page: Page, provider: ProviderServer) -> None:
    await page.send("Later")
    provider.script = Script(text="Done.")
    turn = str(uuid.uuid4())
    answers = [await page.send("Now", turn=turn, now="1") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    await page.wait_until_asked("Now", "Later")
    statuses = [status async for status in Message.objects.answers().values_list("status", flat=True)]
    assert statuses == ["stopped", "complete", "complete"]


async def test_one_that_is_too_long_to_be_sent_now_stops_nothing(
    page: Page, provider: ProviderServer, settings: Settings
) -> None:
    settings.CHAT_MAX_PROMPT_CHARS = 100
    assert (await page.send("x" * 101, now="1")).status_code == 422
    assert await Message.objects.live().acount() == 1


async def test_one_whose_model_is_gone_stops_nothing(page: Page, provider: ProviderServer, settings: Settings) -> None:
    gone = "anthropic:messages-test"
    await page.send("First", model=gone)
    settings.CHAT_MODELS = ["openai:gpt-test"]
    refused = await page.send("Now", model=gone, now="1")
    assert (refused.status_code, "does not offer that model" in refused.content.decode()) == (422, True)
    refused = await page.post((await page.get_first()).pk, "send")
    assert (refused.status_code, "no longer available" in refused.content.decode()) == (403, True)
    assert await Message.objects.live().acount() == 1
    assert (await page.list_asked(), await page.list_waiting()) == (["Zero"], ["First"])


async def test_another_text_with_the_turn_of_one_that_waits_does_not_take_its_place(
    page: Page, provider: ProviderServer
) -> None:
    """A browser that shows a page again as it was before its question was kept sends the old turn."""
    turn = str(uuid.uuid4())
    await page.send("Later", turn=turn)
    provider.script = Script(text="Done.")
    await page.send("Now", turn=turn, now="1")
    await page.wait_until_asked("Now", "Later")


async def test_the_first_is_sent_now_once_from_two_tabs(page: Page, provider: ProviderServer) -> None:
    for text in ("First", "Second"):
        await page.send(text)
    provider.script = GATED
    first = await page.get_first()
    await asyncio.gather(*(page.post(first.pk, "send") for _ in range(2)))
    assert await page.list_asked() == ["Zero", "First"]
    assert (await Message.objects.live().select_related("parent").aget()).parent.text == "First"  # type: ignore[union-attr]
    let_all_end(provider)
    await page.wait_until_asked("First", "Second")


async def test_they_are_edited_and_removed_until_they_are_asked(page: Page, provider: ProviderServer) -> None:
    for text in ("First", "Second"):
        await page.send(text)
    first, second = [row async for row in NextQuestion.objects.all()]
    assert "Better" in (await page.post(first.pk, "edit", text="Better")).content.decode()
    assert (await page.post(first.pk, "edit", text="  ")).status_code == 422
    assert "Second" not in (await page.post(second.pk, "remove")).content.decode()
    let_all_end(provider)
    await page.wait_until_asked("Better")
    for pk, what in ((first.pk, "edit"), (first.pk, "remove"), (second.pk, "remove"), (second.pk, "send")):
        assert (await page.post(pk, what, text="x")).status_code == 404


async def test_a_next_question_that_a_limit_refuses_stays_with_the_reason(
    page: Page, provider: ProviderServer, settings: Settings
) -> None:
    for text in ("First", "Second", "Third"):
        await page.send(text)
    settings.CHAT_USER_REQUESTS_PER_MINUTE = 1
    let_all_end(provider)

    async def is_refused() -> bool:
        return bool((await page.get_first()).refusal)

    await wait_until(is_refused)
    assert (await page.list_asked(), await page.list_waiting()) == (["Zero", "First"], ["Second", "Third"])
    assert "Not sent: " in await page.load_list()
    settings.CHAT_USER_REQUESTS_PER_MINUTE = 0
    await page.post((await page.get_first()).pk, "send")
    await page.wait_until_asked("First", "Second", "Third")


async def test_a_model_that_is_gone_is_not_replaced_in_silence(
    page: Page, provider: ProviderServer, settings: Settings
) -> None:
    await page.send("First", model="anthropic:messages-test")
    settings.CHAT_MODELS = ["openai:gpt-test"]
    let_all_end(provider)

    async def is_refused() -> bool:
        return "no longer available" in (await page.get_first()).refusal

    await wait_until(is_refused)
    assert await page.list_asked() == ["Zero"]


async def test_every_page_of_the_user_is_told(page: Page, provider: ProviderServer) -> None:
    told = []
    with get_runner().notices.subscribe(page.site.user.pk) as unread:
        await page.send("First")
        await page.post((await page.get_first()).pk, "edit", text="Better")
        let_all_end(provider)
        await page.wait_until_asked("Better")
        while not unread.empty():
            told.append(unread.get_nowait()["type"])
    assert told.count("next") >= 3
    assert told.count("turn") == 1


async def test_without_a_script_the_page_keeps_them_too(page: Page, provider: ProviderServer) -> None:
    form = {"content": "First", "conversation": page.conversation, "turn": str(uuid.uuid4()), "waits": "1"}
    kept = await page.site.client.post("/send/", form)
    assert (kept.status_code, kept.headers["Location"]) == (302, f"/c/{page.conversation}/")
    first = await page.get_first()
    edited = await page.site.client.post(f"/next/{first.pk}/edit/", {"text": "Better"})
    assert (edited.status_code, edited.headers["Location"]) == (302, f"/c/{page.conversation}/")
    let_all_end(provider)
    await page.wait_until_asked("Better")


async def test_in_a_deleted_conversation_nothing_is_asked_until_it_is_restored(
    page: Page, provider: ProviderServer
) -> None:
    await page.send("First")
    await Conversation.objects.aupdate(deleted_at=timezone.now())
    let_all_end(provider)
    await wait_until(lambda: Message.objects.filter(status=Status.COMPLETE, role="assistant").aexists())
    asker = get_runner().next_questions
    assert isinstance(asker, NextQuestionAsker)
    await asker.sweep()
    assert (await page.list_asked(), await page.list_waiting()) == (["Zero"], ["First"])
    await Conversation.objects.aupdate(deleted_at=None)
    await page.wait_until_asked("First")


async def test_they_are_nobody_elses(page: Page, provider: ProviderServer) -> None:
    await page.send("First")
    pk = (await page.get_first()).pk
    stranger = AsyncClient()
    await stranger.aforce_login(await User.objects.acreate_user("stranger"))
    for method, found, missing in (
        ("POST", f"/next/{pk}/edit/", "/next/999999/edit/"),
        ("POST", f"/next/{pk}/remove/", "/next/999999/remove/"),
        ("POST", f"/next/{pk}/send/", "/next/999999/send/"),
        ("GET", f"/c/{page.conversation}/next/", f"/c/{uuid.uuid4()}/next/"),
    ):
        one, other = [await stranger.generic(method, path) for path in (found, missing)]
        assert (one.status_code, one.content) == (404, other.content), found
    assert await page.list_waiting() == ["First"]
    let_all_end(provider)
    await page.wait_until_asked("First")
