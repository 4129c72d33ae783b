"""A ledger of millions of rows for the benches: some are made up, the rest are copies of them that the database makes.

The ORM writes 2,000 rows a second on a busy machine: an hour for five million. A copy differs in when it began, so that
the ledger goes back as far as is asked for; its users, models and figures are those of the row that it is a copy of.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.db import connection, transaction

from chat.models import ProviderCall, User
from tests.support import ledger_rows

# Rows that are made up. The others are copies.
MADE_UP = 50_000

# Words of the questions that not all of them have, such as "topic4321": of five million calls 107 have one.
TOPICS = 5000


def write_ledger(count: int, users: Sequence[User], days: int) -> int:
    """Write `count` calls of the last `days`, with their answers, failures and ratings; return how many were written.

    A count over `MADE_UP` is rounded down to a multiple of it.
    """
    copies = max(0, count // MADE_UP - 1)
    share = days / (copies + 1)
    made = min(count, MADE_UP)
    ledger_rows.write(ledger_rows.make_ledger_rows(made, users, share, ended_days_ago=days - share))
    for number in range(1, copies + 1):
        _copy_rows(made, share * number * 86_400)
    with transaction.atomic():
        for statement in _write_conversations():
            with connection.cursor() as cursor:
                cursor.execute(statement)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    return made * (copies + 1)


def _copy_rows(made: int, seconds: float) -> None:
    """Copy the made-up rows, begun so many seconds later."""
    table = ProviderCall._meta.db_table
    columns = [str(field.column) for field in ProviderCall._meta.concrete_fields if not field.primary_key]
    # With as many digits as Django writes: rows are compared as text, and one a page of the CSV would come twice.
    later = "STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', started_at, %s || ' seconds') || '000'"
    if connection.vendor == "postgresql":
        later = "started_at + %s * INTERVAL '1 second'"
    values = ", ".join(later if column == "started_at" else column for column in columns)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} ({', '.join(columns)}) "
            f"SELECT {values} FROM {table} WHERE id <= (SELECT MIN(id) FROM {table}) + %s ORDER BY id",
            (seconds, made - 1),
        )


def _write_conversations() -> list[str]:
    """Return SQL that gives an answer to each failed call and to one of ten others, and ratings to some of them."""
    is_sqlite = connection.vendor == "sqlite"

    def write_id(kind: int, high: str, low: str) -> str:
        if is_sqlite:
            return f"PRINTF('{kind:x}%015x%016x', {high}, {low})"
        return f"('{kind:x}' || LPAD(TO_HEX({high}), 15, '0') || LPAD(TO_HEX({low}), 16, '0'))::uuid"

    no = "0" if is_sqlite else "false"
    conversation, question, answer = (
        write_id(1, "user_id", "id / 50000"),
        write_id(2, "id", "0"),
        write_id(3, "id", "0"),
    )
    chosen = "user_id IS NOT NULL AND purpose = 'answer' AND (outcome = 'interrupted' OR id % 10 = 0)"
    chosen += " AND outcome <> 'running'"
    message = (
        "INSERT INTO chat_message (id, conversation_id, parent_id, role, text, reasoning, outline, position, status, "
        "error_code, finish_reason, model, owner, fence, created_at, omitted, is_indexed) SELECT "
    )
    # The names are our own, and the values are of our own ledger.
    return [
        "INSERT INTO chat_conversation (id, user_id, title, indexed_title, system_prompt, created_at, updated_at) "
        f"SELECT {conversation}, user_id, 'A chat', 'A chat', '', MIN(started_at), MAX(started_at) "
        f"FROM chat_providercall WHERE {chosen} GROUP BY user_id, id / 50000",
        f"{message} {question}, {conversation}, NULL, 'user', 'A question about topic' || (id % {TOPICS}), '', '[]', "
        f"0, 'complete', '', '', '', '', 0, started_at, 0, {no} FROM chat_providercall WHERE {chosen}",
        f"{message} {answer}, {conversation}, {question}, 'assistant', 'An answer', '', '[]', 0, outcome, "
        f"error_code, '', model, '', 0, started_at, 0, {no} FROM chat_providercall WHERE {chosen}",
        f"UPDATE chat_providercall SET answer_id = {answer} WHERE {chosen}",
        "INSERT INTO chat_rating (answer_id, user_id, value, model, prompt, comment, may_be_read, created_at, "
        "updated_at) SELECT answer_id, user_id, CASE WHEN id % 3 = 0 THEN 'down' ELSE 'up' END, model, '', '', "
        f"{no}, started_at, started_at FROM chat_providercall WHERE answer_id IS NOT NULL AND id % 50 = 0",
    ]
