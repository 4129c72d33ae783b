"""Questions that wait for the end of an answer."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Exists, OuterRef

from chat.models.conversations import LIVE, Conversation, Message, Status
from chat.models.users import User


class NextQuestionQuerySet(models.QuerySet["NextQuestion"]):
    """Next questions of a user, and those whose time has come."""

    def owned_by(self, user: User) -> NextQuestionQuerySet:
        return self.filter(conversation__user=user, conversation__deleted_at=None)

    def due(self) -> NextQuestionQuerySet:
        """Select the first one of each conversation in which the last answer is complete and none is live."""
        live = Message.objects.filter(conversation=OuterRef("conversation"), status__in=LIVE)
        earlier = NextQuestion.objects.filter(conversation=OuterRef("conversation"), pk__lt=OuterRef("pk"))
        return self.filter(
            ~Exists(live),
            ~Exists(earlier),
            refusal="",
            conversation__leaf__status=Status.COMPLETE,
            conversation__user__is_active=True,
            conversation__deleted_at=None,
        )


class NextQuestion(models.Model):
    """A question that its user wrote while an answer was being written; it is asked when that is complete.

    The transaction that asks it deletes it, and `turn` is the id of the form that it came with, so that it is asked
    once, however many processes find it due.
    """

    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="next_questions")
    turn = models.UUIDField(default=uuid.uuid4)
    text = models.TextField()
    model = models.CharField(max_length=200, help_text="provider:model to ask.")
    effort = models.CharField(max_length=20, blank=True)
    refusal = models.CharField(max_length=400, blank=True, help_text="Why it could not be asked; then it waits.")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = NextQuestionQuerySet.as_manager()

    class Meta:
        ordering = ("pk",)
        constraints = (models.UniqueConstraint(fields=("conversation", "turn"), name="one_next_question_of_a_form"),)

    def __str__(self) -> str:
        """Name it without its text, which the admin's readers may not see."""
        return f"Next question {self.pk}"
