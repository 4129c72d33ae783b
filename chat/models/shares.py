"""Links by which others read one branch of a conversation."""

from __future__ import annotations

import hashlib
import uuid

from django.db import models
from django.db.models import Q
from django.utils import timezone

from chat.models.conversations import Conversation, Message
from chat.models.users import User


class ShareQuerySet(models.QuerySet["Share"]):
    """Links by their state and their user."""

    def owned_by(self, user: User) -> ShareQuerySet:
        return self.filter(conversation__user=user, conversation__deleted_at=None)

    def open(self) -> ShareQuerySet:
        """Select the links that lead somewhere now: neither revoked nor expired, of an active user, and not deleted."""
        lasting = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
        is_there = {"conversation__user__is_active": True, "conversation__deleted_at": None}
        return self.filter(lasting, revoked_at=None, **is_there)


class Share(models.Model):
    """A link to one branch of a conversation, for readers who can change nothing.

    The link's secret is made of the row's id and the site's key, see `chat.conversations.shares`; only its SHA-256 is
    kept. A row stays when its link is revoked, as the record of who could read what.
    """

    class Audience(models.TextChoices):
        TEAM = "team", "Everybody who is logged in"
        LINK = "link", "Everybody who has the link"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="shares")
    leaf = models.ForeignKey(
        Message,
        on_delete=models.CASCADE,
        related_name="+",
        help_text="The last message that the branch had when the link was made.",
    )
    digest = models.CharField(max_length=64, unique=True, editable=False)
    audience = models.CharField(max_length=4, choices=Audience.choices, default=Audience.TEAM)
    goes_on = models.BooleanField(default=False, help_text="Whether later turns of the branch are shown too.")
    reasoning = models.BooleanField(default=False, help_text="Whether the models' reasoning is shown.")
    tools = models.BooleanField(default=False, help_text="Whether the calls of tools are shown.")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects = ShareQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at",)
        constraints = (
            models.CheckConstraint(condition=Q(audience__in=("team", "link")), name="a_share_has_an_audience"),
        )

    def __str__(self) -> str:
        """Name the link without the conversation's title, which the admin's readers may not see."""
        return f"Link {self.pk}"

    @property
    def state(self) -> str:
        """The link's state: `open`, `revoked` or `expired`."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= timezone.now() else "open"

    @staticmethod
    def compute_digest(secret: str) -> str:
        return hashlib.sha256(secret.encode()).hexdigest()
