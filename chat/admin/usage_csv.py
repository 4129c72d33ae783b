"""The usage review's tables as CSV."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

from django.db.models import QuerySet
from django.http import StreamingHttpResponse

from chat.accounting.figures import Line
from chat.accounting.selections import Selection
from chat.http.csv_lines import write_line
from chat.http.row_cursor import RowCursor
from chat.models import SUMS, ProviderCall
from chat.tasks import run_in_thread
from chat.templatetags.figures import NO_PRICE

ROWS_A_CHUNK = 1000

TABLE_COLUMNS = ("calls", "interrupted", *SUMS[1:-1])

CALL_COLUMNS = (
    "id",
    "started_at",
    "user",
    "requested_by",
    "billed_to",
    "purpose",
    "conversation",
    "answer",
    "model",
    "outcome",
    "error_code",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "written_tokens",
    "written_hour_tokens",
    "reasoning_tokens",
    "searches",
    "estimated",
    "cost",
    "first_token_ms",
    "total_ms",
    "error_cause",
    "error_status",
    "error_kind",
    "error_message",
    "request_id",
)


_FIELDS = {
    "user": "user__username",
    "requested_by": "requested_by__username",
    "conversation": "answer__conversation_id",
    "answer": "answer_id",
}
_ID, _STARTED_AT, _COST = map(CALL_COLUMNS.index, ("id", "started_at", "cost"))


def write_table(by: str, lines: Iterable[Line]) -> Iterator[str]:
    """Yield a table as CSV, line by line; that of conversations names them by their ids and their users."""
    is_named_twice = by == "conversation"
    yield write_line((by, *(["user"] if is_named_twice else []), *TABLE_COLUMNS, "cost"))
    for line in lines:
        figures = line.figures
        cost = NO_PRICE if figures.cost is None else f"{figures.cost:f}"
        names = (line.key, line.name) if is_named_twice else (line.name,)
        yield write_line((*names, *(getattr(figures, name) for name in TABLE_COLUMNS), cost))


async def write_calls(selection: Selection) -> AsyncIterator[str]:
    """Yield every row as CSV, a thousand at a time; between two reads neither memory nor a connection is kept."""
    yield write_line(CALL_COLUMNS)
    after: RowCursor[int] | None = None
    while rows := await run_in_thread(_read_chunk, selection, after):
        yield "".join(write_line(_write_cells(row)) for row in rows)
        after = RowCursor(rows[-1][_STARTED_AT], rows[-1][_ID])


def select_calls(selection: Selection, after: RowCursor[int] | None) -> QuerySet[ProviderCall]:
    """Return the calls behind a place, or all of them, newest first, each with its user."""
    if after is None:
        return selection.select_calls().select_related("user")
    return after.exclude_shown(selection.select_calls(after.at), "started_at").select_related("user")


def _read_chunk(selection: Selection, after: RowCursor[int] | None) -> list[tuple[Any, ...]]:
    """Return what the CSV says of the next calls behind a place, by its columns; as objects they take twice as long.

    To select the calls of a provider is a query itself, so all of this is for a thread.
    """
    fields = (_FIELDS.get(name, name) for name in CALL_COLUMNS)
    return list(select_calls(selection, after).values_list(*fields)[:ROWS_A_CHUNK])


def find_cursor(call: ProviderCall) -> RowCursor[int]:
    """Return the place behind a call."""
    return RowCursor(call.started_at, call.pk)


def _write_cells(row: tuple[Any, ...]) -> list[Any]:
    cells = list(row)
    cells[_STARTED_AT] = row[_STARTED_AT].isoformat()
    cells[_COST] = NO_PRICE if row[_COST] is None else f"{row[_COST]:f}"
    return cells


async def stream_lines(lines: Iterable[str]) -> AsyncIterator[str]:
    """Yield lines as an asynchronous response takes them."""
    for line in lines:
        yield line


def make_download(content: AsyncIterator[str], name: str, selection: Selection) -> StreamingHttpResponse:
    """Return CSV as a file that is named after its content and its days."""
    headers = {"Content-Disposition": f'attachment; filename="{name}-{selection.start}-{selection.end}.csv"'}
    return StreamingHttpResponse(content, content_type="text/csv; charset=utf-8", headers=headers)
