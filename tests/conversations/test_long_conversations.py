"""What the model reads fits into its window: the oldest turns go, whole, and the page says so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db.models.signals import post_init
from pytest_django import Settings

from chat.conversations.context_window import LEAVE_TOGETHER, find_context_window, fit_into_window, halve_prompt
from chat.conversations.prompts import READ_AT_ONCE
from chat.models import MESSAGES_SHOWN, Message
from chat.providers.base import CalledTool, Prompt, Thinking, ToolSchema, Turn
from chat.providers.native_content import write_extra
from tests.provider_server import ProviderServer
from tests.support.long_conversations import fill_conversation, make_conversation
from tests.support.site import Site
from tests.support.statements import hear_statements


def test_a_conversation_that_fits_is_left_as_it_is() -> None:
    prompt = Prompt("m", make_conversation(3))
    assert fit_into_window(prompt, 8_000) == (prompt, 0)
    assert fit_into_window(prompt, None) == (prompt, 0)


def test_whole_turns_go_the_oldest_first() -> None:
    prompt, omitted = fit_into_window(Prompt("m", make_conversation(200)), 8_000)
    assert prompt.turns[0] == Turn("system", "Be brief.")
    assert prompt.turns[1].role == "user"
    assert prompt.turns[-1].content == "And now?"
    assert len(prompt.turns) == len(make_conversation(200)) - omitted
    assert 0 < prompt.size / 4 <= 0.75 * 6_000
    assert fit_into_window(Prompt("m", make_conversation(200)), 9_000)[1] < omitted


def test_room_is_kept_for_a_long_answer() -> None:
    short = fit_into_window(Prompt("m", make_conversation(200), max_output_tokens=500), 8_000)[1]
    long = fit_into_window(Prompt("m", make_conversation(200), max_output_tokens=5_000), 8_000)[1]
    assert long > short


def add_native_forms(turns: tuple[Turn, ...], model: str, chars: int = 2_000) -> tuple[Turn, ...]:
    """Return the same turns, each answer with a native form that has so many characters of reasoning."""
    form = write_extra(model, {"items": [{"type": "reasoning", "encrypted_content": "x" * chars}]})
    return tuple(replace(turn, native_form=form) if turn.role == "assistant" else turn for turn in turns)


@pytest.mark.parametrize("origin", ["m", "m at https://api.example/v1 by /responses"])
def test_content_in_native_form_takes_room_in_the_window(origin: str) -> None:
    plain = Prompt("m", make_conversation(20))
    assert fit_into_window(plain, 8_000) == (plain, 0)
    prompt, omitted = fit_into_window(replace(plain, turns=add_native_forms(plain.turns, origin)), 8_000)
    assert omitted > 0
    sent = sum(len(turn.content) + len(turn.native_form) for turn in prompt.turns)
    assert sent / 4 <= 6_000


def test_content_of_another_model_takes_no_room() -> None:
    """It is not sent: `m-mini` has a name that begins as the other's does."""
    turns = add_native_forms(make_conversation(20), "m-mini")
    assert fit_into_window(Prompt("m", turns), 8_000) == (Prompt("m", turns), 0)


def test_arguments_and_thoughts_of_calls_take_room() -> None:
    calls = tuple(CalledTool(str(n), "write", json.dumps({"text": "x" * 2_000})) for n in range(20))
    asked = [
        (Turn("user", "Write."), Turn("assistant", "", (call,)), Turn("tool", "", call_id=call.id)) for call in calls
    ]
    prompt = Prompt("m", tuple(turn for turns in asked for turn in turns))
    assert fit_into_window(prompt, 8_000)[1] > 0
    thinking = (Thinking("A summary.", "x" * 4_000),)
    assert Prompt("m", (Turn("assistant", "", thinking=thinking),)).size == 4_000


def test_tools_and_a_schema_take_room() -> None:
    whole = Prompt("m", make_conversation(20))
    tool = ToolSchema("look_up", "x" * 12_000, {"type": "object"})
    assert fit_into_window(replace(whole, tools=(tool,)), 8_000)[1] > 0
    schema = {"type": "object", "properties": {"word": {"type": "string", "description": "x" * 12_000}}}
    assert fit_into_window(replace(whole, response_schema=schema), 8_000)[1] > 0


def test_the_last_question_stays_whatever_its_length() -> None:
    prompt, omitted = fit_into_window(Prompt("m", (*make_conversation(2), Turn("user", "x" * 100_000))), 8_000)
    assert [turn.role for turn in prompt.turns] == ["system", "user"]
    assert omitted == 5


def test_an_answer_that_called_tools_is_one_message() -> None:
    call = CalledTool("a", "calculator", "{}")
    answer = (Turn("assistant", "Let me see.", (call,)), Turn("tool", "4", call_id="a"), Turn("assistant", "Four."))
    said = (Turn("user", "2 + 2?"), *answer, Turn("user", "And now?"))
    assert halve_prompt(Prompt("m", said)) == (Prompt("m", said[-1:]), 2)
    assert fit_into_window(Prompt("m", (*said, Turn("user", "x" * 100_000))), 8_000)[1] == 3


