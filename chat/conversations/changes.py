"""Changes to a conversation in the list: its title, whether it is pinned, and whether it is archived."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.utils import timezone

from chat.core.errors import RefusedError
from chat.core.events import make_storable
from chat.core.lines import join_lines
from chat.models import TITLE_LENGTH, Conversation, Message, TitledBy, User


class InvalidTitleError(RefusedError):
    """A title shows nothing, or is too long."""

    status, code = 422, "bad_request"
    sentence = f"A title has 1 to {TITLE_LENGTH} characters."


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes of a conversation; None for what stays as it is.

    A conversation is pinned or archived and never both: the one ends the other.
    """

    title: str | None = None
    is_pinned: bool | None = None
    is_archived: bool | None = None

    @property
    def names(self) -> list[str]:
        """The names of the changed fields without the title, as notices have them."""
        pinned = {True: ["pinned"], False: ["unpinned"], None: []}[self.is_pinned]
        return pinned + {True: ["archived"], False: ["unarchived"], None: []}[self.is_archived]


def clean_title(title: str) -> str:
    """Return a title that its user gave as it is kept. Raises `InvalidTitleError`."""
    line = join_lines(make_storable(title))
    if not 0 < len(line) <= TITLE_LENGTH:
        raise InvalidTitleError
    return line


def apply_changes(user: User, conversation_id: UUID, changes: Changes) -> bool:
    """Change a user's own conversation in one conditional UPDATE; return whether there was one that is not deleted.

    Its place in the list by time stays.
    """
    fields: dict[str, Any] = {}
    if changes.title is not None:
        fields |= {"title": changes.title, "titled_by": TitledBy.USER}
    if changes.is_archived is not None:
        fields |= {"archived_at": timezone.now(), "pinned_at": None} if changes.is_archived else {"archived_at": None}
    if changes.is_pinned is not None:
        fields |= {"pinned_at": timezone.now(), "archived_at": None} if changes.is_pinned else {"pinned_at": None}
    own = Conversation.objects.owned_by(user).filter(pk=conversation_id)
    return own.update(**fields) > 0 if fields else own.exists()


def make_notice(conversation_id: UUID | str, change: str) -> dict[str, Any]:
    """Return the notice to a user's open pages of a conversation in their list."""
    return {"type": "conversation", "conversation": str(conversation_id), "change": change}


def make_turn_notice(answer: Message) -> dict[str, Any]:
    """Return the notice to a user's open pages of an answer that has begun, or continues."""
    return {
        "type": "turn",
        "conversation": str(answer.conversation_id),
        "question": str(answer.parent_id),
        "answer": str(answer.pk),
        "title": str(answer.conversation),
        # Not so for a retry of the staff's where the conversation had gone on: the page stays as it is.
        "shown": answer.conversation.leaf_id == answer.pk,
        "continues": answer.position > 0,
    }


def make_branch_notice(conversation: Conversation) -> dict[str, Any]:
    """Return the notice to a user's open pages that another branch of a conversation is shown now."""
    return {"type": "branch", "conversation": str(conversation.pk), "leaf": str(conversation.leaf_id)}


def make_title_notice(conversation_id: UUID, title: str) -> dict[str, Any]:
    """Return the notice to a user's open pages of a new title."""
    return {"type": "title", "conversation": str(conversation_id), "title": title}
