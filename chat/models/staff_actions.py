"""Records of the staff's actions: readings, dismissals and retries of failed answers."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from chat.models.conversations import Message

if TYPE_CHECKING:
    from django.db.models.fields.related_descriptors import RelatedManager


class Reading(models.Model):
    """A record that a member of the staff was shown the text of somebody else's message.

    A row outlives message and reader, whose id and name it keeps.
    """

    class Place(models.TextChoices):
        STAFF = "staff"
        ADMIN = "admin"

    reader = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="readings")
    reader_name = models.CharField(max_length=150)
    message = models.ForeignKey(Message, null=True, on_delete=models.SET_NULL, related_name="readings")
    message_key = models.UUIDField(help_text="The message's id, also when the message is gone.")
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="Whose conversation it is.",
    )
    place = models.CharField(max_length=5, choices=Place.choices)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-at",)
        indexes = (models.Index(fields=("message_key", "-at"), name="readings_of_a_message"),)

    def __str__(self) -> str:
        return f"{self.reader_name} read message {self.message_key}"


class Dismissal(models.Model):
    """A failed answer that needs nothing more. An undone one is kept, so that the record is whole."""

    answer = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="dismissals")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="dismissals")
    note = models.CharField(max_length=200)
    at = models.DateTimeField(auto_now_add=True)
    undone_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    undone_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-at",)
        constraints = (
            models.UniqueConstraint(fields=("answer",), condition=Q(undone_at=None), name="one_dismissal_of_an_answer"),
        )

    def __str__(self) -> str:
        return f"{self.note} ({self.by})"


class RetryBatch(models.Model):
    """Failed answers that a member of the staff had retried, one or a thousand of them, and the reason.

    One process works on a batch at a time. It renews the lease; when that has run out, the sweep of any process takes
    the batch over, see `chat.staff.bulk_retry`.
    """

    class Plan(models.TextChoices):
        """The time at which the answers after the first one are retried."""

        ALL = "all", "All of them at once"
        FIRST = "first", "One first; the rest by itself when it is complete"
        ASK = "ask", "One first; the rest when I have confirmed it"

    class Pause(models.TextChoices):
        """Why a batch is paused."""

        FIRST_COMPLETE = "first complete", "The first answer is complete. Look at it, then go on with the rest."
        FIRST_FAILED = "first failed", "The first answer failed again. Going on tries one more first."
        FAILURES = "failures", "Several answers in a row failed again."

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="retry_batches"
    )
    reason = models.CharField(max_length=200)
    scope = models.CharField(max_length=400, help_text="What was asked for, in words.")
    model = models.CharField(
        max_length=200,
        blank=True,
        default="",
        db_default="",
        help_text="provider:model that is asked instead. Empty: the model of each answer.",
    )
    plan = models.CharField(max_length=5, choices=Plan.choices, default=Plan.ALL, db_default=Plan.ALL)
    is_released = models.BooleanField(
        default=True, db_default=True, help_text="Whether more than one answer may be retried."
    )
    failures_in_a_row = models.PositiveSmallIntegerField(default=0, db_default=0)
    paused_at = models.DateTimeField(null=True)
    pause = models.CharField(max_length=14, blank=True, default="", db_default="", choices=Pause.choices)
    seen_at = models.DateTimeField(null=True, help_text="When whoever began it saw that it had ended.")
    created_at = models.DateTimeField(auto_now_add=True)
    owner = models.CharField(max_length=64, blank=True, help_text="The process that works on it.")
    lease_until = models.DateTimeField(null=True)
    stopped_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    stopped_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-created_at",)
        verbose_name_plural = "retry batches"
        indexes = (
            models.Index(fields=("lease_until",), condition=Q(finished_at=None), name="unfinished_retry_batches"),
        )

    def __str__(self) -> str:
        return self.scope

    def get_absolute_url(self) -> str:
        return reverse("staff-batch", args=(self.pk,))

    if TYPE_CHECKING:
        items: RelatedManager[RetryItem]
        log: RelatedManager[BatchLogEntry]


class BatchLogEntry(models.Model):
    """A line of a batch's log: what happened to it, and who did it; nobody where it happened by itself."""

    class What(models.TextChoices):
        BEGUN = "begun"
        RELEASED = "went on with the rest"
        PAUSED = "paused"
        RESUMED = "resumed"
        STOPPED = "stopped"
        FINISHED = "finished"

    batch = models.ForeignKey(RetryBatch, on_delete=models.CASCADE, related_name="log")
    at = models.DateTimeField(default=timezone.now)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    by_name = models.CharField(max_length=150, blank=True)
    what = models.CharField(max_length=24, choices=What.choices)
    detail = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ("at", "pk")
        verbose_name = "line of a retry batch's log"
        verbose_name_plural = "log of retry batches"

    def __str__(self) -> str:
        return f"{self.what} {self.detail}".strip()


class RetryItem(models.Model):
    """One failed answer of a batch, and the attempt that was made for it."""

    class Status(models.TextChoices):
        WAITING = "waiting"
        RUNNING = "running"
        COMPLETE = "complete"
        FAILED = "failed"
        SKIPPED = "skipped"

    batch = models.ForeignKey(RetryBatch, on_delete=models.CASCADE, related_name="items")
    answer = models.ForeignKey(Message, null=True, on_delete=models.SET_NULL, related_name="retry_items")
    attempt = models.ForeignKey(Message, null=True, on_delete=models.SET_NULL, related_name="+")
    status = models.CharField(max_length=8, choices=Status.choices, default=Status.WAITING)
    code = models.CharField(max_length=20, blank=True, help_text="Why it failed or was skipped.")
    delays = models.PositiveSmallIntegerField(default=0, help_text="How often its conversation was busy.")
    due_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("pk",)
        constraints = (
            models.UniqueConstraint(
                fields=("answer",),
                condition=Q(status__in=("waiting", "running")),
                name="an_answer_is_retried_by_one_batch",
            ),
        )
        indexes = (models.Index(fields=("batch", "status"), name="items_of_a_batch"),)

    def __str__(self) -> str:
        return f"{self.status}: {self.answer_id}"
