"""A user who is deleted while they use the site is gone, with all that is theirs; what they begin then is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from uuid import uuid4

import pytest
from django.contrib.admin import site as admin_site
from django.db import connection
from django.db.models.signals import pre_delete
from django.test import RequestFactory

from chat.accounts.known_logins import LoginEndedError
from chat.conversations.turns import keep_conversation
from chat.models import Conversation, User


def delete_in_the_admin(user: User) -> None:
    admin_site.get_model_admin(User).delete_queryset(RequestFactory().post("/"), User.objects.filter(pk=user.pk))


@pytest.fixture
def begun(user: User) -> Iterator[list[Future[Conversation]]]:
    """The conversation that the user begins in another process, when Django has looked for all that is theirs."""
    begun: list[Future[Conversation]] = []

    def begin() -> Conversation:
        try:
            return keep_conversation(user, uuid4())
        finally:
            connection.close()

    def begin_and_wait(**signal: object) -> None:
        begun.append(threads.submit(begin))
        wait(begun, 0.2)  # it does not end before the deletion does

    with ThreadPoolExecutor(1) as threads:
        pre_delete.connect(begin_and_wait, sender=User)
        yield begun
        pre_delete.disconnect(begin_and_wait, sender=User)


@pytest.mark.parametrize("delete", [User.delete, delete_in_the_admin])
def test_what_a_user_begins_does_not_keep_them(
    user: User, begun: list[Future[Conversation]], delete: Callable[[User], object]
) -> None:
    """On PostgreSQL the deletion failed, a 500 in the admin, whenever a question came in between."""
    Conversation.objects.create(user=user)
    delete(User.objects.get(pk=user.pk))
    assert not User.objects.exists()
    assert isinstance(begun[0].exception(), LoginEndedError)
    assert not Conversation.objects.exists()
