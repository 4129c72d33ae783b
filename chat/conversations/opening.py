"""Opening a conversation at one of its messages, wherever in the tree that is."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from chat.conversations.actions import change_branch
from chat.models import MESSAGES_SHOWN, Conversation, Message, Role

LONGEST_PIECE = 1000
"""Messages that a page shows at once; of a longer branch it shows a piece that ends after the message."""

_AFTER = 10  # messages of a piece after the message to open


class Piece(NamedTuple):
    """The messages of a branch that a page shows: the last `most`, or those before the question `before`."""

    most: int = MESSAGES_SHOWN
    before: UUID | None = None


def open_at(conversation: Conversation, message_id: UUID) -> Piece:
    """Show the branch that a message is on, and return the piece of it that has the message.

    A message that is not the conversation's changes nothing.
    """
    if not conversation.messages.filter(pk=message_id).exists():
        return Piece()
    branch = _list_branch(conversation)
    if message_id not in branch:
        conversation.leaf = change_branch(conversation.user, message_id).conversation.leaf
        branch = _list_branch(conversation)
    distance = branch.index(message_id)
    if distance < LONGEST_PIECE:
        return Piece(max(MESSAGES_SHOWN, distance + _AFTER))
    nearby = Message.objects.filter(pk__in=branch[distance - _AFTER : distance], role=Role.USER)
    return Piece(before=nearby.order_by("-created_at").values_list("pk", flat=True).first())


def _list_branch(conversation: Conversation) -> list[UUID]:
    """Return the ids of the branch that is shown, from its end."""
    parents = dict(Message.objects.select_branch(conversation.leaf_id).values_list("pk", "parent_id"))
    branch: list[UUID] = []
    following = conversation.leaf_id
    while following is not None and following in parents:
        branch.append(following)
        following = parents[following]
    return branch
