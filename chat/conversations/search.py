"""Requests for searches, from a page, a program or an address: a query, filters, and a cursor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from django.urls import reverse
from django.utils import timezone

from chat.core.errors import RefusedError
from chat.core.events import make_storable
from chat.models import Role, Status, User
from chat.search.hits import Cursor, Filters, Hit, HitPage, search
from chat.search.index import TITLE
from chat.search.queries import Query, read_query

ROLES = (Role.USER.value, Role.ASSISTANT.value, TITLE)
STATUSES = tuple(status.value for status in Status)
NOTHING = HitPage([], None, is_complete=True)


class InvalidSearchError(RefusedError):
    """A field of a search cannot be taken as it is."""

    status, code = 400, "bad_request"

    def __init__(self, sentence: str, field: str) -> None:
        super().__init__(sentence)
        self.sentence, self.field = sentence, field


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """A request for a search; its query is None where no word was given."""

    query: Query | None
    filters: Filters
    cursor: Cursor


def read_search(fields: Mapping[str, str]) -> SearchRequest:
    """Read `q`, `model`, `role`, `status`, `from`, `to` (days of the current time zone, both included) and `cursor`.

    Raises `InvalidSearchError`.
    """
    try:
        cursor = Cursor.read(fields.get("cursor", ""))
    except ValueError:
        raise InvalidSearchError("This cursor is not one that a search gave.", "cursor") from None
    until = _read_day(fields, "to")
    filters = Filters(
        model=make_storable(fields.get("model", ""))[:200],
        role=_read_choice(fields, "role", ROLES),
        status=_read_choice(fields, "status", STATUSES),
        since=_find_beginning(_read_day(fields, "from")),
        until=_find_beginning(until and _add_day(until)),
    )
    return SearchRequest(read_query(fields.get("q", "")), filters, cursor)


def run_search(user: User, request: SearchRequest) -> HitPage:
    """Return what the user's own conversations have of it."""
    if request.query is None:
        return NOTHING
    return search(user.pk, request.query, request.filters, request.cursor)


def make_address(hit: Hit) -> str:
    """Return the address that opens a hit's conversation at its message, on its branch."""
    page = reverse("conversation", args=(hit.row.conversation_id,))
    if hit.message_id is None:
        return page
    element = "turn" if hit.row.role == Role.USER else "answer"
    return f"{page}?at={hit.message_id}#{element}-{hit.message_id}"


def _read_choice(fields: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    value = fields.get(name, "")
    if value and value not in choices:
        raise InvalidSearchError(f"`{name}` is one of {', '.join(choices)}.", name)
    return value


def _read_day(fields: Mapping[str, str], name: str) -> date | None:
    value = fields.get(name, "")
    try:
        return date.fromisoformat(value) if value else None
    except ValueError:
        raise InvalidSearchError(f"`{name}` is a day, such as 2026-11-28.", name) from None


def _add_day(day: date) -> date:
    return day if day == date.max else day + timedelta(days=1)


def _find_beginning(day: date | None) -> datetime | None:
    """Return the first moment of a day; None for no day, and for one that has no such moment in every time zone."""
    # The first and the last years have no moment in every time zone.
    if day is None or not 1 < day.year < date.max.year:
        return None
    return timezone.make_aware(datetime.combine(day, time.min))
