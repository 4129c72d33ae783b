"""Two devices that change, delete and restore one conversation at the same moment leave it in one of their states."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from uuid import UUID

import pytest
from django.db import connection
from django.utils import timezone

from chat.conversations.changes import Changes, apply_changes
from chat.conversations.deletions import delete_expired
from chat.models import Conversation, User

ROUNDS = 12


def run_at_once(*works: Callable[[], object]) -> list[object]:
    """Do these in threads of their own that begin together; return what each came to."""
    barrier, results = threading.Barrier(len(works)), [None] * len(works)

    def run(number: int, work: Callable[[], object]) -> None:
        try:
            connection.ensure_connection()
            barrier.wait(10)
            results[number] = work()  # type: ignore[call-overload]
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=each) for each in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return [*results]


@pytest.fixture
def conversation(user: User) -> UUID:
    return Conversation.objects.create(user=user, title="First", titled_by="rule").pk


def delete(user: User, key: UUID) -> int:
    return Conversation.objects.owned_by(user).filter(pk=key).update(deleted_at=timezone.now())


def test_a_rename_never_brings_back_what_another_device_deletes(user: User, conversation: UUID) -> None:
    for number in range(ROUNDS):
        Conversation.objects.update(deleted_at=None, title="First")
        changes = Changes(title=f"Title {number}", is_pinned=True)
        renamed, deleted = run_at_once(
            partial(apply_changes, user, conversation, changes), partial(delete, user, conversation)
        )
        kept = Conversation.objects.get()
        assert deleted == 1
        assert kept.deleted_at is not None
        assert kept.title == (f"Title {number}" if renamed else "First")


def test_one_of_two_renames_stays_whole(user: User, conversation: UUID) -> None:
    for number in range(ROUNDS):
        one = Changes(title=f"One {number}", is_pinned=True)
        other = Changes(title=f"Other {number}", is_archived=True)
        assert run_at_once(
            partial(apply_changes, user, conversation, one),
            partial(apply_changes, user, conversation, other),
        ) == [True, True]
        kept = Conversation.objects.get()
        assert (kept.title, kept.pinned_at is None, kept.archived_at is None) in (
            (one.title, False, True),
            (other.title, True, False),
        )


def test_a_conversation_is_restored_or_gone_and_never_half_of_it(user: User) -> None:
    for _ in range(ROUNDS):
        made = Conversation.objects.create(user=user, deleted_at=timezone.now() - timedelta(minutes=1))
        made.messages.create(role="user", text="A question")
        own = Conversation.objects.filter(pk=made.pk, deleted_at__isnull=False)
        restored, swept, also_swept = run_at_once(partial(own.update, deleted_at=None), delete_expired, delete_expired)
        assert [restored, swept, also_swept].count(1) == 1
        assert Conversation.objects.filter(pk=made.pk).exists() == (restored == 1)
        assert made.messages.count() == restored
