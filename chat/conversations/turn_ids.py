"""Ids of turns: a form that is sent twice names the same question and the same attempt."""

from __future__ import annotations

import uuid

from chat.models import Message, User

# Ids of questions and answers that a form asked for are derived from the form's own UUID, so that the primary key
# refuses the second of two equal forms, whichever process gets it.
NAMESPACE = uuid.UUID("6f1a2b52-7f0c-4c1e-9b53-0d6cf7f4a9d1")


def make_turn_id() -> uuid.UUID:
    """Return a new id of a form, by which sending it twice is recognised."""
    return uuid.uuid4()


def find_question_id(user: User, conversation_id: uuid.UUID, turn: uuid.UUID) -> uuid.UUID:
    """Return the id of the question that a form asks in a conversation, whether it has been asked or not."""
    return uuid.uuid5(NAMESPACE, f"question:{user.pk}:{conversation_id}:{turn}")


def renew_turn(turn: uuid.UUID, asked: str, text: str) -> uuid.UUID:
    """Return the turn of a form with this text: its own, or another where its own has `asked` something else.

    A page that a browser shows again as it was before its question was sent has an old turn, and gets another text.
    The other turn is derived, so that this form too may be sent twice.
    """
    return turn if text == asked else uuid.uuid5(NAMESPACE, f"turn:{turn}:{text}")


def derive_attempt_id(answer: Message, turn: uuid.UUID) -> uuid.UUID:
    """Return the id of the attempt that a retry of `answer` by the form `turn` makes."""
    return uuid.uuid5(NAMESPACE, f"retry:{answer.pk}:{turn}")
