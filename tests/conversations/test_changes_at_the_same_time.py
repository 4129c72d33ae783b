"""Two changes of one conversation at the same time: neither takes back what the other wrote."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection, connections
from django.test import Client
from pytest_django import Settings

from chat.conversations.turn_ids import make_turn_id
from chat.conversations.turns import keep_retry
from chat.models import Conversation, Message, User
from tests.support.lost_answers import keep_lost_answer

# Seconds for which a change waits for another one that may have to wait for it.
MEANWHILE = 0.3


@contextmanager
def change_meanwhile(is_it: Callable[[str], bool], change: Callable[[], object]) -> Iterator[None]:
    """Make another change in a thread just after the first statement that `is_it`, and wait for its end at the end."""
    begun: list[threading.Thread] = []

    def work() -> None:
        try:
            change()
        finally:
            connections.close_all()

    def execute(run: Callable[..., Any], sql: str, parameters: Any, many: bool, context: Any) -> Any:
        result = run(sql, parameters, many, context)
        if not begun and is_it(sql):
            begun.append(threading.Thread(target=work))
            begun[0].start()
            begun[0].join(MEANWHILE)
        return result

    with connection.execute_wrapper(execute):
        yield
    begun[0].join(30)


@pytest.fixture
def answer(transactional_db: None, settings: Settings) -> Message:
    settings.CHAT_MODELS = ["openai:gpt-test"]
    answer = keep_lost_answer(User.objects.create(username="ada"))
    Message.objects.filter(pk=answer.pk).update(
        status="interrupted", error_code="server_lost", lease_until=None, owner=""
    )
    answer.refresh_from_db()
    return answer


def test_a_retry_leaves_the_title_that_is_written_meanwhile(answer: Message) -> None:
    conversation = Conversation.objects.filter(pk=answer.conversation_id)

    def is_it(sql: str) -> bool:
        return connection.in_atomic_block and "JOIN" in sql and "title" in sql

    with change_meanwhile(is_it, lambda: conversation.update(title="Rayleigh")):
        keep_retry(answer.conversation.user, answer, "openai:gpt-test", make_turn_id())
    assert conversation.get().title == "Rayleigh"


def test_saved_settings_leave_the_branch_that_is_shown_meanwhile(answer: Message) -> None:
    conversation = Conversation.objects.filter(pk=answer.conversation_id)
    client = Client()
    client.force_login(answer.conversation.user)
    path = f"/c/{answer.conversation_id}/settings/"
    with change_meanwhile(
        lambda sql: "FROM" in sql and "system_prompt" in sql, lambda: conversation.update(leaf=answer.parent)
    ):
        client.post(path, {"title": "Mine"})
    assert (conversation.get().title, conversation.get().leaf_id) == ("Mine", answer.parent_id)
