"""Effort: the conversation's or the site's, in levels for people and in the provider's words, kept with the answer."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import sync_to_async
from pytest_django import Settings

from chat.conversations import effort
from chat.models import Conversation, Message
from chat.providers.capabilities import Capabilities
from tests.provider_server import ProviderServer
from tests.support.site import Site

# Models of the capability table: five efforts with the default in the middle, the least effort as default, none.
THINKING, DEFAULT_NONE, PLAIN = "anthropic:claude-sonnet-5-5", "openai:gpt-5.1", "openai:gpt-4o"


@pytest.fixture(autouse=True)
def models(settings: Settings, site: Site) -> None:
    settings.CHAT_MODELS = [THINKING, DEFAULT_NONE, PLAIN]


@pytest.mark.parametrize(
    ("efforts", "default", "words"),
    [
        ((), "", {}),
        (("high",), "high", {"balanced": "high"}),
        (("low", "high"), "high", {"fast": "low", "thorough": "high"}),
        (("low", "medium", "high"), "medium", {"fast": "low", "balanced": "medium", "thorough": "high"}),
        (("none", "low", "medium", "high"), "none", {"fast": "none", "balanced": "medium", "thorough": "high"}),
        (("low", "medium", "high", "max"), "high", {"fast": "low", "balanced": "high", "thorough": "max"}),
    ],
)
def test_each_level_has_a_word_of_its_own(efforts: tuple[str, ...], default: str, words: dict[str, str]) -> None:
    assert effort.find_words_by_level(Capabilities(efforts=efforts, default_effort=default)) == words


@pytest.mark.parametrize(
    ("wish", "word"), [("fast", "low"), ("thorough", "max"), ("xhigh", "xhigh"), ("high", "high"), ("balanced", None)]
)
async def test_a_question_sets_the_effort_of_its_conversation(site: Site, wish: str, word: str | None) -> None:
    """The level that is the model's default already is no wish: the conversation goes on following the default."""
    answer = await site.ask(model=THINKING, effort=wish)
    assert answer["effort"] == word
    assert (await Message.objects.aget(pk=answer["id"])).effort == (word or "")
    assert (await Conversation.objects.aget(pk=answer["conversation"])).effort == (word or "")
    assert (await site.ask("Again", answer["conversation"], model=THINKING))["effort"] == word


@pytest.mark.parametrize(
    ("model", "wish", "sentence"),
    [
        (PLAIN, "high", "gpt-4o does not take an effort."),
        (PLAIN, "fast", "gpt-4o does not take an effort."),
        (THINKING, "none", "claude-sonnet-5-5 takes one of these efforts: fast, balanced, thorough, low, medium, high"),
        (THINKING, ["high"], "`effort` must be a string."),
    ],
)
async def test_an_effort_that_the_model_does_not_take_is_refused_before_anything_is_kept(
    site: Site, provider: ProviderServer, model: str, wish: Any, sentence: str
) -> None:
    conversation = await site.begin_conversation()
    body = {"content": "Hi", "model": model, "effort": wish}
    response = await site.post(f"/api/conversations/{conversation}/messages/", body)
    assert response.status_code == 400
    assert sentence in response.content.decode()
    assert not await Message.objects.aexists()
    assert provider.requests == []


async def test_another_model_gets_the_nearest_effort_that_it_has(site: Site) -> None:
    first = await site.ask(model=THINKING, effort="max")
    conversation = first["conversation"]
    nearest = await sync_to_async(effort.choose_effort)(Conversation(effort="max"), DEFAULT_NONE)
    assert nearest not in ("", "max")
    assert (await site.ask("Again", conversation, model=DEFAULT_NONE))["effort"] == nearest
    assert (await site.ask("Again", conversation, model=PLAIN))["effort"] is None
    assert (await Conversation.objects.aget(pk=conversation)).effort == "max"


async def test_the_site_has_an_effort_for_each_model(site: Site, settings: Settings) -> None:
    settings.CHAT_EFFORT = {THINKING: "low"}
    answer = await site.ask(model=THINKING)
    assert answer["effort"] == "low"
    assert (await site.ask("Again", answer["conversation"], model=THINKING, effort="thorough"))["effort"] == "max"


async def test_a_retry_may_have_another_effort(site: Site) -> None:
    first = await site.ask(model=THINKING)
    response = await site.post(f"/api/answers/{first['id']}/retry/", {"effort": "thorough"})
    assert response.status_code == 202
    attempts = Message.objects.answers().order_by("created_at")
    assert [answer.effort async for answer in attempts] == ["", "max"]


async def test_the_page_offers_the_levels_of_the_chosen_model_and_shows_them_at_the_foot(site: Site) -> None:
    answer = await site.ask(model=THINKING, effort="thorough")
    page = " ".join((await site.get(f"/c/{answer['conversation']}/")).content.decode().split())
    assert '<option value="thorough" selected>Thorough (max)</option>' in page
    assert '<option value="fast" >Fast (low)</option>' in page
    assert "claude-sonnet-5-5 · Thorough (max)" in page
    other = await site.ask(model=PLAIN)
    page = (await site.get(f"/c/{other['conversation']}/")).content.decode()
    assert "No effort levels" in page


async def test_the_page_sends_the_effort_that_its_picker_shows(site: Site) -> None:
    form = {"content": "Hi", "model": THINKING, "effort": "fast"}
    assert (await site.client.post("/send/", form)).status_code == 302
    assert (await Conversation.objects.aget()).effort == "low"


async def test_the_settings_grey_out_what_the_model_does_not_take_and_say_why(site: Site) -> None:
    answer = await site.ask(model=THINKING)
    path = f"/c/{answer['conversation']}/settings/"
    page = (await site.get(path)).content.decode()
    assert "claude-sonnet-5-5 does not take a temperature." in page
    assert "Thorough (max)" in page
    await site.client.post(path, {"title": "T", "temperature": "0.5", "effort": "max"})
    changed = await Conversation.objects.aget(pk=answer["conversation"])
    assert (changed.effort, changed.temperature) == ("max", None)
    await site.ask("Again", answer["conversation"], model=PLAIN)
    page = (await site.get(path)).content.decode()
    assert "gpt-4o does not take an effort." in page
    assert "does not take a temperature" not in page
    await site.client.post(path, {"title": "T", "temperature": "0.5", "effort": "low"})
    changed = await Conversation.objects.aget(pk=answer["conversation"])
    assert (changed.effort, changed.temperature) == ("max", 0.5)


async def test_openai_models_take_a_temperature_only_while_they_do_not_think(site: Site) -> None:
    answer = await site.ask(model=DEFAULT_NONE)
    path = f"/c/{answer['conversation']}/settings/"
    assert "takes a temperature only with" not in (await site.get(path)).content.decode()
    await site.client.post(path, {"title": "T", "effort": "high"})
    assert "takes a temperature only with the effort “none”" in (await site.get(path)).content.decode()
