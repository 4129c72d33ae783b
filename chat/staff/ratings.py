"""Readers' ratings as the staff see them: by model and by system prompt, one by one, and as CSV.

A comment is shown only where its reader has agreed, and only to staff who may read conversations.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from django.db.models import BooleanField, Case, Q, QuerySet, When
from django.utils import timezone

from chat.accounting.rollups import find_midnight
from chat.accounts.model_registry import list_offered_models
from chat.conversations.ratings import RatingLine, mark_site_prompt, sum_ratings
from chat.conversations.readings import record_reading
from chat.http.csv_lines import write_line
from chat.http.row_cursor import RowCursor
from chat.models import Rating, Reading, User

VIEW = "chat.view_rating"

PAGE = 50

# Days that the page shows when it is not told which.
DAYS = 30

ROWS_A_CHUNK = 1000

COLUMNS = ("rated_at", "user", "answer", "model", "prompt", "value", "comment")


@dataclass(frozen=True, slots=True)
class Selection:
    """Ratings of some days, UTC, both inclusive; of one model and of one value where given."""

    start: date
    end: date
    model: str = ""
    value: str = ""

    def select_ratings(self) -> QuerySet[Rating]:
        """Return them, the latest first."""
        first, after = find_midnight(self.start), find_midnight(self.end + timedelta(days=1))
        found = Rating.objects.filter(created_at__gte=first, created_at__lt=after)
        if self.model:
            found = found.filter(model=self.model)
        if self.value:
            found = found.filter(value=self.value)
        return found.order_by("-created_at", "-pk")


def choose_last_days() -> tuple[date, date]:
    """Return the days that are shown when none are asked for."""
    today = timezone.now().date()
    return today - timedelta(days=DAYS - 1), today


def write_prompt_name(prompt: str) -> str:
    """Return which system prompt a rating was given with, as people read it."""
    if not prompt:
        return "no system prompt"
    if prompt == "own":
        return "prompts that users wrote"
    mark = prompt.removeprefix("site ")
    return f"the site's prompt {mark}{' (now)' if prompt == mark_site_prompt() else ''}"


def sum_by_prompt(ratings: QuerySet[Rating]) -> list[RatingLine]:
    """Return a line for each system prompt of the site, one for those of conversations, and one for none."""
    return [line._replace(name=write_prompt_name(line.name)) for line in sum_ratings(ratings, "prompt")]


def list_models() -> list[str]:
    """Return the models that have ratings or that the site offers."""
    rated = Rating.objects.order_by("model").values_list("model", flat=True).distinct()
    return sorted({*rated, *list_offered_models()})


@dataclass(frozen=True, slots=True)
class Page:
    """A page of ratings, the latest first, and the cursor of the next page; None on the last."""

    ratings: list[Rating]
    next_cursor: RowCursor[int] | None


def load_page(ratings: QuerySet[Rating], after: RowCursor[int] | None = None) -> Page:
    """Return the page of ratings after a cursor, without their comments; `has_comment` says which may be read."""
    if after is not None:
        ratings = after.exclude_shown(ratings.filter(created_at__lte=after.at), "created_at")
    said = When(~Q(comment="") & Q(may_be_read=True), then=True)
    found = ratings.annotate(has_comment=Case(said, default=False, output_field=BooleanField()))
    rows: list[Any] = list(found.select_related("user").defer("comment")[: PAGE + 1])
    shown = rows[:PAGE]
    return Page(shown, RowCursor(shown[-1].created_at, shown[-1].pk) if len(rows) > PAGE else None)


def select_readable_ratings() -> QuerySet[Rating]:
    """Return the ratings whose readers have agreed that the staff may read comment and conversation."""
    return Rating.objects.filter(may_be_read=True).select_related("user", "answer__conversation", "answer__parent")


def read_rating(reader: User, rating: Rating) -> None:
    """Record that a member of the staff is shown a rating's comment, its answer and its question."""
    shown = [message for message in (rating.answer.parent, rating.answer) if message is not None]
    for message in shown:
        message.conversation = rating.answer.conversation
    record_reading(reader, shown, Reading.Place.STAFF)


def write_csv(selection: Selection, reader: User | None = None) -> Iterator[str]:
    """Yield the ratings as CSV, a chunk at a time.

    With a `reader`, comments are in it where their writers have agreed, and each of them is recorded as read.
    """
    yield write_line(COLUMNS)
    after: RowCursor[int] | None = None
    ratings = selection.select_ratings().select_related("user", "answer__conversation")
    while True:
        rest = after.exclude_shown(ratings.filter(created_at__lte=after.at), "created_at") if after else ratings
        rows = list(rest[:ROWS_A_CHUNK])
        if not rows:
            return
        if reader is not None:
            said = [rating.answer for rating in rows if rating.may_be_read and rating.comment]
            record_reading(reader, said, Reading.Place.STAFF)
        yield "".join(write_line(_list_cells(rating, with_comment=reader is not None)) for rating in rows)
        after = RowCursor(rows[-1].created_at, rows[-1].pk)


def _list_cells(rating: Rating, *, with_comment: bool) -> Iterator[str]:
    yield rating.created_at.isoformat()
    yield rating.user.get_username()
    yield str(rating.answer_id)
    yield rating.model
    yield rating.prompt
    yield rating.value
    yield rating.comment if with_comment and rating.may_be_read else ""
