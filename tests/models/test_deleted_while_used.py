"""A user or a conversation that is deleted while it is used is gone; what is begun meanwhile is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin import site as admin_site
from django.db import OperationalError, connection, transaction
from django.db.models import Model
from django.db.models.signals import pre_delete
from django.test import RequestFactory

from chat.accounts.known_logins import LoginEndedError
from chat.conversations.turn_refusals import NoSuchConversationError
from chat.conversations.turns import Question, keep_conversation, keep_question
from chat.models import Conversation, Message, User
from chat.models.deadlocks import TRIES, retry_after_deadlock


def delete_in_the_admin(user: User) -> None:
    admin_site.get_model_admin(User).delete_queryset(RequestFactory().post("/"), User.objects.filter(pk=user.pk))


@contextmanager
def do_meanwhile(deleted: type[Model], work: Callable[[], Any]) -> Iterator[list[Future[Any]]]:
    """Do this as another process would, when Django has looked for all that it deletes with a row."""
    begun: list[Future[Any]] = []

    def run() -> Any:
        try:
            return work()
        finally:
            connection.close()

    def begin(**signal: object) -> None:
        if not begun:
            begun.append(threads.submit(run))
            wait(begun, 0.2)  # it does not end before the deletion does

    with ThreadPoolExecutor(1) as threads:
        pre_delete.connect(begin, sender=deleted)
        try:
            yield begun
        finally:
            pre_delete.disconnect(begin, sender=deleted)


@pytest.mark.parametrize("delete", [User.delete, delete_in_the_admin])
def test_what_a_user_begins_does_not_keep_them(user: User, delete: Callable[[User], object]) -> None:
    """On PostgreSQL the deletion failed, a 500 in the admin, whenever a question came in between."""
    Conversation.objects.create(user=user)
    with do_meanwhile(User, lambda: keep_conversation(user, uuid4())) as begun:
        delete(User.objects.get(pk=user.pk))
    assert not User.objects.exists()
    assert isinstance(begun[0].exception(), LoginEndedError)
    assert not Conversation.objects.exists()


def delete_conversations_in_the_admin(conversation: Conversation) -> None:
    rows = Conversation.objects.filter(pk=conversation.pk)
    admin_site.get_model_admin(Conversation).delete_queryset(RequestFactory().post("/"), rows)


@pytest.mark.parametrize("delete", [Conversation.delete, delete_conversations_in_the_admin])
def test_what_is_asked_in_a_conversation_does_not_keep_it(user: User, delete: Callable[[Conversation], object]) -> None:
    conversation = Conversation.objects.create(user=user)
    question = Question("Why?", "demo:tour", uuid4())
    with do_meanwhile(Conversation, lambda: keep_question(user, conversation.pk, question)) as asked:
        delete(Conversation.objects.get())
    assert not Conversation.objects.exists()
    assert isinstance(asked[0].exception(), NoSuchConversationError)


@pytest.mark.postgresql
def test_a_deletion_that_was_a_deadlock_is_done_again(user: User) -> None:
    """Whoever rates an answer has locked it, and waits for its conversation, which the deletion has locked."""
    conversation = Conversation.objects.create(user=user)
    Message.objects.create(conversation=conversation, role="user", text="Hello")

    def lock_in_another_order() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL deadlock_timeout = '30s'")  # it is the deletion that finds out, and is undone
            list(Message.objects.select_for_update(no_key=True))
            list(Conversation.objects.select_for_update(no_key=True))

    with do_meanwhile(Conversation, lock_in_another_order) as begun:
        conversation.delete()
    assert not Message.objects.exists()
    assert begun[0].exception() is None


@pytest.mark.parametrize(("sqlstate", "tries"), [("40P01", TRIES), ("57014", 1)])
def test_only_a_deadlock_is_tried_again_and_not_for_ever(db: None, sqlstate: str, tries: int) -> None:
    made: list[None] = []

    def fail() -> None:
        made.append(None)
        raise OperationalError from type("Cause", (Exception,), {"sqlstate": sqlstate})

    with pytest.raises(OperationalError):
        retry_after_deadlock(fail)
    assert len(made) == tries
