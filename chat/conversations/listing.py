"""The list of a user's conversations, read in pieces; a `ListPlace` is the cursor to the next piece."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, NamedTuple, cast
from uuid import UUID

from django.db.models import Exists, OuterRef

from chat.core.moments import parse_moment
from chat.models import Conversation, ConversationQuerySet, Message, Role, Status, User

# The conversations in a piece: two tall screens.
PIECE = 50

_LONG_AGO = datetime.fromtimestamp(0, UTC)

Shelf = Literal["pinned", "open", "archived", "all"]


class ListPlace(NamedTuple):
    """The last conversation that was listed: its shelf, the time that its shelf is ordered by, and its id."""

    shelf: Shelf
    at: datetime
    id: UUID

    @classmethod
    def read(cls, text: str) -> ListPlace:
        """Return the place in an address. Raises ValueError for any other text."""
        shelf, _, rest = text.partition("_")
        moment, _, key = rest.rpartition("_")
        if shelf not in SHELVES:
            raise ValueError(text)
        return cls(cast("Shelf", shelf), parse_moment(moment), UUID(key))

    @classmethod
    def from_conversation(cls, conversation: Conversation) -> ListPlace:
        """Return the place of a conversation in the list that it is in."""
        if conversation.pinned_at is not None:
            return cls("pinned", conversation.pinned_at, conversation.pk)
        shelf: Shelf = "archived" if conversation.archived_at is not None else "open"
        return cls(shelf, conversation.updated_at, conversation.pk)

    def __str__(self) -> str:
        return f"{self.shelf}_{self.at.isoformat()}_{self.id}"

    def exclude_shown(self, rows: ConversationQuerySet, field: str) -> ConversationQuerySet:
        """Return the rows of this shelf without those up to this place, which have been shown."""
        # Excluding the later ids of the same moment, instead of an OR: for an OR SQLite sorts rows from several
        # indexes.
        return rows.filter(**{f"{field}__lte": self.at}).exclude(**{field: self.at, "pk__gte": self.id})

    @property
    def sort_key(self) -> str:
        """The place as text; in descending order it sorts like the list."""
        at = f"{self.at:%Y-%m-%dT%H:%M:%S.%f}"
        return f"{'2' if self.shelf == 'pinned' else '1'} {at} {self.id.hex}"


class ShelfRows(NamedTuple):
    """Conversations that are listed together, newest first by a field."""

    rows: Callable[[ConversationQuerySet], ConversationQuerySet]
    field: str


SHELVES: dict[str, ShelfRows] = {
    "pinned": ShelfRows(lambda own: own.filter(pinned_at__isnull=False), "pinned_at"),
    "open": ShelfRows(lambda own: own.filter(pinned_at=None, archived_at=None), "updated_at"),
    "all": ShelfRows(lambda own: own, "updated_at"),
    "archived": ShelfRows(lambda own: own.filter(archived_at__isnull=False), "updated_at"),
}


@dataclass(frozen=True, slots=True)
class ListPiece:
    """Some conversations of a list, and the place that the next ones come after; None at the end."""

    conversations: list[Conversation]
    next: ListPlace | None

    @property
    def asked_until(self) -> datetime:
        """When a question was last asked in one of them; long ago where there is none."""
        return max((row.updated_at for row in self.conversations), default=_LONG_AGO)


def list_open(user: User, after: ListPlace | None = None) -> ListPiece:
    """Return a piece of the list in the sidebar: the pinned ones first, then the others that are not archived."""
    shelves: list[Shelf] = ["open"] if after is not None and after.shelf == "open" else ["pinned", "open"]
    return _take(Conversation.objects.owned_by(user), shelves, after, PIECE)


def list_archived(user: User, after: ListPlace | None = None) -> ListPiece:
    """Return a piece of the list of archived conversations."""
    return _take(Conversation.objects.owned_by(user), ["archived"], after, PIECE)


def find_listed(user: User, ids: list[UUID]) -> list[Conversation]:
    """Return those of the conversations that the user owns, with the marks that a list shows."""
    return list(add_marks(Conversation.objects.owned_by(user).filter(pk__in=ids)).order_by())


def list_by_time(
    user: User,
    is_pinned: bool | None = None,
    is_archived: bool | None = None,
    after: ListPlace | None = None,
    most: int = PIECE,
) -> ListPiece:
    """Return a piece of all of a user's conversations, newest first; None lists those with and without a mark."""
    own = Conversation.objects.owned_by(user)
    if is_pinned is not None:
        own = own.filter(pinned_at__isnull=not is_pinned)
    if is_archived is not None:
        own = own.filter(archived_at__isnull=not is_archived)
    return _take(own, ["all"], after, most)


def list_turns_since(user: User, moment: datetime) -> list[Message]:
    """Return the shown answers of conversations with a question after `moment`, at most a piece, oldest first."""
    own = Conversation.objects.owned_by(user).filter(updated_at__gt=moment, leaf__role=Role.ASSISTANT)
    newest = own.order_by("-updated_at").values_list("leaf", flat=True)[:PIECE]
    answers = Message.objects.filter(pk__in=list(newest))
    fields = ("parent", "position", "conversation__title", "conversation__leaf")
    return list(answers.select_related("conversation").only(*fields).order_by("conversation__updated_at"))


_LISTED_FIELDS = (
    *("user", "title", "titled_by", "created_at", "updated_at", "pinned_at", "archived_at", "answered_at", "read_at"),
)


def add_marks(conversations: ConversationQuerySet) -> ConversationQuerySet:
    """Select with each conversation whether it is being answered, and how its last answer ended."""
    live = Message.objects.live().filter(conversation=OuterRef("pk"))
    return (
        conversations.annotate(is_streaming=Exists(live)).select_related("leaf").only(*_LISTED_FIELDS, "leaf__status")
    )


def has_failed(conversation: Conversation) -> bool:
    """Return whether the answer at the end of the branch that is shown was interrupted."""
    return conversation.leaf is not None and conversation.leaf.status == Status.INTERRUPTED


def _take(own: ConversationQuerySet, shelves: list[Shelf], after: ListPlace | None, most: int) -> ListPiece:
    """Return a piece of some shelves, one after the other, with one statement for each."""
    found: list[tuple[ListPlace, Conversation]] = []
    for name in shelves:
        shelf = SHELVES[name]
        rows = shelf.rows(add_marks(own)).order_by(f"-{shelf.field}", "-pk")
        if after is not None and after.shelf == name:
            rows = after.exclude_shown(rows, shelf.field)
        found += [(ListPlace(name, getattr(row, shelf.field), row.pk), row) for row in rows[: most + 1 - len(found)]]
        if len(found) > most:
            break
    shown = found[:most]
    return ListPiece([row for _, row in shown], shown[-1][0] if len(found) > most else None)