@pytest.mark.parametrize("turns", range(1, 6))
def test_halving_a_prompt_ends_at_the_last_question(turns: int) -> None:
    prompt = Prompt("m", make_conversation(turns))
    for _ in range(10):
        shorter, omitted = halve_prompt(prompt)
        if not omitted:
            break
        assert len(shorter.turns) == len(prompt.turns) - omitted
        assert shorter.turns[1].role == "user"
        prompt = shorter
    assert prompt.turns == (Turn("system", "Be brief."), Turn("user", "And now?"))


def test_windows_are_configured_or_published_or_unknown() -> None:
    assert find_context_window("openai:gpt-4o", {}) == 128_000
    assert find_context_window("openai:gpt-4o", {"openai:gpt-4o": 8_000}) == 8_000
    assert find_context_window("openai:nobody-knows-it", {}) is None


async def test_two_hundred_turns_are_fitted_and_the_page_says_so(
    site: Site, provider: ProviderServer, settings: Settings, model: str
) -> None:
    settings.CHAT_CONTEXT_WINDOWS = {model: 8_000}
    conversation = await sync_to_async(fill_conversation)(site, 200)
    answer = await site.ask("And now?", conversation, model=model)
    assert answer["status"] == "complete"
    messages = provider.requests[0].body["messages"]
    assert messages[0]["role"] == "user"
    assert 1 < len(messages) < 80
    omitted = (await Message.objects.aget(pk=answer["id"])).omitted
    assert omitted == 401 - len(messages)
    page = (await site.get(f"/c/{conversation}/")).content.decode()
    assert f"{omitted} earlier messages did not fit" in " ".join(page.split())


def test_at_a_full_window_the_next_turns_begin_with_the_same_message() -> None:
    first = []
    for turns in range(200, 220):
        fitted, omitted = fit_into_window(Prompt("m", make_conversation(turns)), 8_000)
        assert omitted % LEAVE_TOGETHER == 0
        first.append((omitted, fitted.turns[1]))
    assert 2 <= len(set(first)) <= 4


async def test_every_message_is_sent_in_order_where_the_window_is_unknown(site: Site, provider: ProviderServer) -> None:
    turns = READ_AT_ONCE + 1
    conversation = await sync_to_async(fill_conversation)(site, turns)
    await site.ask("And now?", conversation)
    told = [message["content"].strip() for message in provider.requests[0].body["messages"]]
    assert told == [*(f"{n}{mark}" for n in range(turns) for mark in "?."), "And now?"]


@contextmanager
def note_loaded_messages() -> Iterator[list[Message]]:
    """Yield a list of the messages that are read from the database in this block."""
    messages: list[Message] = []

    def note(instance: Message, **_: Any) -> None:
        messages.append(instance)

    post_init.connect(note, sender=Message)
    try:
        yield messages
    finally:
        post_init.disconnect(note, sender=Message)


async def test_messages_that_no_model_is_sent_are_not_read(site: Site, settings: Settings) -> None:
    settings.CHAT_CONTEXT_WINDOWS = {"openai:gpt-test": 8_000}
    conversation = await sync_to_async(fill_conversation)(site, 200)
    with note_loaded_messages() as messages:
        await site.ask("And now?", conversation)
    assert len(messages) < READ_AT_ONCE + 20


async def test_messages_that_are_not_shown_are_not_read(site: Site) -> None:
    conversation = await sync_to_async(fill_conversation)(site, 200)
    with note_loaded_messages() as messages:
        await site.get(f"/c/{conversation}/")
    assert MESSAGES_SHOWN <= len(messages) < MESSAGES_SHOWN + 20


@contextmanager
def count_statements() -> Iterator[list[str]]:
    """Yield the statements that this context makes meanwhile, without those of the sweep, which runs beside it."""
    statements: list[str] = []
    mine: ContextVar[bool] = ContextVar("mine", default=False)

    def note(sql: str) -> None:
        if mine.get():
            statements.append(sql)

    with hear_statements(note):
        token = mine.set(True)
        yield statements
        mine.reset(token)


@pytest.mark.parametrize("path", ["/c/{}/", "/api/conversations/{}/"])
async def test_a_longer_conversation_takes_no_more_queries(site: Site, path: str) -> None:
    conversations = [
        await sync_to_async(fill_conversation)(site, turns) for turns in (MESSAGES_SHOWN, 3 * MESSAGES_SHOWN)
    ]
    numbers = []
    for conversation in conversations:
        with count_statements() as statements:
            assert (await site.get(path.format(conversation))).status_code == 200
        numbers.append(len(statements))
    assert 0 < numbers[1] <= numbers[0]
