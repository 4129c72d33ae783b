"""A reader rates an answer: once, changeably, removably, and nobody else's."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import AsyncClient
from pytest_django import Settings

from chat.models import COMMENT_LENGTH, Conversation, Message, Rating, User
from tests.provider_server import ProviderServer, Script
from tests.support.site import Site


@pytest.fixture
async def answer(site: Site, provider: ProviderServer) -> str:
    provider.script = Script(text="Because air scatters it.")
    return str((await site.ask())["id"])


async def rate(site: Site, answer: str, **fields: Any) -> Any:
    return await site.post(f"/api/answers/{answer}/rating/", fields)


async def remove(site: Site, answer: str) -> Any:
    return await site.client.delete(f"/api/answers/{answer}/rating/")


async def test_a_rating_is_kept_with_its_comment_and_stands_in_the_answer(site: Site, answer: str) -> None:
    assert (await site.answer(answer))["rating"] is None
    response = await rate(site, answer, value="up", comment=" Clear. ", consent=True)
    assert response.status_code == 200
    kept = response.json()
    assert {**kept, "at": ""} == {"value": "up", "comment": "Clear.", "consent": True, "at": ""}
    assert (await site.answer(answer))["rating"] == kept
    rating = await Rating.objects.aget()
    assert (rating.model, rating.prompt) == ("openai:gpt-test", "")


async def test_the_conversation_has_the_ratings_of_all_its_answers(site: Site, answer: str) -> None:
    await rate(site, answer, value="down")
    message = await Message.objects.aget(pk=answer)
    found = json.loads((await site.get(f"/api/conversations/{message.conversation_id}/")).content)
    assert found["messages"][1]["rating"]["value"] == "down"


async def test_the_same_rating_again_changes_nothing(site: Site, answer: str) -> None:
    first = (await rate(site, answer, value="up", comment="Clear.")).json()
    again = (await rate(site, answer, value="up", comment="Clear.")).json()
    assert again == first
    assert await Rating.objects.acount() == 1


async def test_fields_that_are_left_out_stay_as_they_were(site: Site, answer: str) -> None:
    await rate(site, answer, value="up", comment="Clear.", consent=True)
    changed = (await rate(site, answer, value="down")).json()
    assert (changed["value"], changed["comment"], changed["consent"]) == ("down", "Clear.", True)
    withdrawn = (await rate(site, answer, value="down", comment="", consent=False)).json()
    assert (withdrawn["comment"], withdrawn["consent"]) == ("", False)


async def test_ten_simultaneous_ratings_leave_one(site: Site, answer: str) -> None:
    responses = await asyncio.gather(*(rate(site, answer, value=("up", "down")[n % 2]) for n in range(10)))
    assert {response.status_code for response in responses} == {200}
    assert await Rating.objects.acount() == 1


async def test_a_rating_is_removed_however_often_that_is_asked(site: Site, answer: str) -> None:
    await rate(site, answer, value="up")
    for _ in range(2):
        assert (await remove(site, answer)).status_code == 204
    assert (await site.answer(answer))["rating"] is None


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"value": "good"},
        {"value": 1},
        {"value": "up", "comment": 3},
        {"value": "up", "consent": "yes"},
        {"value": "up", "comment": "x" * 2001},
    ],
)
async def test_an_invalid_rating_is_refused(site: Site, answer: str, fields: dict[str, Any]) -> None:
    response = await rate(site, answer, **fields)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "bad_request")
    assert not await Rating.objects.aexists()


async def test_text_that_no_database_takes_is_made_storable(site: Site, answer: str) -> None:
    assert (await rate(site, answer, value="up", comment="a\0b\ud800")).json()["comment"] == "a\ufffdb\ufffd"


async def test_a_live_answer_is_not_rated(site: Site, provider: ProviderServer) -> None:
    provider.script = Script(text="Slowly.", gate_after=2)
    live = await site.begin()
    response = await rate(site, live, value="up")
    assert (response.status_code, response.json()["error"]["code"]) == (409, "busy")
    page = await site.client.post(f"/answers/{live}/rate/", {"rating": "up"})
    assert page.status_code == 409
    provider.release()
    assert not await Rating.objects.aexists()


async def test_somebody_elses_answer_is_one_that_does_not_exist(site: Site, answer: str) -> None:
    other = await sync_to_async(User.objects.create_user)("eve")
    stranger = await sync_to_async(Site)(other)
    missing = str(uuid.uuid4())
    for send in (rate, remove):
        fields = {"value": "up"} if send is rate else {}
        theirs, none = await send(stranger, answer, **fields), await send(stranger, missing, **fields)
        assert (theirs.status_code, theirs.content) == (404, none.content)
    client = AsyncClient()
    await client.aforce_login(other)
    for path in ("rate", "rating"):
        found = await client.post(f"/answers/{answer}/{path}/", {"rating": "up", "value": "up"})
        none = await client.post(f"/answers/{missing}/{path}/", {"rating": "up", "value": "up"})
        assert (found.status_code, found.content) == (404, none.content)
    assert not await Rating.objects.aexists()


async def test_a_question_is_not_rated(site: Site, answer: str) -> None:
    question = (await Message.objects.aget(pk=answer)).parent_id
    assert (await rate(site, str(question), value="up")).status_code == 404


async def test_a_rating_goes_with_its_conversation_and_with_its_reader(site: Site, answer: str) -> None:
    await rate(site, answer, value="up")
    await sync_to_async(Conversation.objects.all().delete)()
    assert not await Rating.objects.aexists()


async def test_a_rating_says_which_system_prompt_it_was_given_with(site: Site, answer: str, settings: Settings) -> None:
    settings.CHAT_SYSTEM_PROMPT = "Be brief."
    await rate(site, answer, value="up")
    first = (await Rating.objects.aget()).prompt
    assert first.startswith("site ")
    settings.CHAT_SYSTEM_PROMPT = "Be long."
    await rate(site, answer, value="down")
    assert (await Rating.objects.aget()).prompt not in {first, ""}
    message = await Message.objects.aget(pk=answer)
    await Conversation.objects.filter(pk=message.conversation_id).aupdate(system_prompt="A secret of mine")
    await rate(site, answer, value="up")
    assert (await Rating.objects.aget()).prompt == "own"


# The page, without JavaScript and with it


async def test_the_page_rates_and_shows_it_without_a_script(site: Site, answer: str) -> None:
    response = await site.client.post(f"/answers/{answer}/rate/", {"rating": "down", "content": "half a question"})
    assert response.status_code == 302
    page = (await site.client.get(response.headers["Location"].partition("#")[0])).content.decode()
    assert page.count('aria-pressed="true"') == 1
    assert "Comment on this answer" in page
    form = (await site.client.get(f"/answers/{answer}/rating/")).content.decode()
    assert "The staff of this site may read" in form
    sent = {"value": "down", "comment": "Wrong.", "may_be_read": "on"}
    assert (await site.client.post(f"/answers/{answer}/rating/", sent)).status_code == 302
    rating = await Rating.objects.aget()
    assert (rating.value, rating.comment, rating.may_be_read) == ("down", "Wrong.", True)


async def test_a_second_press_removes_the_rating_and_the_foot_comes_back(site: Site, answer: str) -> None:
    htmx = {"HX-Request": "true"}
    up = await site.client.post(f"/answers/{answer}/rate/", {"rating": "up"}, headers=htmx)
    assert up.headers["HX-Retarget"] == f"#foot-{answer}"
    assert up.content.decode().count('aria-pressed="true"') == 1
    none = await site.client.post(f"/answers/{answer}/rate/", {"rating": ""}, headers=htmx)
    assert 'aria-pressed="true"' not in none.content.decode()
    assert not await Rating.objects.aexists()


async def test_a_comment_form_that_is_wrong_says_so_in_its_place(site: Site, answer: str) -> None:
    htmx = {"HX-Request": "true"}
    response = await site.client.post(f"/answers/{answer}/rating/", {"comment": "Hm."}, headers=htmx)
    assert response.status_code == 422
    assert "Say whether the answer is good or bad." in response.content.decode()
    assert "HX-Retarget" not in response.headers


async def test_a_comment_is_as_long_as_its_page_counts_it(site: Site, answer: str) -> None:
    """A browser counts a line's end as one character, and sends it as two."""
    comment = "ab\n" * (COMMENT_LENGTH // 3)
    sent = {"value": "up", "comment": comment.replace("\n", "\r\n")}
    assert (await site.client.post(f"/answers/{answer}/rating/", sent)).status_code == 302
    assert (await Rating.objects.aget()).comment == comment.strip()
