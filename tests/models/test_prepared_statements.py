"""A prepared statement finds and changes what its queryset would, and a value in it is nothing but a value."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.apps import apps
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.db import IntegrityError, connection, transaction
from django.db.models import BigIntegerField, CharField, Field, IntegerField, Model, UUIDField
from django.db.models.functions import Now
from django.db.models.sql import InsertQuery
from pytest_django import DjangoAssertNumQueries

from chat.models import Conversation, Message, ProviderCall, Role, Status, User, compiled
from chat.models.compiled import Insert, Select, Update, bind_value

pytestmark = [pytest.mark.database, pytest.mark.django_db]

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)

by_name = Select(User, lambda name: User.objects.filter(username=name, is_active=True), CharField())
of_user = Select(
    Conversation,
    lambda user, title: Conversation.objects.filter(user=user).exclude(title=title).order_by("title"),
    BigIntegerField(),
    CharField(),
)
texts = Select(Message, lambda pk: Message.objects.only("text", "outline").filter(pk=pk), UUIDField())
keys = Select(
    Message,
    lambda conversation: Message.objects.only("pk").filter(conversation=conversation),
    UUIDField(),
)
rewrite = Update(
    Message,
    ("text", "outline", "finished_at", "response_schema"),
    lambda pk, fence: Message.objects.filter(pk=pk, fence=fence),
    UUIDField(),
    IntegerField(),
)
insert_messages = Insert(Message)
insert_call = Insert(ProviderCall)


@pytest.fixture
def ada() -> User:
    return User.objects.create_user("ada")


def add_message(user: User, **fields: Any) -> Message:
    conversation = Conversation.objects.create(user=user, title="sums")
    return Message.objects.create(conversation=conversation, role=Role.ASSISTANT, fence=3, **fields)


def test_a_prepared_query_finds_what_its_queryset_finds_now(ada: User) -> None:
    assert by_name("ada") == [ada]
    assert by_name("bob") == []
    User.objects.filter(pk=ada.pk).update(is_active=False)
    assert by_name("ada") == []


def test_values_go_to_their_places_and_rows_come_in_order(ada: User) -> None:
    for title in ("c", "a", "b"):
        Conversation.objects.create(user=ada, title=title)
    Conversation.objects.create(user=User.objects.create_user("bob"), title="a")
    assert [found.title for found in of_user(ada.pk, "b")] == ["a", "c"]
    assert [found.title for found in of_user(ada.pk, "c")] == ["a", "b"]


@pytest.mark.parametrize("name", ["' OR 1=1 --", "%s", "%", "a'd\"a"])
def test_a_value_is_never_read_as_sql(name: str, ada: User) -> None:
    assert by_name(name) == []
    odd = User.objects.create(username=name)
    assert by_name(name) == [odd]


def test_rows_are_whole_models_of_what_was_asked_for(
    ada: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    written = add_message(ada, text="one", outline=[{"tool": "clock"}, 3])
    with django_assert_num_queries(1):
        [found] = texts(written.pk)
        assert (found.pk, found.text, found.outline) == (written.pk, "one", [{"tool": "clock"}, 3])
    with django_assert_num_queries(1):
        assert found.fence == 3  # deferred


def test_the_first_row_or_none(ada: User) -> None:
    assert by_name.get_first("ada") == ada
    assert by_name.get_first("bob") is None


def test_getting_a_missing_row_raises(ada: User) -> None:
    assert by_name.get("ada") == ada
    with pytest.raises(ObjectDoesNotExist):
        by_name.get("bob")


def test_keys_come_without_their_rows(ada: User) -> None:
    written = add_message(ada)
    assert keys.list_keys(written.conversation_id) == [written.pk]
    assert keys.list_keys(uuid4()) == []


def test_an_update_says_how_many_rows_it_changed(ada: User) -> None:
    written = add_message(ada)
    assert rewrite("x", [], None, None, written.pk, 2) == 0
    assert rewrite("x", [], None, None, uuid4(), 3) == 0
    assert rewrite("x", [], None, None, written.pk, 3) == 1


def _rewrite_once(values: tuple[Any, ...]) -> None:
    rewrite(*values)


def _rewrite_each(values: tuple[Any, ...]) -> None:
    rewrite.execute_many([values])


@pytest.mark.parametrize("change", [_rewrite_once, _rewrite_each])
@pytest.mark.parametrize(
    "values",
    [
        ("text", [1, {"a": "é"}], NOW, {"type": "object"}),
        ("", [], None, None),
        ("'; DROP TABLE chat_message; --", ["%s"], NOW, {}),
    ],
)
def test_an_update_writes_what_a_model_would(
    change: Callable[[tuple[Any, ...]], None], values: tuple[Any, ...], ada: User
) -> None:
    written = add_message(ada, status=Status.COMPLETE)
    change((*values, written.pk, 3))
    written.refresh_from_db()
    assert (written.text, written.outline, written.finished_at, written.response_schema) == values
    if values[3] is None:  # the database's NULL, not JSON's
        assert Message.objects.filter(pk=written.pk, response_schema__isnull=True).exists()


def test_each_row_has_its_own_values(ada: User) -> None:
    first, second = add_message(ada), add_message(ada)
    rewrite.execute_many([("one", [], None, None, first.pk, 3), ("two", [], None, None, second.pk, 3)])
    assert _list_texts(first.pk, second.pk) == ["one", "two"]


def _list_texts(*keys: UUID) -> list[str]:
    return [Message.objects.get(pk=key).text for key in keys]


def test_a_composed_statement_is_not_composed_again(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    by_name("ada")
    monkeypatch.setattr(User.objects, "filter", None)
    assert by_name("ada") == [ada]


def test_new_rows_are_as_django_would_insert_them(ada: User, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    conversation = Conversation.objects.create(user=ada)
    question = Message(conversation=conversation, role=Role.USER, text="%s 'why'")
    answer = Message(conversation=conversation, parent=question, role=Role.ASSISTANT, outline=[{"tool": "clock"}, 3])
    with django_assert_num_queries(1):
        insert_messages(question, answer)
    assert not question._state.adding
    assert question._state.db == "default"
    for made in (question, answer):
        found = Message.objects.get(pk=made.pk)
        assert {name: value for name, value in vars(found).items() if name != "_state"} == {
            field.attname: getattr(made, field.attname) for field in Message._meta.concrete_fields
        }


def test_a_row_has_the_key_that_the_database_made(ada: User) -> None:
    calls = [ProviderCall(user_id=ada.pk, model="openai:m", input_tokens=number) for number in range(3)]
    for call in calls:
        insert_call(call)
    assert [ProviderCall.objects.get(pk=call.pk).input_tokens for call in calls] == [0, 1, 2]


def test_an_expression_among_the_values_is_the_databases_to_work_out(ada: User) -> None:
    conversation = Conversation.objects.create(user=ada)
    now = Message.objects.annotate(now=Now()).values_list("now", flat=True)
    for seconds in (10, 3600, 10):
        until = Now() + timedelta(seconds=seconds)
        made = Message(conversation=conversation, role=Role.ASSISTANT, lease_until=until, text=f"{seconds}")
        insert_messages(made)
        [clock] = now.filter(pk=made.pk)
        kept = Message.objects.get(pk=made.pk)
        assert kept.lease_until is not None
        assert abs((kept.lease_until - clock).total_seconds() - seconds) < 5
        assert kept.text == f"{seconds}"


def test_an_expression_that_comes_again_composes_nothing_again(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    composed: list[type[Model]] = []

    def compose(model: type[Model]) -> InsertQuery:
        composed.append(model)
        return InsertQuery(model)

    monkeypatch.setattr(compiled, "InsertQuery", compose)
    insert: Insert[Message] = Insert(Message)
    conversation = Conversation.objects.create(user=ada)
    for _ in range(3):
        insert(Message(conversation=conversation, role=Role.ASSISTANT, lease_until=Now() + timedelta(seconds=10)))
    assert composed == [Message]


def test_a_row_that_is_there_is_refused(ada: User) -> None:
    conversation = Conversation.objects.create(user=ada)
    made = Message(conversation=conversation, role=Role.USER)
    insert_messages(made)
    again = Message(pk=made.pk, conversation=conversation, role=Role.USER)
    with pytest.raises(IntegrityError), transaction.atomic():
        insert_messages(again)
    assert again._state.adding


ELSEWHERE = NOW.astimezone(timezone(timedelta(hours=5, minutes=45)))
TIMES = (NOW, NOW.replace(microsecond=7), ELSEWHERE)
VALUES = (None, "", "text", Role.USER, True, False, 0, 7, -1, *TIMES, Decimal("0.5"), UUID(int=1), [1], {"a": 1}, 1.5)
FIELDS = [field for model in apps.get_app_config("chat").get_models() for field in model._meta.concrete_fields]


@pytest.mark.parametrize("field", FIELDS, ids=str)
def test_a_value_is_bound_as_its_field_binds_it(field: Field[Any, Any]) -> None:
    for value in VALUES:
        try:
            bound = field.get_db_prep_save(value, connection)
        except (TypeError, ValueError, ValidationError, ArithmeticError):
            continue  # such a field has no such value
        now = bind_value(field, value, connection)
        assert isinstance(now, type(bound)), value
        assert getattr(now, "obj", now) == getattr(bound, "obj", bound)  # psycopg's JSON holds an object
