"""A question asked in another way is a branch of its own, and the old one stays reachable."""

from __future__ import annotations

import json
from uuid import uuid4

from chat.models import Conversation, Message
from tests.provider_server import ProviderServer, Script
from tests.support.site import Json, Site


async def ask(site: Site, conversation: str, content: str, **fields: str) -> Json:
    return await site.ask(content, conversation, **fields)


async def load_page(site: Site, conversation: str) -> str:
    return (await site.get(f"/c/{conversation}/")).content.decode()


async def test_an_edited_question_follows_what_the_old_one_followed(site: Site, provider: ProviderServer) -> None:
    provider.enqueue(Script(text="First."), Script(text="Second."), Script(text="Third."))
    first = await site.ask("One?")
    conversation = first["conversation"]
    second = await ask(site, conversation, "Two?")
    third = await ask(site, conversation, "Two, but better?", edits=second["parent"])
    messages = provider.requests[2].body["messages"]
    assert [message["content"] for message in messages] == ["One?", "First.", "Two, but better?"]
    questions = Message.objects.filter(pk__in=(second["parent"], third["parent"]))
    assert [question.parent_id async for question in questions] == [(await Message.objects.aget(pk=first["id"])).pk] * 2


async def test_the_page_shows_the_new_branch_and_the_way_to_the_old_one(site: Site, provider: ProviderServer) -> None:
    provider.enqueue(Script(text="Old."), Script(text="New."))
    old = await site.ask("Old wording")
    new = await ask(site, old["conversation"], "New wording", edits=old["parent"])
    page = await load_page(site, old["conversation"])
    assert "New wording" in page
    assert ">Old wording</p>" not in page
    assert "Wording 2 of 2" in page
    response = await site.client.post(f"/messages/{old['parent']}/show/")
    assert response.status_code == 302
    page = await load_page(site, old["conversation"])
    assert "Old wording" in page
    assert "Old." in page
    assert "Wording 1 of 2" in page
    assert (await Conversation.objects.aget(pk=new["conversation"])).leaf_id is not None


async def test_the_box_holds_the_question_that_is_edited(site: Site) -> None:
    answer = await site.ask("What is <it>?")
    page = (await site.get(f"/c/{answer['conversation']}/?edits={answer['parent']}")).content.decode()
    box = page[page.index("<textarea") : page.index("</textarea>")]
    assert "What is &lt;it&gt;?" in box
    assert f'name="edits" value="{answer["parent"]}"' in page


async def test_the_page_asks_in_place_of_the_old_question(site: Site) -> None:
    answer = await site.ask("Old")
    form = {"content": "New", "conversation": answer["conversation"], "edits": answer["parent"], "turn": str(uuid4())}
    response = await site.client.post("/send/", form, headers={"hx-request": "true"})
    assert response.headers["HX-Redirect"] == f"/c/{answer['conversation']}/"
    assert await Message.objects.filter(role="user", parent=None).acount() == 2


async def test_only_questions_of_the_conversation_can_be_edited(site: Site) -> None:
    answer, other = await site.ask("One"), await site.ask("Other")
    path = f"/api/conversations/{answer['conversation']}/messages/"
    for edits in (other["parent"], answer["id"], str(uuid4())):
        response = await site.post(path, {"content": "New", "edits": edits})
        assert response.status_code == 404
        assert json.loads(response.content)["error"]["code"] == "not_found"
        assert (await site.get(f"/c/{answer['conversation']}/?edits={edits}")).status_code == 404
    assert (await site.get(f"/c/{answer['conversation']}/?edits=x")).status_code == 404


async def test_the_same_edit_twice_is_one_question(site: Site, provider: ProviderServer) -> None:
    answer = await site.ask("Old")
    turn = str(uuid4())
    twice = [await ask(site, answer["conversation"], "New", edits=answer["parent"], turn=turn) for _ in range(2)]
    assert twice[0]["id"] == twice[1]["id"]
    assert len(provider.requests) == 2


async def test_going_back_shows_the_branch_that_was_read_there_last(site: Site, provider: ProviderServer) -> None:
    """Not the newest one: a follow-up would look lost."""
    provider.script = Script(text="Yes.")
    first = await site.ask("One?")
    conversation = first["conversation"]
    followed = await ask(site, conversation, "Two?")
    await ask(site, conversation, "Two, but better?", edits=followed["parent"])
    await site.client.post(f"/messages/{followed['parent']}/show/")
    await site.read_events(await site.retry(first["id"]))
    response = await site.client.post(f"/messages/{first['id']}/show/", headers={"hx-request": "true"})
    assert ">Two?</p>" in response.content.decode()
    assert str((await Conversation.objects.aget(pk=conversation)).leaf_id) == followed["id"]
