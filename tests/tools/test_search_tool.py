"""The search tool finds what was said in the user's other conversations, and in nobody else's."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta

import pytest
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.utils import timezone

from chat.models import Conversation, Message, Role, User
from chat.search.excerpts import LENGTH
from chat.tools.base import Context, Result, ToolError
from chat.tools.conversations import MAX_FOUND, search_conversations
from chat.tools.toolbox import Toolbox

pytestmark = pytest.mark.database


def make_conversation(user: User, title: str, *texts: str) -> Conversation:
    made = Conversation.objects.create(user=user, title=title)
    for text in texts:
        Message.objects.create(conversation=made, role=Role.USER, text=text)
    return made


def search(user: User, query: str, current: object = None) -> list[dict[str, str]]:
    result = search_conversations(query, Context(user.pk, str(current or uuid.uuid4())))
    assert isinstance(result, Result)
    return list(result.content)


def find_titles(user: User, query: str, current: object = None) -> list[str]:
    return [each["title"] for each in search(user, query, current)]


def test_the_tool_finds_words_in_messages_and_in_titles(user: User) -> None:
    make_conversation(user, "About the sky", "Why is it blue?")
    make_conversation(user, "Numbers", "The sky is no limit")
    make_conversation(user, "Bread", "How long does dough rest?")
    assert find_titles(user, "sky") == ["Numbers", "About the sky"]


def test_all_words_must_be_there_in_any_order(user: User) -> None:
    make_conversation(user, "Both", "streaming answers with Django")
    make_conversation(user, "One", "Django forms")
    assert find_titles(user, "django streaming") == ["Both"]


@pytest.mark.parametrize("query", ["über", "ÜBER", "Über", "ÉTÉ été", "straSSENbahn", "жизнь"])
def test_upper_and_lower_case_are_the_same(user: User, query: str) -> None:
    make_conversation(user, "Found", "Ein Satz über den Été und die Strassenbahn: ЖИЗНЬ")
    make_conversation(user, "Other", "nothing of it")
    assert find_titles(user, query) == ["Found"]


@pytest.mark.parametrize("query", ["100%", "a_b", '"100', "a AND b", "NEAR(a b)", "'; DROP TABLE"])
def test_signs_of_the_query_language_are_plain_text(user: User, query: str) -> None:
    make_conversation(user, "Has it", f"before {query} after")
    make_conversation(user, "Has it not", "10 axb / DROP")
    assert find_titles(user, query) == ["Has it"]


def test_nobody_elses_conversations_are_found(user: User) -> None:
    other = User.objects.create_user("grace")
    make_conversation(other, "The secret", "secret plans")
    make_conversation(user, "Mine", "no secret here")
    assert find_titles(user, "secret") == ["Mine"]
    assert find_titles(other, "secret") == ["The secret"]


def test_the_conversation_that_asks_is_left_out(user: User) -> None:
    current = make_conversation(user, "Now", "Where did I mention tulips?")
    make_conversation(user, "Then", "Tulips bloom in April")
    assert find_titles(user, "tulips", current.pk) == ["Then"]


def test_an_excerpt_is_short_and_shows_the_word(user: User) -> None:
    make_conversation(user, "Long", f"{'before ' * 1000}NEEDLE{' after' * 1000}")
    (found,) = search(user, "needle")
    assert "NEEDLE" in found["excerpt"]
    assert found["excerpt"].startswith("…")
    assert found["excerpt"].endswith("…")
    assert len(found["excerpt"]) <= LENGTH + 2
    assert "\n" not in found["excerpt"]


def test_the_newest_come_first_with_their_dates_and_at_most_ten(user: User) -> None:
    now = timezone.now()
    for days in range(MAX_FOUND + 3):
        made = make_conversation(user, f"{days} days ago", "needle")
        Conversation.objects.filter(pk=made.pk).update(updated_at=now - timedelta(days=days))
    found = search(user, "needle")
    assert [each["title"] for each in found] == [f"{days} days ago" for days in range(MAX_FOUND)]
    assert [each["date"] for each in found] == [f"{now - timedelta(days=days):%Y-%m-%d}" for days in range(MAX_FOUND)]


@pytest.mark.parametrize(("count", "summary"), [(0, "No conversations found"), (1, "1 conversation found")])
def test_the_summary_counts(user: User, count: int, summary: str) -> None:
    for _ in range(count):
        make_conversation(user, "Title", "needle")
    assert search_conversations("needle", Context(user.pk, str(uuid.uuid4()))).summary == summary


def test_a_query_of_nothing_is_refused(user: User) -> None:
    with pytest.raises(ToolError, match="what to look for"):
        search(user, "  ")


@pytest.mark.parametrize("query", ["\x00", "\ud800", "word " * 5000, "x" * 100_000])
def test_no_query_breaks_the_search(user: User, query: str) -> None:
    make_conversation(user, "Title", "text")
    assert search(user, query) == []


@pytest.fixture
def needle(user: User) -> Conversation:
    return make_conversation(user, "Title", "a needle")


async def test_a_model_can_call_it_and_says_nothing_of_the_user(user: User, needle: Conversation) -> None:
    toolbox = Toolbox(["chat.tools.conversations.search_conversations"])
    (schema,) = toolbox.list_schemas()
    assert set(schema.parameters["properties"]) == {"query"}
    context = Context(user.pk, str(uuid.uuid4()))
    outcome = await toolbox.run(schema.name, '{"query": "NEEDLE"}', context, 15)
    assert (outcome.ok, outcome.summary) == (True, "1 conversation found")
    (found,) = json.loads(outcome.content)
    assert (found["title"], found["excerpt"]) == ("Title", "a needle")


async def test_a_call_leaves_no_connection_behind(user: User) -> None:
    made: list[BaseDatabaseWrapper] = []

    def note(connection: BaseDatabaseWrapper, **kwargs: object) -> None:
        made.append(connection)

    connection_created.connect(note)
    try:
        toolbox = Toolbox(["chat.tools.conversations.search_conversations"])
        context = Context(user.pk, str(uuid.uuid4()))
        outcome = await toolbox.run("search_conversations", '{"query": "x"}', context, 15)
    finally:
        connection_created.disconnect(note)
    assert outcome.ok
    assert len(made) == 1
    assert made[0].connection is None
