"""The list of a user with 5,000 conversations costs as little as that of one with five."""

from __future__ import annotations

import time
from datetime import timedelta
from zoneinfo import ZoneInfo

from django.db import connection, transaction
from django.db.models import UUIDField
from django.template.loader import render_to_string
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from chat.conversations.listing import PIECE, SHELVES, ListPlace, list_archived, list_by_time, list_open
from chat.models import Conversation, Message, User
from chat.models.compiled import Update
from chat.web.listed_conversations import ShownList, show_open

UTC = ZoneInfo("UTC")

# Seconds of CPU for a piece of the list, as HTML: the promise is 50 ms. What PostgreSQL does is held by its plan.
MAX_SECONDS = 0.05


def make(user: User, count: int) -> None:
    """Make conversations with an answer each, one in a hundred pinned, one in two archived; an hour apart."""
    now = timezone.now()
    rows = []
    for number in range(count):
        row = Conversation(user=user, title=f"Number {number}")
        row.pinned_at = now if number % 100 == 0 else None
        row.archived_at = now if number % 2 else None
        rows.append(row)
    Conversation.objects.bulk_create(rows, batch_size=500)
    answers = [Message(conversation=row, role="assistant", status="complete", text="Yes.") for row in rows]
    Message.objects.bulk_create(answers, batch_size=500)
    end = Update(Conversation, ("leaf", "updated_at"), lambda pk: Conversation.objects.filter(pk=pk), UUIDField())
    with transaction.atomic():
        end.execute_many(
            (answer.pk, now - timedelta(hours=ago), answer.conversation_id) for ago, answer in enumerate(answers)
        )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def render(shown: ShownList) -> str:
    return render_to_string("chat/_conversations.html", {"conversations": shown})


def test_a_list_of_5000_conversations_takes_two_statements_and_no_more_time_than_a_short_one(user: User) -> None:
    statements = []
    for count in (5, 5000):
        Conversation.objects.all().delete() if count == 5000 else None
        make(user, count)
        with CaptureQueriesContext(connection) as asked:
            html = render(show_open(user, UTC))
        statements.append(len(asked))
    assert statements == [2, 2]
    assert html.count('class="conversation"') == PIECE
    place: ListPlace | None = None
    for _ in range(40):  # deep in the list
        place = list_open(user, place).next
    assert place is not None
    for shelf in ("pinned", "open", "archived"):
        plan = SHELVES[shelf].rows(Conversation.objects.owned_by(user)).order_by(f"-{SHELVES[shelf].field}", "-pk")
        name = "listed" if shelf == "open" else shelf
        assert f"{name}_conversations" in plan[:PIECE].explain(), shelf
    for look in (
        lambda: render(show_open(user, UTC)),
        lambda: render(show_open(user, UTC, "", place)),
        lambda: list_archived(user),
        lambda: list_by_time(user, is_archived=False),
    ):
        took = []
        for _ in range(5):
            begun = time.process_time()
            look()
            took.append(time.process_time() - begun)
        assert min(took) < MAX_SECONDS, took
