"""The index has what was asked and answered at once, live answers included, and nothing of what was deleted."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from asgiref.sync import sync_to_async
from django.core.management import call_command

from chat.models import Conversation, Message, Role, SearchEntry, Status, User
from chat.search.hits import Filters
from chat.search.index import index_some, sweep
from tests.provider_server import ProviderServer, Script
from tests.support.searching import find, index_all, keep_turn, read_index
from tests.support.site import Site
from tests.support.waiting import wait_until


@sync_to_async
def find_texts(user: User, text: str) -> list[str]:
    return find(user, text)


async def test_a_question_and_its_answer_are_found_at_once_and_indexed_by_the_sweep(
    site: Site, provider: ProviderServer, user: User
) -> None:
    provider.script = Script(text="Because of Rayleigh.")
    await site.ask("Why is the sky blue?")
    assert len(await find_texts(user, "rayleigh")) == 1
    assert await SearchEntry.objects.acount() == 0
    await sweep()
    assert await SearchEntry.objects.acount() == 3
    assert await Message.objects.filter(is_indexed=True).acount() == 2
    assert await find_texts(user, '"the sky"') == ["Why is the sky blue?"] * 2  # the title has the question's words
    assert await find_texts(user, "rayleigh") == ["Because of Rayleigh."]


async def test_a_live_answer_is_found_by_what_it_says_so_far(site: Site, provider: ProviderServer, user: User) -> None:
    provider.script = Script(text="Because of Rayleigh and others.", gate_after=12)
    live = await site.begin("Why?")

    async def is_found() -> bool:
        return bool(await find_texts(user, "because"))

    await wait_until(is_found)
    await sweep()
    assert await SearchEntry.objects.filter(source=live).acount() == 0
    assert await find_texts(user, "because")
    await site.stop(live)
    await sweep()
    assert await SearchEntry.objects.filter(source=live, status=Status.STOPPED).acount() == 1
    assert len(await find_texts(user, "because")) == 1


async def test_a_continued_answer_is_found_once_by_all_of_its_text(
    site: Site, provider: ProviderServer, user: User
) -> None:
    provider.script = Script(text="Because of Rayleigh", finish_reason="length")
    answer = await site.ask("Why?")
    await sweep()
    provider.script = Script(text=" scattering.")
    await site.read_events((await continue_answer(site, answer["id"]))["answer"])
    assert len(await find_texts(user, "scattering")) == 1
    assert len(await find_texts(user, "rayleigh")) == 1
    await sweep()
    assert len(await find_texts(user, "scattering")) == 1
    assert len(await find_texts(user, "rayleigh")) == 1


async def continue_answer(site: Site, answer: str) -> dict[str, str]:
    response = await site.post(f"/api/answers/{answer}/continue/")
    assert response.status_code == 202
    body: dict[str, str] = json.loads(response.content)
    return body


async def test_a_deleted_conversation_leaves_the_index(site: Site, provider: ProviderServer, user: User) -> None:
    provider.script = Script(text="Because of Rayleigh.")
    answer = await site.ask("Why is the sky blue?")
    await sync_to_async(index_all)()
    response = await site.client.post(f"/c/{answer['conversation']}/delete/")
    assert response.status_code == 302
    assert await find_texts(user, "rayleigh") == []
    assert await find_texts(user, "sky") == []
    await Conversation.objects.filter(pk=answer["conversation"]).aupdate(deleted_at=None)  # it is taken back
    assert len(await find_texts(user, "sky")) == 2
    await (await Conversation.objects.aget(pk=answer["conversation"])).adelete()
    assert await sync_to_async(read_index)() == {}


def test_whatever_was_written_in_passing_is_found_at_once_and_indexed_by_a_sweep(user: User) -> None:
    made = keep_turn(user, "Old name", "a question", "an answer")
    index_all()
    Conversation.objects.filter(pk=made.pk).update(title="New name")
    Message.objects.bulk_create(Message(conversation=made, role=Role.USER, text=f"brought {n}") for n in range(3))
    assert find(user, "old name") == []
    assert (find(user, "new"), len(find(user, "brought"))) == (["New name"], 3)
    assert index_some(2) == 3
    assert index_some(2) == 1
    assert index_some(2) == 0
    assert find(user, "old name") == []
    assert (find(user, "new"), len(find(user, "brought"))) == (["New name"], 3)


async def test_the_index_is_what_a_rebuild_makes(site: Site, provider: ProviderServer, user: User) -> None:
    provider.script = Script(text="Because of Rayleigh, 東京 “said”.")
    answer = await site.ask("Why is the sky blue?")
    await site.ask("And at night?", answer["conversation"])
    await site.read_events(await site.retry(answer["id"]))
    await sync_to_async(index_all)()
    kept = await sync_to_async(read_index)()
    assert len(kept) == 6
    await sync_to_async(rebuild)("--all", "--batch", "2")
    assert await sync_to_async(read_index)() == kept
    await SearchEntry.objects.all().adelete()
    assert await sync_to_async(read_index)() == {}
    await sync_to_async(rebuild)("--all")
    assert await sync_to_async(read_index)() == kept


def rebuild(*options: str) -> str:
    told = StringIO()
    call_command("rebuild_search", *options, stdout=told)
    return told.getvalue()


def test_a_rebuild_goes_on_where_it_was(user: User) -> None:
    for number in range(5):
        keep_turn(user, "", f"needle {number}")
    index_some(2)
    assert "indexed" in rebuild("--batch", "2")
    assert rebuild() == "The index has everything.\n"
    ids = sorted(Message.objects.values_list("pk", flat=True))
    SearchEntry.objects.all().delete()
    rebuild("--all", "--after", str(ids[2]))
    assert set(SearchEntry.objects.exclude(role="title").values_list("source", flat=True)) == set(ids[3:])


def test_a_rebuild_removes_what_is_left_of_deleted_conversations(user: User) -> None:
    made = keep_turn(user, "Gone", "needle")
    index_all()
    Conversation.objects.filter(pk=made.pk).update(leaf=None)
    made.messages.all()._raw_delete("default")  # as a process of an older version does, which has no such table
    Conversation.objects.filter(pk=made.pk)._raw_delete("default")
    assert SearchEntry.objects.count() == 2
    assert find(user, "needle") == []
    assert "2 entries" in rebuild("--all")
    assert read_index() == {}


def test_filters_exclude_what_does_not_match(user: User) -> None:
    keep_turn(user, "needle title", "needle question", "needle answer", model="demo:two")
    for is_indexed in (False, True):
        if is_indexed:
            index_all()
        assert len(find(user, "needle")) == 3
        assert find(user, "needle", Filters(model="demo:two")) == ["needle answer"]
        assert find(user, "needle", Filters(model="demo:one")) == []
        assert find(user, "needle", Filters(role="user")) == ["needle question"]
        assert find(user, "needle", Filters(role="title")) == ["needle title"]
        assert find(user, "needle", Filters(status="stopped")) == []
        at = Message.objects.get(role=Role.USER).created_at
        assert "needle question" in find(user, "needle", Filters(since=at))
        assert "needle question" not in find(user, "needle", Filters(until=at))


@pytest.mark.parametrize("is_indexed", [True, False])
def test_nobody_finds_the_words_of_another_user(user: User, is_indexed: bool) -> None:
    other = User.objects.create_user("grace")
    keep_turn(other, "needle", "needle", "needle")
    if is_indexed:
        index_all()
    assert find(user, "needle") == []
    assert find(user, "need") == []
    assert len(find(other, "need")) == 3
