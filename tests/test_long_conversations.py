"""What the model reads fits into its window: the oldest turns go, whole, and the page says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db.backends.utils import CursorWrapper
from django.db.models.signals import post_init
from pytest_django import Settings

from chat.context import fitted, halved, window_of
from chat.models import MESSAGES_SHOWN, Conversation, Message
from chat.providers import Called, Prompt, Turn
from chat.turns import READ_AT_ONCE
from tests.provider_server import ProviderServer
from tests.site import Site


def conversation_of(turns: int, chars: int = 400) -> tuple[Turn, ...]:
    pairs = ((Turn("user", f"{n}?".ljust(chars)), Turn("assistant", f"{n}.".ljust(chars))) for n in range(turns))
    return (Turn("system", "Be brief."), *(turn for pair in pairs for turn in pair), Turn("user", "And now?"))


def test_what_fits_is_left_as_it_is() -> None:
    prompt = Prompt("m", conversation_of(3))
    assert fitted(prompt, 8_000) == (prompt, 0)
    assert fitted(prompt, None) == (prompt, 0)


def test_whole_turns_go_the_oldest_first() -> None:
    prompt, omitted = fitted(Prompt("m", conversation_of(200)), 8_000)
    assert prompt.turns[0] == Turn("system", "Be brief.")
    assert prompt.turns[1].role == "user"
    assert prompt.turns[-1].content == "And now?"
    assert len(prompt.turns) == len(conversation_of(200)) - omitted
    assert 0 < prompt.size / 4 <= 0.75 * 6_000
    assert fitted(Prompt("m", conversation_of(200)), 9_000)[1] < omitted


def test_room_is_kept_for_a_long_answer() -> None:
    short = fitted(Prompt("m", conversation_of(200), max_output_tokens=500), 8_000)[1]
    long = fitted(Prompt("m", conversation_of(200), max_output_tokens=5_000), 8_000)[1]
    assert long > short


def test_the_last_question_stays_whatever_its_length() -> None:
    prompt, omitted = fitted(Prompt("m", (*conversation_of(2), Turn("user", "x" * 100_000))), 8_000)
    assert [turn.role for turn in prompt.turns] == ["system", "user"]
    assert omitted == 5


def test_an_answer_that_called_tools_is_one_message() -> None:
    call = Called("a", "calculator", "{}")
    answer = (Turn("assistant", "Let me see.", (call,)), Turn("tool", "4", call_id="a"), Turn("assistant", "Four."))
    said = (Turn("user", "2 + 2?"), *answer, Turn("user", "And now?"))
    assert halved(Prompt("m", said)) == (Prompt("m", said[-1:]), 2)
    assert fitted(Prompt("m", (*said, Turn("user", "x" * 100_000))), 8_000)[1] == 3


@pytest.mark.parametrize("turns", range(1, 6))
def test_halving_ends(turns: int) -> None:
    prompt = Prompt("m", conversation_of(turns))
    for _ in range(10):
        shorter, omitted = halved(prompt)
        if not omitted:
            break
        assert len(shorter.turns) == len(prompt.turns) - omitted
        assert shorter.turns[1].role == "user"
        prompt = shorter
    assert prompt.turns == (Turn("system", "Be brief."), Turn("user", "And now?"))


def test_windows_are_configured_or_published_or_unknown() -> None:
    assert window_of("openai:gpt-4o", {}) == 128_000
    assert window_of("openai:gpt-4o", {"openai:gpt-4o": 8_000}) == 8_000
    assert window_of("openai:nobody-knows-it", {}) is None


def fill(site: Site, turns: int) -> str:
    """A conversation of so many turns, as the site would have kept it."""
    conversation = Conversation.objects.create(user=site.user, title="Long")
    leaf = None
    for turn in conversation_of(turns)[1:-1]:
        leaf = Message.objects.create(
            conversation=conversation,
            parent=leaf,
            role=turn.role,
            text=turn.content,
            model="openai:gpt-test" if turn.role == "assistant" else "",
            position=len(turn.content) if turn.role == "assistant" else 0,
        )
    Conversation.objects.filter(pk=conversation.pk).update(leaf=leaf)
    return str(conversation.pk)


async def test_two_hundred_turns_are_fitted_and_the_page_says_so(
    site: Site, provider: ProviderServer, settings: Settings, model: str
) -> None:
    settings.CHAT_CONTEXT_WINDOWS = {model: 8_000}
    conversation = await sync_to_async(fill)(site, 200)
    answer = await site.ask("And now?", conversation, model=model)
    assert answer["status"] == "complete"
    messages = provider.requests[0].body["messages"]
    assert messages[0]["role"] == "user"
    assert 1 < len(messages) < 80
    omitted = (await Message.objects.aget(pk=answer["id"])).omitted
    assert omitted == 401 - len(messages)
    page = (await site.get(f"/c/{conversation}/")).content.decode()
    assert f"{omitted} earlier messages did not fit" in " ".join(page.split())


async def test_all_is_told_in_its_order_where_the_window_is_not_known(site: Site, provider: ProviderServer) -> None:
    turns = READ_AT_ONCE + 1
    conversation = await sync_to_async(fill)(site, turns)
    await site.ask("And now?", conversation)
    told = [message["content"].strip() for message in provider.requests[0].body["messages"]]
    assert told == [*(f"{n}{mark}" for n in range(turns) for mark in "?."), "And now?"]


@contextmanager
def loaded() -> Iterator[list[Message]]:
    """The messages that are read from the database meanwhile."""
    messages: list[Message] = []

    def note(instance: Message, **_: Any) -> None:
        messages.append(instance)

    post_init.connect(note, sender=Message)
    try:
        yield messages
    finally:
        post_init.disconnect(note, sender=Message)


async def test_what_is_not_told_is_not_read(site: Site, settings: Settings) -> None:
    settings.CHAT_CONTEXT_WINDOWS = {"openai:gpt-test": 8_000}
    conversation = await sync_to_async(fill)(site, 200)
    with loaded() as messages:
        await site.ask("And now?", conversation)
    assert len(messages) < READ_AT_ONCE + 20


async def test_what_is_not_shown_is_not_read(site: Site) -> None:
    conversation = await sync_to_async(fill)(site, 200)
    with loaded() as messages:
        await site.get(f"/c/{conversation}/")
    assert MESSAGES_SHOWN <= len(messages) < MESSAGES_SHOWN + 20


@pytest.mark.parametrize("path", ["/c/{}/", "/api/conversations/{}/"])
async def test_a_longer_conversation_takes_no_more_queries(
    site: Site, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    conversations = [await sync_to_async(fill)(site, turns) for turns in (MESSAGES_SHOWN, 3 * MESSAGES_SHOWN)]
    execute = CursorWrapper.execute
    queries: list[str] = []

    def counted(cursor: CursorWrapper, sql: str, *args: Any) -> Any:
        queries.append(sql)
        return execute(cursor, sql, *args)

    monkeypatch.setattr(CursorWrapper, "execute", counted)
    numbers = []
    for conversation in conversations:
        queries.clear()
        assert (await site.get(path.format(conversation))).status_code == 200
        numbers.append(len(queries))
    assert 0 < numbers[1] <= numbers[0]
