"""Readers' ratings of answers."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from chat.models.conversations import Message

COMMENT_LENGTH = 2000


class Rating(models.Model):
    """A reader's rating of one answer: up or down, with a comment where they wrote one.

    The model and the system prompt are those that the answer was rated with: both may change later. It goes with its
    answer and with its reader.
    """

    class Value(models.TextChoices):
        UP = "up"
        DOWN = "down"

    answer = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="ratings")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="ratings")
    value = models.CharField(max_length=4, choices=Value.choices)
    comment = models.TextField(blank=True, max_length=COMMENT_LENGTH)
    may_be_read = models.BooleanField(
        default=False, help_text="Whether the staff may read the comment and the conversation."
    )
    model = models.CharField(max_length=200)
    prompt = models.CharField(
        max_length=24, blank=True, help_text="Which system prompt: empty for none, `own`, or `site` with its mark."
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ("-created_at",)
        constraints = (
            models.UniqueConstraint(fields=("answer", "user"), name="one_rating_of_an_answer_by_a_reader"),
            models.CheckConstraint(condition=models.Q(value__in=("up", "down")), name="a_rating_is_up_or_down"),
        )
        indexes = (models.Index(fields=("created_at",), name="ratings_by_time"),)

    def __str__(self) -> str:
        return f"{self.value}: {self.answer_id}"
