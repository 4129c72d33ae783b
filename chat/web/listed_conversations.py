"""The list of conversations as a page shows it: rows under the names of their days, and the way to older ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID
from zoneinfo import ZoneInfo

from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode

from chat.conversations.listing import ListPlace, find_listed, has_failed, list_archived, list_open
from chat.models import Conversation, User
from chat.web.time_zones import name_day


@dataclass(frozen=True, slots=True)
class ListedRow:
    """A conversation in the list. `heading` is the name of its day where that begins with it."""

    conversation: Conversation
    address: str
    menu: str
    day: str
    heading: str
    sort_key: str
    shelf: str
    is_current: bool
    is_streaming: bool
    is_unread: bool
    has_failed: bool


@dataclass(frozen=True, slots=True)
class ShownList:
    """A piece of a list, and the address of the next one; empty at the end.

    The list in the sidebar says until when it knows of questions: its page asks for the later ones when it begins to
    watch.
    """

    rows: list[ListedRow]
    older: str
    asked_until: datetime | None = None


def show_open(user: User, zone: ZoneInfo, current: str = "", before: ListPlace | None = None) -> ShownList:
    """Return a piece of the sidebar's list; `current` is the conversation on its page."""
    piece = list_open(user, before)
    rows = make_rows(piece.conversations, zone, current, before)
    return ShownList(rows, _make_address("conversations", piece.next, current), piece.asked_until)


def show_open_around(user: User, zone: ZoneInfo, conversation: Conversation | None) -> ShownList:
    """Return the first piece of the sidebar's list, on the page of a conversation that was read before it."""
    if conversation is None:
        return show_open(user, zone)
    shown = show_open(user, zone, str(conversation.pk))
    now = next((row.conversation.updated_at for row in shown.rows if row.is_current), conversation.updated_at)
    # What was asked in it since it was read is in the list and not on the page, which has to ask for it.
    return shown if now == conversation.updated_at else replace(shown, asked_until=conversation.updated_at)


def show_archived(user: User, zone: ZoneInfo, before: ListPlace | None = None) -> ShownList:
    """Return a piece of the list of archived conversations."""
    piece = list_archived(user, before)
    return ShownList(make_rows(piece.conversations, zone, "", before), _make_address("archive", piece.next))


def show_some(user: User, zone: ZoneInfo, ids: list[UUID], current: str = "") -> list[ListedRow]:
    """Return the rows of those of these conversations that the user has."""
    return make_rows(find_listed(user, ids), zone, current)


def show_new(conversation: Conversation, zone: ZoneInfo) -> ListedRow:
    """Return the row of a conversation whose first question is being answered on this page."""
    return _make_row(conversation, timezone.now().astimezone(zone), str(conversation.pk), is_new=True)


def make_rows(
    conversations: Iterable[Conversation], zone: ZoneInfo, current: str, before: ListPlace | None = None
) -> list[ListedRow]:
    """Return the rows of conversations that stand after a place, the first of a day with its heading."""
    now = timezone.now().astimezone(zone)
    day = _name_day(before.shelf, before.at, now) if before is not None else ""
    rows = []
    for conversation in conversations:
        row = _make_row(conversation, now, current, after_day=day)
        rows.append(row)
        day = row.day
    return rows


def _make_row(
    conversation: Conversation, now: datetime, current: str, *, after_day: str = "", is_new: bool = False
) -> ListedRow:
    place = ListPlace.from_conversation(conversation)
    day, key = _name_day(place.shelf, place.at, now), str(conversation.pk)
    return ListedRow(
        conversation,
        f"{_HOME}c/{key}/",
        f"{_HOME}c/{key}/menu/",
        day,
        day if day != after_day else "",
        place.sort_key,
        "archived" if place.shelf == "archived" else "open",
        key == current,
        is_new or bool(getattr(conversation, "is_streaming", False)),
        not is_new and conversation.is_unread,
        not is_new and has_failed(conversation),
    )


# By hand: a reverse for each of fifty rows takes as long as all else of them.
_HOME = "/"


def _name_day(shelf: str, at: datetime, now: datetime) -> str:
    return "Pinned" if shelf == "pinned" else name_day(at.astimezone(now.tzinfo), now)


def _make_address(route: str, place: ListPlace | None, current: str = "") -> str:
    if place is None:
        return ""
    return f"{reverse(route)}?{urlencode({'before': str(place), **({'current': current} if current else {})})}"
