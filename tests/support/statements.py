"""The statements that any thread of this process makes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from django.db.backends.utils import CursorWrapper


@contextmanager
def hear_statements(note: Callable[[str], None]) -> Iterator[None]:
    """Call `note` with the SQL of each statement, in the context and the thread that make it."""
    execute = CursorWrapper.execute

    def note_and_execute(cursor: CursorWrapper, sql: Any, params: Any = None) -> Any:
        note(str(sql))
        return execute(cursor, sql, params)

    with patch.object(CursorWrapper, "execute", note_and_execute):
        yield
