"""Readings: the record of what staff have read in the conversations of others."""

from __future__ import annotations

from collections.abc import Iterable

from chat.models import Message, Reading, User

# The permission that a reader has to have.
READ_CONVERSATIONS = "chat.read_conversations"


def record_reading(reader: User, messages: Iterable[Message], place: Reading.Place) -> None:
    """Record that a member of the staff is shown these messages; their own are not recorded."""
    Reading.objects.bulk_create(
        Reading(
            reader=reader,
            reader_name=reader.get_username(),
            message=message,
            message_key=message.pk,
            owner_id=message.conversation.user_id,
            place=place,
        )
        for message in messages
        if message.conversation.user_id != reader.pk
    )
