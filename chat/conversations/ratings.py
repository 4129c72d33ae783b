"""Ratings: what a reader thinks of an answer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Count, F, Q, QuerySet, UUIDField

from chat.conversations.actions import get_owned_answer
from chat.core.errors import RefusedError
from chat.core.events import make_storable
from chat.models import COMMENT_LENGTH, LIVE, Conversation, Message, Rating, User
from chat.models.compiled import Select


class LiveAnswerError(RefusedError):
    """The answer is still being written."""

    status, code = 409, "busy"
    sentence = "This answer is still being written. Rate it when it has ended."


class InvalidRatingError(RefusedError):
    """The fields of a rating cannot be taken as they are."""

    status, code, field = 400, "bad_request", "comment"

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


@dataclass(frozen=True, slots=True)
class Opinion:
    """A rating as a reader sends it. What is None stays as it was; a new rating has no comment and no consent."""

    value: str
    comment: str | None = None
    may_be_read: bool | None = None


def rate_answer(user: User, answer_id: UUID, opinion: Opinion) -> Rating:
    """Keep a reader's rating of an answer in the place of an earlier one, and return it.

    The same again changes nothing. Raises Http404 for somebody else's answer, and `RefusedError` for a live one or an
    invalid opinion.
    """
    if opinion.value not in Rating.Value.values:
        raise InvalidRatingError("`value` must be `up` or `down`.")
    comment = None if opinion.comment is None else _clean(opinion.comment)
    with transaction.atomic():
        answer = get_owned_answer(user, answer_id)
        # Locked against its continuation, so that what is rated is what its reader has read.
        held = Message.objects.select_for_update(no_key=True).filter(pk=answer.pk).exclude(status__in=LIVE)
        if not held.values_list("pk", flat=True):
            raise LiveAnswerError
        found = Rating.objects.filter(answer=answer, user=user).first()
        rating = found or Rating(answer=answer, user=user)
        before = (rating.value, rating.comment, rating.may_be_read)
        rating.value = opinion.value
        rating.comment = rating.comment if comment is None else comment
        rating.may_be_read = rating.may_be_read if opinion.may_be_read is None else opinion.may_be_read
        if found is None or before != (rating.value, rating.comment, rating.may_be_read):
            rating.model, rating.prompt = answer.model, describe_prompt(answer.conversation)
            rating.save()
    return rating


def remove_rating(user: User, answer_id: UUID) -> None:
    """Remove a reader's rating of an answer, if there is one. Raises Http404 for somebody else's answer."""
    Rating.objects.filter(answer=get_owned_answer(user, answer_id), user=user).delete()


def _clean(comment: str) -> str:
    """Return a comment as both databases take it."""
    kept = make_storable(comment).strip()
    if len(kept) > COMMENT_LENGTH:
        raise InvalidRatingError(f"A comment has at most {COMMENT_LENGTH:,} characters.")
    return kept


def describe_prompt(conversation: Conversation) -> str:
    """Return which system prompt a conversation is answered with: `own`, the site's with its mark, or nothing.

    Own prompts are their users' words, and have no mark that would tell who shares one.
    """
    return "own" if conversation.system_prompt else mark_site_prompt()


def mark_site_prompt() -> str:
    """Return the mark of the site's system prompt as it is now; nothing without one."""
    if not settings.CHAT_SYSTEM_PROMPT:
        return ""
    return f"site {hashlib.sha256(settings.CHAT_SYSTEM_PROMPT.encode()).hexdigest()[:8]}"


_own_rating = Select(
    Rating,
    lambda answer: Rating.objects.filter(answer=answer, user=F("answer__conversation__user")).order_by(),
    UUIDField(),
)


def find_rating(answer: Message) -> Rating | None:
    """Return the rating that an answer has of the user whose conversation it is."""
    return None if answer.is_live else _own_rating.get_first(answer.pk)


def find_ratings(answers: Iterable[Any], user_id: int) -> dict[UUID, Rating]:
    """Return a reader's ratings of answers, by the answer's id; `answers` are ids, or a query of them."""
    return {rating.answer_id: rating for rating in Rating.objects.filter(answer__in=answers, user=user_id)}


class RatingLine(NamedTuple):
    """The readers' opinion of one model, or of the answers by one system prompt."""

    name: str
    up: int
    down: int

    @property
    def total(self) -> int:
        return self.up + self.down

    @property
    def share(self) -> float:
        """The share of good ratings in percent."""
        return 100 * self.up / self.total if self.total else 0.0


def sum_ratings(ratings: QuerySet[Rating], field: str) -> list[RatingLine]:
    """Return a line for each value of a field, that with the most ratings first."""
    rows = (
        ratings.order_by()
        .values_list(field)
        .annotate(up=Count("pk", filter=Q(value=Rating.Value.UP)), down=Count("pk", filter=Q(value=Rating.Value.DOWN)))
    )
    return sorted((RatingLine(*row) for row in rows), key=lambda line: (-line.total, line.name))
