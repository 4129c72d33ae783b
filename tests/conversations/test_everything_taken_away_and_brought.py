"""Everything of a user is taken away as one archive, and brought to another user as it was."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone
from pytest_django import Settings

from chat.conversations.exchange import chatgpt, files
from chat.conversations.exchange.jobs import clean_up
from chat.conversations.exchange.portable import PortableConversation
from chat.conversations.open_failures import select_open_failures
from chat.models import Conversation, ExchangeJob, ImportedAnswer, Message, ProviderCall, User
from tests.conversations.test_taking_a_conversation_away import make_conversation
from tests.provider_server import ProviderServer, Script
from tests.support.archives import (
    bring_archive,
    download,
    list_documents,
    make_site,
    pack,
    say,
    take_away,
    unpack,
    wait_for_job,
)
from tests.support.site import Site


@pytest.fixture
async def conversation(user: User) -> Conversation:
    return await sync_to_async(make_conversation)(user)


async def test_an_archive_has_every_conversation_to_read_and_to_bring(site: Site, conversation: Conversation) -> None:
    await site.begin_conversation()
    archive = await take_away(site)
    assert archive["manifest.json"]["user"]["username"] == "ada"
    assert archive["manifest.json"]["conversations"] == 2
    titles = [document["title"] for document in list_documents(archive)]
    assert sorted(titles) == ["", "Tides & <moons>"]
    assert any("It is **noon**." in text for name, text in archive.items() if name.startswith("markdown/"))


async def test_an_export_imports_the_same_for_another_user(site: Site, conversation: Conversation) -> None:
    mine = list_documents(await take_away(site))
    other = await make_site("bob")
    job = await bring_archive(other, pack({"conversations/one.json": mine[0]}))
    assert (job.error, job.report["brought"], job.report["left_out"]) == ("", 1, {})
    assert list_documents(await take_away(other)) == mine


async def test_an_archive_without_a_conversation_is_said_to_have_brought_none(site: Site) -> None:
    job = await bring_archive(site, b"[]")
    page = (await site.client.get("/account/data/")).content.decode()
    assert (job.error, job.total) == ("", 0)
    assert "<li>0 imported</li>" in page


async def test_conversations_that_are_here_are_not_imported_again(site: Site, conversation: Conversation) -> None:
    mine = list_documents(await take_away(site))
    assert (await bring_archive(site, pack({"conversations/one.json": mine[0]}))).report["already_here"] == 1
    other = await make_site("bob")
    for expected in ((1, 0), (0, 1)):
        job = await bring_archive(other, pack({"conversations/one.json": mine[0]}))
        assert (job.report["brought"], job.report["already_here"]) == expected
    assert await Conversation.objects.acount() == 2
    await Conversation.objects.filter(user=other.user).adelete()
    assert (await bring_archive(other, pack({"conversations/one.json": mine[0]}))).report["brought"] == 1


async def test_answers_that_were_brought_are_nobodys_bill_and_nobodys_failure(
    site: Site, conversation: Conversation
) -> None:
    mine = list_documents(await take_away(site))
    calls = await ProviderCall.objects.acount()
    failures = await select_open_failures().acount()
    other = await make_site("bob")
    await bring_archive(other, pack({"conversations/one.json": mine[0]}))
    assert await ProviderCall.objects.acount() == calls
    assert await select_open_failures().acount() == failures == 1
    assert await ImportedAnswer.objects.acount() == 3


async def test_a_conversation_that_was_brought_goes_on(
    site: Site, conversation: Conversation, provider: ProviderServer
) -> None:
    mine = list_documents(await take_away(site))
    other = await make_site("bob")
    await bring_archive(other, pack({"conversations/one.json": mine[0]}))
    brought = await Conversation.objects.aget(user=other.user)
    provider.script = Script(text="Now it is one.")
    answer = await other.ask("And later?", str(brought.pk))
    assert answer["text"] == "Now it is one."
    assert [message["role"] for message in provider.requests[-1].body["messages"]] == [
        *("system", "user", "assistant", "tool", "assistant", "user", "assistant", "user"),
    ]


async def test_an_answer_that_was_live_when_it_was_taken_is_brought_as_interrupted(
    site: Site, provider: ProviderServer
) -> None:
    provider.script = Script(text="One two three.", chunk_size=4, gate_after=4)
    answer = await site.begin()
    mine = list_documents(await take_away(site))
    provider.release()
    await site.stop(answer)
    other = await make_site("bob")
    await bring_archive(other, pack({"conversations/one.json": mine[0]}))
    brought = await Message.objects.aget(conversation__user=other.user, role="assistant")
    assert (brought.status, brought.error_code) == ("interrupted", "server_lost")


async def test_a_conversation_that_the_reader_stumbles_over_costs_no_other_one(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    read = chatgpt.read_conversation

    def raise_at_odd_title(value: Any) -> PortableConversation:
        if value["title"] == "Odd":
            raise KeyError("what nobody thought of")
        return read(value)

    monkeypatch.setattr(chatgpt, "read_conversation", raise_at_odd_title)
    asked = {"q": say("q", None, "user", "Why?")}
    archive = pack(
        {"conversations.json": [{"title": title, "id": title, "mapping": asked} for title in ("Odd", "Good")]}
    )
    job = await bring_archive(site, archive)
    assert (job.error, job.report["brought"], job.report["unreadable"]) == ("", 1, 1)
    [(title, sentence)] = job.report["notes"]
    assert (title, "could not read it" in sentence, "what nobody thought of" in caplog.text) == ("Odd", True, True)


# Who may have it


async def test_an_archive_is_its_owners_alone(site: Site, conversation: Conversation) -> None:
    await take_away(site)
    job = await ExchangeJob.objects.aget()
    eve = await make_site("eve")
    theirs = f"/account/data/files/{files.sign('file', str(job.pk))}/"
    nobodys = f"/account/data/files/{files.sign('file', str(uuid4()))}/"
    for path in (theirs, nobodys, "/account/data/files/x/"):
        response = await eve.get(path)
        assert response.status_code == 404
    assert (await eve.client.post(f"/account/data/jobs/{job.pk}/delete/")).status_code == 404
    assert (await eve.client.post(f"/account/data/jobs/{uuid4()}/delete/")).status_code == 404
    assert (
        await eve.client.post(f"/account/data/import/{files.sign('import', str(site.user.pk))}/")
    ).status_code == 404
    assert b"Everything as a ZIP file" not in (await eve.get("/account/data/")).content
    assert await download(site, job)


async def test_a_link_holds_for_a_day(site: Site, conversation: Conversation, monkeypatch: pytest.MonkeyPatch) -> None:
    await take_away(site)
    job = await ExchangeJob.objects.aget()
    old = files.sign("file", str(job.pk))
    assert (await site.get(f"/account/data/files/{old}/")).status_code == 200
    monkeypatch.setattr(files, "KEPT_FOR", -1)
    assert (await site.get(f"/account/data/files/{old}/")).status_code == 404


async def test_an_archive_is_deleted_after_a_day(site: Site, conversation: Conversation) -> None:
    await take_away(site)
    job = await ExchangeJob.objects.aget()
    path = files.find_path(job.pk)
    await sync_to_async(clean_up)()
    assert path.exists()
    await ExchangeJob.objects.aupdate(finished_at=timezone.now() - timedelta(hours=25))
    await sync_to_async(clean_up)()
    assert not path.exists()
    assert not await ExchangeJob.objects.aexists()


async def test_a_user_has_so_many_jobs_at_once_and_may_stop_them(
    site: Site, conversation: Conversation, settings: Settings
) -> None:
    settings.CHAT_USER_EXCHANGES = 1
    waiting = await ExchangeJob.objects.acreate(
        user=site.user, kind="export", lease_until=timezone.now() + timedelta(1)
    )
    refused = await site.client.post("/account/data/export/")
    assert (refused.status_code, b"Wait until your other exports and imports have ended" in refused.content) == (
        429,
        True,
    )
    assert (await site.client.post(f"/account/data/jobs/{waiting.pk}/delete/")).status_code == 302
    assert (await site.client.post("/account/data/export/")).status_code == 302
    await wait_for_job(await ExchangeJob.objects.aget())


async def test_a_form_that_is_sent_twice_is_one_job(site: Site, conversation: Conversation) -> None:
    turn = str(uuid4())
    for _ in range(2):
        assert (await site.client.post("/account/data/export/", {"turn": turn})).status_code == 302
    await wait_for_job(await ExchangeJob.objects.aget())


async def test_a_file_that_is_larger_than_the_site_takes_is_refused(site: Site, settings: Settings) -> None:
    settings.CHAT_IMPORT_MB = 1
    word = files.sign("import", str(site.user.pk))
    for content, status in ((b"x" * 1_000_001, 413), (b"", 400)):
        form = {"file": SimpleUploadedFile("a.zip", content)}
        response = await site.client.post(f"/account/data/import/{word}/", form)
        assert response.status_code == status
    assert not await ExchangeJob.objects.aexists()
    assert not [path for path in files.find_directory().iterdir() if path.stat().st_size > 1_000_000]


async def test_a_site_without_a_directory_has_no_archives(site: Site, settings: Settings) -> None:
    settings.CHAT_EXCHANGE_DIRECTORY = ""
    assert b"Exports and imports of everything are switched off" in (await site.get("/account/data/")).content
    assert (await site.client.post("/account/data/export/")).status_code == 404
    job = await ExchangeJob.objects.acreate(user=site.user, kind="export", finished_at=timezone.now())
    assert (await site.client.post(f"/account/data/jobs/{job.pk}/delete/")).status_code == 302


def test_an_archive_unpacks_as_it_was_packed() -> None:
    members: dict[str, Any] = {"a.json": [1], "b.txt": b"two"}
    assert unpack(pack(members)) == {"a.json": [1], "b.txt": "two"}
