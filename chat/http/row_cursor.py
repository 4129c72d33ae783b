"""A place in a list of rows, newest first, for the page after it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from django.db.models import QuerySet

from chat.core.moments import parse_moment

Key = TypeVar("Key", int, UUID)
Rows = TypeVar("Rows", bound=QuerySet[Any])


@dataclass(frozen=True, slots=True)
class RowCursor(Generic[Key]):
    """The last row of a page, by its time and its primary key; rows that are added later do not move it."""

    at: datetime
    key: Key

    @classmethod
    def read(cls, text: str, key_type: type[Key]) -> RowCursor[Key] | None:
        """Return the cursor in a page's address; None for the first page. Raises ValueError for any other text."""
        if not text:
            return None
        moment, _, key = text.rpartition("_")
        cursor = cls(parse_moment(moment), key_type(key))
        if isinstance(cursor.key, int) and not 0 < cursor.key < 2**63:
            raise ValueError(text)
        return cursor

    def __str__(self) -> str:
        return f"{self.at.isoformat()}_{self.key}"

    def exclude_shown(self, rows: Rows, time_field: str) -> Rows:
        """Return those rows that stand after this one. None of `rows` may be later than `at`."""
        # "Not this moment's later ones" and no OR: for an OR SQLite sorts what it finds by several indexes.
        shown: dict[str, Any] = {time_field: self.at, "pk__gte": self.key}
        return rows.exclude(**shown)
