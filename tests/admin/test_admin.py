"""The admin reads conversations, messages and the ledger, and writes to none of them."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Group, Permission
from django.test import Client
from django.utils import timezone

from chat.models import (
    Conversation,
    Dismissal,
    Limit,
    Message,
    Meter,
    ProviderCall,
    Reading,
    RetryBatch,
    User,
)


@pytest.fixture
def admin(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root", password="root"))
    return client


@pytest.fixture
def answer(db: None) -> Message:
    conversation = Conversation.objects.create(user=User.objects.create_user("ada"), title="Sky")
    question = Message.objects.create(conversation=conversation, role="user", text="Why blue?")
    answer = Message.objects.create(
        conversation=conversation,
        parent=question,
        role="assistant",
        status="interrupted",
        error_code="timeout",
        text="Because of",
        model="openai:gpt-test",
    )
    ProviderCall.objects.create(user=conversation.user, answer=answer, model=answer.model, outcome="interrupted")
    return answer


@pytest.mark.parametrize(
    "model",
    [
        "conversation",
        "message",
        "providercall",
        "user",
        "apitoken",
        "limit",
        "meter",
        "reading",
        "dismissal",
        "retrybatch",
        "modelhealth",
    ],
)
def test_every_list_of_the_admin_opens(admin: Client, answer: Message, model: str) -> None:
    assert admin.get(f"/admin/chat/{model}/").status_code == 200


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("status__exact=interrupted", True),
        ("status__exact=complete&role__exact=assistant", False),
        ("error_code__exact=timeout", True),
        ("error_code__exact=rate_limited", False),
        ("q=Because", True),
    ],
)
def test_messages_are_found_by_status_and_error_code(admin: Client, answer: Message, query: str, shown: bool) -> None:
    page = admin.get(f"/admin/chat/message/?{query}").content.decode()
    assert (str(answer.pk) in page) is shown


def test_a_message_can_be_read_and_not_changed(admin: Client, answer: Message) -> None:
    path = f"/admin/chat/message/{answer.pk}/change/"
    assert "Because of" in admin.get(path).content.decode()
    assert admin.post(path, {"text": "forged"}).status_code == 403
    answer.refresh_from_db()
    assert answer.text == "Because of"


def test_a_conversation_shows_its_messages(admin: Client, answer: Message) -> None:
    page = admin.get(f"/admin/chat/conversation/{answer.conversation_id}/change/").content.decode()
    assert "Why blue?" in page


def test_the_ledger_cannot_be_deleted_in_the_admin(admin: Client, answer: Message) -> None:
    call = ProviderCall.objects.get()
    assert admin.post(f"/admin/chat/providercall/{call.pk}/delete/", {"post": "yes"}).status_code == 403
    assert ProviderCall.objects.exists()


def test_an_ordinary_user_is_sent_away(answer: Message) -> None:
    client = Client()
    client.force_login(User.objects.get(username="ada"))
    assert client.get("/admin/chat/message/").status_code == 302


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("", ["Limit of ada", "Limit of Students"]),
        ("kind=user", ["Limit of ada"]),
        ("kind=group", ["Limit of Students"]),
        ("kind=nobody", ["Limit of ada", "Limit of Students"]),
        ("q=stud", ["Limit of Students"]),
    ],
)
def test_limits_are_found_by_whose_they_are(admin: Client, query: str, shown: list[str]) -> None:
    Limit.objects.create(user=User.objects.create_user("ada"), tokens_per_day=1)
    Limit.objects.create(group=Group.objects.create(name="Students"), tokens_per_day=1)
    page = admin.get(f"/admin/chat/limit/?{query}").content.decode()
    assert [name for name in ("Limit of ada", "Limit of Students") if name in page] == shown


def test_a_users_limit_is_chosen_by_typing(admin: Client) -> None:
    assert "admin-autocomplete" in admin.get("/admin/chat/limit/add/").content.decode()


def test_meters_cannot_be_changed_in_the_admin(admin: Client) -> None:
    Meter.objects.create(key="user/1/tokens/2026-11-28", begins=timezone.now(), until=timezone.now(), used=5)
    path = f"/admin/chat/meter/{quote('user/1/tokens/2026-11-28')}/change/"
    assert admin.get(path).status_code == 200
    assert admin.post(path, {"used": "0"}).status_code == 403
    assert admin.get("/admin/chat/meter/add/").status_code == 403
    assert Meter.objects.get().used == 5


# What was said is for those who may read it

CHANGE = "/admin/chat/message/{answer}/change/"
CONVERSATION = "/admin/chat/conversation/{conversation}/change/"

VEILED_PAGES = [
    "/admin/",
    "/admin/chat/message/",
    CHANGE,
    "/admin/chat/message/{answer}/history/",
    "/admin/chat/conversation/",
    CONVERSATION,
    "/admin/chat/conversation/{conversation}/history/",
    "/admin/chat/conversation/{conversation}/delete/",
    "/admin/chat/message/{answer}/delete/",
    "/admin/chat/providercall/",
    "/admin/chat/providercall/{call}/change/",
    "/admin/chat/user/{user}/delete/",
    "/admin/chat/dismissal/",
    "/admin/chat/retrybatch/",
    "/admin/chat/reading/",
]

SAID = ("Because of", "Why blue?", "Sky", "I think")


@pytest.fixture
def clerk(db: None) -> Client:
    """A member of the staff with every permission but that to read what was said."""
    user = User.objects.create_user("clerk", is_staff=True)
    user.user_permissions.set(Permission.objects.exclude(codename="read_conversations"))
    client = Client()
    client.force_login(user)
    return client


def path(route: str, answer: Message) -> str:
    call = ProviderCall.objects.get().pk
    owner = answer.conversation.user_id
    return route.format(answer=answer.pk, conversation=answer.conversation_id, call=call, user=owner)


@pytest.mark.parametrize("route", VEILED_PAGES)
def test_no_page_shows_what_was_said_without_the_permission(clerk: Client, answer: Message, route: str) -> None:
    Message.objects.filter(pk=answer.pk).update(reasoning="I think")
    Dismissal.objects.create(answer=answer, note="Nothing")
    RetryBatch.objects.create(reason="Nothing", scope="One answer")
    response = clerk.get(path(route, answer))
    assert response.status_code in (200, 403)
    page = response.content.decode()
    assert not [words for words in SAID if words in page]
    assert not Reading.objects.exists()


@pytest.mark.parametrize(
    "query",
    [
        "message/?q=Because",
        "message/?text__startswith=B",
        "message/?reasoning__contains=x",
        "conversation/?q=Sky",
        "conversation/?q=Because",
        "conversation/?title__startswith=S",
        "conversation/?messages__text__startswith=B",
    ],
)
def test_the_text_cannot_be_guessed_by_searching_without_the_permission(
    clerk: Client, answer: Message, query: str
) -> None:
    response = clerk.get(f"/admin/chat/{query}", follow=True)
    key = answer.pk if query.startswith("message") else answer.conversation_id
    assert response.status_code in (200, 400)
    assert f"/{key}/change/" not in response.content.decode()


def test_a_message_is_found_without_its_text(clerk: Client, answer: Message) -> None:
    assert str(answer.pk) in clerk.get("/admin/chat/message/?q=ada").content.decode()
    page = clerk.get(path(CHANGE, answer)).content.decode()
    assert "timeout" in page
    assert not [name for name in ("text", "reasoning", "outline") if f"field-{name}" in page]


def test_each_reading_of_a_message_is_noted_down(admin: Client, answer: Message) -> None:
    assert "Because of" in admin.get(path(CHANGE, answer)).content.decode()
    reading = Reading.objects.get()
    assert (reading.reader_name, reading.message_key, reading.place) == ("root", answer.pk, "admin")
    assert reading.owner_id == answer.conversation.user_id
    assert "root" in admin.get("/admin/chat/reading/").content.decode()


def test_a_conversation_that_is_read_is_noted_down_message_by_message(admin: Client, answer: Message) -> None:
    admin.get(path(CONVERSATION, answer))
    assert set(Reading.objects.values_list("message_key", flat=True)) == {answer.pk, answer.parent_id}


def test_a_list_shows_no_text_to_anybody(admin: Client, answer: Message) -> None:
    assert "Because of" not in admin.get("/admin/chat/message/").content.decode()
    assert not Reading.objects.exists()


def test_a_reading_outlives_its_message_and_its_reader(admin: Client, answer: Message) -> None:
    admin.get(path(CHANGE, answer))
    key = answer.pk
    answer.conversation.delete()
    User.objects.filter(username="root").delete()
    reading = Reading.objects.get()
    assert (reading.reader_name, reading.message_key, reading.reader, reading.message) == ("root", key, None, None)


@pytest.mark.parametrize("name", ["reading", "dismissal", "retrybatch"])
def test_the_record_of_the_staff_is_neither_added_to_nor_changed_nor_deleted(
    admin: Client, answer: Message, name: str
) -> None:
    admin.get(path(CHANGE, answer))
    reading = Reading.objects.get()
    rows = {
        "reading": reading,
        "dismissal": Dismissal.objects.create(answer=answer, note="Known"),
        "retrybatch": RetryBatch.objects.create(reason="Outage", scope="All"),
    }
    key = rows[name].pk
    assert admin.get(f"/admin/chat/{name}/{key}/change/").status_code == 200
    assert admin.get(f"/admin/chat/{name}/add/").status_code == 403
    assert admin.post(f"/admin/chat/{name}/{key}/change/", {}).status_code == 403
    assert admin.post(f"/admin/chat/{name}/{key}/delete/", {"post": "yes"}).status_code == 403


@pytest.mark.parametrize(
    ("name", "field"), [("message", "conversation__user"), ("conversation", "user"), ("providercall", "user")]
)
def test_a_list_is_filtered_by_a_user_who_is_looked_up(admin: Client, answer: Message, name: str, field: str) -> None:
    ada, root = answer.conversation.user_id, User.objects.get(username="root").pk
    page = admin.get(f"/admin/chat/{name}/?{field}__id__exact={ada}").content.decode()
    assert "admin-autocomplete" in page
    assert f'<option value="{ada}" selected' in page
    assert 'id="result_list"' in page
    page = admin.get(f"/admin/chat/{name}/?{field}__id__exact={root}").content.decode()
    assert 'id="result_list"' not in page


def test_users_are_found_as_their_name_is_typed(admin: Client, answer: Message) -> None:
    query = "app_label=chat&model_name=conversation&field_name=user&term=ad"
    assert admin.get(f"/admin/autocomplete/?{query}").json()["results"][0]["text"] == "ada"


@pytest.mark.parametrize("name", ["message", "conversation", "providercall", "reading", "retrybatch"])
def test_a_list_asks_the_database_as_often_for_many_rows_as_for_few(
    admin: Client, answer: Message, name: str, django_assert_max_num_queries: Any
) -> None:
    user = User.objects.get(username="ada")
    for number in range(30):
        conversation = Conversation.objects.create(user=user, title=f"Title {number}")
        message = Message.objects.create(conversation=conversation, role="user", text="Hello")
        ProviderCall.objects.create(user=user, model="openai:gpt-test")
        Reading.objects.create(reader=user, owner=user, message=message, message_key=message.pk, place="admin")
        RetryBatch.objects.create(requested_by=user, reason="Outage", scope="All")
    with django_assert_max_num_queries(20):
        assert admin.get(f"/admin/chat/{name}/").status_code == 200
