"""What users may use: which models, and how much."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from django.db import models
from django.db.models import Q

from chat.models.ledger import ProviderCall

if TYPE_CHECKING:
    from django.db.models.fields.related_descriptors import RelatedManager


class ModelAccess(models.Model):
    """A model that only some groups may use. One that has no row here is for everybody."""

    model = models.CharField(max_length=200, unique=True, help_text="provider:model, as in CHAT_MODELS.")
    groups = models.ManyToManyField("auth.Group", blank=True, related_name="model_access")

    class Meta:
        verbose_name_plural = "model access"

    def __str__(self) -> str:
        return self.model


class Limit(models.Model):
    """What one user, or each user of a group, may use, in place of the site's defaults; see `chat.quotas.limits_of`."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.CASCADE, related_name="own_limit"
    )
    group = models.OneToOneField(
        "auth.Group", null=True, blank=True, on_delete=models.CASCADE, related_name="limit", help_text="For each user."
    )
    requests_per_minute = models.PositiveIntegerField(null=True, blank=True, help_text="Questions and retries.")
    live_answers = models.PositiveIntegerField(null=True, blank=True, help_text="Answers being written at once.")
    tokens_per_day = models.PositiveBigIntegerField(null=True, blank=True, help_text="Input and output, by UTC days.")
    cost_per_month = models.DecimalField(
        max_digits=14, decimal_places=2, null=True, blank=True, help_text="US dollars, by UTC months."
    )

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=Q(user__isnull=False, group__isnull=True) | Q(user__isnull=True, group__isnull=False),
                name="a_limit_is_of_a_user_or_of_a_group",
                violation_error_message="Choose a user or a group.",
            ),
            models.CheckConstraint(
                condition=Q(cost_per_month__isnull=True) | Q(cost_per_month__gte=0), name="a_cost_limit_is_not_negative"
            ),
        )

    def __str__(self) -> str:
        return f"Limit of {self.user or self.group}"


class Allowance(models.Model):
    """What a user has used in the windows that are under way. Its row is the lock under which calls are let through."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, primary_key=True, on_delete=models.CASCADE, related_name="allowance"
    )
    minute = models.DateTimeField(help_text="When the minute began: with its first request.")
    requests = models.PositiveIntegerField(default=0, help_text="Since the minute began.")
    day = models.DateField(help_text="The day, and with it the month, of the figures below; UTC.")
    tokens = models.PositiveBigIntegerField(default=0, help_text="Input and output of the day's calls that have ended.")
    cost = models.DecimalField(
        max_digits=14, decimal_places=8, default=0, help_text="US dollars for the month's calls that have ended."
    )

    def __str__(self) -> str:
        return f"Allowance of {self.user}"

    if TYPE_CHECKING:
        reservations: RelatedManager[Reservation]


class Reservation(models.Model):
    """What an upstream call under way may come to, held against its user's limits until the real figures are known."""

    call = models.OneToOneField(ProviderCall, primary_key=True, on_delete=models.CASCADE, related_name="reservation")
    allowance = models.ForeignKey(Allowance, on_delete=models.CASCADE, related_name="reservations")
    day = models.DateField(help_text="The day that the call counts for: when it began.")
    until = models.DateTimeField(help_text="No call takes longer; one that nobody settled holds nothing after this.")
    tokens = models.PositiveBigIntegerField()
    cost = models.DecimalField(max_digits=14, decimal_places=8)

    def __str__(self) -> str:
        return f"{self.tokens} tokens for call {self.call_id}"
