"""The usage review's tables as CSV."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import datetime
from typing import Any

from django.db.models import F, QuerySet
from django.http import StreamingHttpResponse

from chat.accounting.figures import Line
from chat.accounting.selections import Selection
from chat.http.csv_lines import write_line
from chat.http.row_cursor import RowCursor
from chat.models import SUMS, ProviderCall
from chat.tasks import run_in_thread
from chat.templatetags.figures import NO_PRICE

ROWS_A_CHUNK = 1000


# CSV

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
    while rows := await run_in_thread(list, select_whole_calls(selection, after)[:ROWS_A_CHUNK]):
        yield "".join(write_line(_list_cells(call)) for call in rows)
        after = find_cursor(rows[-1])


def select_calls(selection: Selection, after: RowCursor[int] | None) -> QuerySet[ProviderCall]:
    """Return the calls behind a place, or all of them, newest first, each with its user."""
    if after is None:
        return selection.select_calls().select_related("user")
    return after.exclude_shown(selection.select_calls(after.at), "started_at").select_related("user")


def select_whole_calls(selection: Selection, after: RowCursor[int] | None) -> QuerySet[ProviderCall]:
    """Return the calls behind a place with all that the CSV says of them."""
    conversation = F("answer__conversation_id")
    return select_calls(selection, after).select_related("requested_by").annotate(conversation=conversation)


def find_cursor(call: ProviderCall) -> RowCursor[int]:
    """Return the place behind a call."""
    return RowCursor(call.started_at, call.pk)


def _list_cells(call: ProviderCall) -> Iterator[Any]:
    for name in CALL_COLUMNS:
        value = getattr(call, "answer_id" if name == "answer" else name)
        if name == "cost":
            yield NO_PRICE if value is None else f"{value:f}"
        else:
            yield value.isoformat() if isinstance(value, datetime) else value


async def stream_lines(lines: Iterable[str]) -> AsyncIterator[str]:
    """Yield lines as an asynchronous response takes them."""
    for line in lines:
        yield line


def make_download(content: AsyncIterator[str], name: str, selection: Selection) -> StreamingHttpResponse:
    """Return CSV as a file that is named after its content and its days."""
    headers = {"Content-Disposition": f'attachment; filename="{name}-{selection.start}-{selection.end}.csv"'}
    return StreamingHttpResponse(content, content_type="text/csv; charset=utf-8", headers=headers)
