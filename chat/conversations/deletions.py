"""Conversations that their users have deleted: restorable for a moment, then gone for good.

A deletion is a time in the conversation's row, so it outlives the process that took it. The sweep of any process
deletes the rows themselves once the moment is over.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone

from chat.models import UNDO_FOR, Conversation, ConversationQuerySet

# Seconds beyond those that a page shows its Undo: a request that was sent in the last of them still arrives.
GRACE = 2.0


def is_anything_expired() -> bool:
    """Return whether there is a conversation to be deleted for good now."""
    return _select_expired().exists()


def delete_expired(most: int = 20) -> int:
    """Delete for good at most `most` conversations that can no longer be restored; return how many there were.

    Each goes in a transaction of its own. One that is restored at the same time stays: whoever has its row first wins.
    """
    expired, deleted = _select_expired(), 0
    try:
        for key in expired.order_by("deleted_at").values_list("pk", flat=True)[:most]:
            deleted += _delete(expired, key)
    finally:
        connection.close()  # the housekeeping has this done in a thread of its own
    return deleted


def _delete(expired: ConversationQuerySet, key: UUID) -> bool:
    can_skip = connection.features.has_select_for_update_skip_locked
    with transaction.atomic():
        found = expired.select_for_update(skip_locked=can_skip).filter(pk=key).order_by().first()
        if found is not None:
            found.delete()
    return found is not None


def _select_expired() -> ConversationQuerySet:
    before = timezone.now() - timedelta(seconds=UNDO_FOR + GRACE)
    return Conversation.objects.filter(deleted_at__lt=before)
