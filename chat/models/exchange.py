"""Export and import jobs, and the sources of imported conversations."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q

from chat.models.conversations import Conversation, Message


class ExchangeJob(models.Model):
    """Everything of a user being written into one archive, or an archive being read.

    One process works on a job at a time and renews its lease; when that has run out, the sweep of any process takes the
    job over, see `chat.conversations.exchange.worker`. Its file lies in CHAT_EXCHANGE_DIRECTORY under the job's id.
    """

    class Kind(models.TextChoices):
        EXPORT = "export"
        IMPORT = "import"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="exchange_jobs")
    kind = models.CharField(max_length=6, choices=Kind.choices)
    name = models.CharField(max_length=200, blank=True, help_text="The name of the file that was brought.")
    total = models.PositiveIntegerField(null=True, help_text="Conversations; empty until they have been counted.")
    done = models.PositiveIntegerField(default=0, help_text="Conversations that have been looked at.")
    report = models.JSONField(default=dict, help_text="What was brought and what was left out, see `Report`.")
    error = models.CharField(max_length=300, blank=True, help_text="Why it failed, in words for its user.")
    size = models.PositiveBigIntegerField(default=0, help_text="Of its file, in bytes.")
    tries = models.PositiveSmallIntegerField(
        default=0, help_text="How often a process has taken it since something of it was done."
    )
    owner = models.CharField(max_length=64, blank=True, help_text="The process that works on it.")
    lease_until = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-created_at",)
        indexes = (
            models.Index(fields=("user", "-created_at"), name="exchange_jobs_by_user"),
            models.Index(fields=("created_at",), condition=Q(finished_at=None), name="unfinished_exchange_jobs"),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"

    @property
    def is_export(self) -> bool:
        return self.kind == self.Kind.EXPORT

    @property
    def is_finished(self) -> bool:
        return self.finished_at is not None

    @property
    def percent(self) -> int:
        """How far it is, in percent of its conversations; 0 until they have been counted."""
        return min(100, 100 * self.done // self.total) if self.total else 0


class ImportedConversation(models.Model):
    """The source of an imported conversation, by which a second import is recognised."""

    conversation = models.OneToOneField(
        Conversation, on_delete=models.CASCADE, primary_key=True, related_name="imported"
    )
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    site = models.CharField(max_length=20)
    source_id = models.CharField(max_length=200)
    imported_at = models.DateTimeField(auto_now_add=True, null=True, help_text="Empty before this was noted.")

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("user", "site", "source_id"), name="a_conversation_is_imported_once"),
        )

    def __str__(self) -> str:
        return f"{self.site} {self.source_id}"


class ImportedAnswer(models.Model):
    """An answer that was written elsewhere: the staff has nothing to do with it, and the ledger has no row of it.

    `figures` are its tokens, interruptions and rating as its archive has them.
    """

    answer = models.OneToOneField(Message, on_delete=models.CASCADE, primary_key=True, related_name="imported")
    figures = models.JSONField(default=dict)

    def __str__(self) -> str:
        return str(self.answer_id)
